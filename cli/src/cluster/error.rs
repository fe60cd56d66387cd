//! What can go wrong with a cluster, and what to do about it.

use std::error::Error;

use super::Cluster;

/// What can go wrong with a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Nobody says where a cluster is.
    #[error(
        "no cluster is configured: name a file with --kubeconfig, or in KUBECONFIG, or put one at ~/.kube/config (for a \
         mesh on this machine, start it with `fsm up DIR --detach`)"
    )]
    NotConfigured,
    /// A kubeconfig file cannot be read or used.
    #[error("{place} cannot be used as a kubeconfig: {reason}")]
    Kubeconfig {
        /// The file or context.
        place: String,
        /// Why not.
        reason: String,
    },
    /// The file chooses no context.
    #[error("the kubeconfig has no current context: choose one with --context; there are: {known}")]
    NoContext {
        /// Those that there are.
        known: String,
    },
    /// The context is not in the file.
    #[error("the kubeconfig has no context `{context}`; there are: {known}")]
    UnknownContext {
        /// As given.
        context: String,
        /// Those that there are.
        known: String,
    },
    /// Certificates or keys of the configuration cannot be used.
    #[error("the cluster cannot be spoken to: {reason}")]
    Unusable {
        /// Why not.
        reason: String,
    },
    /// The API server cannot be reached.
    #[error(
        "the API server {server} of context {context} cannot be reached: {reason}. Is the cluster up, and is it the one \
         you mean? --context and --kubeconfig choose another one"
    )]
    Unreachable {
        /// Its address.
        server: String,
        /// The context.
        context: String,
        /// What the network says.
        reason: String,
    },
    /// The API server does not answer in time.
    #[error(
        "the API server {server} of context {context} has not answered for {seconds} s; --request-timeout waits longer"
    )]
    Silent {
        /// Its address.
        server: String,
        /// The context.
        context: String,
        /// How long it was waited.
        seconds: u64,
    },
    /// The API server does not know who asks.
    #[error(
        "the API server {server} does not accept the credentials of context {context}: {reason}. Log in again as your \
         cluster wants it, then see `kubectl auth whoami`"
    )]
    Unauthorized {
        /// Its address.
        server: String,
        /// The context.
        context: String,
        /// What it says.
        reason: String,
    },
    /// The user may not.
    #[error("you may not {what} in context {context}: {reason}. Ask an administrator of the cluster for that right")]
    Forbidden {
        /// As in "list pods".
        what: String,
        /// The context.
        context: String,
        /// What the API server says.
        reason: String,
    },
    /// The API server refuses it.
    #[error("cannot {what}: {reason}")]
    Refused {
        /// As in "list pods".
        what: String,
        /// What the API server says.
        reason: String,
        /// HTTP status.
        code: u16,
    },
    /// The answer is no object.
    #[error("cannot {what}: the answer of the API server {server} is not understood: {reason}")]
    Answer {
        /// As in "list pods".
        what: String,
        /// Its address.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClusterError {
    pub(super) fn from_kube(what: &str, cluster: &Cluster, error: kube::Error) -> Self {
        let (server, context) = (cluster.server().to_owned(), cluster.context().to_owned());
        let what = what.to_owned();
        match error {
            kube::Error::Api(status) => {
                let reason = status.message.clone();
                match status.code {
                    401 => Self::Unauthorized { server, context, reason },
                    403 if status.reason == "Forbidden" && !reason.contains("admission webhook") => {
                        Self::Forbidden { what, context, reason }
                    }
                    code => Self::Refused { what, reason, code },
                }
            }
            kube::Error::SerdeError(error) => Self::Answer { what, server, reason: error.to_string() },
            kube::Error::Auth(error) => Self::Unauthorized { server, context, reason: explain(&error) },
            error => Self::Unreachable { server, context, reason: explain(&error) },
        }
    }

    /// Whether the API server itself said this, with this status.
    #[must_use]
    pub fn is_code(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }
}

/// An error and its causes, each said once.
pub(crate) fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}
