//! One problem for one fault.
//!
//! Faults are looked for twice: in the objects as they are ([`World::problems`](crate::world::World::problems)), and where a
//! document is made of them, which sees more (what a fault means for this very port) but only if some proxy is concerned. What both
//! have found is told once, in the world's words.

use crate::world::Problem;
use std::collections::BTreeSet;

/// What the catalog calls a fault, and what the world calls it.
const SAME: [(&str, &[&str]); 17] = [
    ("BadProtocol", &["UnknownProtocol"]),
    ("BadRange", &["InvalidRange"]),
    ("BadSource", &["UnknownKind"]),
    ("FeatureDisabled", &["FeatureDisabled"]),
    ("MissingBackend", &["UnknownBackend", "NoCommonPort"]),
    ("MissingMatch", &["MissingMatch"]),
    ("MissingPlugin", &["MissingPlugin"]),
    ("MissingPort", &["UnknownPort"]),
    ("MissingRoute", &["MissingRoute"]),
    ("MissingSecret", &["MissingSecret"]),
    ("MissingSetting", &["MissingSetting"]),
    ("NoCertificate", &["NoCertificate"]),
    ("NoEndpoints", &["NoEndpoints", "UnknownService"]),
    ("RetryConflict", &["RetryConflict"]),
    ("SeveralSettings", &["SeveralSettings"]),
    ("SplitConflict", &["SplitConflict"]),
    ("UnknownChain", &["UnknownChain"]),
];

/// The world's findings, and those of the catalog that the world has not made.
pub(super) fn merged(world: Vec<Problem>, catalog: impl Iterator<Item = Problem>) -> BTreeSet<Problem> {
    let more: Vec<Problem> = catalog.filter(|found| !world.iter().any(|known| is_same(known, found))).collect();
    world.into_iter().chain(more).collect()
}

fn is_same(known: &Problem, found: &Problem) -> bool {
    let names = SAME.iter().find(|(name, _)| *name == found.reason).map_or(&[][..], |(_, names)| names);
    // The catalog may name the MeshConfig or the winner, where the world names nobody else.
    let about_others =
        known.objects.len() < 2 || found.objects.iter().skip(1).any(|other| known.objects.contains(other));
    names.contains(&known.reason)
        && known.objects.first() == found.objects.first()
        && (found.objects.len() < 2 || about_others)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::world::Severity;

    fn problem(reason: &'static str, objects: &[&str]) -> Problem {
        let objects = objects.iter().map(|object| (*object).to_owned()).collect();
        Problem { severity: Severity::Error, objects, reason, text: format!("{reason} in other words") }
    }

    #[test]
    fn a_fault_that_both_find_is_told_once_and_in_the_worlds_words() {
        let world = vec![
            problem("UnknownBackend", &["TrafficSplit a/s", "Service a/none"]),
            problem("InvalidRange", &["Egress a/e"]),
            problem("FeatureDisabled", &["Retry a/r"]),
        ];
        let catalog = vec![
            problem("MissingBackend", &["TrafficSplit a/s", "Service a/none"]),
            problem("BadRange", &["Egress a/e"]),
            problem("FeatureDisabled", &["Retry a/r", "MeshConfig fsm-system/fsm-mesh-config"]),
        ];
        let told: Vec<Problem> = merged(world.clone(), catalog.into_iter()).into_iter().collect();
        assert_eq!(told.iter().collect::<BTreeSet<_>>(), world.iter().collect());
    }

    #[test]
    fn what_only_one_of_them_finds_is_told() {
        let world = vec![problem("UnknownBackend", &["TrafficSplit a/s", "Service a/none"])];
        for other in [
            problem("MissingBackend", &["TrafficSplit a/s", "Service a/other"]),
            problem("MissingBackend", &["TrafficSplit a/other", "Service a/none"]),
            problem("HostConflict", &["Egress a/e", "Egress a/d"]),
        ] {
            assert_eq!(merged(world.clone(), std::iter::once(other.clone())).len(), 2, "{other}");
        }
    }
}
