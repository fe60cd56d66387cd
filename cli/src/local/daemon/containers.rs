//! The containers that run now, by name: whoever starts them enters them here, `fsm exec` looks them up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::local::node::Container;

/// Containers by namespace, pod and container name. Cheap to clone; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Containers {
    running: Arc<Mutex<HashMap<[String; 3], Container>>>,
}

impl Containers {
    /// Enters a container that was started. It replaces an earlier one of the same name.
    pub fn insert(&self, namespace: &str, pod: &str, name: &str, container: Container) {
        let mut running = self.running();
        running.retain(|_, container| container.ended().is_none());
        running.insert([namespace, pod, name].map(str::to_owned), container);
    }

    /// The container, if it runs.
    #[must_use]
    pub fn get(&self, namespace: &str, pod: &str, name: &str) -> Option<Container> {
        let container = self.running().get(&[namespace, pod, name].map(str::to_owned)).cloned();
        container.filter(|container| container.ended().is_none())
    }

    fn running(&self) -> MutexGuard<'_, HashMap<[String; 3], Container>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
