//! Looks for what is wrong with the users' objects: with each by itself, with what it refers to, and between two of them.
//!
//! Every finding names the objects, what the mesh does about it and what would be right. The findings follow from the
//! objects as they are, never from the order in which they came.

mod access;
mod egress;
mod guess;
mod smi;
mod workload;

use super::World;
use super::model::NamespacedName;
use super::objects::{Policy, age_key};
use super::problem::{Problem, Severity};
use fsm_api::resources::{Kind, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl World {
    /// Conflicting and broken objects, in a fixed order. Looks at every policy: to be asked after a burst of changes, not
    /// after each.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Findings::default();
        self.find_in_settings(&mut found);
        self.find_in_services(&mut found);
        self.find_in_targets(&mut found);
        self.find_in_splits(&mut found);
        self.find_in_settings_of_hosts(&mut found);
        self.find_in_retries(&mut found);
        self.find_in_egress(&mut found);
        self.find_in_gateways(&mut found);
        self.find_in_ingress_backends(&mut found);
        self.find_in_access_controls(&mut found);
        self.find_in_isolations(&mut found);
        self.find_in_plugins(&mut found);
        self.find_in_imports(&mut found);
        found.0.into_iter().filter(|problem| !self.is_guess(problem)).collect()
    }

    /// The policies of a kind that count, by name; every other one is reported once, unless it is another mesh's.
    fn counting<'a, P: Policy + 'a>(
        &'a self,
        kind: Kind,
        found: &mut Findings,
    ) -> impl Iterator<Item = (&'a NamespacedName, &'a Arc<P>)> + use<'a, P> {
        let strays = P::kept(&self.objects).keys().filter(|name| !self.policy_counts(name));
        for name in strays.filter(|name| !self.is_of_another_mesh(&name.namespace)) {
            found.warn(
                [key(&kind, name)],
                "NamespaceNotInMesh",
                format!(
                    "has no effect because namespace {} is not in the mesh; run `fsm namespace add {}`, or \
                        remove the object",
                    name.namespace, name.namespace
                ),
            );
        }
        P::kept(&self.objects).iter().filter(|(name, _)| self.policy_counts(name))
    }

    /// Whether a service is there at all, in the mesh or not.
    fn is_there(&self, service: &NamespacedName) -> bool {
        self.objects.services.contains_key(service) || self.objects.imports.contains_key(service)
    }
}

/// What was found, each finding once.
#[derive(Debug, Default)]
struct Findings(BTreeSet<Problem>);

impl Findings {
    fn fail(&mut self, objects: impl IntoIterator<Item = ObjectKey>, reason: &'static str, text: String) {
        self.add(Severity::Error, objects, reason, text);
    }

    fn warn(&mut self, objects: impl IntoIterator<Item = ObjectKey>, reason: &'static str, text: String) {
        self.add(Severity::Warning, objects, reason, text);
    }

    fn add(
        &mut self,
        severity: Severity,
        objects: impl IntoIterator<Item = ObjectKey>,
        reason: &'static str,
        text: String,
    ) {
        let objects = objects.into_iter().map(|object| object.to_string()).collect();
        self.0.insert(Problem { severity, objects, reason, text });
    }

    /// A policy that a feature flag keeps from having effect.
    fn disabled(&mut self, object: ObjectKey, flag: &str) {
        self.warn(
            [object],
            "FeatureDisabled",
            format!(
                "has no effect because featureFlags.{flag} of the MeshConfig is false; set it to true, or \
                remove the object"
            ),
        );
    }
}

fn key(kind: &Kind, name: &NamespacedName) -> ObjectKey {
    ObjectKey::new(kind.clone(), &name.namespace, &name.name)
}

/// Which of several policies that exclude each other counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Oldest,
    Newest,
}

/// Of several policies that claim the same thing, all but the one that counts, each with that one.
fn losers<'a, P: Policy + 'a, C: Ord>(
    policies: impl Iterator<Item = (&'a NamespacedName, &'a Arc<P>)>,
    counts: Counts,
    claims: impl Fn(&P) -> Vec<C>,
) -> Vec<(&'a NamespacedName, &'a NamespacedName, C)> {
    let mut policies: Vec<(&NamespacedName, &Arc<P>)> = policies.collect();
    policies.sort_by_cached_key(|(_, policy)| age_key(policy.metadata()));
    if matches!(counts, Counts::Newest) {
        policies.reverse();
    }
    let mut first: BTreeMap<C, &NamespacedName> = BTreeMap::new();
    let mut losers = Vec::new();
    for (name, policy) in policies {
        for claim in claims(policy) {
            match first.get(&claim) {
                Some(winner) if *winner != name => losers.push((name, *winner, claim)),
                Some(_) => {}
                None => {
                    first.insert(claim, name);
                }
            }
        }
    }
    losers
}
