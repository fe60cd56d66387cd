//! What the control plane says of policies.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::kinds::Resource;
use crate::local::daemon::wire::{self, Target};
use crate::local::state::State;
use crate::output::columns::Verdict;

/// One entry of fsm-control's `/problems`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Problem {
    /// `Kind namespace/name`; the first is the one that does not count.
    #[serde(default)]
    pub(super) objects: Vec<String>,
    /// One word.
    #[serde(default)]
    pub(super) reason: String,
    /// A sentence for people.
    #[serde(default)]
    pub(super) text: String,
}

/// Asks the control plane of a mesh; `None` if it cannot be asked: then nothing is known.
pub(super) fn all(state: &State) -> Option<Vec<Problem>> {
    let (status, body) = wire::get(state, Target::Control, "/problems", Duration::from_secs(2)).ok()?;
    (status == 200).then(|| serde_json::from_slice(&body).ok()).flatten()
}

/// What is said of objects of this kind, if it is a kind that the control plane judges.
pub(super) fn verdicts(state: &State, resource: &Resource) -> Option<BTreeMap<(String, String), Verdict>> {
    let judged = resource.group.ends_with("flomesh.io") || resource.group.ends_with("smi-spec.io");
    judged.then(|| all(state)).flatten().map(|problems| sorted(&problems, &resource.kind))
}

fn sorted(problems: &[Problem], kind: &str) -> BTreeMap<(String, String), Verdict> {
    let mut verdicts: BTreeMap<_, Verdict> = BTreeMap::new();
    for problem in problems {
        for object in &problem.objects {
            let Some((of, name)) = object.split_once(' ') else { continue };
            if of != kind {
                continue;
            }
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            let verdict = Verdict { status: problem.reason.clone(), problem: problem.text.clone() };
            verdicts
                .entry((namespace.to_owned(), name.to_owned()))
                .and_modify(|first| first.problem = format!("{}; {}", first.problem, problem.text))
                .or_insert(verdict);
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_problem_is_told_of_all_objects_that_it_names() {
        let problems: Vec<Problem> = serde_json::from_str(
            r#"[{"severity": "Error", "objects": ["Egress a/x", "Egress b/y"], "reason": "HostConflict", "text": "both have h"},
                {"objects": ["Egress a/x", "Retry a/x"], "reason": "Other", "text": "more"}, {"objects": ["odd"]}]"#,
        )
        .unwrap();
        let verdicts = sorted(&problems, "Egress");
        let first = &verdicts[&("a".to_owned(), "x".to_owned())];
        assert_eq!((first.status.as_str(), first.problem.as_str()), ("HostConflict", "both have h; more"));
        assert_eq!(verdicts[&("b".to_owned(), "y".to_owned())].problem, "both have h");
        assert_eq!(verdicts.len(), 2);
    }
}
