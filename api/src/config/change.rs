//! The difference between two documents, small where they differ little.
//!
//! In a mesh of thousands of pods a document has hundreds of kilobytes, and a pod that comes or goes changes some entries
//! of its maps: an endpoint, a destination range, a host. A [`Change`] says which, in two steps:
//!
//! 1. `removed`: JSON pointers (RFC 6901) of entries to be taken away;
//! 2. `put`: a document with nothing in it but what is to be put in. An entry of a map takes the place of the one of the same key. Two
//!    kinds of entries are filled up instead, where they are there already: ports of `TrafficMatches` (elements of
//!    `Outbound` one by one, by their position) and clusters of `Outbound`. To replace one of those as a whole, it is
//!    removed and put.
//!
//! A change is made by [`Change::between`], `None` where more differs than it can say: everything outside of `Inbound`,
//! `Outbound` and `AllowedEndpoints`. It fits the document that it was made from and no other; [`Change::apply`]
//! refuses what does not fit, but cannot notice everything, so that the result is compared by a digest of its text
//! ([`Config::stampless`]).

mod apply;
mod between;

pub use apply::{ChangeError, Touched};

use super::{Config, Inbound, Outbound};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What differs between two documents.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Entries to be taken away, first of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// A document of nothing but entries to be put in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put: Option<Box<RawValue>>,
}

impl Config {
    /// The document as text without `Ts` and `Version`, which say nothing about what a proxy does. The same document has the
    /// same text in every program of the same schema.
    ///
    /// # Errors
    /// Never, as far as is known; JSON's writer has none for these types.
    pub fn stampless(&mut self) -> serde_json::Result<Vec<u8>> {
        (self.ts, self.version) = (None, None);
        serde_json::to_vec(self)
    }
}

/// The parts of a document that a change can say something about.
#[derive(Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Parts {
    #[serde(skip_serializing_if = "Option::is_none")]
    inbound: Option<Inbound>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbound: Option<Outbound>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    allowed_endpoints: BTreeMap<String, String>,
}

/// A JSON pointer (RFC 6901) of these steps.
fn pointer(steps: &[&str]) -> String {
    steps.iter().flat_map(|step| ["/".to_owned(), step.replace('~', "~0").replace('/', "~1")]).collect()
}

/// The steps of a JSON pointer.
fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

#[cfg(test)]
mod tests;
