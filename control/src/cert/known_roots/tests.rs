#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::KnownRoots;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn pem(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("{name}\n")).collect()
}

#[test]
fn a_root_of_before_is_trusted_until_nothing_that_it_signed_is_valid() {
    let mut roots = KnownRoots::new(&pem(&["old"]), at(0));
    assert!(!roots.hear(&pem(&["old"]), at(100), DAY), "nothing changed");
    assert!(roots.hear(&pem(&["new"]), at(200), DAY));
    assert_eq!((roots.bundle().pem.as_str(), roots.bundle().since), ("new\nold\n", at(200)));
    let end = at(100) + DAY;
    assert!(!roots.hear(&pem(&["new"]), end - Duration::from_secs(1), DAY));
    assert!(roots.hear(&pem(&["new"]), end, DAY));
    assert_eq!(roots.bundle().pem, "new\n");
}

#[test]
fn a_change_back_and_forth_keeps_each_root_once() {
    let mut roots = KnownRoots::new(&pem(&["one", "one"]), at(0));
    assert_eq!(roots.bundle().pem, "one\n");
    assert!(roots.hear(&pem(&["two", "one"]), at(1), DAY));
    assert!(roots.hear(&pem(&["one", "two"]), at(2), DAY), "another one comes first");
    assert_eq!(roots.bundle().pem, "one\ntwo\n");
}
