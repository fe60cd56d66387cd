//! Port 15010: the metrics page, for anyone who can reach the pod. It shows numbers and names of the configuration,
//! and nothing else is served here.

use super::reply::{Ask, Reply, reply, text, wrong_method};
use super::{AdminState, server};
use crate::limits::ADMIN_TIMEOUT;
use crate::telemetry::families::{CONTENT_TYPE, prometheus_text};
use http::StatusCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Answers `GET /stats/prometheus` and `GET /metrics` until `stop` is cancelled.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>, stop: CancellationToken) {
    let handler = move |ask| {
        let state = Arc::clone(&state);
        async move { answer(&ask, &state) }
    };
    server::serve_connections(listener, handler, ADMIN_TIMEOUT, stop).await;
}

fn answer(ask: &Ask, state: &AdminState) -> Reply {
    if !matches!(ask.uri().path(), "/stats/prometheus" | "/metrics") {
        return text(StatusCode::NOT_FOUND, "only /stats/prometheus and /metrics are served here\n");
    }
    wrong_method(ask.method(), &["GET"]).unwrap_or_else(|| page(state))
}

/// The metrics page.
pub(super) fn page(state: &AdminState) -> Reply {
    reply(StatusCode::OK, CONTENT_TYPE, prometheus_text(&state.view()))
}
