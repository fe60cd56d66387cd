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

mod endpoints;
#[cfg(test)]
mod fixtures;
mod pages;
pub mod probes;
pub mod prometheus;
mod readiness;
mod reply;
mod server;
mod signals;
mod tap;

pub use readiness::{Listeners, Readiness};

use crate::config::store::Store;
use crate::limits::ADMIN_TIMEOUT;
use crate::telemetry::Telemetry;
use crate::telemetry::families::View;
use crate::telemetry::log::LogControl;
use crate::telemetry::workload::Workload;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Everything the operator's port shows and changes.
pub struct AdminState {
    /// The configuration in force.
    pub store: Arc<Store>,
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
            snapshot: self.store.snapshot(),
            config_age: self.store.age(),
            telemetry: Arc::clone(&self.telemetry),
            workload: Arc::clone(&self.workload),
        }
    }
}

/// Answers on the operator's port until `stop` is cancelled.
///
/// `listener` must be bound to loopback: whoever reaches this port can end the proxy.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>, stop: CancellationToken) {
    let handler = move |request| {
        let state = Arc::clone(&state);
        async move { endpoints::answer(&request, &state) }
    };
    server::serve_connections(listener, handler, ADMIN_TIMEOUT, stop).await;
}

#[cfg(test)]
mod tests;
