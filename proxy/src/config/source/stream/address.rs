//! The address of fsm-control.

use fsm_api::stream::DEFAULT_PORT;
use http::Uri;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The address of fsm-control: `https://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ControlAddress {
    /// DNS name or IP address, IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// Why a text is no address of fsm-control.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ControlAddressError {
    /// Not a URL.
    #[error("this is not a URL ({0}); give https://HOST:PORT")]
    Malformed(String),
    /// Plain HTTP, or anything else.
    #[error("fsm-control is spoken to over TLS only; give https://HOST:PORT")]
    Scheme,
    /// A path, a user, a query.
    #[error("only host and port have a meaning here; give https://HOST:PORT")]
    Extra,
}

impl ControlAddress {
    /// `host:port`, IPv6 in brackets.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for ControlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for ControlAddress {
    type Err = ControlAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uri: Uri = text.parse().map_err(|error| ControlAddressError::Malformed(format!("{error}")))?;
        if uri.scheme_str() != Some("https") {
            return Err(ControlAddressError::Scheme);
        }
        let authority = uri.authority().ok_or_else(|| ControlAddressError::Malformed("no host".into()))?;
        if authority.as_str().contains('@') || uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(ControlAddressError::Extra);
        }
        // `http` takes a port that is no port number for none.
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0),
            None => Some(DEFAULT_PORT),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        match (port, host.is_empty()) {
            (Some(port), false) => Ok(Self { host: host.to_owned(), port }),
            _ => Err(ControlAddressError::Malformed("no host, or a port that is no port number".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn host_and_port_are_read_and_written() {
        for (text, host, port, shown) in [
            ("https://control:15128", "control", 15128, "https://control:15128"),
            ("https://10.0.0.1:7/", "10.0.0.1", 7, "https://10.0.0.1:7"),
            ("https://[fd00::1]:7", "fd00::1", 7, "https://[fd00::1]:7"),
            (
                "https://fsm-controller.fsm-system.svc",
                "fsm-controller.fsm-system.svc",
                15128,
                "https://fsm-controller.fsm-system.svc:15128",
            ),
        ] {
            let address: ControlAddress = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), shown);
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_remedy() {
        for text in [
            "",
            "control",
            "http://control:1",
            "https://control:0",
            "https://control:x",
            "https://u:p@control:1",
            "https://control:1/repo",
            "https://control:1/?a=b",
            "https://:1",
            "/v1/stream",
        ] {
            let error = text.parse::<ControlAddress>().unwrap_err();
            assert!(error.to_string().contains("give https://HOST:PORT"), "{text}: {error}");
        }
    }
}
