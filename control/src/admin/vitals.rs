//! What every role shows to whoever asks: health, version and metrics. Nothing that needs protection.

use crate::http::{Ask, PortLimits, Reply, json, reads, reply, serve as serve_http, text};
use crate::limits;
use crate::telemetry::{CONTENT_TYPE, Telemetry};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Health, version and metrics of a role.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// What is counted.
    pub telemetry: Arc<Telemetry>,
    /// Whether the role does its work.
    pub ready: watch::Receiver<bool>,
    /// What is missing before it is ready, for people.
    pub waits_for: &'static str,
}

pub(super) const PORT: PortLimits = PortLimits { connections: 64, body: 64 << 10, idle: limits::REQUEST_TIMEOUT };

const INDEX: &str = "\
fsm-control:
  GET  /health/ready       200 once it does its work
  GET  /health/alive       200 (also /healthz)
  GET  /version            version
  GET  /metrics            Prometheus
";

impl Vitals {
    /// Serves them and nothing else, until `stop`.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let handler = move |ask: Ask| {
            let vitals = self.clone();
            async move { vitals.reply(&ask) }
        };
        serve_http(listener, handler, PORT, stop).await;
    }

    fn reply(&self, ask: &Ask) -> Reply {
        if !reads(ask.method()) {
            return wrong_method(&Method::GET);
        }
        match ask.uri().path() {
            "/" => text(StatusCode::OK, INDEX),
            path => {
                self.page(path).unwrap_or_else(|| text(StatusCode::NOT_FOUND, format!("there is no {path}\n\n{INDEX}")))
            }
        }
    }

    /// The answer to one of their paths.
    pub(super) fn page(&self, path: &str) -> Option<Reply> {
        Some(match path {
            "/health/ready" if !*self.ready.borrow() => {
                text(StatusCode::SERVICE_UNAVAILABLE, format!("Service is not ready: {}\n", self.waits_for))
            }
            "/health/ready" => text(StatusCode::OK, "Service is ready"),
            "/health/alive" => text(StatusCode::OK, "Service is alive"),
            "/healthz" => text(StatusCode::OK, "Health OK"),
            "/version" => json(&version()),
            "/metrics" => reply(StatusCode::OK, CONTENT_TYPE, self.telemetry.page()),
            _ => return None,
        })
    }
}

pub(super) fn wrong_method(method: &Method) -> Reply {
    text(StatusCode::METHOD_NOT_ALLOWED, format!("use {method}\n"))
}

fn version() -> Value {
    let or_unknown = |value: Option<&str>| value.unwrap_or("unknown").to_owned();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_commit": or_unknown(option_env!("FSM_GIT_COMMIT")),
        "build_date": or_unknown(option_env!("FSM_BUILD_DATE")),
    })
}
