//! `fsm metrics`: whether Prometheus looks at the sidecars of a namespace. Words and annotations are those of FSM.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::namespace::{METRICS, MONITORED_BY};
use super::{MeshChoice, Place, merge, say_line};
use crate::cluster::{Cluster, Selector, types};
use crate::local::state::{ObjectName, Objects};

/// Label of pods that have a sidecar.
const PROXY: &str = "fsm-proxy-uuid";

/// `fsm metrics`.
#[derive(Debug, Subcommand)]
pub(super) enum Metrics {
    /// Let Prometheus scrape the sidecars of namespaces, of pods that run and of those to come
    Enable(Namespaces),
    /// Let Prometheus leave the sidecars of namespaces alone
    Disable(Namespaces),
}

/// Which namespaces.
#[derive(Debug, Args)]
pub(super) struct Namespaces {
    /// A namespace of the mesh (repeatable, or with commas)
    #[arg(long = "namespace", short = 'n', required = true, value_name = "NS", value_delimiter = ',')]
    namespaces: Vec<String>,
}

impl Metrics {
    pub(super) fn run(self, choice: &MeshChoice) -> Result<()> {
        let (namespaces, enable) = match self {
            Self::Enable(chosen) => (chosen.namespaces, true),
            Self::Disable(chosen) => (chosen.namespaces, false),
        };
        let store = match choice.place()? {
            Place::Local(state) => Store::Local(state.objects()),
            Place::Cluster(cluster) => Store::Cluster(cluster),
        };
        for namespace in &namespaces {
            set(&store, namespace, enable)?;
            let done = if enable { "enabled" } else { "disabled" };
            say_line(format!("Metrics successfully {done} in namespace [{namespace}]"));
        }
        Ok(())
    }
}

fn set(store: &Store, namespace: &str, enable: bool) -> Result<()> {
    let Some(object) = store.namespace(namespace)? else {
        bail!("namespaces \"{namespace}\" not found in {}", store.describe());
    };
    if object["metadata"]["labels"].get(MONITORED_BY).is_none() {
        bail!("Namespace [{namespace}] does not belong to any mesh: add it with `fsm namespace add {namespace}` first");
    }
    let wanted = if enable { json!("enabled") } else { json!("disabled") };
    store.patch_namespace(namespace, &json!({"metadata": {"annotations": {METRICS: wanted}}}))?;
    store.patch_pods(namespace, &annotations(enable))
}

/// What a pod is annotated with.
fn annotations(enable: bool) -> Value {
    let annotations = if enable {
        json!({"prometheus.io/scrape": "true", "prometheus.io/port": "15010", "prometheus.io/path": "/stats/prometheus"})
    } else {
        json!({"prometheus.io/scrape": null, "prometheus.io/port": null, "prometheus.io/path": null})
    };
    json!({"metadata": {"annotations": annotations}})
}

/// Where namespaces and pods are.
enum Store {
    Local(Objects),
    Cluster(Box<Cluster>),
}

impl Store {
    fn describe(&self) -> String {
        match self {
            Self::Local(_) => "the mesh of this machine".to_owned(),
            Self::Cluster(cluster) => cluster.describe(),
        }
    }

    fn namespace(&self, name: &str) -> Result<Option<Value>> {
        Ok(match self {
            Self::Local(objects) => objects.get(&ObjectName::new("Namespace", "", name))?,
            Self::Cluster(cluster) => cluster.get(types::NAMESPACE, None, name)?,
        })
    }

    fn patch_namespace(&self, name: &str, patch: &Value) -> Result<()> {
        match self {
            Self::Local(objects) => overlay(objects, &ObjectName::new("Namespace", "", name), patch)?,
            Self::Cluster(cluster) => {
                cluster.patch(types::NAMESPACE, None, name, patch)?;
            }
        }
        Ok(())
    }

    /// Of pods with a sidecar.
    fn patch_pods(&self, namespace: &str, patch: &Value) -> Result<()> {
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        match self {
            Self::Local(objects) => {
                for pod in objects.list("Pod", Some(namespace))? {
                    if pod["metadata"]["labels"].get(PROXY).is_some() {
                        overlay(objects, &ObjectName::new("Pod", namespace, &name(&pod)), patch)?;
                    }
                }
            }
            Self::Cluster(cluster) => {
                for pod in cluster.list(types::POD, Some(namespace), Selector::labels(PROXY))? {
                    match cluster.patch(types::POD, Some(namespace), &name(&pod), patch) {
                        // It has ended meanwhile.
                        Err(error) if error.is_code(404) => {}
                        outcome => {
                            outcome?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn overlay(objects: &Objects, name: &ObjectName, patch: &Value) -> Result<()> {
    objects.update(name, |live| {
        live.map(|mut object| {
            merge::patch(&mut object, patch);
            object
        })
    })?;
    Ok(())
}
