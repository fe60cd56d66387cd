//! A cluster, as commands see it: objects are JSON, calls block, errors say what to do.
//!
//! Nothing is asked when a [`Cluster`] is made, so a server that is away shows with the first call. Every call has a
//! deadline. Nothing here is retried: whoever typed the command does that better. Credentials are never printed.

mod access;
mod chart;
mod error;
mod helm;
mod meshes;
mod objects;

use std::future::Future;
use std::time::Duration;

use kube::Client;
use tokio::runtime::Runtime;

pub use access::Access;
pub(crate) use access::duration;
pub use chart::Chart;
pub use error::ClusterError;
pub(crate) use error::explain;
pub use helm::{Helm, HelmError, Running};
pub use meshes::{CONTROLLER, ControlPlane};
pub use objects::{Happenings, Selector, Type, types};

/// A cluster to speak to.
pub struct Cluster {
    client: Client,
    runtime: Runtime,
    context: String,
    server: String,
    namespace: String,
    deadline: Duration,
}

impl Cluster {
    /// The cluster that the flags name, else that of the kubeconfig file. Nothing is asked yet.
    ///
    /// # Errors
    /// No cluster is configured, or the configuration cannot be used.
    pub fn connect(access: &Access) -> Result<Self, ClusterError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ClusterError::Unusable { reason: format!("no runtime can be started: {error}") })?;
        let found = runtime.block_on(access.find())?;
        let mut config = found.config;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        access.tune(&mut config);
        let client = {
            let _inside = runtime.enter();
            Client::try_from(config).map_err(|error| ClusterError::Unusable { reason: explain(&error) })?
        };
        let deadline = access.deadline();
        Ok(Self { client, runtime, context: found.context, server, namespace: found.namespace, deadline })
    }

    /// The client, for what is not here. Use it within [`run`](Self::run).
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The context of the kubeconfig file.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// Address of the API server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Namespace of the context; `default` if it names none.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Runs a future to its end, without a deadline of its own.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// How long one answer may take.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.deadline
    }

    /// For people: which cluster this is.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("the cluster of context {} ({})", self.context, self.server)
    }

    /// Asks, for at most the deadline of one request.
    fn ask<T>(&self, what: &str, future: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ClusterError> {
        let outcome = self.run(async { tokio::time::timeout(self.deadline, future).await });
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(ClusterError::from_kube(what, self, error)),
            Err(_) => Err(ClusterError::Silent {
                server: self.server.clone(),
                context: self.context.clone(),
                seconds: self.deadline.as_secs(),
            }),
        }
    }
}
