//! Removes what the control plane made in a cluster, after the chart's own objects are gone.
//!
//! Exactly what belongs to this mesh: objects in its control plane's namespace by name, objects elsewhere by the labels
//! that say whose they are. Definitions stay, and with them the objects of users; `fsm uninstall mesh -a` removes those. What
//! is not there is as good as removed.

use crate::issued::{MANAGED_BY, MANAGER};
use crate::reconcile::{Cluster, ClusterError, Place, resource, resource_of};
use crate::webhook::configuration::{INSTANCE_LABEL, NAME, NAME_LABEL};
use fsm_api::resources::Kind;
use kube::core::ApiResource;
use serde_json::Value;

/// A mesh that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// Its name.
    pub name: String,
    /// The namespace of its control plane.
    pub namespace: String,
    /// Its MeshConfig.
    pub config_name: String,
    /// The Secret of its authority.
    pub ca_bundle: String,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was there.
    pub removed: Vec<String>,
    /// What could not be removed, and why.
    pub failures: Vec<String>,
}

/// Objects with one name.
fn named(mesh: &Mesh) -> Vec<Place> {
    let secrets = resource("", "v1", "Secret", "secrets");
    let leases = resource("coordination.k8s.io", "v1", "Lease", "leases");
    let own = |resource: ApiResource, name: &str| Place::new(resource, &mesh.namespace, name);
    let mut places = vec![own(secrets.clone(), &mesh.ca_bundle), own(secrets, "fsm-remote-logging-secret")];
    for lease in ["fsm-controller", "fsm-injector", "fsm-bootstrap"] {
        places.push(own(leases.clone(), &format!("{lease}.flomesh.io")));
    }
    let kinds =
        [(Kind::MeshConfig, mesh.config_name.as_str()), (Kind::MeshRootCertificate, "fsm-mesh-root-certificate")];
    places.extend(kinds.into_iter().filter_map(|(kind, name)| Place::of(&kind, &mesh.namespace, name)));
    places
}

/// Kinds of which all objects with the labels of this mesh go, wherever they are.
fn labelled() -> Vec<ApiResource> {
    let group = "admissionregistration.k8s.io";
    let webhooks = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
    let webhooks = webhooks.map(|kind| resource(group, "v1", kind, &format!("{}s", kind.to_ascii_lowercase())));
    let mut kinds = Vec::from(webhooks);
    kinds.extend([Kind::ConfigMap, Kind::Secret].iter().filter_map(resource_of));
    kinds
}

/// What says that an object is of this mesh: labels of what the control plane keeps, and of what policies ask it for.
fn labels(mesh: &Mesh) -> [String; 2] {
    let of_mesh = format!("{INSTANCE_LABEL}={}", mesh.name);
    [format!("{NAME_LABEL}={NAME},{of_mesh}"), format!("{MANAGED_BY}={MANAGER},{of_mesh}")]
}

/// Removes everything.
pub async fn clean(cluster: &Cluster, mesh: &Mesh) -> Outcome {
    let mut outcome = Outcome::default();
    // Webhooks first: nobody is to be asked who is not there any more.
    for kind in labelled() {
        for labels in labels(mesh) {
            outcome.remove_all(cluster, &kind, &labels).await;
        }
    }
    for place in named(mesh) {
        outcome.note(&place, cluster.delete(&place, None).await);
    }
    outcome
}

/// What Helm made, Helm removes, or keeps on purpose.
fn is_of_chart(object: &Value) -> bool {
    let metadata = &object["metadata"];
    metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        && metadata["annotations"].get("meta.helm.sh/release-name").is_some()
        && !object["kind"].as_str().unwrap_or_default().ends_with("WebhookConfiguration")
}

impl Outcome {
    async fn remove_all(&mut self, cluster: &Cluster, kind: &ApiResource, labels: &str) {
        let objects = match cluster.list(kind, "", labels).await {
            Ok(objects) => objects,
            Err(error) => return self.failures.push(error.to_string()),
        };
        for object in objects.iter().filter(|object| !is_of_chart(object)) {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            let place = Place::new(kind.clone(), text("namespace"), text("name"));
            self.note(&place, cluster.delete(&place, Some(object)).await);
        }
    }

    fn note(&mut self, place: &Place, deleted: Result<bool, ClusterError>) {
        match deleted {
            Ok(true) => self.removed.push(place.to_string()),
            Ok(false) => {}
            Err(error) => self.failures.push(error.to_string()),
        }
    }
}
