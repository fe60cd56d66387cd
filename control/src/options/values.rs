//! What flags mean: their values as types.

use crate::cert::rotation::ANNOUNCE;
use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Who knows tokens, as a flag names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// A directory of token files.
    Directory(PathBuf),
    /// The API server.
    Kubernetes {
        /// What the tokens must be for; `None`: for the API server itself.
        audience: Option<String>,
    },
}

/// Where objects are written, as a flag names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteTo {
    /// To the API server that is the source, by one of all replicas.
    Kubernetes,
    /// Into a directory.
    Directory(PathBuf),
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl FromStr for Tokens {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Directory(path.into())),
            Some(("kubernetes", audience)) if !audience.is_empty() => {
                Ok(Self::Kubernetes { audience: Some(audience.to_owned()) })
            }
            None if text == "kubernetes" => Ok(Self::Kubernetes { audience: None }),
            _ => {
                Err(format!("{text:?} does not say who knows tokens; give kubernetes:AUDIENCE, kubernetes or dir:PATH"))
            }
        }
    }
}

impl FromStr for WriteTo {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "kubernetes" { Self::Kubernetes } else { Self::Directory(text.into()) })
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is no format of logs; use text or json")),
        }
    }
}

/// Whether injected sidecars are native ones, as a flag says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NativeSidecars {
    /// If the API server knows them.
    Auto,
    /// Yes.
    Always,
    /// No: FSM's layout.
    Never,
}

impl FromStr for NativeSidecars {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "true" | "always" => Ok(Self::Always),
            "false" | "never" => Ok(Self::Never),
            _ => Err(format!("{text:?} says neither yes nor no; use auto, true or false")),
        }
    }
}

/// `90s`, `10m`, `1h30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let refused =
        || format!("{text:?} is no time; give for example 90s or 10m (the usual is {} s)", ANNOUNCE.as_secs());
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| refused())?;
    Duration::try_from(parsed).map_err(|_| refused())
}
