//! What is wrong with the users' objects, said so that they can mend it.

use std::fmt;

/// A conflict between objects, or one that is broken. Whatever it names is the only thing that is affected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// How much it matters.
    pub severity: Severity,
    /// The objects concerned, as `Kind namespace/name`: the one that has no effect first, then the one that it conflicts
    /// with.
    pub objects: Vec<String>,
    /// One word for machines, stable: `HostConflict`, `MissingRouteGroup`, …
    pub reason: &'static str,
    /// For people: what is wrong, what the mesh does about it, and what would be right.
    pub text: String,
}

/// How much a [`Problem`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// An object, or a part of one, has no effect until it is mended.
    Error,
    /// Everything works as written, but it is probably not what was meant.
    Warning,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.objects.join(", "), self.text)
    }
}
