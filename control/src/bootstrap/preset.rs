//! Makes the mesh's MeshConfig and MeshRootCertificate from what the chart presets, and never overwrites what is there.
//!
//! On an upgrade the preset may have fields that the MeshConfig does not have: these are added with the preset's values.
//! What users changed stays, and so does what they took away: fields of the preset of before that are not there any more are
//! not added again. Which preset that was is kept in an annotation.

use crate::reconcile::{Cluster, ClusterError, Place, resource};
use fsm_api::resources::Kind;
use serde_json::{Map, Value, json};
use thiserror::Error;
use tracing::info;

/// What `kubectl apply` compares with: without it the first apply by a user would not know what to take away.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The preset that was merged last.
const PRESET: &str = "flomesh.io/preset";

/// Why an object cannot be made.
#[derive(Debug, Error)]
pub enum PresetError {
    /// The API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The chart did not say what to make.
    #[error(
        "ConfigMap {namespace}/{name} with the preset is not there or has no key {key}; the chart makes it: install or \
         upgrade the mesh with it, or apply the object yourself"
    )]
    Missing {
        /// Where it should be.
        namespace: String,
        /// Its name.
        name: &'static str,
        /// Its key.
        key: &'static str,
    },
    /// What it says is no spec.
    #[error("{key} of ConfigMap {namespace}/{name} is no JSON object: {source}; correct the values of the chart")]
    Invalid {
        /// Where it is.
        namespace: String,
        /// Its name.
        name: &'static str,
        /// Its key.
        key: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// What is preset.
#[derive(Clone, Debug)]
pub struct Preset {
    kind: Kind,
    /// Of the object.
    name: String,
    map: &'static str,
    key: &'static str,
}

impl Preset {
    /// The mesh's settings.
    pub fn mesh_config(name: &str) -> Self {
        let (map, key) = ("preset-mesh-config", "preset-mesh-config.json");
        Self { kind: Kind::MeshConfig, name: name.to_owned(), map, key }
    }

    /// Who issues the mesh's certificates.
    pub fn root_certificate() -> Self {
        let (map, key) = ("preset-mesh-root-certificate", "preset-mesh-root-certificate.json");
        Self { kind: Kind::MeshRootCertificate, name: "fsm-mesh-root-certificate".to_owned(), map, key }
    }

    /// Makes the object if it is not there, else adds what is new.
    ///
    /// # Errors
    /// [`PresetError`].
    pub async fn bring(&self, cluster: &Cluster, namespace: &str) -> Result<(), PresetError> {
        let Some(place) = Place::of(&self.kind, namespace, &self.name) else { return Ok(()) };
        let found = cluster.get(&place).await?;
        let spec = match self.read(cluster, namespace).await {
            // Somebody made the object without a chart.
            Err(PresetError::Missing { .. }) if found.is_some() => return Ok(()),
            spec => spec?,
        };
        let Some(found) = found else {
            cluster.create(&place, &self.object(&place, &spec)).await?;
            info!("{place} made from its preset");
            return Ok(());
        };
        let Some(upgraded) = upgraded(&found, &spec) else { return Ok(()) };
        cluster.replace(&place, &upgraded).await?;
        info!("{place} has what is new in its preset");
        Ok(())
    }

    async fn read(&self, cluster: &Cluster, namespace: &str) -> Result<Value, PresetError> {
        let (name, key) = (self.map, self.key);
        let place = Place::new(resource("", "v1", "ConfigMap", "configmaps"), namespace, name);
        let map = cluster.get(&place).await?;
        let text = map.as_ref().and_then(|map| map["data"][key].as_str());
        let text = text.ok_or_else(|| PresetError::Missing { namespace: namespace.to_owned(), name, key })?;
        let spec: Map<String, Value> = serde_json::from_str(text).map_err(|source| PresetError::Invalid {
            namespace: namespace.to_owned(),
            name,
            key,
            source,
        })?;
        Ok(Value::Object(spec))
    }

    fn object(&self, place: &Place, spec: &Value) -> Value {
        let mut object = json!({
            "apiVersion": place.resource.api_version, "kind": place.resource.kind,
            "metadata": {"name": place.name, "namespace": place.namespace},
            "spec": spec,
        });
        let applied = object.to_string();
        object["metadata"]["annotations"] = json!({LAST_APPLIED: applied, PRESET: spec.to_string()});
        object
    }
}

/// An object with what is new in a preset; `None`: nothing is.
pub fn upgraded(found: &Value, preset: &Value) -> Option<Value> {
    let annotation = |name: &str| found["metadata"]["annotations"][name].as_str();
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    // An object of FSM's has kubectl's annotation only, with the preset that it was made from, or what a user applied.
    let before = annotation(PRESET).and_then(parsed);
    let before = before.or_else(|| annotation(LAST_APPLIED).and_then(parsed).map(|mut object| object["spec"].take()));
    let before = before.unwrap_or_default();
    if before == *preset && annotation(PRESET).is_some() {
        return None;
    }
    let mut object = found.clone();
    add_new(&mut object["spec"], &before, preset);
    let metadata = object["metadata"].as_object_mut()?;
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    annotations[PRESET] = preset.to_string().into();
    Some(object)
}

/// Adds the fields of the preset that neither the object nor the preset of before has.
fn add_new(object: &mut Value, before: &Value, preset: &Value) {
    let Value::Object(preset) = preset else { return };
    if object.is_null() {
        *object = json!({});
    }
    let Some(object) = object.as_object_mut() else { return };
    for (key, preset) in preset {
        let before = before.get(key);
        match object.get_mut(key) {
            Some(there) => add_new(there, before.unwrap_or(&Value::Null), preset),
            None if before.is_none() => {
                object.insert(key.clone(), preset.clone());
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::{LAST_APPLIED, PRESET, upgraded};
    use serde_json::{Value, json};

    fn object(spec: Value, annotations: Value) -> Value {
        json!({"metadata": {"name": "fsm-mesh-config", "resourceVersion": "7", "annotations": annotations}, "spec": spec})
    }

    #[test]
    fn new_fields_come_and_what_users_changed_or_took_away_stays() {
        let before = json!({"traffic": {"enableEgress": true, "gone": 1}, "sidecar": {"logLevel": "error"}});
        let live = json!({"traffic": {"enableEgress": false}, "sidecar": {"logLevel": "debug"}, "own": 1});
        let preset = json!({"traffic": {"enableEgress": true, "gone": 1, "new": 2}, "sidecar": {"logLevel": "info"}, "warmup": {"enable": false}});
        let wanted = json!({"traffic": {"enableEgress": false, "new": 2}, "sidecar": {"logLevel": "debug"}, "own": 1, "warmup": {"enable": false}});
        let ours = object(live.clone(), json!({PRESET: before.to_string(), "a": "b"}));
        let upgrade = upgraded(&ours, &preset).unwrap();
        assert_eq!(upgrade["spec"], wanted);
        assert_eq!(upgrade["metadata"]["resourceVersion"], "7");
        assert_eq!(upgrade["metadata"]["annotations"]["a"], "b");
        assert_eq!(upgraded(&upgrade, &preset), None, "the second time there is nothing to do");

        let of_fsm = object(live.clone(), json!({LAST_APPLIED: json!({"spec": before}).to_string()}));
        assert_eq!(upgraded(&of_fsm, &preset).unwrap()["spec"], wanted);
        let by_hand = json!({"metadata": {"name": "a"}, "spec": live});
        assert_eq!(upgraded(&by_hand, &preset).unwrap()["spec"]["traffic"]["gone"], 1);
    }
}
