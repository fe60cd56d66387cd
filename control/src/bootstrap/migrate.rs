//! When another version of a kind was stored before: writes all its objects once more, and then tells the API server that
//! nothing is stored in the old version any more. Without that, a definition can never lose a version.
//!
//! An object that cannot be written (it breaks a rule that came later) keeps the old version on the list; everything
//! works as before, and it is said. Nothing is changed in any object.

use super::definitions::{definition_resource, stored};
use crate::reconcile::{Cluster, ClusterError, Place, resource};
use crate::webhook::configuration::{NAME, NAME_LABEL};
use serde_json::{Value, json};
use tracing::{info, warn};

/// Migrates all kinds of FSM that need it. Never fails: what did not go is said and tried again next time.
pub(super) async fn migrate(cluster: &Cluster) {
    let definitions = cluster.list(&definition_resource(), "", &format!("{NAME_LABEL}={NAME}")).await;
    let definitions = match definitions {
        Ok(definitions) => definitions,
        Err(error) => return warn!("cannot see in which versions objects are stored: {error}"),
    };
    for definition in definitions.iter().filter(|definition| has_old(definition)) {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        match migrate_one(cluster, definition).await {
            Ok(count) => info!("{count} objects of {name} are stored in {} now", stored(definition)),
            Err(error) => warn!("objects of {name} stay stored in an old version: {error}"),
        }
    }
}

/// Whether objects may be stored in another version than the one that is written.
pub(super) fn has_old(definition: &Value) -> bool {
    let stored = stored(definition);
    let versions = definition["status"]["storedVersions"].as_array();
    versions.is_some_and(|versions| versions.iter().any(|version| version != stored))
}

async fn migrate_one(cluster: &Cluster, definition: &Value) -> Result<usize, ClusterError> {
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let version = stored(definition);
    let kind = resource(text("/spec/group"), version, text("/spec/names/kind"), text("/spec/names/plural"));
    let objects = cluster.list(&kind, "", "").await?;
    for object in &objects {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let place = Place::new(kind.clone(), text("namespace"), text("name"));
        match cluster.replace(&place, object).await {
            Ok(_) => {}
            // Whoever wrote or deleted it meanwhile has done the work.
            Err(error) if error.is_conflict() || matches!(error, ClusterError::Refused { code: 404, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let place = Place::new(definition_resource(), "", text("/metadata/name"));
    cluster.merge_status(&place, &json!({ "storedVersions": [version] })).await?;
    Ok(objects.len())
}
