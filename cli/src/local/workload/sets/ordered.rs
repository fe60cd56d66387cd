//! StatefulSets: pods with names of their own, one after the other.

use super::{Create, Member, Plan};
use std::collections::BTreeMap;
use std::time::Duration;

/// A StatefulSet's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered {
    /// Name of the set: its pods are `<set>-<ordinal>`.
    pub set: String,
    /// How many pods.
    pub replicas: u32,
    /// Ordinal of the first one.
    pub first: u32,
    /// The revision that they shall have.
    pub revision: String,
    /// Pods below this ordinal keep their revision during an update.
    pub partition: u32,
    /// Policy `Parallel`: pods come and go without waiting for each other. Updates still go one by one.
    pub parallel: bool,
    /// Strategy `OnDelete`: an old pod stays until somebody deletes it.
    pub on_delete: bool,
    /// How long a pod must have been ready to count.
    pub min_ready: Duration,
}

/// Plans a StatefulSet. Ordinals come upwards and go downwards; an update goes from the highest ordinal to the lowest,
/// and a name is used again only when the pod that had it is gone.
pub fn ordered(wish: &Ordered, members: &[Member], now: Duration) -> Plan {
    let mut plan = Plan::default();
    let mut by_ordinal: BTreeMap<u32, &Member> = BTreeMap::new();
    for member in members {
        match ordinal(&wish.set, &member.name) {
            Some(ordinal) => {
                by_ordinal.insert(ordinal, member);
            }
            None if !member.is_terminating => plan.delete.push(member.name.clone()),
            None => {}
        }
        if let Some(since) = member.ready_since.filter(|since| now < *since + wish.min_ready) {
            plan.ask_again(since + wish.min_ready);
        }
    }
    // A pod that has ended is replaced whatever its place is.
    let ended = members.iter().filter(|member| member.ended.is_some() && !member.is_terminating);
    for member in ended {
        if !plan.delete.contains(&member.name) {
            plan.delete.push(member.name.clone());
        }
    }
    let wanted = wish.first..wish.first.saturating_add(wish.replicas);
    let is_up = |ordinal: u32| by_ordinal.get(&ordinal).is_some_and(|m| m.is_available(wish.min_ready, now));
    for ordinal in wanted.clone() {
        if !by_ordinal.contains_key(&ordinal) {
            plan.create.push(Create::Ordinal(ordinal));
            if !wish.parallel {
                return plan;
            }
        } else if !wish.parallel && !is_up(ordinal) {
            // A pod of an old revision that never becomes ready would block its own repair for ever.
            return replace_stuck(wish, &by_ordinal, ordinal, plan);
        }
    }
    let surplus: Vec<&Member> = by_ordinal.iter().rev().filter(|(o, _)| !wanted.contains(o)).map(|(_, m)| *m).collect();
    for member in &surplus {
        if member.is_active() {
            plan.delete.push(member.name.clone());
        }
        if !wish.parallel {
            return plan;
        }
    }
    if !surplus.is_empty() || wish.on_delete || !wanted.clone().all(is_up) {
        return plan;
    }
    let old = wanted.rev().filter(|ordinal| *ordinal >= wish.partition).find_map(|ordinal| {
        by_ordinal.get(&ordinal).filter(|member| member.is_active() && member.revision != wish.revision)
    });
    plan.delete.extend(old.map(|member| member.name.clone()));
    plan
}

fn replace_stuck(wish: &Ordered, by_ordinal: &BTreeMap<u32, &Member>, ordinal: u32, mut plan: Plan) -> Plan {
    let stuck = by_ordinal.get(&ordinal).filter(|member| {
        member.is_active() && member.ready_since.is_none() && member.revision != wish.revision && !wish.on_delete
    });
    if ordinal >= wish.partition {
        plan.delete.extend(stuck.map(|member| member.name.clone()));
    }
    plan
}

/// The ordinal in a pod's name, written as Kubernetes writes it.
fn ordinal(set: &str, pod: &str) -> Option<u32> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let ordinal: u32 = digits.parse().ok()?;
    (ordinal.to_string() == digits).then_some(ordinal)
}
