//! The objects that the controllers follow, by namespace and name.

use super::process::Settings;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Namespace (empty for objects without one) and name.
pub type Key = (String, String);

/// What is wanted, as users and tools have written it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Namespaces by name.
    pub namespaces: BTreeMap<String, Arc<Namespace>>,
    /// Services.
    pub services: BTreeMap<Key, Arc<Service>>,
    /// ConfigMaps.
    pub config_maps: BTreeMap<Key, Arc<ConfigMap>>,
    /// Secrets.
    pub secrets: BTreeMap<Key, Arc<Secret>>,
    /// Deployments.
    pub deployments: BTreeMap<Key, Arc<Deployment>>,
    /// ReplicaSets that are not a Deployment's.
    pub replica_sets: BTreeMap<Key, Arc<ReplicaSet>>,
    /// StatefulSets.
    pub stateful_sets: BTreeMap<Key, Arc<StatefulSet>>,
    /// DaemonSets.
    pub daemon_sets: BTreeMap<Key, Arc<DaemonSet>>,
    /// Jobs.
    pub jobs: BTreeMap<Key, Arc<Job>>,
    /// Pods that are nobody's.
    pub pods: BTreeMap<Key, Arc<Pod>>,
    /// The ConfigMap [`TRUST_BUNDLE`] of all namespaces that have none of this name.
    pub trust_bundle: Option<Arc<ConfigMap>>,
}

/// The ConfigMap by which sidecars know the control plane.
pub const TRUST_BUNDLE: &str = "fsm-trust-bundle";

/// The kinds that matter here, as the state directory names them.
pub const KINDS: [&str; 11] = [
    "Namespace",
    "Service",
    "ConfigMap",
    "Secret",
    "Deployment.apps",
    "ReplicaSet.apps",
    "StatefulSet.apps",
    "DaemonSet.apps",
    "Job.batch",
    "Pod",
    "MeshConfig.config.flomesh.io",
];

impl Wanted {
    /// Adds or replaces an object of one of [`KINDS`]; other kinds, and MeshConfig, mean nothing here.
    ///
    /// # Errors
    /// The field that does not have the form of its kind. The object as it was before stays.
    pub fn apply(&mut self, kind: &str, key: Key, object: &Value) -> Result<(), serde_json::Error> {
        match kind {
            "Namespace" => put(&mut self.namespaces, key.1, object),
            "Service" => put(&mut self.services, key, object),
            "ConfigMap" => put(&mut self.config_maps, key, object),
            "Secret" => put(&mut self.secrets, key, object),
            "Deployment.apps" => put(&mut self.deployments, key, object),
            "ReplicaSet.apps" => put(&mut self.replica_sets, key, object),
            "StatefulSet.apps" => put(&mut self.stateful_sets, key, object),
            "DaemonSet.apps" => put(&mut self.daemon_sets, key, object),
            "Job.batch" => put(&mut self.jobs, key, object),
            "Pod" => put(&mut self.pods, key, object),
            _ => Ok(()),
        }
    }

    /// Removes an object. Nothing happens if it is not there.
    pub fn remove(&mut self, kind: &str, key: &Key) {
        match kind {
            "Namespace" => drop(self.namespaces.remove(&key.1)),
            "Service" => drop(self.services.remove(key)),
            "ConfigMap" => drop(self.config_maps.remove(key)),
            "Secret" => drop(self.secrets.remove(key)),
            "Deployment.apps" => drop(self.deployments.remove(key)),
            "ReplicaSet.apps" => drop(self.replica_sets.remove(key)),
            "StatefulSet.apps" => drop(self.stateful_sets.remove(key)),
            "DaemonSet.apps" => drop(self.daemon_sets.remove(key)),
            "Job.batch" => drop(self.jobs.remove(key)),
            "Pod" => drop(self.pods.remove(key)),
            _ => {}
        }
    }
}

impl Settings for Wanted {
    fn config_map(&self, namespace: &str, name: &str) -> Option<&ConfigMap> {
        let written = self.config_maps.get(&(namespace.to_owned(), name.to_owned()));
        let everywhere = || self.trust_bundle.as_ref().filter(|_| name == TRUST_BUNDLE);
        written.or_else(everywhere).map(Arc::as_ref)
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<&Secret> {
        self.secrets.get(&(namespace.to_owned(), name.to_owned())).map(Arc::as_ref)
    }
}

fn put<K: Ord, T: DeserializeOwned>(
    map: &mut BTreeMap<K, Arc<T>>,
    key: K,
    object: &Value,
) -> Result<(), serde_json::Error> {
    let object = T::deserialize(object)?;
    map.insert(key, Arc::new(object));
    Ok(())
}
