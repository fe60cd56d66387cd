//! From bytes to a JSON tree: decompression, size cap, syntax.

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use serde_json::error::Category;
use std::borrow::Cow;
use std::io::Read;
use thiserror::Error;

/// Largest document that is read, after decompression: 64 MiB. A mesh of 10,000 pods needs about 5 MiB.
pub const MAX_DOCUMENT_BYTES: usize = 64 << 20;

/// First bytes of every gzip member (RFC 1952 §2.3.1). No JSON text begins so.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The bytes are no sidecar document at all.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// Not JSON, or nested too deeply.
    #[error(
        "the document is not valid JSON at line {line}, column {column}: {reason}; \
         compare it with what the controller published, a cut-off transfer or a half-written file is the usual cause"
    )]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1; 0 when the line had not begun.
        column: usize,
        /// What the parser says.
        reason: String,
    },
    /// JSON, but no object.
    #[error(
        "the document is {found}, not a JSON object; check that the address or file is the sidecar's own config.json"
    )]
    NotAnObject {
        /// What it is instead, with an article: `an array`.
        found: &'static str,
    },
    /// Larger than is read.
    #[error(
        "the document is larger than {limit} bytes (uncompressed) and is not read; \
         check that it is a sidecar's config.json, and let the controller publish fewer services to this pod if it is"
    )]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Compressed, but the compression is broken.
    #[error(
        "the document begins like gzip but does not decompress: {0}; \
         fetch it again, or serve config.json uncompressed to see its text"
    )]
    BadGzip(String),
}

/// Parses a document, which is known to be an object afterwards.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, ReadError> {
    let text = decompressed(bytes, MAX_DOCUMENT_BYTES)?;
    let document: Value = serde_json::from_slice(&text).map_err(|error| not_json(&error))?;
    match document {
        Value::Object(_) => Ok(document),
        other => Err(ReadError::NotAnObject { found: super::cursor::kind(&other) }),
    }
}

/// The plain text, of `limit` bytes at the most; no more than that is ever held in memory.
fn decompressed(bytes: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, ReadError> {
    if !bytes.starts_with(&GZIP_MAGIC) {
        return if bytes.len() > limit { Err(ReadError::TooLarge { limit }) } else { Ok(Cow::Borrowed(bytes)) };
    }
    let mut text = Vec::new();
    MultiGzDecoder::new(bytes)
        .take(limit as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|error| ReadError::BadGzip(error.to_string()))?;
    if text.len() > limit {
        return Err(ReadError::TooLarge { limit });
    }
    Ok(Cow::Owned(text))
}

fn not_json(error: &serde_json::Error) -> ReadError {
    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let said = said.strip_suffix(&place).unwrap_or(&said);
    let reason = match error.classify() {
        Category::Eof if error.line() <= 1 && error.column() == 0 => "there is nothing".to_owned(),
        Category::Eof => format!("the document ends too early ({said})"),
        Category::Io | Category::Syntax | Category::Data => said.to_owned(),
    };
    ReadError::NotJson { line: error.line(), column: error.column(), reason }
}

#[cfg(test)]
mod tests;
