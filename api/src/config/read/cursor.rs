//! A place in the JSON tree that knows its path, and the readers of single values.
//!
//! Every reader answers one of three things ([`Reading`]): nothing is there (absent or `null`), a value, or
//! [`Unreadable`], in which case the problem has been reported already and the caller only decides what pays for it.
//! What the caller decides is part of the report, so it is told beforehand as a [`Loss`].

use super::super::{Problem, Severity};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

/// So many problems are listed one by one. A document with more was never meant for us.
const MAX_PROBLEMS: usize = 1_000;

/// So many characters of an offending string are repeated in a message.
const SHOWN_CHARACTERS: usize = 40;

/// So many characters of a key are shown in a path. The longest host with its port has 259.
const KEY_CHARACTERS: usize = 300;

/// Longest duration that is taken seriously, in seconds: ten years. It keeps arithmetic on times far from overflow.
const MAX_SECONDS: f64 = 315_360_000.0;

/// Nothing is there, a value, or something that has been reported as a problem.
pub(super) type Reading<T> = Result<Option<T>, Unreadable>;

/// Something is there that cannot be read; the problem has been reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// For parts whose loss is bearable.
pub(super) trait Bearable<T> {
    /// The value, if there is one that can be read.
    fn value(self) -> Option<T>;

    /// The value, or the type's default when nothing readable is there.
    fn or_default(self) -> T
    where
        T: Default;
}

impl<T> Bearable<T> for Reading<T> {
    fn value(self) -> Option<T> {
        self.unwrap_or(None)
    }

    fn or_default(self) -> T
    where
        T: Default,
    {
        self.value().unwrap_or_default()
    }
}

/// What happens when a part cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    severity: Severity,
    effect: &'static str,
}

impl Loss {
    /// Traffic is denied or a setting has no effect.
    pub(super) const fn error(effect: &'static str) -> Self {
        Self { severity: Severity::Error, effect }
    }

    /// Nothing but information for people is lost.
    pub(super) const fn note(effect: &'static str) -> Self {
        Self { severity: Severity::Note, effect }
    }
}

/// The problems of one document, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Problems {
    listed: RefCell<Vec<Problem>>,
    unlisted: RefCell<usize>,
}

impl Problems {
    pub(super) fn into_list(self) -> Vec<Problem> {
        let mut list = self.listed.into_inner();
        let unlisted = self.unlisted.into_inner();
        if unlisted > 0 {
            list.push(Problem::error(
                "(document)",
                format!("{unlisted} more parts cannot be read and are not listed; mend the ones above first"),
            ));
        }
        list
    }

    fn add(&self, problem: impl FnOnce() -> Problem) {
        if self.listed.borrow().len() < MAX_PROBLEMS {
            self.listed.borrow_mut().push(problem());
        } else {
            *self.unlisted.borrow_mut() += 1;
        }
    }
}

/// A value in the document, with the way to it.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    value: &'a Value,
    path: Path<'a>,
    problems: &'a Problems,
}

impl<'a> Node<'a> {
    pub(super) fn root(document: &'a Value, problems: &'a Problems) -> Self {
        Self { value: document, path: Path { parent: None, step: Step::Root }, problems }
    }

    /// The member of an object type, e.g. `Spec`; absent when this is no object or has no such member.
    pub(super) fn member<'b>(&'b self, name: &'b str) -> Node<'b> {
        self.child(self.value.get(name).unwrap_or(&Value::Null), Step::Member(name))
    }

    pub(super) fn is_absent(&self) -> bool {
        self.value.is_null()
    }

    pub(super) fn json(&self) -> &'a Value {
        self.value
    }

    /// An object, for its members to be read one by one.
    pub(super) fn object(&self, loss: Loss) -> Reading<&Self> {
        match self.value {
            Value::Null => Ok(None),
            Value::Object(_) => Ok(Some(self)),
            _ => Err(self.expected("an object", loss)),
        }
    }

    /// A map with names as keys; entries for which `entry` gives nothing are left out.
    pub(super) fn map<T>(
        &self,
        loss: Loss,
        mut entry: impl FnMut(&str, &Node<'_>) -> Option<T>,
    ) -> Reading<BTreeMap<String, T>> {
        match self.value {
            Value::Null => Ok(None),
            Value::Object(entries) => Ok(Some(
                entries
                    .iter()
                    .filter_map(|(key, value)| {
                        let value = entry(key, &self.child(value, Step::Key(key)))?;
                        Some((key.clone(), value))
                    })
                    .collect(),
            )),
            _ => Err(self.expected("an object", loss)),
        }
    }

    /// A map with port numbers as keys. Of two keys that mean one port the first is taken.
    pub(super) fn ports<T>(
        &self,
        loss: Loss,
        entry_loss: Loss,
        mut entry: impl FnMut(u16, &Node<'_>) -> Option<T>,
    ) -> Reading<BTreeMap<u16, T>> {
        let entries = match self.value {
            Value::Null => return Ok(None),
            Value::Object(entries) => entries,
            _ => return Err(self.expected("an object", loss)),
        };
        let mut ports = BTreeMap::new();
        for (key, value) in entries {
            let node = self.child(value, Step::Key(key));
            let Some(port) = port_number(key) else {
                node.report("the key must be a port number from 1 to 65535", entry_loss);
                continue;
            };
            if ports.contains_key(&port) {
                node.report("another key means the same port", entry_loss);
                continue;
            }
            if let Some(value) = entry(port, &node) {
                ports.insert(port, value);
            }
        }
        Ok(Some(ports))
    }

    /// A list; elements for which `element` gives nothing are left out.
    pub(super) fn list<T>(&self, loss: Loss, element: impl FnMut(Node<'_>) -> Option<T>) -> Reading<Vec<T>> {
        match self.value {
            Value::Null => Ok(None),
            Value::Array(elements) => Ok(Some(self.elements(elements).filter_map(element).collect())),
            _ => Err(self.expected("an array", loss)),
        }
    }

    /// A list of strings, wholly or not at all: a permission list must not lose a member unnoticed.
    pub(super) fn texts(&self, loss: Loss) -> Reading<Vec<String>> {
        match self.value {
            Value::Null => Ok(None),
            Value::Array(elements) => self
                .elements(elements)
                .map(|element| element.required(element.text(loss), loss))
                .collect::<Result<_, _>>()
                .map(Some),
            _ => Err(self.expected("an array of strings", loss)),
        }
    }

    pub(super) fn text(&self, loss: Loss) -> Reading<String> {
        match self.value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            _ => Err(self.expected("a string", loss)),
        }
    }

    /// For versions, which FSM writes as strings because JavaScript cannot hold 64 bits.
    pub(super) fn text_or_number(&self, loss: Loss) -> Reading<String> {
        match self.value {
            Value::Number(number) => Ok(Some(number.to_string())),
            Value::Null | Value::String(_) => self.text(loss),
            _ => Err(self.expected("a string or a number", loss)),
        }
    }

    pub(super) fn flag(&self, loss: Loss) -> Reading<bool> {
        match self.value {
            Value::Null => Ok(None),
            Value::Bool(flag) => Ok(Some(*flag)),
            _ => Err(self.expected("true or false", loss)),
        }
    }

    /// A count or weight. Fractions are cut off, which is noted.
    pub(super) fn count(&self, loss: Loss) -> Reading<u32> {
        const WHAT: &str = "a whole number from 0 to 4294967295";
        let Some(number) = self.number(WHAT, loss)? else {
            return Ok(None);
        };
        if !(0.0..=f64::from(u32::MAX)).contains(&number) {
            return Err(self.expected_not_text(WHAT, loss));
        }
        let whole = number.trunc();
        if whole != number {
            self.report(&format!("{number} is no whole number"), Loss::note("the fraction is cut off"));
        }
        Ok(Some(whole as u32))
    }

    /// A whole number of any size.
    pub(super) fn unsigned(&self, loss: Loss) -> Reading<u64> {
        match self.value {
            Value::Null => Ok(None),
            Value::Number(number) if number.is_u64() => Ok(number.as_u64()),
            _ => Err(self.expected("a whole number that is not negative", loss)),
        }
    }

    /// A duration in seconds.
    pub(super) fn seconds(&self, loss: Loss) -> Reading<f64> {
        self.number_within("a number of seconds from 0 to 315360000", MAX_SECONDS, loss)
    }

    /// A share of a whole.
    pub(super) fn fraction(&self, loss: Loss) -> Reading<f64> {
        self.number_within("a number from 0 to 1", 1.0, loss)
    }

    pub(super) fn port(&self, loss: Loss) -> Reading<u16> {
        let port = match self.value {
            Value::Null => return Ok(None),
            Value::String(digits) => port_number(digits),
            Value::Number(number) => port_number(&number.to_string()),
            _ => None,
        };
        match port {
            Some(port) => Ok(Some(port)),
            None => Err(self.expected_not_text("a port number from 1 to 65535", loss)),
        }
    }

    /// An HTTP status code.
    pub(super) fn status(&self, loss: Loss) -> Reading<u16> {
        const WHAT: &str = "a status code from 200 to 599";
        let Some(number) = self.number(WHAT, loss)? else {
            return Ok(None);
        };
        // 1xx would never end the exchange, and intermediaries need not understand more than five classes.
        if number.fract() == 0.0 && (200.0..600.0).contains(&number) {
            Ok(Some(number as u16))
        } else {
            Err(self.expected_not_text(WHAT, loss))
        }
    }

    /// The value of a reading of this node, which must be there.
    pub(super) fn required<T>(&self, reading: Reading<T>, loss: Loss) -> Result<T, Unreadable> {
        reading?.ok_or_else(|| self.report("a value is required here and there is none", loss))
    }

    /// Reports that something is wrong here.
    pub(super) fn report(&self, what: &str, loss: Loss) -> Unreadable {
        self.problems.add(|| Problem {
            severity: loss.severity,
            path: self.path.to_string(),
            message: format!("{what}; {}", loss.effect),
        });
        Unreadable
    }

    /// Reports that the value here has the wrong form.
    pub(super) fn expected(&self, what: &str, loss: Loss) -> Unreadable {
        // Only where a scalar was expected is a string repeated: elsewhere it may be a certificate that slipped.
        let found = match self.value {
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            other => kind(other).to_owned(),
        };
        self.report(&format!("expected {what}, found {found}"), loss)
    }

    /// As [`Self::expected`], with the offending string itself; never for secrets.
    pub(super) fn expected_not_text(&self, what: &str, loss: Loss) -> Unreadable {
        match self.value {
            Value::String(text) => {
                let (shown, more) = beginning(text, SHOWN_CHARACTERS);
                self.report(&format!("expected {what}, found {shown:?}{more}"), loss)
            }
            _ => self.expected(what, loss),
        }
    }

    fn number_within(&self, what: &str, most: f64, loss: Loss) -> Reading<f64> {
        match self.number(what, loss)? {
            None => Ok(None),
            Some(number) if (0.0..=most).contains(&number) => Ok(Some(number)),
            Some(_) => Err(self.expected_not_text(what, loss)),
        }
    }

    /// A finite number, also as a string of digits (FSM writes sampling fractions so).
    fn number(&self, what: &str, loss: Loss) -> Reading<f64> {
        let number = match self.value {
            Value::Null => return Ok(None),
            Value::Number(number) => number.as_f64(),
            // `f64::from_str` would accept "inf" and "NaN" as well.
            Value::String(digits) if digits.bytes().all(|b| b"0123456789.+-eE".contains(&b)) => digits.parse().ok(),
            _ => None,
        };
        match number.filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.expected_not_text(what, loss)),
        }
    }

    fn elements<'b>(&'b self, elements: &'b [Value]) -> impl Iterator<Item = Node<'b>> {
        elements.iter().enumerate().map(|(index, element)| self.child(element, Step::Index(index)))
    }

    fn child<'b>(&'b self, value: &'b Value, step: Step<'b>) -> Node<'b> {
        Node { value, path: Path { parent: Some(&self.path), step }, problems: self.problems }
    }
}

/// The way to a value. Nothing is allocated until a problem is reported.
#[derive(Clone, Copy)]
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Member(&'a str),
    Key(&'a str),
    Index(usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let beneath_root = self.parent.is_some_and(|parent| parent.parent.is_some());
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Member(name) if beneath_root => write!(f, ".{name}"),
            Step::Member(name) => f.write_str(name),
            Step::Index(index) => write!(f, "[{index}]"),
            // Quoted as JSON would, so that the path can be searched for in the document.
            Step::Key(key) => {
                let (shown, more) = beginning(key, KEY_CHARACTERS);
                write!(f, "[{}{more}]", Value::from(shown))
            }
        }
    }
}

/// What a value is, with an article.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The first characters, and an ellipsis if there are more.
fn beginning(text: &str, characters: usize) -> (&str, &'static str) {
    match text.char_indices().nth(characters) {
        Some((end, _)) => (&text[..end], "…"),
        None => (text, ""),
    }
}

fn port_number(digits: &str) -> Option<u16> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits {
        return None;
    }
    digits.parse().ok().filter(|port| *port != 0)
}
