//! `fsm namespace`: which namespaces belong to the mesh, on this machine or in a cluster. Words and labels are those of
//! FSM.

use anyhow::{Result, anyhow, bail};
use clap::Subcommand;
use serde_json::{Value, json};

use super::{MeshChoice, Place, merge, say, say_line};
use crate::cluster::{Cluster, ClusterError, ControlPlane, Selector, types};
use crate::local::state::{ObjectName, Objects};
use crate::output::Table;

/// Label of a namespace that belongs to a mesh; its value is the mesh's name.
pub(super) const MONITORED_BY: &str = "flomesh.io/monitored-by";
/// Label of a namespace that no mesh may touch.
pub(super) const IGNORE: &str = "flomesh.io/ignore";
/// Annotation: whether pods get a sidecar.
pub(super) const INJECTION: &str = "flomesh.io/sidecar-injection";
/// Annotation: whether Prometheus looks at the sidecars.
pub(super) const METRICS: &str = "flomesh.io/metrics";

/// `fsm namespace`.
#[derive(Debug, Subcommand)]
pub(super) enum Namespace {
    /// Add namespaces to the mesh: pods that are started from now on get a sidecar
    Add {
        /// Namespaces that are there
        #[arg(required = true)]
        namespaces: Vec<String>,
        /// Their objects count, but their pods get no sidecar
        #[arg(long)]
        disable_sidecar_injection: bool,
    },
    /// Remove a namespace from the mesh: pods that are started from now on get no sidecar
    Remove {
        /// The namespace
        namespace: String,
    },
    /// Keep the mesh's hands off namespaces
    Ignore {
        /// Namespaces that are there
        #[arg(required = true)]
        namespaces: Vec<String>,
    },
    /// List the namespaces of the mesh
    List,
}

impl Namespace {
    pub(super) fn run(self, choice: &MeshChoice) -> Result<()> {
        let named = choice.name.as_deref();
        match choice.place()? {
            Place::Local(state) => {
                let store = Store::Local(state.objects());
                self.apply(&store, state.mesh(), named, std::slice::from_ref(&choice.fsm_namespace))
            }
            Place::Cluster(cluster) => {
                let meshes = cluster.meshes()?;
                let mesh = chosen(&meshes, named);
                if matches!(self, Self::Add { .. }) && !meshes.iter().any(|known| known.mesh == mesh) {
                    bail!(
                        "mesh [{mesh}] does not exist, please specify another mesh using --mesh-name or create a new \
                         mesh: `fsm mesh list` shows those of {}, `fsm install` makes one",
                        cluster.describe()
                    );
                }
                let homes: Vec<_> = meshes.iter().map(|known| known.namespace.clone()).collect();
                self.apply(&Store::Cluster(cluster), &mesh, named, &homes)
            }
        }
    }

    /// `homes` are the namespaces of control planes.
    fn apply(self, store: &Store, mesh: &str, named: Option<&str>, homes: &[String]) -> Result<()> {
        match self {
            Self::Add { namespaces, disable_sidecar_injection } => {
                for namespace in &namespaces {
                    say_line(add(store, mesh, namespace, homes, disable_sidecar_injection)?);
                }
            }
            Self::Remove { namespace } => say_line(remove(store, mesh, &namespace)?),
            Self::Ignore { namespaces } => {
                for namespace in &namespaces {
                    store.edit(namespace, |_| Ok(Some(json!({"labels": {IGNORE: "true"}}))))?;
                    say_line(format!("Successfully configured namespace [{namespace}] to be ignored"));
                }
            }
            Self::List => list(&store.list()?, named)?,
        }
        Ok(())
    }
}

/// The mesh of a cluster that is meant: the one named, else the only one, else FSM's usual name.
pub(super) fn chosen(meshes: &[ControlPlane], named: Option<&str>) -> String {
    match (named, meshes) {
        (Some(name), _) => name.to_owned(),
        (None, [only]) => only.mesh.clone(),
        (None, _) => "fsm".to_owned(),
    }
}

/// Where namespaces are.
enum Store {
    Local(Objects),
    Cluster(Box<Cluster>),
}

impl Store {
    fn list(&self) -> Result<Vec<Value>> {
        Ok(match self {
            Self::Local(objects) => objects.list("Namespace", None)?,
            Self::Cluster(cluster) => cluster.list(types::NAMESPACE, None, Selector::default())?,
        })
    }

    /// Lays what `change` says over the metadata of a namespace that must be there.
    fn edit(&self, namespace: &str, change: impl FnOnce(&Value) -> Result<Option<Value>>) -> Result<()> {
        match self {
            Self::Local(objects) => edit(objects, namespace, change),
            Self::Cluster(cluster) => edit_in_cluster(cluster, namespace, change),
        }
    }
}

fn edit_in_cluster(
    cluster: &Cluster,
    namespace: &str,
    change: impl FnOnce(&Value) -> Result<Option<Value>>,
) -> Result<()> {
    let object = cluster.get(types::NAMESPACE, None, namespace)?.ok_or_else(|| {
        anyhow!(
            "namespaces \"{namespace}\" not found in {}: create it with `kubectl create namespace {namespace}`, or choose \
             a mesh of this machine with --name",
            cluster.describe()
        )
    })?;
    let Some(metadata) = change(&object)? else { return Ok(()) };
    // What was decided holds for what was read: if somebody changed it meanwhile, the API server says so.
    let mut patch = json!({"metadata": metadata});
    patch["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
    match cluster.patch(types::NAMESPACE, None, namespace, &patch) {
        Err(error) if error.is_code(409) => {
            bail!("namespace [{namespace}] was changed by somebody else in this moment: try again")
        }
        outcome => outcome.map(|_| ()).map_err(|error: ClusterError| error.into()),
    }
}

fn add(store: &Store, mesh: &str, namespace: &str, homes: &[String], disable: bool) -> Result<String> {
    if homes.iter().any(|home| home == namespace) {
        return Ok(format!(
            "Namespace [{namespace}] already has [fsm-controller] installed and cannot be added to mesh [{mesh}]"
        ));
    }
    let mut answer = format!("Namespace [{namespace}] successfully added to mesh [{mesh}]");
    store.edit(namespace, |object| {
        if label(object, IGNORE).is_some() {
            bail!(
                "Cannot add ignored namespace [{namespace}]: remove its label with `kubectl label ns {namespace} {IGNORE}-` \
                 (`fsm label …` on this machine)"
            );
        }
        match label(object, MONITORED_BY) {
            Some(other) if other != mesh => {
                bail!("Namespace [{namespace}] has already been added to mesh [{other}]: remove it from there first")
            }
            Some(_) if injection(object) == Some(if disable { "disabled" } else { "enabled" }) => {
                answer = format!("Namespace [{namespace}] has already been added to mesh [{mesh}]");
            }
            _ => {}
        }
        let wanted = if disable { "disabled" } else { "enabled" };
        Ok(Some(json!({"labels": {MONITORED_BY: mesh}, "annotations": {INJECTION: wanted}})))
    })?;
    Ok(answer)
}

fn remove(store: &Store, mesh: &str, namespace: &str) -> Result<String> {
    let mut answer = format!("Namespace [{namespace}] successfully removed from mesh [{mesh}]");
    store.edit(namespace, |object| match label(object, MONITORED_BY) {
        None => {
            answer = format!("Namespace [{namespace}] already does not belong to any mesh");
            Ok(None)
        }
        Some(other) if other != mesh => {
            bail!("Namespace belongs to mesh [{other}], not mesh [{mesh}]. Please specify the correct mesh")
        }
        Some(_) => Ok(Some(json!({
            "labels": {MONITORED_BY: null, IGNORE: null},
            "annotations": {INJECTION: null, METRICS: null},
        }))),
    })?;
    Ok(answer)
}

fn list(namespaces: &[Value], named: Option<&str>) -> Result<()> {
    let mut table = Table::new(["NAMESPACE", "MESH", "SIDECAR-INJECTION"]);
    for namespace in namespaces {
        let Some(mesh) = label(namespace, MONITORED_BY) else { continue };
        if named.is_some_and(|named| named != mesh) {
            continue;
        }
        let injection = match label(namespace, IGNORE) {
            Some(_) => "disabled (ignored)",
            None => injection(namespace).unwrap_or("-"),
        };
        table.row([namespace["metadata"]["name"].as_str().unwrap_or_default(), mesh, injection]);
    }
    match named {
        _ if !table.is_empty() => say(&table.to_string()),
        Some(mesh) => say_line(format!("No namespaces in mesh [{mesh}]")),
        None => say_line("No namespaces in any mesh"),
    }
    Ok(())
}

/// Lays what `change` says over the metadata of a namespace that must be there.
fn edit(objects: &Objects, namespace: &str, change: impl FnOnce(&Value) -> Result<Option<Value>>) -> Result<()> {
    let mut outcome =
        Err(anyhow!("namespaces \"{namespace}\" not found: create it with `fsm create namespace {namespace}`"));
    objects.update(&ObjectName::new("Namespace", "", namespace), |live| {
        let mut object = live?;
        outcome = change(&object).map(|metadata| {
            if let Some(metadata) = metadata {
                merge::patch(&mut object, &json!({"metadata": metadata}));
            }
        });
        Some(object)
    })?;
    outcome
}

fn label<'a>(namespace: &'a Value, key: &str) -> Option<&'a str> {
    namespace.get("metadata")?.get("labels")?.get(key)?.as_str()
}

fn injection(namespace: &Value) -> Option<&str> {
    namespace.get("metadata")?.get("annotations")?.get(INJECTION)?.as_str()
}

/// Puts a namespace of `fsm up DIR` into the mesh, unless it says itself what it wants.
pub(crate) fn adopt(objects: &Objects, mesh: &str, namespace: &str) -> Result<()> {
    edit(objects, namespace, |object| {
        let decided =
            label(object, MONITORED_BY).is_some() || label(object, IGNORE).is_some() || injection(object).is_some();
        let wanted = json!({"labels": {MONITORED_BY: mesh}, "annotations": {INJECTION: "enabled"}});
        Ok((!decided).then_some(wanted))
    })
}
