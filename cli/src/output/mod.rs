//! How `fsm` answers: tables as kubectl draws them, JSON, YAML, names, JSONPath.
//!
//! Everything here is a pure function from objects to text, so that what scripts rely on is tested without a mesh.

pub mod age;
pub mod columns;
pub mod jsonpath;
mod progress;
mod table;
pub mod terminal;

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

pub use progress::Progress;
pub use table::Table;

/// What `-o` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Format {
    /// A table.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// The objects as JSON.
    Json,
    /// The objects as YAML.
    Yaml,
    /// `kind.group/name`, one a line.
    Name,
    /// What a JSONPath template makes of the objects.
    JsonPath(String),
}

/// `-o` asks for something that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no output format `{0}`: use json, yaml, wide, name, or jsonpath=TEMPLATE")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Ok(match text {
            "wide" => Self::Wide,
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "name" => Self::Name,
            _ => match text.strip_prefix("jsonpath=") {
                Some(template) => Self::JsonPath(template.to_owned()),
                None => return Err(UnknownFormat(text.to_owned())),
            },
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Wide => "wide",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Name => "name",
            Self::JsonPath(template) => return write!(f, "jsonpath={template}"),
        })
    }
}

/// A value as YAML, ending with a newline.
#[must_use]
pub fn yaml(value: &Value) -> String {
    // JSON is YAML too, and a value always has a JSON form.
    serde_saphyr::to_string(value).unwrap_or_else(|_| json(value))
}

/// A value as indented JSON (four columns, as kubectl), ending with a newline.
#[must_use]
pub fn json(value: &Value) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    match serde::Serialize::serialize(value, &mut serializer) {
        Ok(()) => text.push(b'\n'),
        Err(_) => text = format!("{value}\n").into_bytes(),
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Text in bold or a colour, if the output is a terminal that wants colours.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    coloured: bool,
}

impl Style {
    /// For what is written to the standard output (or, with `true`, to the standard error).
    #[must_use]
    pub fn detect(stderr: bool) -> Self {
        use std::io::IsTerminal;
        let terminal = if stderr { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
        // https://no-color.org
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { coloured: terminal && !refused }
    }

    /// Something went well.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Something needs attention.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Of less interest.
    #[must_use]
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests;
