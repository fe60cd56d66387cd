//! The meshes of a cluster: each is known by its Deployment `fsm-controller`, as FSM's are.

use serde_json::Value;

use super::{Cluster, ClusterError, Selector, types};

/// Label of the Deployment that a mesh is known by.
pub const CONTROLLER: &str = "app=fsm-controller";

/// Port of the controller that tells its version and what it understands.
const ADMIN_PORT: u16 = 9091;

/// One mesh of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlane {
    /// Its name.
    pub mesh: String,
    /// Namespace of its control plane.
    pub namespace: String,
    /// Its version; `-` if its Deployment does not tell.
    pub version: String,
    /// Whether no other mesh may be in the cluster.
    pub enforces_single_mesh: bool,
    /// Pods of the controller that are ready, and that are wanted.
    pub ready: (u64, u64),
}

impl ControlPlane {
    fn of(deployment: &Value) -> Self {
        let label = |key: &str| deployment["metadata"]["labels"][key].as_str();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |path: &str| deployment.pointer(path).and_then(Value::as_u64);
        Self {
            mesh: label("meshName").unwrap_or_default().to_owned(),
            namespace: text(&deployment["metadata"]["namespace"]),
            version: label("app.kubernetes.io/version").unwrap_or("-").to_owned(),
            enforces_single_mesh: label("enforceSingleMesh") == Some("true"),
            ready: (number("/status/readyReplicas").unwrap_or(0), number("/spec/replicas").unwrap_or(1)),
        }
    }
}

impl Cluster {
    /// The meshes of the cluster, by namespace.
    ///
    /// # Errors
    /// The API server cannot be reached, or refuses.
    pub fn meshes(&self) -> Result<Vec<ControlPlane>, ClusterError> {
        let mut found: Vec<_> =
            self.list(types::DEPLOYMENT, None, Selector::labels(CONTROLLER))?.iter().map(ControlPlane::of).collect();
        found.sort_by(|a, b| (&a.namespace, &a.mesh).cmp(&(&b.namespace, &b.mesh)));
        Ok(found)
    }

    /// What the admin port of a mesh's controller says at this path; `None` if none of its pods answers.
    ///
    /// # Errors
    /// The API server cannot be reached, or refuses to list pods.
    pub fn controller_text(&self, mesh: &ControlPlane, path: &str) -> Result<Option<String>, ClusterError> {
        let selector = Selector { labels: Some(CONTROLLER), fields: Some("status.phase=Running") };
        let pods = self.list(types::POD, Some(&mesh.namespace), selector)?;
        let names = pods.iter().filter_map(|pod| pod.pointer("/metadata/name").and_then(Value::as_str));
        Ok(names.into_iter().find_map(|pod| self.pod_text(&mesh.namespace, pod, ADMIN_PORT, path)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_mesh_is_what_the_labels_of_its_deployment_say() {
        let labels = json!({"app": "fsm-controller", "meshName": "shop", "enforceSingleMesh": "true",
            "app.kubernetes.io/version": "0.1.0"});
        let deployment = json!({"metadata": {"namespace": "fsm-system", "labels": labels}, "spec": {"replicas": 2},
            "status": {"readyReplicas": 1}});
        let found = ControlPlane::of(&deployment);
        assert_eq!((found.mesh.as_str(), found.namespace.as_str(), found.ready), ("shop", "fsm-system", (1, 2)));
        assert!(found.enforces_single_mesh);
        let old = ControlPlane::of(&json!({"metadata": {"namespace": "x", "labels": {"meshName": "m"}}}));
        assert_eq!((old.version.as_str(), old.ready), ("-", (0, 1)));
    }
}
