//! What is wrong with a part of a document, said so that its author can mend it.

use serde::Serialize;
use std::fmt;

/// Something in a document that was skipped, repaired or turned into a denial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// JSON path, e.g. `Inbound.TrafficMatches["80"].Protocol`.
    pub path: String,
    /// What is wrong, what was done about it and what would be right.
    pub message: String,
}

/// How much a [`Problem`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document works as written, but something in it deserves attention.
    Note,
    /// A part of the document has no effect or denies traffic until it is mended.
    Error,
}

impl Problem {
    /// A part of the document has no effect or denies traffic until it is mended.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, path: path.into(), message: message.into() }
    }

    /// The document works as written, but something in it deserves attention.
    pub fn note(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, path: path.into(), message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}
