//! Reasons to look again.

use super::Cluster;
use crate::cert::Issuer;
use futures_util::StreamExt;
use kube::Api;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Wakes whenever an object of this kind with these labels is made, changed or deleted, also when it loses the labels.
pub async fn wake_on_changes(
    cluster: Cluster,
    resource: ApiResource,
    labels: String,
    wake: Arc<Notify>,
    stop: CancellationToken,
) {
    let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(cluster.client().clone(), &resource);
    let changes = watcher(api, watcher::Config::default().labels(&labels));
    let mut changes = changes.default_backoff().boxed();
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.next() => change,
        };
        match change {
            None => return,
            // What is in it does not matter: whoever keeps the object looks for himself.
            Some(Ok(_)) => wake.notify_one(),
            Some(Err(error)) => debug!("watching {}: {error}", resource.plural),
        }
    }
}

/// Wakes whenever the roots of the mesh are others.
pub async fn wake_on_roots(issuer: Arc<dyn Issuer>, wake: Arc<Notify>, stop: CancellationToken) {
    let mut changes = issuer.changes();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => match changed {
                Ok(()) => wake.notify_one(),
                Err(_) => return,
            },
        }
    }
}
