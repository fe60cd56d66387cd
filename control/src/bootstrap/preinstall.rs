//! What must be true of a cluster before a mesh is installed into it. Looking is thin, judging is pure.

use super::definitions::{Plan, definition_resource, definitions, plan};
use crate::reconcile::{Cluster, ClusterError, resource};
use serde_json::Value;
use std::collections::BTreeMap;

/// The oldest Kubernetes (1.x) with all that the mesh needs: definitions, webhooks and EndpointSlices or Endpoints.
const OLDEST_MINOR: u32 = 19;

/// Label of FSM's controllers.
const CONTROLLER: &str = "app=fsm-controller";

/// What is to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Into this namespace.
    pub namespace: String,
    /// As the only mesh of the cluster.
    pub only_one: bool,
}

/// What of a cluster counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Major and minor version.
    pub version: (String, String),
    /// The controllers of meshes.
    pub controllers: Vec<Controller>,
    /// Definitions, by name.
    pub definitions: BTreeMap<String, Value>,
}

/// A Deployment of a controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controller {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its mesh.
    pub mesh: String,
    /// Whether that is to be the only one.
    pub only_one: bool,
}

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What keeps the mesh from being installed.
    pub failures: Vec<String>,
    /// What is good to know.
    pub warnings: Vec<String>,
}

/// Looks at a cluster.
///
/// # Errors
/// [`ClusterError`].
pub async fn look(cluster: &Cluster) -> Result<Found, ClusterError> {
    let version = cluster.version().await?;
    let deployments = cluster.list(&resource("apps", "v1", "Deployment", "deployments"), "", CONTROLLER).await?;
    let found = cluster.list(&definition_resource(), "", "").await?;
    let named = |definition: Value| Some((definition["metadata"]["name"].as_str()?.to_owned(), definition));
    Ok(Found {
        version,
        controllers: deployments.iter().map(controller).collect(),
        definitions: found.into_iter().filter_map(named).collect(),
    })
}

fn controller(deployment: &Value) -> Controller {
    let metadata = &deployment["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Controller {
        namespace: text(&metadata["namespace"]),
        name: text(&metadata["name"]),
        mesh: text(&metadata["labels"]["meshName"]),
        only_one: metadata["labels"]["enforceSingleMesh"] == "true",
    }
}

/// Says what is wrong.
pub fn judge(found: &Found, wanted: &Wanted) -> Findings {
    let mut findings = Findings::default();
    let Findings { failures, warnings } = &mut findings;
    let (major, minor) = &found.version;
    let number = |text: &str| text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().unwrap_or(0);
    if number(major) == 1 && number(minor) < OLDEST_MINOR {
        failures.push(format!(
            "the cluster is of Kubernetes {major}.{minor}, and the mesh needs 1.{OLDEST_MINOR} or newer; upgrade it"
        ));
    }
    let meshes =
        |controllers: Vec<&Controller>| controllers.iter().map(|c| c.mesh.as_str()).collect::<Vec<_>>().join(", ");
    let alone: Vec<_> = found.controllers.iter().filter(|controller| controller.only_one).collect();
    if !alone.is_empty() {
        failures.push(format!(
            "Mesh(es) {} already enforce it is the only mesh in the cluster, cannot install new meshes",
            meshes(alone)
        ));
    }
    if wanted.only_one && !found.controllers.is_empty() {
        failures.push(format!(
            "Mesh(es) {} already exist so a new mesh enforcing it is the only one cannot be installed",
            meshes(found.controllers.iter().collect())
        ));
    }
    let here: Vec<_> = found.controllers.iter().filter(|controller| controller.namespace == wanted.namespace).collect();
    if !here.is_empty() {
        failures.push(format!("Namespace {} already contains meshes [{}]", wanted.namespace, meshes(here)));
    }
    for definition in definitions(false) {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        let Some(there) = found.definitions.get(name) else { continue };
        match plan(Some(there), &definition) {
            Plan::Foreign { version } => failures.push(format!(
                "CustomResourceDefinition {name} belongs to somebody else and does not serve {version}; label it \
                 app.kubernetes.io/name=flomesh.io to hand it over, or remove what brought it"
            )),
            Plan::LeaveToOwner => warnings.push(format!(
                "CustomResourceDefinition {name} belongs to somebody else; it serves what is needed and will be left as it is"
            )),
            Plan::Unchangeable { field, found, wanted } => warnings.push(format!(
                "CustomResourceDefinition {name} has the {field} {found} and not {wanted}; it will be left as it is"
            )),
            Plan::Bring(_) => {}
        }
    }
    findings
}

#[cfg(test)]
mod tests;
