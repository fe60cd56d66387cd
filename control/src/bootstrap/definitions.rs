//! Installs and upgrades the definitions of custom resources.
//!
//! A definition is FSM's if it has the label `app.kubernetes.io/name: flomesh.io`; it is brought into the state of this
//! version: one version is stored, the others of this version are served, and versions that only the cluster has stay
//! served and are not stored. There is no conversion webhook: the definitions of all versions store the same fields, and a
//! conversion that asks the control plane is how a cluster locks itself up. When another version was stored before,
//! all objects are written once more, so that the old version can go one day ([`super::migrate`]).
//!
//! Somebody else's definition (another mesh that brings SMI) is never changed: it is enough if it serves the version
//! that is needed. What cannot be changed in place (its scope) is left as it is, and said.

use crate::reconcile::{Cluster, ClusterError, Place, RECONCILE_LABEL, Step, Upkeep, as_kept, resource, step};
use crate::webhook::configuration::{NAME, NAME_LABEL};
use fsm_api::resources::{Kind, crds};
use kube::core::ApiResource;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;
use tracing::{info, warn};

/// Why the definitions are not as they should be.
#[derive(Debug, Error)]
pub enum DefinitionError {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Somebody else's definition does not do.
    #[error(
        "CustomResourceDefinition {name} belongs to somebody else (it has no label {NAME_LABEL}: {NAME}) and does not serve \
         {version}, which the mesh needs; label it so to hand it over, or remove what brought it"
    )]
    Foreign {
        /// Its name.
        name: String,
        /// What is missing.
        version: String,
    },
    /// The API server has not taken one into service yet.
    #[error("CustomResourceDefinition {name} is not served yet{reason}")]
    NotServed {
        /// Its name.
        name: String,
        /// What its conditions say.
        reason: String,
    },
}

/// What is to be done about one definition.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Bring it into this state.
    Bring(Step),
    /// Leave it as it is: it is somebody else's, and good enough.
    LeaveToOwner,
    /// Leave it as it is: this cannot be changed in place.
    Unchangeable {
        /// What.
        field: &'static str,
        /// As it is.
        found: String,
        /// As it should be.
        wanted: String,
    },
    /// It is somebody else's, and does not serve this version.
    Foreign {
        /// The version.
        version: String,
    },
}

/// The kind of definitions.
pub fn definition_resource() -> ApiResource {
    resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
}

/// The definitions of this version, as they are to be in a cluster.
pub fn definitions(reconciled: bool) -> Vec<Value> {
    let finished = crds().into_iter().filter_map(|definition| {
        let mut definition = serde_json::to_value(definition).ok()?;
        definition["metadata"]["labels"][RECONCILE_LABEL] = reconciled.to_string().into();
        definition["spec"]["conversion"] = json!({"strategy": "None"});
        Some(definition)
    });
    finished.collect()
}

/// What is to be done about a definition.
pub fn plan(found: Option<&Value>, wanted: &Value) -> Plan {
    let Some(found) = found else { return Plan::Bring(Step::Create(wanted.clone())) };
    if found["metadata"]["labels"][NAME_LABEL] != NAME {
        let version = stored(wanted);
        let serves = versions(found).any(|found| found["name"] == version && found["served"] == true);
        return if serves { Plan::LeaveToOwner } else { Plan::Foreign { version: version.to_owned() } };
    }
    for (field, pointer) in [("scope", "/spec/scope"), ("group", "/spec/group"), ("kind", "/spec/names/kind")] {
        let text = |object: &Value| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (found, wanted) = (text(found), text(wanted));
        if found != wanted {
            return Plan::Unchangeable { field, found, wanted };
        }
    }
    let mut wanted = wanted.clone();
    keep_served(found, &mut wanted);
    leave_out_unclaimable(found, &mut wanted);
    let mut step = step(Some(found), &wanted);
    if let Step::Replace(object) = &mut step {
        // A conversion webhook of before is gone with whatever it said.
        object["spec"]["conversion"] = json!({"strategy": "None"});
    }
    Plan::Bring(step)
}

/// Versions that only the cluster has: objects may be asked for in them, so they stay, but are not stored.
fn keep_served(found: &Value, wanted: &mut Value) {
    let known: BTreeSet<String> = versions(wanted).filter_map(|v| Some(v["name"].as_str()?.to_owned())).collect();
    let others = versions(found).filter(|version| version["name"].as_str().is_none_or(|name| !known.contains(name)));
    let others: Vec<Value> = others
        .cloned()
        .map(|mut version| {
            version["storage"] = false.into();
            version
        })
        .collect();
    if let Some(Value::Array(versions)) = wanted.pointer_mut("/spec/versions") {
        versions.extend(others);
    }
}

/// A short name that is the singular, too (FSM's `egress`), can be claimed with a new definition only: where the singular has
/// been accepted, it is taken, if only by the definition itself. Nobody misses it: the singular is understood.
fn leave_out_unclaimable(found: &Value, wanted: &mut Value) {
    let short = |object: &Value| object.pointer("/spec/names/shortNames").and_then(Value::as_array).cloned();
    let Some(singular) = wanted.pointer("/spec/names/singular").cloned() else { return };
    let (before, mut names) = (short(found).unwrap_or_default(), short(wanted).unwrap_or_default());
    if before.contains(&singular) || !names.contains(&singular) {
        return;
    }
    names.retain(|name| *name != singular);
    let Some(fields) = wanted.pointer_mut("/spec/names").and_then(Value::as_object_mut) else { return };
    // An empty list takes others away; where there are none, API servers do not show one.
    match names.is_empty() && before.is_empty() {
        true => fields.remove("shortNames"),
        false => fields.insert("shortNames".to_owned(), names.into()),
    };
}

/// The version in which objects are stored.
pub fn stored(definition: &Value) -> &str {
    let stored = versions(definition).find(|version| version["storage"] == true);
    stored.and_then(|version| version["name"].as_str()).unwrap_or_default()
}

fn versions(definition: &Value) -> impl Iterator<Item = &Value> {
    definition["spec"]["versions"].as_array().into_iter().flatten()
}

/// Why a definition is not served yet; `None`: it is.
pub fn not_served(definition: &Value) -> Option<String> {
    let conditions = definition["status"]["conditions"].as_array();
    let condition = |name: &str| conditions.into_iter().flatten().find(|condition| condition["type"] == name);
    if condition("Established").is_some_and(|condition| condition["status"] == "True") {
        return None;
    }
    let names = condition("NamesAccepted").filter(|condition| condition["status"] == "False");
    let message = names.and_then(|condition| condition["message"].as_str());
    Some(message.map(|message| format!(": {message}")).unwrap_or_default())
}

/// Keeps all definitions.
#[derive(Debug)]
pub struct Definitions {
    cluster: Cluster,
    wanted: Vec<Value>,
    /// By name: what the API server made of what was written last, and that.
    taken: BTreeMap<String, (Value, Value)>,
    /// What was said once is not said again.
    said: BTreeSet<String>,
}

impl Definitions {
    /// Keeps them as soon as it is asked to.
    pub fn new(cluster: Cluster, reconciled: bool) -> Self {
        let wanted = definitions(reconciled);
        Self { cluster, wanted, taken: BTreeMap::new(), said: BTreeSet::new() }
    }

    /// Brings one definition into its state; whether it was written.
    async fn bring_one(&mut self, wanted: &Value) -> Result<bool, DefinitionError> {
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
        let place = Place::new(definition_resource(), "", name);
        let found = self.cluster.get(&place).await?;
        let normal = match self.taken.get(name) {
            Some((before, normal)) if before == wanted => normal,
            _ => wanted,
        };
        let kept = match plan(found.as_ref(), normal) {
            Plan::Bring(Step::Nothing) => return Ok(false),
            Plan::Bring(Step::Create(_)) => self.cluster.create(&place, wanted).await?,
            Plan::Bring(Step::Replace(object)) => self.cluster.replace(&place, &object).await?,
            Plan::LeaveToOwner => {
                self.say(format!("{place} belongs to somebody else and is left as it is; it serves what is needed"));
                return Ok(false);
            }
            Plan::Unchangeable { field, found, wanted } => {
                self.say(format!(
                    "{place} has the {field} {found}, and of this version it is {wanted}, which cannot be changed in place: \
                     save its objects, delete the definition, and it is made again"
                ));
                return Ok(false);
            }
            Plan::Foreign { version } => return Err(DefinitionError::Foreign { name: name.to_owned(), version }),
        };
        let normal = as_kept(wanted, &kept);
        self.taken.insert(name.to_owned(), (wanted.clone(), normal));
        Ok(true)
    }

    fn say(&mut self, text: String) {
        if !self.said.contains(&text) {
            warn!("{text}");
            self.said.insert(text);
        }
    }

    /// Whether all of them are served.
    async fn served(&self) -> Result<(), DefinitionError> {
        for wanted in &self.wanted {
            let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
            let place = Place::new(definition_resource(), "", name);
            let found = self.cluster.get(&place).await?;
            if let Some(reason) = not_served(&found.unwrap_or_default()) {
                return Err(DefinitionError::NotServed { name: name.to_owned(), reason });
            }
        }
        Ok(())
    }
}

impl Upkeep for Definitions {
    type Error = DefinitionError;

    fn kind(&self) -> &'static str {
        "CustomResourceDefinition"
    }

    async fn bring(&mut self) -> Result<usize, DefinitionError> {
        let (mut written, mut failure) = (0, None);
        for wanted in self.wanted.clone() {
            // One that fails does not keep the others away.
            match self.bring_one(&wanted).await {
                Ok(one) => written += usize::from(one),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if written > 0 {
            info!("{written} definitions of custom resources are new or changed");
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.served().await?;
        super::migrate::migrate(&self.cluster).await;
        Ok(written)
    }
}

/// Whether a kind has a definition of FSM's.
pub fn name_of(kind: &Kind) -> Option<String> {
    kind.names().map(|names| format!("{}.{}", names.plural, names.group))
}

#[cfg(test)]
mod tests;
