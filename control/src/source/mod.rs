//! Where objects come from: a directory of manifests, or an API server.
//!
//! A source sends [`Event`]s over a channel until its [`Following`] is dropped or the receiver is gone. It never
//! interprets objects; it only says what is there now. Whatever it cannot read leaves the objects that it last read from
//! there in force, and is reported.

pub mod directory;
pub mod kubernetes;

use crate::world::Problem;
use fsm_api::resources::{Kind, Located, Object, ObjectKey};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What a source says.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An object is there, new or changed.
    Applied(Located<Object>),
    /// An object is not there any more.
    Removed(ObjectKey),
    /// Everything that was there at the start has been said. Comes once.
    Synced,
    /// Of this kind, everything that is in these namespaces has been said, and nothing of others is (`None`: everything is).
    /// Where nothing says so of a kind, all of it is there with [`Event::Synced`].
    Complete {
        /// The kind.
        kind: Kind,
        /// The namespaces.
        namespaces: Option<Arc<BTreeSet<String>>>,
    },
    /// All that is wrong with one place now, in place of what was said about it before; empty: nothing any more.
    Problems {
        /// The file (or other origin).
        origin: Arc<str>,
        /// What is wrong.
        problems: Vec<Problem>,
    },
}

/// A source as a flag names it: `dir:PATH` or `kubernetes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// All `*.yaml`, `*.yml` and `*.json` below a directory.
    Directory(PathBuf),
    /// The API server of the cluster that fsm-control runs in, or that `KUBECONFIG` names.
    Kubernetes,
}

/// A source that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Its thread cannot be started.
    #[error("cannot start a thread to follow {path}: {source}")]
    Thread {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody connected to an API server.
    #[error("there is no connection to an API server to follow")]
    NoApiServer,
}

/// A flag that names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a source: write kubernetes, or dir: and the path of a directory with manifests, for example dir:/etc/fsm/objects"
)]
pub struct NotASource(String);

impl FromStr for Source {
    type Err = NotASource;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "kubernetes" => Ok(Self::Kubernetes),
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Directory(path.into())),
            _ => Err(NotASource(text.into())),
        }
    }
}

impl Source {
    /// Starts following; an API server is asked through the client that is given. Dropping what is returned ends it.
    ///
    /// # Errors
    /// The source cannot be followed at all. A directory that does not exist (yet) is no such error: it is waited for,
    /// and reported as a problem meanwhile. Nor is an API server that is away.
    pub fn follow(
        self,
        api_server: Option<(kube::Client, kubernetes::Settings)>,
        events: mpsc::Sender<Event>,
    ) -> Result<Following, SourceError> {
        match self {
            Self::Directory(path) => directory::follow(path, events).map(Following::Directory),
            Self::Kubernetes => {
                let (client, settings) = api_server.ok_or(SourceError::NoApiServer)?;
                Ok(Following::Kubernetes(kubernetes::follow(client, settings, events)))
            }
        }
    }
}

/// A source that is being followed; dropping it ends that.
#[derive(Debug)]
pub enum Following {
    /// A directory.
    Directory(directory::Following),
    /// An API server.
    Kubernetes(kubernetes::Following),
}
