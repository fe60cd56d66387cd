//! Deployments, ReplicaSets and DaemonSets: pods that may be exchanged for each other.

use super::{Create, Member, Plan, Share};
use std::time::Duration;

/// A Deployment's wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rolling {
    /// How many pods.
    pub replicas: u32,
    /// The revision that all of them shall have.
    pub revision: String,
    /// How many pods there may be beyond `replicas` during an update. Kubernetes' default: 25 %, rounded up.
    pub max_surge: Share,
    /// How many of `replicas` may be missing during an update. Kubernetes' default: 25 %, rounded down.
    pub max_unavailable: Share,
    /// Strategy `Recreate`: every old pod is gone before the first new one is made.
    pub recreate: bool,
    /// How long a pod must have been ready to count.
    pub min_ready: Duration,
    /// `spec.paused`: the number of pods is kept, an update does not begin or go on.
    pub paused: bool,
}

/// A DaemonSet's wish. There is one node, so there is one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// The revision that it shall have.
    pub revision: String,
    /// Strategy `OnDelete`: an old pod stays until somebody deletes it.
    pub on_delete: bool,
}

/// Plans a Deployment.
///
/// Pods that terminate count neither as existing nor as available, as in Kubernetes: between the end of an old pod's
/// service and the end of its process there may be more processes than `replicas` and `max_surge` allow pods.
pub fn rolling(wish: &Rolling, members: &[Member], now: Duration) -> Plan {
    let mut plan = Plan::default();
    plan.delete.extend(members.iter().filter(|m| m.ended.is_some() && !m.is_terminating).map(|m| m.name.clone()));
    let active: Vec<&Member> = members.iter().filter(|member| member.is_active()).collect();
    let (current, old): (Vec<&Member>, Vec<&Member>) =
        active.iter().copied().partition(|member| member.revision == wish.revision);
    for member in &active {
        if let Some(since) = member.ready_since.filter(|since| now < *since + wish.min_ready) {
            plan.ask_again(since + wish.min_ready);
        }
    }
    if wish.paused {
        return keep_number(wish, active, plan);
    }
    let total = active.len() as u32;
    if wish.recreate {
        let is_any_old_left = members.iter().any(|member| member.revision != wish.revision);
        plan.delete.extend(old.iter().map(|member| member.name.clone()));
        if !is_any_old_left {
            create(&mut plan, wish.replicas.saturating_sub(total));
        }
    } else {
        let (surge, unavailable) = limits(wish);
        let room = (wish.replicas + surge).saturating_sub(total);
        create(&mut plan, wish.replicas.saturating_sub(current.len() as u32).min(room));
        let is_available = |member: &&&Member| member.is_available(wish.min_ready, now);
        let available = active.iter().filter(is_available).count() as u32;
        let current_unavailable = current.iter().filter(|m| !is_available(m)).count() as u32;
        let least = wish.replicas.saturating_sub(unavailable);
        // Old pods that serve nobody go first, as long as enough pods remain that serve or may come to serve.
        let idle: Vec<&Member> = old.iter().copied().filter(|m| !is_available(&m)).collect();
        let may_clean = total.saturating_sub(least).saturating_sub(current_unavailable);
        plan.delete.extend(idle.iter().take(may_clean as usize).map(|member| member.name.clone()));
        let serving: Vec<&Member> = old.iter().copied().filter(|m| is_available(&m)).collect();
        let may_end = available.saturating_sub(least);
        plan.delete.extend(serving.iter().take(may_end as usize).map(|member| member.name.clone()));
    }
    let surplus = (current.len() as u32).saturating_sub(wish.replicas);
    plan.delete.extend(least_useful(current, surplus));
    end_overflow(wish, &active, &mut plan);
    plan
}

/// After a reduction in the middle of an update there may be more pods than `replicas` and `max_surge` allow.
fn end_overflow(wish: &Rolling, active: &[&Member], plan: &mut Plan) {
    let mut left: Vec<&Member> = active.iter().copied().filter(|member| !plan.delete.contains(&member.name)).collect();
    let number = left.len() + plan.create.len();
    let overflow = number.saturating_sub((wish.replicas + limits(wish).0) as usize);
    left.sort_by_key(|member| (member.ready_since.is_some(), member.revision == wish.revision, member.created));
    plan.delete.extend(left.into_iter().take(overflow).map(|member| member.name.clone()));
}

/// Plans a ReplicaSet: the number is kept, the template of existing pods is not looked at.
pub fn replicas(wanted: u32, members: &[Member]) -> Plan {
    let mut plan = Plan::default();
    plan.delete.extend(members.iter().filter(|m| m.ended.is_some() && !m.is_terminating).map(|m| m.name.clone()));
    let active: Vec<&Member> = members.iter().filter(|member| member.is_active()).collect();
    create(&mut plan, wanted.saturating_sub(active.len() as u32));
    let surplus = (active.len() as u32).saturating_sub(wanted);
    plan.delete.extend(least_useful(active, surplus));
    plan
}

/// Plans a DaemonSet: an old pod is gone before the new one is made.
pub fn daemon(wish: &Daemon, members: &[Member]) -> Plan {
    let mut plan = Plan::default();
    let mut is_there = false;
    for member in members {
        let is_old = member.revision != wish.revision && !wish.on_delete;
        if member.is_terminating {
            is_there = true;
        } else if member.ended.is_some() || is_old || is_there {
            is_there = true;
            plan.delete.push(member.name.clone());
        } else {
            is_there = true;
        }
    }
    create(&mut plan, u32::from(!is_there));
    plan
}

fn keep_number(wish: &Rolling, active: Vec<&Member>, mut plan: Plan) -> Plan {
    let total = active.len() as u32;
    create(&mut plan, wish.replicas.saturating_sub(total));
    plan.delete.extend(least_useful(active, total.saturating_sub(wish.replicas)));
    plan
}

/// Surge and unavailability in pods. Both 0 would never move: Kubernetes then allows one pod to be missing.
fn limits(wish: &Rolling) -> (u32, u32) {
    let surge = wish.max_surge.rounded_up(wish.replicas);
    let unavailable = wish.max_unavailable.rounded_down(wish.replicas).min(wish.replicas);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn create(plan: &mut Plan, number: u32) {
    plan.create.extend((0..number).map(|_| Create::Any));
}

/// Names of so many pods, those that are not ready before the others, younger before older.
fn least_useful(mut pods: Vec<&Member>, number: u32) -> Vec<String> {
    pods.sort_by_key(|member| (member.ready_since.is_some(), std::cmp::Reverse(member.created), member.name.clone()));
    pods.into_iter().take(number as usize).map(|member| member.name.clone()).collect()
}
