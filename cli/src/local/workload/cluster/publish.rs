//! The objects that this program writes: Pods with their status, EndpointSlices, and the status of workloads. Only
//! what has changed since the last time is given out.

use super::owners::{JobRecord, Kind};
use crate::local::workload::endpoints;
use crate::local::workload::objects::{Key, Wanted};
use crate::local::workload::pod::{Calendar, Life};
use crate::local::workload::sets::{Ended, JobState, Member};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A change to the objects that others read. Kinds are named as the state directory does.
#[derive(Clone, Debug, PartialEq)]
pub enum Publication {
    /// Write this object as a whole.
    Put {
        /// `Pod` or `EndpointSlice.discovery.k8s.io`.
        kind: &'static str,
        /// Namespace and name.
        key: Key,
        /// With `apiVersion`, `kind` and `metadata`.
        object: Value,
    },
    /// Remove this object.
    Remove {
        /// As above.
        kind: &'static str,
        /// Namespace and name.
        key: Key,
    },
    /// Set the status of a user's object and leave the rest alone. Nothing if it is not there any more.
    Status {
        /// Such as `Deployment.apps`.
        kind: &'static str,
        /// Namespace and name.
        key: Key,
        /// What becomes `status`.
        status: Value,
    },
}

type Name = (&'static str, Key);

pub(super) struct Publisher {
    calendar: Calendar,
    objects: BTreeMap<Name, Value>,
    statuses: BTreeMap<Name, Value>,
    /// Written by an earlier run, and removed unless they are written anew.
    adopted: BTreeSet<Name>,
    /// Written anew in this round.
    fresh: BTreeSet<Name>,
}

impl Publisher {
    pub(super) fn new(epoch: Timestamp) -> Self {
        Self {
            calendar: Calendar { epoch },
            objects: BTreeMap::new(),
            statuses: BTreeMap::new(),
            adopted: BTreeSet::new(),
            fresh: BTreeSet::new(),
        }
    }

    /// Takes over a pod that an earlier run has written.
    pub(super) fn adopt(&mut self, key: &Key) {
        self.adopted.insert(("Pod", key.clone()));
    }

    /// `changed`: pods whose object may have changed.
    pub(super) fn publish(
        &mut self,
        wanted: &Wanted,
        lives: &[&Life],
        changed: &BTreeSet<Key>,
        statuses: Vec<(&'static str, Key, Value)>,
    ) -> Vec<Publication> {
        let mut present = BTreeMap::new();
        for life in lives {
            let key = (life.id().namespace.clone(), life.id().name.clone());
            let name = ("Pod", key);
            let object = match self.objects.remove(&name) {
                Some(object) if !changed.contains(&name.1) => object,
                before => {
                    let object = typed("v1", "Pod", &life.object(self.calendar));
                    if before.as_ref() != Some(&object) {
                        self.fresh.insert(name.clone());
                    }
                    object
                }
            };
            present.insert(name, object);
        }
        for (key, service) in &wanted.services {
            let of_namespace = lives.iter().copied().filter(|life| life.id().namespace == key.0);
            for slice in endpoints::slices(service, of_namespace) {
                let name = slice.metadata.name.clone().unwrap_or_default();
                let name = ("EndpointSlice.discovery.k8s.io", (key.0.clone(), name));
                let object = typed("discovery.k8s.io/v1", "EndpointSlice", &slice);
                if self.objects.remove(&name).as_ref() != Some(&object) {
                    self.fresh.insert(name.clone());
                }
                present.insert(name, object);
            }
        }
        let adopted = std::mem::take(&mut self.adopted).into_iter().filter(|name| !present.contains_key(name));
        // What is left here was not found again.
        let gone: BTreeSet<Name> = std::mem::take(&mut self.objects).into_keys().chain(adopted).collect();
        self.objects = present;
        let mut publications: Vec<Publication> =
            gone.into_iter().map(|(kind, key)| Publication::Remove { kind, key }).collect();
        for name in std::mem::take(&mut self.fresh) {
            if let Some(object) = self.objects.get(&name) {
                publications.push(Publication::Put { kind: name.0, key: name.1, object: object.clone() });
            }
        }
        let mut latest = BTreeMap::new();
        for (kind, key, status) in statuses {
            if self.statuses.get(&(kind, key.clone())) != Some(&status) {
                publications.push(Publication::Status { kind, key: key.clone(), status: status.clone() });
            }
            latest.insert((kind, key), status);
        }
        self.statuses = latest;
        publications
    }

    pub(super) fn job_status(&self, record: &JobRecord, lives: &[&Life]) -> Value {
        let count = |fits: &dyn Fn(&Life) -> bool| lives.iter().filter(|life| fits(life)).count();
        let active = count(&|life| life.ended().is_none() && !life.is_terminating());
        let mut status = json!({
            "active": active,
            "ready": count(&|life| life.ready_since().is_some() && !life.is_terminating()),
            "succeeded": count(&|life| matches!(life.ended(), Some(Ended::Succeeded(_)))),
            "failed": count(&|life| matches!(life.ended(), Some(Ended::Failed(_)))),
            "startTime": self.calendar.date(record.started),
        });
        let Some(finished) = record.finished else { return status };
        let date = self.calendar.date(finished);
        let (kind, reason) = match record.state {
            JobState::Complete => ("Complete", "CompletionsReached"),
            JobState::TooLate => ("Failed", "DeadlineExceeded"),
            JobState::Failed | JobState::Running => ("Failed", "BackoffLimitExceeded"),
        };
        if kind == "Complete" {
            status["completionTime"] = json!(date);
        }
        status["conditions"] = json!([{"type": kind, "status": "True", "reason": reason, "lastTransitionTime": date}]);
        status
    }
}

/// The status of a set of pods.
pub(super) fn set_status(kind: Kind, key: Key, revision: &str, members: &[Member]) -> (&'static str, Key, Value) {
    let active: Vec<&Member> = members.iter().filter(|m| !m.is_terminating && m.ended.is_none()).collect();
    let ready = active.iter().filter(|member| member.ready_since.is_some()).count();
    let updated = active.iter().filter(|member| member.revision == revision).count();
    let total = active.len();
    let (name, status) = match kind {
        Kind::Deployment => (
            "Deployment.apps",
            json!({
                "replicas": total, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": ready,
                "unavailableReplicas": total - ready,
            }),
        ),
        Kind::StatefulSet => (
            "StatefulSet.apps",
            json!({
                "replicas": total, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": ready,
                "currentReplicas": updated,
            }),
        ),
        Kind::DaemonSet => (
            "DaemonSet.apps",
            json!({
                "desiredNumberScheduled": 1, "currentNumberScheduled": total, "numberReady": ready,
                "numberAvailable": ready, "updatedNumberScheduled": updated, "numberMisscheduled": 0,
            }),
        ),
        Kind::ReplicaSet | Kind::Job => {
            ("ReplicaSet.apps", json!({"replicas": total, "readyReplicas": ready, "availableReplicas": ready}))
        }
    };
    (name, key, status)
}

fn typed(version: &str, kind: &str, object: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or(Value::Null);
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), json!(version));
        map.insert("kind".to_owned(), json!(kind));
    }
    value
}
