//! Which namespaces get the roots, and which lose them.

use super::super::bundles::{Bundle, Deed, Deeds, deeds};
use super::{Desk, namespace};
use std::collections::{BTreeMap, BTreeSet};

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn found(found: &[(&str, Bundle)]) -> BTreeMap<String, Bundle> {
    found.iter().map(|(name, bundle)| ((*name).to_owned(), bundle.clone())).collect()
}

fn ours(roots: &str) -> Bundle {
    Bundle::Ours(roots.to_owned())
}

fn only(list: &[(&str, Deed)]) -> Deeds {
    let deeds = list.iter().map(|(name, deed)| ((*name).to_owned(), deed.clone())).collect();
    Deeds { deeds, ..Deeds::default() }
}

#[test]
fn roots_are_written_where_they_are_missing_old_or_spoiled() {
    let there = found(&[("good", ours("new")), ("old", ours("old")), ("spoiled", ours(""))]);
    let wanted = names(&["good", "old", "spoiled", "missing"]);
    let expected = only(&[("old", Deed::Put), ("spoiled", Deed::Put), ("missing", Deed::Put)]);
    assert_eq!(deeds(&wanted, true, &there, "new"), expected);
}

#[test]
fn they_are_removed_from_namespaces_that_left_but_not_before_all_namespaces_are_known() {
    let there = found(&[("left", ours("new")), ("theirs", Bundle::Foreign)]);
    assert_eq!(deeds(&names(&[]), true, &there, "new"), only(&[("left", Deed::Remove)]));
    assert_eq!(deeds(&names(&[]), false, &there, "new"), Deeds::default());
}

#[test]
fn what_somebody_else_made_is_left_alone_and_said() {
    let there = found(&[("theirs", Bundle::Foreign)]);
    let expected = Deeds { in_the_way: names(&["theirs"]), ..Deeds::default() };
    assert_eq!(deeds(&names(&["theirs"]), true, &there, "new"), expected);
}

#[test]
fn the_namespaces_of_the_mesh_are_those_that_are_monitored() {
    let mut desk = Desk::new();
    assert_eq!(desk.situation().namespaces.unwrap(), names(&["httpbin"]));
    desk.put(namespace("curl", true));
    assert_eq!(desk.situation().namespaces.unwrap(), names(&["curl", "httpbin"]));
    desk.put(namespace("httpbin", false));
    assert_eq!(desk.situation().namespaces.unwrap(), names(&["curl"]));
}
