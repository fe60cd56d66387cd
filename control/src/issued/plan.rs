//! What is to be done: pure.

use super::Situation;
use super::secret::Found;
use super::wish::Wish;
use crate::cert::TrustBundle;
use crate::world::NamespacedName;
use fsm_api::resources::ObjectKey;
use fsm_api::resources::policy::PolicyStatus;
use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Have a certificate issued and put it into its Secret, in place of what is there.
    Issue {
        /// Which.
        wish: Wish,
        /// Why now.
        why: Why,
    },
    /// Remove a Secret that was made here and that nobody asks for any more.
    Remove(NamespacedName),
    /// Say what became of a policy; `None`: it is gone, and so is its status.
    SetStatus(ObjectKey, Option<PolicyStatus>),
}

/// Why a certificate is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is none.
    Missing,
    /// What is there is not, or no longer, what is asked for.
    Changed,
    /// The roots of the mesh changed.
    Roots,
    /// Two thirds of its validity are over.
    Age,
}

/// What is to be done now, and when to look again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub actions: Vec<Action>,
    /// When the first of the certificates that are there is due; `None`: there are none.
    pub next: Option<SystemTime>,
}

/// Compares what is wished for with what is there. `known` are the statuses that were written, `roots` those that are to
/// be trusted now. When everything is as it should be, there is nothing to do.
pub fn plan(
    situation: &Situation,
    known: &BTreeMap<ObjectKey, PolicyStatus>,
    roots: &TrustBundle,
    now: SystemTime,
) -> Plan {
    let mut plan = Plan::default();
    for (name, wish) in &situation.wishes {
        let found = situation.secrets.get(name).map(AsRef::as_ref);
        match reason(wish, found, roots, now) {
            Some(why) => plan.actions.push(Action::Issue { wish: wish.clone(), why }),
            None => {
                let due = found.and_then(|found| found.certificate.as_ref()).map(|facts| facts.renew_at);
                plan.next = plan.next.into_iter().chain(due).min();
            }
        }
    }
    if situation.complete {
        let nobodys =
            |name: &&NamespacedName| !situation.wishes.contains_key(*name) && !situation.suspended.contains(*name);
        plan.actions.extend(situation.secrets.keys().filter(nobodys).cloned().map(Action::Remove));
    }
    for (policy, status) in &situation.statuses {
        if let Some(status) = status.as_ref().filter(|status| known.get(policy) != Some(status)) {
            plan.actions.push(Action::SetStatus(policy.clone(), Some(status.clone())));
        }
    }
    if situation.complete {
        let gone = known.keys().filter(|policy| !situation.statuses.contains_key(*policy));
        plan.actions.extend(gone.map(|policy| Action::SetStatus(policy.clone(), None)));
    }
    plan
}

fn reason(wish: &Wish, found: Option<&Found>, roots: &TrustBundle, now: SystemTime) -> Option<Why> {
    let Some(found) = found else { return Some(Why::Missing) };
    if !found.serves(wish) {
        return Some(Why::Changed);
    }
    // The bundle is another one, or in another order, after each step of a rotation; also when another root signs.
    if found.roots != roots.pem {
        return Some(Why::Roots);
    }
    let due = found.certificate.as_ref().is_none_or(|facts| now >= facts.renew_at);
    due.then_some(Why::Age)
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there is none",
            Self::Changed => "the one that is there is not what is asked for",
            Self::Roots => "the roots of the mesh changed",
            Self::Age => "two thirds of its validity are over",
        })
    }
}
