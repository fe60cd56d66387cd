//! `fsm program respond`: the same answer to every HTTP request.
//!
//! Stands in for Pipy with the scripts that the demos use: `pipy().listen(8080).serveHTTP(new Message('Hi!\n'))`. Of
//! Pipy's language it understands just this: any number of `listen(PORT)` followed by `serveHTTP(…)` with a
//! `new Message(BODY)`, `new Message({ status: 200, headers: { … } }, BODY)`, or a function that gives one, and bodies
//! made of strings, numbers, `os.env.NAME`, `os.env['NAME']` and `+`. Everything else is refused with the place where
//! it stands; nothing is ever evaluated.

use super::serve::{self, Reply};
use super::{Usage, arguments::Arguments};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use std::fmt;

/// What to listen on and what to answer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// At least one.
    pub answers: Vec<(u16, Answer)>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 100 to 999.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// Parts of the body, one after the other.
    pub body: Vec<Part>,
}

/// A part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// This text.
    Text(String),
    /// The value of an environment variable; nothing if it is not set.
    Variable(String),
}

/// A script that is not of the form that is understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ScriptError {
    /// From 1.
    pub line: usize,
    /// What is there and what was expected.
    pub why: String,
}

pub(super) fn run(arguments: &[String]) -> Result<(), Usage> {
    let mut arguments = Arguments::new(arguments);
    let (mut script, mut port, mut body, mut status) = (None, 8080, None, 200);
    while let Some(flag) = arguments.flag()? {
        match flag.as_str() {
            "--script" => script = Some(arguments.value(&flag)?),
            "--port" => port = arguments.port(&flag)?,
            "--body" => body = Some(arguments.value(&flag)?),
            "--status" => status = arguments.number(&flag)?,
            _ => return Err(Usage::unknown(&flag, "--script TEXT | --port PORT --body TEXT [--status CODE]")),
        }
    }
    let script = match script {
        Some(text) => Script::parse(&text).map_err(|error| Usage::new(format!("--script: {error}")))?,
        None => {
            let body = vec![Part::Text(body.unwrap_or_else(|| "Hello\n".to_owned()))];
            Script { answers: vec![(port, Answer { status, headers: Vec::new(), body })] }
        }
    };
    serve::until_told_to_end(async move {
        let mut servers = Vec::new();
        for (port, answer) in script.answers {
            let reply = answer.reply(&|name| std::env::var(name).ok());
            servers.push(serve::http(serve::everywhere(port), move |_request| {
                let reply = reply.clone();
                async move { reply }
            })?);
        }
        serve::all(servers).await;
        Ok(())
    })
}

impl Answer {
    /// The answer as it goes out, with variables looked up.
    pub fn reply(&self, variable: &dyn Fn(&str) -> Option<String>) -> Reply {
        let body: String = self
            .body
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Variable(name) => variable(name).unwrap_or_default(),
            })
            .collect();
        let mut reply = Response::new(Full::new(Bytes::from(body)));
        *reply.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        for (name, value) in &self.headers {
            // The parser has seen that both are valid.
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                reply.headers_mut().append(name, value);
            }
        }
        reply
    }
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// The first place that does not have the form that the module describes.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut reader = Reader { text, at: 0 };
        reader.word("pipy")?;
        reader.symbol("(")?;
        // pipy() or pipy({}): context variables could only matter to code that is not understood anyway.
        if reader.take("{") {
            reader.symbol("}")?;
        }
        reader.symbol(")")?;
        let mut answers = Vec::new();
        loop {
            reader.take(";");
            reader.skip_blanks();
            if reader.is_at_end() {
                break;
            }
            reader.symbol(".")?;
            reader.word("listen")?;
            reader.symbol("(")?;
            let port = reader.port()?;
            reader.symbol(")")?;
            reader.symbol(".")?;
            reader.word("serveHTTP")?;
            reader.symbol("(")?;
            let answer = reader.message_or_function()?;
            reader.symbol(")")?;
            answers.push((port, answer));
        }
        if answers.is_empty() {
            return Err(reader.error("it listens nowhere: expected .listen(PORT).serveHTTP(new Message(…))"));
        }
        Ok(Self { answers })
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    fn error(&self, why: impl fmt::Display) -> ScriptError {
        let line = self.text[..self.at.min(self.text.len())].matches('\n').count() + 1;
        let found: String = self.rest().chars().take_while(|c| *c != '\n').take(24).collect();
        let found = if found.is_empty() { "the end".to_owned() } else { format!("{found:?}") };
        ScriptError { line, why: format!("{why}, found {found}") }
    }

    /// Blanks and comments.
    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start().len();
            self.at += blanks;
            let rest = self.rest();
            let comment = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else {
                return;
            };
            self.at += comment;
        }
    }

    fn take(&mut self, symbol: &str) -> bool {
        self.skip_blanks();
        let found = self.rest().starts_with(symbol);
        if found {
            self.at += symbol.len();
        }
        found
    }

    fn symbol(&mut self, symbol: &str) -> Result<(), ScriptError> {
        if self.take(symbol) { Ok(()) } else { Err(self.error(format!("expected `{symbol}`"))) }
    }

    fn word(&mut self, word: &str) -> Result<(), ScriptError> {
        self.skip_blanks();
        if self.name().as_deref() == Some(word) {
            return Ok(());
        }
        Err(self.error(format!("expected `{word}`")))
    }

    /// A name, which is consumed only if there is one.
    fn name(&mut self) -> Option<String> {
        self.skip_blanks();
        let name: String = self.rest().chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$')).collect();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.at += name.len();
        Some(name)
    }

    fn number(&mut self) -> Option<u64> {
        self.skip_blanks();
        let digits: String = self.rest().chars().take_while(char::is_ascii_digit).collect();
        let number = digits.parse().ok()?;
        self.at += digits.len();
        Some(number)
    }

    fn port(&mut self) -> Result<u16, ScriptError> {
        self.skip_blanks();
        let start = self.at;
        let port = match self.number() {
            Some(number) => u16::try_from(number).ok(),
            // listen('0.0.0.0:8080')
            None => self.string()?.and_then(|text| text.rsplit(':').next()?.parse().ok()),
        };
        port.filter(|port| *port != 0).ok_or_else(|| {
            self.at = start;
            self.error("expected a port from 1 to 65535")
        })
    }

    /// `new Message(…)`, `() => new Message(…)`, `() => (new Message(…))`, `(msg) => …`, `msg => …`.
    fn message_or_function(&mut self) -> Result<Answer, ScriptError> {
        let start = self.at;
        let is_function = if self.take("(") {
            let _ = self.name();
            self.take(")") && self.take("=>")
        } else {
            self.name().is_some_and(|name| name != "new") && self.take("=>")
        };
        if !is_function {
            self.at = start;
        }
        let has_parenthesis = is_function && self.take("(");
        self.word("new")?;
        self.word("Message")?;
        self.symbol("(")?;
        let answer = self.message()?;
        self.symbol(")")?;
        if has_parenthesis {
            self.symbol(")")?;
        }
        Ok(answer)
    }

    fn message(&mut self) -> Result<Answer, ScriptError> {
        let mut answer = Answer { status: 200, headers: Vec::new(), body: Vec::new() };
        self.skip_blanks();
        if self.rest().starts_with(')') {
            return Ok(answer);
        }
        if self.take("{") {
            self.head(&mut answer)?;
            if !self.take(",") {
                return Ok(answer);
            }
        }
        answer.body = self.expression()?;
        Ok(answer)
    }

    fn head(&mut self, answer: &mut Answer) -> Result<(), ScriptError> {
        while !self.take("}") {
            let field = self.key()?;
            self.symbol(":")?;
            match field.as_str() {
                "status" => {
                    let status = self.number().and_then(|status| u16::try_from(status).ok());
                    let status = status.filter(|status| (200..1000).contains(status));
                    answer.status = status.ok_or_else(|| self.error("expected a status from 200 to 999"))?;
                }
                "headers" => {
                    self.symbol("{")?;
                    while !self.take("}") {
                        let name = self.key()?;
                        self.symbol(":")?;
                        let value = self.expression()?;
                        let [Part::Text(value)] = value.as_slice() else {
                            return Err(self.error(format!("the header {name} is not a plain string")));
                        };
                        if HeaderName::try_from(&name).is_err() || HeaderValue::try_from(value).is_err() {
                            return Err(self.error(format!("{name}: {value} is not a header")));
                        }
                        answer.headers.push((name, value.clone()));
                        self.take(",");
                    }
                }
                "statusText" => drop(self.expression()?),
                _ => return Err(self.error(format!("the field {field} of a message is not understood"))),
            }
            self.take(",");
        }
        Ok(())
    }

    fn key(&mut self) -> Result<String, ScriptError> {
        if let Some(name) = self.name() {
            return Ok(name);
        }
        self.string()?.ok_or_else(|| self.error("expected the name of a field"))
    }

    /// Parts joined by `+`.
    fn expression(&mut self) -> Result<Vec<Part>, ScriptError> {
        let mut parts = Vec::new();
        loop {
            parts.push(self.part()?);
            if !self.take("+") {
                return Ok(parts);
            }
        }
    }

    fn part(&mut self) -> Result<Part, ScriptError> {
        if let Some(text) = self.string()? {
            return Ok(Part::Text(text));
        }
        if let Some(number) = self.number() {
            return Ok(Part::Text(number.to_string()));
        }
        let start = self.at;
        let is_environment = self.name().as_deref() == Some("os") && self.take(".") && {
            self.skip_blanks();
            self.name().as_deref() == Some("env")
        };
        if is_environment {
            if self.take("[") {
                let name = self.string()?;
                self.symbol("]")?;
                if let Some(name) = name {
                    return Ok(Part::Variable(name));
                }
            } else if self.take(".")
                && let Some(name) = self.name()
            {
                return Ok(Part::Variable(name));
            }
        }
        self.at = start;
        Err(self.error("expected a string, a number or os.env.NAME"))
    }

    /// A string in any of the three quotes; `None` if there is none. `${…}` in backticks is not understood.
    fn string(&mut self) -> Result<Option<String>, ScriptError> {
        self.skip_blanks();
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '\'' | '"' | '`')) else {
            return Ok(None);
        };
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let mut characters = self.rest().chars();
            let Some(character) = characters.next() else {
                self.at = start;
                return Err(self.error("a string has no end"));
            };
            match character {
                '\\' => {
                    let escaped = characters.next();
                    self.at += 1 + escaped.map_or(0, char::len_utf8);
                    match escaped {
                        Some('n') => text.push('\n'),
                        Some('r') => text.push('\r'),
                        Some('t') => text.push('\t'),
                        Some('0') => text.push('\0'),
                        // A backslash at the end of a line joins it with the next.
                        Some('\n') | None => {}
                        Some('x' | 'u') => return Err(self.error("escapes by number are not understood")),
                        Some(other) => text.push(other),
                    }
                }
                '$' if quote == '`' && self.rest().starts_with("${") => {
                    return Err(self.error("`${…}` is not understood; join strings with +"));
                }
                '\n' if quote != '`' => return Err(self.error("a string has no end in its line")),
                end if end == quote => {
                    self.at += 1;
                    return Ok(Some(text));
                }
                other => {
                    self.at += other.len_utf8();
                    text.push(other);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
