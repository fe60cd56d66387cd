//! kubectl's JSONPath templates, as far as people use them: `{.items[0].metadata.name}`, `{.items..metadata.name}`,
//! `{range .items[*]}{.metadata.name}{"\n"}{end}`, slices, `[?(@.type=="Ready")]`, `['key.with.dots']`, `\.`.
//!
//! A missing field gives nothing; an index beyond the end is an error, as with kubectl, because
//! `$(… '{.items[0].metadata.name}')` in a script must not go on with an empty name.

use serde_json::Value;

/// A template that cannot be understood, or an index that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("jsonpath: {0}")]
pub struct JsonPathError(String);

/// Applies a template to a value. Several values of one expression are joined by blanks.
///
/// # Errors
///
/// If the template is not understood, or a single index does not exist.
pub fn apply(template: &str, root: &Value) -> Result<String, JsonPathError> {
    let parts = parse(template)?;
    let mut text = String::new();
    render(&parts, root, root, &mut text)?;
    Ok(text)
}

#[derive(Debug)]
enum Part {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Part>),
}

#[derive(Debug, Clone)]
enum Step {
    Root,
    Field(String),
    All,
    Deep,
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    Filter { path: Vec<Step>, compare: Option<(Compare, Value)> },
}

#[derive(Debug, Clone, Copy)]
enum Compare {
    Equal,
    Different,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

fn render(parts: &[Part], root: &Value, current: &Value, text: &mut String) -> Result<(), JsonPathError> {
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Path(steps) => {
                let found: Vec<String> = walk(steps, root, current)?.into_iter().map(plain).collect();
                text.push_str(&found.join(" "));
            }
            Part::Range(steps, body) => {
                for item in walk(steps, root, current)? {
                    render(body, root, item, text)?;
                }
            }
        }
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn walk<'a>(steps: &[Step], root: &'a Value, current: &'a Value) -> Result<Vec<&'a Value>, JsonPathError> {
    let mut values = vec![current];
    for step in steps {
        let mut next = Vec::new();
        for value in values {
            follow(step, root, value, &mut next)?;
        }
        values = next;
    }
    Ok(values)
}

fn follow<'a>(step: &Step, root: &'a Value, value: &'a Value, next: &mut Vec<&'a Value>) -> Result<(), JsonPathError> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    let place = |index: i64| if index < 0 { items.len() as i64 + index } else { index };
    match step {
        Step::Root => next.push(root),
        Step::Field(name) => next.extend(value.get(name)),
        Step::All => match value {
            Value::Object(map) => next.extend(map.values()),
            _ => next.extend(items),
        },
        Step::Deep => deep(value, next),
        Step::Index(index) => match usize::try_from(place(*index)).ok().and_then(|index| items.get(index)) {
            Some(item) => next.push(item),
            None if value.is_array() => {
                return Err(JsonPathError(format!("array index out of bounds: index {index}, length {}", items.len())));
            }
            None => {}
        },
        Step::Slice(from, to) => {
            let bound = |index: Option<i64>, otherwise: usize| {
                index.map_or(otherwise, |index| usize::try_from(place(index)).unwrap_or(0).min(items.len()))
            };
            next.extend(items.get(bound(*from, 0)..bound(*to, items.len())).unwrap_or_default());
        }
        Step::Filter { path, compare } => {
            for item in items {
                let found = walk(path, root, item)?;
                let kept = match compare {
                    None => !found.is_empty(),
                    Some((compare, wanted)) => found.iter().any(|value| holds(*compare, value, wanted)),
                };
                if kept {
                    next.push(item);
                }
            }
        }
    }
    Ok(())
}

/// The value and everything below it, depth first.
fn deep<'a>(value: &'a Value, found: &mut Vec<&'a Value>) {
    found.push(value);
    match value {
        Value::Object(map) => map.values().for_each(|value| deep(value, found)),
        Value::Array(items) => items.iter().for_each(|value| deep(value, found)),
        _ => {}
    }
}

fn holds(compare: Compare, left: &Value, right: &Value) -> bool {
    use std::cmp::Ordering;
    let order = match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64().partial_cmp(&right.as_f64()),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => (left == right).then_some(Ordering::Equal),
    };
    match compare {
        Compare::Equal => order == Some(Ordering::Equal),
        Compare::Different => order != Some(Ordering::Equal),
        Compare::Less => order == Some(Ordering::Less),
        Compare::LessOrEqual => order.is_some_and(Ordering::is_le),
        Compare::More => order == Some(Ordering::Greater),
        Compare::MoreOrEqual => order.is_some_and(Ordering::is_ge),
    }
}

fn parse(template: &str) -> Result<Vec<Part>, JsonPathError> {
    let mut reader = Reader { rest: template };
    // Each open range waits for its end on this stack.
    let mut open: Vec<(Vec<Step>, Vec<Part>)> = Vec::new();
    let mut parts = Vec::new();
    while !reader.rest.is_empty() {
        let text = reader.take_while(|c| c != '{');
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        if !reader.eat("{") {
            continue;
        }
        reader.blanks();
        if reader.eat("end") {
            let (steps, outer) = open.pop().ok_or_else(|| JsonPathError("{end} without {range}".to_owned()))?;
            let body = std::mem::replace(&mut parts, outer);
            parts.push(Part::Range(steps, body));
        } else if reader.eat("range ") {
            reader.blanks();
            let steps = reader.path()?;
            open.push((steps, std::mem::take(&mut parts)));
        } else if reader.rest.starts_with(['"', '\'']) {
            parts.push(Part::Text(reader.quoted()?));
        } else {
            parts.push(Part::Path(reader.path()?));
        }
        reader.blanks();
        reader.expect("}")?;
    }
    if !open.is_empty() {
        return Err(JsonPathError("{range} without {end}".to_owned()));
    }
    Ok(parts)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn eat(&mut self, token: &str) -> bool {
        self.rest.strip_prefix(token).map(|rest| self.rest = rest).is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), JsonPathError> {
        if self.eat(token) {
            return Ok(());
        }
        let found = self.rest.chars().next().map_or("the end".to_owned(), |c| format!("`{c}`"));
        Err(JsonPathError(format!("expected `{token}`, found {found}")))
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !accept(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn blanks(&mut self) {
        self.take_while(|c| c == ' ');
    }

    fn path(&mut self) -> Result<Vec<Step>, JsonPathError> {
        let mut steps = Vec::new();
        if self.eat("$") {
            steps.push(Step::Root);
        } else {
            self.eat("@");
        }
        // kubectl takes `{items[0]}` for `{.items[0]}`.
        let mut bare = self.rest.starts_with(|c: char| c.is_ascii_alphabetic());
        loop {
            if self.eat("..") {
                steps.push(Step::Deep);
                if !self.rest.starts_with('[') {
                    steps.push(self.field()?);
                }
            } else if bare || self.eat(".") {
                if self.rest.starts_with('[') || (steps.is_empty() && self.rest.starts_with('}')) {
                    continue;
                }
                steps.push(self.field()?);
            } else if self.eat("[") {
                steps.push(self.bracket()?);
            } else {
                return Ok(steps);
            }
            bare = false;
        }
    }

    fn field(&mut self) -> Result<Step, JsonPathError> {
        if self.eat("*") {
            return Ok(Step::All);
        }
        let mut name = String::new();
        loop {
            name.push_str(self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/')));
            if !self.eat("\\") {
                break;
            }
            // `\.` is a dot within the name, as in annotations.
            let mut rest = self.rest.chars();
            name.extend(rest.next());
            self.rest = rest.as_str();
        }
        if name.is_empty() { Err(JsonPathError("a field name is missing".to_owned())) } else { Ok(Step::Field(name)) }
    }

    fn bracket(&mut self) -> Result<Step, JsonPathError> {
        self.blanks();
        let step = if self.eat("*") {
            Step::All
        } else if self.eat("?(") {
            self.filter()?
        } else if self.rest.starts_with(['"', '\'']) {
            Step::Field(self.quoted()?)
        } else {
            let from = self.integer()?;
            if self.eat(":") {
                Step::Slice(from, self.integer()?)
            } else {
                Step::Index(from.ok_or_else(|| JsonPathError("an index is missing between [ and ]".to_owned()))?)
            }
        };
        self.blanks();
        self.expect("]")?;
        Ok(step)
    }

    fn filter(&mut self) -> Result<Step, JsonPathError> {
        self.blanks();
        let path = self.path()?;
        self.blanks();
        let signs = [
            ("==", Compare::Equal),
            ("!=", Compare::Different),
            ("<=", Compare::LessOrEqual),
            (">=", Compare::MoreOrEqual),
            ("<", Compare::Less),
            (">", Compare::More),
        ];
        let compare = match signs.into_iter().find(|(sign, _)| self.eat(sign)) {
            Some((_, compare)) => {
                self.blanks();
                Some((compare, self.literal()?))
            }
            None => None,
        };
        self.blanks();
        self.expect(")")?;
        Ok(Step::Filter { path, compare })
    }

    fn literal(&mut self) -> Result<Value, JsonPathError> {
        if self.rest.starts_with(['"', '\'']) {
            return Ok(Value::String(self.quoted()?));
        }
        let word = self.take_while(|c| c.is_alphanumeric() || matches!(c, '-' | '.' | '_'));
        Ok(serde_json::from_str(word).unwrap_or_else(|_| Value::String(word.to_owned())))
    }

    fn integer(&mut self) -> Result<Option<i64>, JsonPathError> {
        let word = self.take_while(|c| c.is_ascii_digit() || c == '-');
        match word {
            "" => Ok(None),
            _ => word.parse().map(Some).map_err(|_| JsonPathError(format!("`{word}` is no index"))),
        }
    }

    fn quoted(&mut self) -> Result<String, JsonPathError> {
        let mut rest = self.rest.chars();
        let quote = rest.next();
        let mut text = String::new();
        loop {
            match rest.next() {
                None => return Err(JsonPathError("a quote is not closed".to_owned())),
                end if end == quote => break,
                Some('\\') => text.extend(rest.next().map(|c| match c {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                })),
                Some(c) => text.push(c),
            }
        }
        self.rest = rest.as_str();
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
