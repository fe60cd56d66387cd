//! What is wrong with the objects that a document is made of.

use crate::world::{NamespacedName, Problem, Severity};
use fsm_api::resources::{Kind, ObjectKey};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeSet;

/// The problems of one build, each once.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: BTreeSet<Problem>,
}

impl Problems {
    /// An object, or a part of one, has no effect. The first object is the one that has none.
    pub(super) fn error(&mut self, objects: Vec<ObjectKey>, reason: &'static str, text: impl Into<String>) {
        self.add(Severity::Error, objects, reason, text.into());
    }

    /// Everything works as written, but it is probably not what was meant.
    pub(super) fn warning(&mut self, objects: Vec<ObjectKey>, reason: &'static str, text: impl Into<String>) {
        self.add(Severity::Warning, objects, reason, text.into());
    }

    /// A policy has no effect because the mesh does not honour its kind.
    pub(super) fn switched_off(&mut self, policy: ObjectKey, mesh_config: ObjectKey, flag: &str) {
        let text = format!(
            "has no effect, because {mesh_config} does not set `spec.featureFlags.{flag}`; set it to true to have the \
             policy honoured"
        );
        self.warning(vec![policy, mesh_config], "FeatureDisabled", text);
    }

    /// Takes over what was found for another group.
    pub(super) fn extend(&mut self, found: &[Problem]) {
        self.found.extend(found.iter().cloned());
    }

    pub(super) fn into_sorted(self) -> Vec<Problem> {
        self.found.into_iter().collect()
    }

    fn add(&mut self, severity: Severity, objects: Vec<ObjectKey>, reason: &'static str, text: String) {
        let objects = objects.iter().map(ObjectKey::to_string).collect();
        self.found.insert(Problem { severity, objects, reason, text });
    }
}

/// An object by its name.
pub(super) fn object(kind: Kind, name: &NamespacedName) -> ObjectKey {
    ObjectKey::new(kind, &name.namespace, &name.name)
}

/// An object by its metadata.
pub(super) fn described(kind: Kind, metadata: &ObjectMeta) -> ObjectKey {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    ObjectKey::new(kind, part(&metadata.namespace), part(&metadata.name))
}
