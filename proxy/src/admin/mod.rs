//! What the proxy tells about itself: the operator's port (15000), metrics (15010) and the pod's probes (15901–15904).
//!
//! - [`serve`] answers on the operator's port, which must be bound to loopback. `kubectl port-forward`, `fsm proxy get`
//!   and a shell in the pod reach it; nobody else does. Web pages in the operator's browser do not either: requests
//!   with a `Host` that is not loopback, and changes with an `Origin`, are refused (DNS rebinding).
//! - [`prometheus`] serves the metrics page and nothing else, to anyone.
//! - [`probes`] checks the application for the kubelet, and only what the configuration says may be checked.
//!
//! None of them ever shows a private key, serves a file, or takes a target from a request unchecked. A slow, huge or
//! silent client costs one connection slot for a bounded time, and never the last one (see `server`).

pub mod certs;
mod endpoints;
mod pages;
pub mod probes;
pub mod prometheus;
mod readiness;
mod reply;
mod server;

pub use readiness::{Listeners, Readiness};

use crate::config::snapshot::Snapshot;
use crate::config::store::Store;
use crate::limits::ADMIN_TIMEOUT;
use crate::telemetry::Telemetry;
use crate::telemetry::families::View;
use crate::telemetry::log::LogControl;
use crate::telemetry::workload::Workload;
use fsm_api::config::Problem;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Version of the proxy.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit that the proxy was built from, if the build said so (environment variable `FSM_GIT_COMMIT`).
pub const GIT_COMMIT: Option<&str> = option_env!("FSM_GIT_COMMIT");

/// Compiler that the proxy was built with, if the build said so (environment variable `FSM_RUSTC_VERSION`).
pub const RUSTC: Option<&str> = option_env!("FSM_RUSTC_VERSION");

/// What the admin ports want to know about the configuration. Implemented by the store.
pub trait ConfigView: Send + Sync {
    /// The configuration in force; `None` before the first one.
    fn snapshot(&self) -> Option<Arc<Snapshot>>;

    /// How long it has been in force; `None` before the first one.
    fn age(&self) -> Option<Duration>;

    /// Where documents come from, for people: a file name or URL.
    fn source(&self) -> String;

    /// Why the latest attempt to get a document failed, or why the latest document was refused; `None` when it is in
    /// force.
    fn failure(&self) -> Option<String>;
}

impl ConfigView for Store {
    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        Store::snapshot(self)
    }

    fn age(&self) -> Option<Duration> {
        Store::age(self)
    }

    fn source(&self) -> String {
        Store::source(self)
    }

    fn failure(&self) -> Option<String> {
        Store::failure(self)
    }
}

/// Everything the operator's port shows and changes.
pub struct AdminState {
    /// The configuration in force.
    pub config: Arc<dyn ConfigView>,
    /// Counters of the proxy as a whole.
    pub telemetry: Arc<Telemetry>,
    /// Who this proxy is.
    pub workload: Arc<Workload>,
    /// What is still missing.
    pub readiness: Arc<Readiness>,
    /// Which ports are open.
    pub listeners: Arc<Listeners>,
    /// The level of the log.
    pub log: LogControl,
    /// Cancelled by `POST /drain`: begin the same drain as SIGTERM does.
    pub drain: CancellationToken,
    /// Cancelled by `POST /quitquitquit`: end at once, as Pipy does.
    pub quit: CancellationToken,
}

impl AdminState {
    /// What a page of numbers is made from, at this moment.
    pub fn view(&self) -> View {
        View {
            snapshot: self.config.snapshot(),
            config_age: self.config.age(),
            telemetry: Arc::clone(&self.telemetry),
            workload: Arc::clone(&self.workload),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        self.config
            .snapshot()
            .map(|snapshot| snapshot.problems.clone())
            .unwrap_or_default()
    }
}

/// Answers on the operator's port until `stop` is cancelled.
///
/// `listener` must be bound to loopback: whoever reaches this port can end the proxy.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>, stop: CancellationToken) {
    let telemetry = Arc::clone(&state.telemetry);
    let handler = move |request| {
        let state = Arc::clone(&state);
        async move { endpoints::answer(&request, &state) }
    };
    server::serve_connections(listener, handler, ADMIN_TIMEOUT, &telemetry, stop).await;
}

#[cfg(test)]
mod tests;
