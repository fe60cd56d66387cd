//! Who asks for a certificate: a workload shows a token, and somebody who knows tokens says whose it is.
//!
//! With Kubernetes that is the API server ([`ClusterTokens`]); for a mesh on one machine it is a [directory](directory) of
//! token files. Nothing here ever logs, stores or compares a token itself.

mod cluster;
mod directory;

pub use cluster::ClusterTokens;
pub use directory::TokenDirectory;

use crate::cert::{Identity, IdentityError};
use aws_lc_rs::digest::{SHA256, digest};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use thiserror::Error;

/// No token is longer: those of Kubernetes have one or two KiB.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;

/// What a [`TokenReview`] answers some time later.
pub type ReviewFuture<'a> = Pin<Box<dyn Future<Output = Result<Caller, ReviewError>> + Send + 'a>>;

/// Whoever knows whose a token is.
pub trait TokenReview: fmt::Debug + Send + Sync {
    /// Says whose the token is.
    fn review<'a>(&'a self, token: &'a Token) -> ReviewFuture<'a>;
}

/// A bearer token as it was shown. Its `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The service account.
    pub identity: Identity,
    /// The pod that the token was made for; empty when it was made for none.
    pub pod: String,
    /// UID of the pod; may be empty.
    pub uid: String,
}

/// Why a caller is not believed.
#[derive(Debug, Error)]
pub enum ReviewError {
    /// There is no usable token.
    #[error("the request has no token; send the service account's token as \"authorization: Bearer …\"")]
    Missing,
    /// Nobody knows it. Deliberately says no more: not even whether it once was good.
    #[error("the token is unknown or has expired; it is read again from its file with every try")]
    Refused,
    /// The token is good, the account is not.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// It cannot be found out at the moment.
    #[error("whose the token is cannot be found out at the moment ({0}); try again")]
    Unavailable(String),
}

impl Token {
    /// Reads the value of an `authorization` header.
    ///
    /// # Errors
    /// [`ReviewError::Missing`] when it is no bearer token, has characters that no token has (RFC 6750, section 2.1) or is
    /// too long.
    pub fn bearer(authorization: Option<&[u8]>) -> Result<Self, ReviewError> {
        let value = authorization.ok_or(ReviewError::Missing)?;
        let (scheme, token) = value.split_at_checked(7).ok_or(ReviewError::Missing)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(ReviewError::Missing);
        }
        let token = token.trim_ascii();
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !token.iter().all(allowed) {
            return Err(ReviewError::Missing);
        }
        String::from_utf8(token.to_vec()).map(Self).map_err(|_| ReviewError::Missing)
    }

    /// The token itself, for those who must pass it on.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Hexadecimal SHA-256: what a token is looked up by. Whoever measures how long a look-up takes learns something
    /// about a hash, which does not lead back to a token.
    pub fn fingerprint(&self) -> String {
        digest(&SHA256, self.0.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests;
