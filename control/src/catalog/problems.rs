//! What is wrong with the objects that a document is made of.

use crate::world::{Problem, Severity};
use std::collections::BTreeSet;
use std::fmt::Display;

/// The problems of one build, each once.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: BTreeSet<Problem>,
}

impl Problems {
    /// An object, or a part of one, has no effect. The first object is the one that has none.
    pub(super) fn error(&mut self, objects: Vec<String>, reason: &'static str, text: impl Into<String>) {
        self.add(Severity::Error, objects, reason, text.into());
    }

    /// Everything works as written, but it is probably not what was meant.
    pub(super) fn warning(&mut self, objects: Vec<String>, reason: &'static str, text: impl Into<String>) {
        self.add(Severity::Warning, objects, reason, text.into());
    }

    pub(super) fn into_sorted(self) -> Vec<Problem> {
        self.found.into_iter().collect()
    }

    fn add(&mut self, severity: Severity, objects: Vec<String>, reason: &'static str, text: String) {
        self.found.insert(Problem { severity, objects, reason, text });
    }
}

/// An object as problems name it: `Kind namespace/name`.
pub(super) fn object(kind: &str, name: impl Display) -> String {
    format!("{kind} {name}")
}
