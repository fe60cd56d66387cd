//! What is not followed is not missing.
//!
//! Services, their endpoints and Secrets are followed in the namespaces that the mesh needs, and a policy may be judged before
//! a namespace that only it names is. A problem that follows from the absence of an object there is a guess, and not told:
//! it is found again, or not, as soon as everything of the namespace is here.

use super::World;
use crate::world::Problem;
use fsm_api::resources::Kind;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Reasons of problems that are there because an object is not.
const OF_ABSENCE: [&str; 4] = ["MissingSecret", "NoEndpoints", "UnknownRoot", "UnknownService"];

/// The same, of services that have to be in the mesh: of those of other namespaces they are true in any case.
const OF_ABSENCE_IN_MESH: [&str; 5] =
    ["MissingBackend", "MissingPort", "NoCommonPort", "UnknownBackend", "UnknownPort"];

impl World {
    /// Of this kind, everything that is in these namespaces is here now, and nothing of others (`None`: everything is).
    pub fn set_complete(&mut self, kind: Kind, namespaces: Option<Arc<BTreeSet<String>>>) {
        match namespaces {
            Some(namespaces) => drop(self.complete.insert(kind, namespaces)),
            None => drop(self.complete.remove(&kind)),
        }
    }

    /// Whether an object of this kind that is not here does not exist.
    pub fn is_complete_in(&self, kind: &Kind, namespace: &str) -> bool {
        self.complete.get(kind).is_none_or(|namespaces| namespaces.contains(namespace))
    }

    /// Whether a problem follows from the absence of something that may only not have come yet.
    pub fn is_guess(&self, problem: &Problem) -> bool {
        let in_mesh = OF_ABSENCE_IN_MESH.contains(&problem.reason);
        if !in_mesh && !OF_ABSENCE.contains(&problem.reason) {
            return false;
        }
        problem.objects.iter().filter_map(|object| kind_and_namespace(object)).any(|(kinds, namespace)| {
            (!in_mesh || self.is_monitored(namespace)) && !kinds.iter().all(|kind| self.is_complete_in(kind, namespace))
        })
    }
}

/// What has to be here for a word about an object (`Kind namespace/name`), and where.
fn kind_and_namespace(object: &str) -> Option<(&'static [Kind], &str)> {
    let (kind, name) = object.split_once(' ')?;
    let (namespace, _) = name.split_once('/')?;
    let kinds: &[Kind] = match kind {
        "Service" => &[Kind::Service, Kind::EndpointSlice, Kind::Endpoints],
        "Secret" => &[Kind::Secret],
        _ => return None,
    };
    Some((kinds, namespace))
}
