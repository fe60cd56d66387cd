//! Tells the API server what the roster says: takes pods, patches their status, finishes their deletion.
//!
//! Of several statuses of a pod only the last counts. What the API server does not take because it is away is told again;
//! what it refuses (the pod is another, or gone) is dropped.

use super::roster::Order;
use crate::local::workload::runtime::PodId;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// How long after a failure everything is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the API server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is still to be told about one pod.
#[derive(Default)]
struct Pending {
    bind: bool,
    status: Option<Box<PodStatus>>,
    delete: bool,
}

/// Starts the writer; it ends with its sender.
pub(super) fn start(client: Client, node: String) -> UnboundedSender<Order> {
    let (sender, orders) = mpsc::unbounded_channel();
    tokio::spawn(write(client, node, orders));
    sender
}

async fn write(client: Client, node: String, mut orders: UnboundedReceiver<Order>) {
    let mut pending: BTreeMap<PodId, Pending> = BTreeMap::new();
    loop {
        let order = match pending.is_empty() {
            true => orders.recv().await,
            false => match tokio::time::timeout(PAUSE, orders.recv()).await {
                Ok(order) => order,
                Err(_) => orders.try_recv().ok(),
            },
        };
        if orders.is_closed() {
            return;
        }
        let mut next = order;
        while let Some(order) = next {
            match order {
                Order::Bind(id) => pending.entry(id).or_default().bind = true,
                Order::Status(id, status) => pending.entry(id).or_default().status = Some(status),
                Order::Delete(id) => pending.entry(id).or_default().delete = true,
            }
            next = orders.try_recv().ok();
        }
        for (id, mut wanted) in std::mem::take(&mut pending) {
            if !wanted.tell(&client, &node, &id).await {
                pending.insert(id, wanted);
            }
        }
    }
}

impl Pending {
    /// Says whether nothing is left to be told.
    async fn tell(&mut self, client: &Client, node: &str, id: &PodId) -> bool {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &id.namespace);
        if self.bind && is_settled(id, "taken", bind(client, node, id)).await {
            self.bind = false;
        }
        if let Some(status) = &self.status {
            // Another pod of this name is refused by its uid. Not a strategic patch: old servers refuse fields there that
            // they do not know.
            let mut told = json!(status);
            for field in ["message", "reason"] {
                told[field] = told[field].take();
            }
            let patch = json!({"metadata": {"uid": id.uid}, "status": told});
            let patch = Patch::Merge(&patch);
            let parameters = PatchParams::default();
            let told = async { pods.patch_status(&id.name, &parameters, &patch).await.map(drop) };
            if is_settled(id, "shown", told).await {
                self.status = None;
            }
        }
        if self.delete {
            let preconditions = Preconditions { uid: Some(id.uid.clone()), resource_version: None };
            let parameters =
                DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default().grace_period(0) };
            let deleted = async { pods.delete(&id.name, &parameters).await.map(drop) };
            if is_settled(id, "deleted", deleted).await {
                self.delete = false;
            }
        }
        !self.bind && self.status.is_none() && !self.delete
    }
}

async fn bind(client: &Client, node: &str, id: &PodId) -> Result<(), kube::Error> {
    let path = format!("/api/v1/namespaces/{}/pods/{}/binding", id.namespace, id.name);
    let body = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"namespace": id.namespace, "name": id.name, "uid": id.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let request = http::Request::post(path).header(http::header::CONTENT_TYPE, "application/json");
    let request = request.body(body.to_string().into_bytes()).map_err(kube::Error::HttpError)?;
    client.request_text(request).await.map(drop)
}

/// Whether it is done, or will never be.
async fn is_settled(id: &PodId, what: &str, told: impl Future<Output = Result<(), kube::Error>>) -> bool {
    match tokio::time::timeout(PATIENCE, told).await {
        Ok(Ok(())) => true,
        Ok(Err(kube::Error::Api(refusal))) if refusal.code < 500 && refusal.code != 429 => {
            // A pod that is gone or scheduled meanwhile.
            if ![404, 409].contains(&refusal.code) {
                tracing::warn!("pod {id} cannot be {what}: {}", refusal.message);
            }
            true
        }
        Ok(Err(error)) => {
            tracing::debug!("pod {id} is {what} later: {error}");
            false
        }
        Err(_) => false,
    }
}
