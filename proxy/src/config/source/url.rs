//! The address of a codebase in FSM's repository.

use http::Uri;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The address of a codebase: `http://host:port/path/`, the path always ending with a slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepoUrl {
    /// DNS name or IP address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path of the codebase; begins and ends with a slash.
    pub path: String,
}

/// Why a text is no address of a codebase.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RepoUrlError {
    /// Not a URL.
    #[error("this is not a URL ({0}); give http://HOST:PORT/repo/…/")]
    Malformed(String),
    /// HTTPS and anything else that is not plain HTTP.
    #[error("`{0}` URLs are not supported yet; FSM's repository serves plain HTTP, give http://HOST:PORT/repo/…/")]
    Scheme(String),
    /// User, password or query.
    #[error("a user name, a password or a query has no meaning here; give http://HOST:PORT/repo/…/")]
    Extra,
}

impl RepoUrl {
    /// `host:port` as a `host` header wants it.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

impl FromStr for RepoUrl {
    type Err = RepoUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|error| RepoUrlError::Malformed(format!("{error}")))?;
        let scheme = uri.scheme_str().unwrap_or_default();
        if scheme != "http" {
            return Err(RepoUrlError::Scheme(scheme.to_owned()));
        }
        let authority = uri.authority().ok_or_else(|| RepoUrlError::Malformed("no host".into()))?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(RepoUrlError::Extra);
        }
        // `http` takes a port that is no port number for none.
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0),
            None => Some(80),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let (Some(port), false) = (port, host.is_empty()) else {
            return Err(RepoUrlError::Malformed("no host, or a port that is no port number".into()));
        };
        let mut path = uri.path().to_owned();
        if !path.ends_with('/') {
            path.push('/');
        }
        Ok(Self { host: host.to_owned(), port, path })
    }
}
