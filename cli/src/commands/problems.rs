//! What the control plane says of policies.

use serde::Deserialize;
use std::collections::BTreeMap;

use super::kinds::Resource;
use crate::local::state::State;
use crate::output::columns::Verdict;
use crate::reach::{Mesh, Place};

/// One entry of fsm-control's `/problems`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Problem {
    /// `Kind namespace/name`; the first is the one that does not count.
    #[serde(default)]
    pub(super) objects: Vec<String>,
    /// `error`, or `warning`: everything works as written.
    #[serde(default)]
    pub(super) severity: String,
    /// One word.
    #[serde(default)]
    pub(super) reason: String,
    /// A sentence for people.
    #[serde(default)]
    pub(super) text: String,
}

/// Asks the control plane of a mesh; `None` if it cannot be asked: then nothing is known.
pub(super) fn all(state: &State) -> Option<Vec<Problem>> {
    Mesh::Local(state.clone()).read(&Place::Control, "/problems").ok()
}

/// What is said of objects of this kind, if it is a kind that the control plane judges.
pub(super) fn verdicts(state: &State, resource: &Resource) -> Option<BTreeMap<(String, String), Verdict>> {
    let judged = resource.group.ends_with("flomesh.io") || resource.group.ends_with("smi-spec.io");
    judged.then(|| all(state)).flatten().map(|problems| sorted(&problems, &resource.kind))
}

fn sorted(problems: &[Problem], kind: &str) -> BTreeMap<(String, String), Verdict> {
    let mut verdicts: BTreeMap<_, Verdict> = BTreeMap::new();
    for problem in problems {
        for (index, object) in problem.objects.iter().enumerate() {
            let Some((of, name)) = object.split_once(' ') else { continue };
            if of != kind {
                continue;
            }
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            // The others are only what the first one collides with.
            let broken = index == 0 && problem.severity != "warning";
            let verdict = verdicts
                .entry((namespace.to_owned(), name.to_owned()))
                .or_insert_with(|| Verdict { status: "Accepted".to_owned(), problem: String::new() });
            if broken && verdict.status == "Accepted" {
                verdict.status.clone_from(&problem.reason);
            }
            if !verdict.problem.contains(&problem.text) {
                let separator = if verdict.problem.is_empty() { "" } else { "; " };
                verdict.problem = format!("{}{separator}{}", verdict.problem, problem.text);
            }
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
                {"objects": ["Egress a/x", "Retry a/x"], "reason": "Other", "text": "more"}, {"objects": ["odd"]},
                {"severity": "warning", "objects": ["Egress c/z"], "reason": "Unused", "text": "nobody asks for it"}]"#,
        )
        .unwrap();
        let verdicts = sorted(&problems, "Egress");
        let first = &verdicts[&("a".to_owned(), "x".to_owned())];
        assert_eq!((first.status.as_str(), first.problem.as_str()), ("HostConflict", "both have h; more"));
        let second = &verdicts[&("b".to_owned(), "y".to_owned())];
        assert_eq!((second.status.as_str(), second.problem.as_str()), ("Accepted", "both have h"));
        let third = &verdicts[&("c".to_owned(), "z".to_owned())];
        assert_eq!((third.status.as_str(), third.problem.as_str()), ("Accepted", "nobody asks for it"));
        assert_eq!(verdicts.len(), 3);
    }
}
