//! Where traces and access logs go.

use crate::world::Mesh;
use fsm_api::config::{Metrics, Observability, RemoteLogging, Tracing};

pub(super) fn observability(mesh: &Mesh) -> Observability {
    Observability {
        access_log: mesh.access_log.clone(),
        metrics: Some(mesh.metrics.clone()).filter(|metrics| *metrics != Metrics::default()),
        tracing: mesh.tracing.as_ref().map(|tracing| Tracing {
            // FSM's sidecars know one protocol and no such key.
            protocol: if tracing.protocol == "zipkin" { String::new() } else { tracing.protocol.clone() },
            address: format!("{}:{}", tracing.address, tracing.port),
            endpoint: tracing.endpoint.clone(),
            sampled_fraction: Some(tracing.sampled_fraction),
        }),
        remote_logging: mesh.remote_logging.as_ref().map(|logging| RemoteLogging {
            level: logging.level,
            address: format!("{}:{}", logging.address, logging.port),
            endpoint: logging.endpoint.clone(),
            authorization: logging.authorization.clone(),
            sampled_fraction: Some(logging.sampled_fraction),
        }),
    }
}
