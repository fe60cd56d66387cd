//! Out of the mesh: which hosts and ranges, with which certificate, through which gateway. And into it from outside.

mod access;
mod certificates;
mod gateway;
mod names;

use fsm_tests::{Authority, Document, Mesh, Pod, Sidecar, Wire, eventually};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A pod whose sidecar lets out what a test says, and nothing else.
struct Inside {
    authority: Authority,
    pod: Pod,
    sidecar: Sidecar,
    mesh: Mesh,
}

impl Inside {
    /// `matches` are `Outbound.TrafficMatches`, `clusters` its `ClustersConfigs`.
    async fn start(hosts: &[(&str, &str)], outbound: impl FnOnce(&Authority) -> (Value, Value)) -> Option<Self> {
        let mesh = Mesh::create()?;
        let authority = Authority::new("fsm-ca.fsm.io");
        let pod = mesh.pod("batch");
        pod.hosts(hosts);
        let (matches, clusters) = outbound(&authority);
        let document = Document::new(&authority.leaf("batch.jobs"))
            .set("/Outbound", json!({"TrafficMatches": matches, "ClustersConfigs": clusters}))
            .allow(&pod);
        let sidecar = Sidecar::start(&pod, document.json()).await;
        Some(Self { authority, pod, sidecar, mesh })
    }

    async fn refusals(&self, reason: &str) -> f64 {
        self.sidecar.metric("fsm_proxy_refusals_total", &[&format!("reason=\"{reason}\"")]).await
    }

    /// The client may see the end of its connection before the proxy has counted it.
    async fn has_refused(&self, reason: &str, count: f64) {
        eventually(&format!("{count} refusals for {reason}"), async || self.refusals(reason).await == count).await;
    }

    async fn dial(&self, to: &str) -> Wire {
        Wire::connect(&self.pod, at(to)).await
    }
}

/// A TLS hello that names a server, or none.
pub(crate) fn client_hello(name: Option<&str>) -> Vec<u8> {
    let short = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let mut extensions = Vec::new();
    if let Some(name) = name {
        let mut entry = vec![0];
        entry.extend(short(name.len()));
        entry.extend(name.as_bytes());
        extensions.extend([0, 0]);
        extensions.extend(short(entry.len() + 2));
        extensions.extend(short(entry.len()));
        extensions.extend(entry);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0x13, 1, 0xc0, 0x2b, 1, 0]);
    body.extend(short(extensions.len()));
    body.extend(extensions);
    let mut record = vec![0x16, 3, 1];
    record.extend(short(body.len() + 4));
    record.extend([1, 0]);
    record.extend(short(body.len()));
    record.extend(body);
    record
}
