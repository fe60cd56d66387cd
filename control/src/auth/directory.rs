//! Tokens of a mesh on one machine: `<directory>/<hex sha256 of the token>.json` says whose a token is.
//!
//! The runner of pods writes the files, this side only reads them, one for each question and nothing kept: a removed file
//! is a revoked token. The tokens themselves are not in the directory.

use super::{Caller, ReviewError, ReviewFuture, Token, TokenReview};
use crate::cert::Identity;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tracing::warn;

/// A token's file is a few hundred bytes.
const MAX_FILE_BYTES: u64 = 16 << 10;

/// A directory of tokens.
#[derive(Clone, Debug)]
pub struct TokenDirectory {
    path: Arc<Path>,
}

/// What a file says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenFile {
    namespace: String,
    service_account: String,
    #[serde(default)]
    pod: String,
    #[serde(default)]
    uid: String,
    /// RFC 3339; `null` or absent: never.
    #[serde(default)]
    expires: Option<jiff::Timestamp>,
}

impl TokenDirectory {
    /// A directory; it need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into().into() }
    }

    fn look_up(&self, fingerprint: &str, now: SystemTime) -> Result<Caller, ReviewError> {
        let path = self.path.join(format!("{fingerprint}.json"));
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ReviewError::Refused),
            Err(error) => {
                warn!("{}: a token's file cannot be read: {error}", path.display());
                return Err(ReviewError::Unavailable("its file cannot be read".to_owned()));
            }
        }
        let too_long = text.len() as u64 > MAX_FILE_BYTES;
        let file: TokenFile = match serde_json::from_slice(&text) {
            Ok(file) if !too_long => file,
            Ok(_) => return Err(unusable(&path, "it is too long")),
            Err(error) => return Err(unusable(&path, &error.to_string())),
        };
        let now = jiff::Timestamp::try_from(now).map_err(|error| ReviewError::Unavailable(error.to_string()))?;
        if file.expires.is_some_and(|expires| expires <= now) {
            return Err(ReviewError::Refused);
        }
        let identity = Identity::new(&file.namespace, &file.service_account)?;
        Ok(Caller { identity, pod: file.pod, uid: file.uid })
    }
}

impl TokenReview for TokenDirectory {
    fn review<'a>(&'a self, token: &'a Token) -> ReviewFuture<'a> {
        let (directory, fingerprint) = (self.clone(), token.fingerprint());
        Box::pin(async move {
            let looked_up =
                tokio::task::spawn_blocking(move || directory.look_up(&fingerprint, SystemTime::now())).await;
            looked_up.unwrap_or_else(|error| Err(ReviewError::Unavailable(error.to_string())))
        })
    }
}

fn unusable(path: &Path, reason: &str) -> ReviewError {
    warn!("{}: a token's file cannot be used: {reason}", path.display());
    ReviewError::Unavailable("its file cannot be used".to_owned())
}
