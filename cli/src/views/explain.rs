//! What a reason means: the rows of the pages that explain them, `docs/reasons.md` (refusals of sidecars) and
//! `docs/policies.md` (problems of objects). The pages are the only place where that is written; a test of the proxy keeps
//! a row there for each of its reasons.

use serde::Serialize;

const REFUSALS: &str = include_str!("../../../docs/reasons.md");
const PROBLEMS: &str = include_str!("../../../docs/policies.md");

/// What is known about a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The reason.
    pub reason: String,
    /// What it is a reason of.
    pub about: &'static str,
    /// Status that an HTTP client sees, and that a gRPC client sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Which proxy refuses, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What happened, and why.
    pub cause: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// All reasons, in the order of the pages.
#[must_use]
pub fn all() -> Vec<Explanation> {
    refusals().into_iter().chain(problems()).collect()
}

/// What is known about a reason, however it is spelled (`no-route`, `NO_ROUTE`).
#[must_use]
pub fn find(reason: &str) -> Option<Explanation> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['_', ' '], "-");
    let wanted = plain(reason);
    all().into_iter().find(|known| plain(&known.reason) == wanted)
}

/// Reasons that are spelled alike.
#[must_use]
pub fn similar(reason: &str) -> Vec<String> {
    let wanted = reason.to_ascii_lowercase();
    let parts: Vec<&str> = wanted.split(['-', '_']).filter(|part| part.len() > 2).collect();
    let fits = |known: &str| {
        let known = known.to_ascii_lowercase();
        parts.iter().any(|part| known.contains(part))
    };
    all().into_iter().map(|known| known.reason).filter(|known| fits(known)).collect()
}

fn rows(page: &str) -> impl Iterator<Item = Vec<String>> {
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
}

fn refusals() -> Vec<Explanation> {
    let read = |cells: Vec<String>| match <[String; 5]>::try_from(cells) {
        Ok([reason, status, place, cause, remedy]) => Some(Explanation {
            reason: reason.trim_matches('`').to_owned(),
            about: "a request or connection that a sidecar refused or gave up",
            status: Some(status),
            place: Some(place),
            cause,
            remedy: Some(remedy),
        }),
        Err(_) => None,
    };
    rows(REFUSALS).filter_map(read).collect()
}

fn problems() -> Vec<Explanation> {
    let table = PROBLEMS.split("## Problems and their reasons").nth(1).unwrap_or_default();
    let table = table.split("\n## ").next().unwrap_or_default();
    let mut found = Vec::new();
    for cells in rows(table) {
        let Ok([reasons, meaning]) = <[String; 2]>::try_from(cells) else { continue };
        found.extend(reasons.split(", ").map(|reason| Explanation {
            reason: reason.trim_matches('`').to_owned(),
            about: "an object of the mesh that the control plane found fault with",
            status: None,
            place: None,
            cause: without_links(&meaning),
            remedy: Some("`fsm describe` shows the problems of an object, `fsm get KIND -A` those of all.".to_owned()),
        }));
    }
    found
}

/// `[text](address)` becomes `text`.
fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[') {
        plain.push_str(before);
        let parts = link.split_once("](").and_then(|(name, after)| after.split_once(')').map(|(_, rest)| (name, rest)));
        match parts {
            Some((name, after)) => {
                plain.push_str(name);
                rest = after;
            }
            None => {
                plain.push('[');
                rest = link;
            }
        }
    }
    plain + rest
}
