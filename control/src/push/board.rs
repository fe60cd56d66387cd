//! The newest document of every pod, and whose pod it is.
//!
//! The controller writes, connections read. A pod that is not there yet can be waited for; one that goes, or comes back
//! under the same name as somebody else, ends the streams of those who followed it.

use super::Publication;
use crate::cert::Identity;
use crate::world::PodKey;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Whose a pod is. Another tenant under the same name is another pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its service account.
    pub identity: Identity,
    /// UID of the pod; empty when the source knows none.
    pub uid: String,
    /// Label `fsm-proxy-uuid`: the name under which the repository knows the pod; empty without.
    pub proxy_uuid: String,
}

/// What somebody who follows a pod gets.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Whose the pod is.
    pub tenant: Arc<Tenant>,
    /// The newest publication, changed for every newer one, and closed when the pod is gone.
    pub publications: watch::Receiver<Arc<Publication>>,
}

/// The board.
#[derive(Debug)]
pub struct Board {
    pods: Mutex<Pods>,
    /// Changes when a pod was added.
    arrivals: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Pods {
    entries: HashMap<PodKey, Entry>,
    by_proxy_uuid: HashMap<String, PodKey>,
}

#[derive(Debug)]
struct Entry {
    tenant: Arc<Tenant>,
    newest: watch::Sender<Arc<Publication>>,
}

impl Default for Board {
    fn default() -> Self {
        Self { pods: Mutex::default(), arrivals: watch::Sender::new(()) }
    }
}

impl Board {
    /// Gives a pod its newest document. Giving it the one it has does nothing.
    pub fn publish(&self, pod: &PodKey, tenant: &Tenant, publication: &Arc<Publication>) {
        let mut pods = self.pods.lock();
        if let Some(entry) = pods.entries.get(pod)
            && *entry.tenant == *tenant
        {
            entry.newest.send_if_modified(|newest| {
                let other = newest.version() != publication.version();
                if other {
                    newest.clone_from(publication);
                }
                other
            });
            return;
        }
        pods.remove(pod);
        if !tenant.proxy_uuid.is_empty() {
            pods.by_proxy_uuid.insert(tenant.proxy_uuid.clone(), pod.clone());
        }
        let entry = Entry { tenant: Arc::new(tenant.clone()), newest: watch::Sender::new(publication.clone()) };
        pods.entries.insert(pod.clone(), entry);
        drop(pods);
        self.arrivals.send_replace(());
    }

    /// The pod is gone, or not part of the mesh any more. Those who follow it are told by the end of their stream.
    pub fn remove(&self, pod: &PodKey) {
        self.pods.lock().remove(pod);
    }

    /// The pod, if it is there.
    pub fn seat(&self, pod: &PodKey) -> Option<Seat> {
        self.pods.lock().entries.get(pod).map(Entry::seat)
    }

    /// The pod, as soon as it is there. Never ends for a pod that never comes.
    pub async fn await_seat(&self, pod: &PodKey) -> Seat {
        let mut arrivals = self.arrivals.subscribe();
        loop {
            if let Some(seat) = self.seat(pod) {
                return seat;
            }
            // The sender is ours, so that this cannot fail.
            let _ = arrivals.changed().await;
        }
    }

    /// The pod whose proxy has this id.
    pub fn by_proxy_uuid(&self, uuid: &str) -> Option<(PodKey, Seat)> {
        let pods = self.pods.lock();
        let pod = pods.by_proxy_uuid.get(uuid)?;
        Some((pod.clone(), pods.entries.get(pod)?.seat()))
    }

    /// How many pods there are.
    pub fn len(&self) -> usize {
        self.pods.lock().entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Pods {
    fn remove(&mut self, pod: &PodKey) {
        let Some(entry) = self.entries.remove(pod) else { return };
        let uuid = &entry.tenant.proxy_uuid;
        if self.by_proxy_uuid.get(uuid) == Some(pod) {
            self.by_proxy_uuid.remove(uuid);
        }
    }
}

impl Entry {
    fn seat(&self) -> Seat {
        let mut publications = self.newest.subscribe();
        // Whoever takes a seat has not seen anything yet.
        publications.mark_changed();
        Seat { tenant: self.tenant.clone(), publications }
    }
}
