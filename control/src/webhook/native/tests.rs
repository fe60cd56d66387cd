#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Native, knows};
use k8s_openapi::apimachinery::pkg::version::Info;

#[test]
fn servers_from_1_29_know_native_sidecars() {
    let version = |major: &str, minor: &str| Info { major: major.into(), minor: minor.into(), ..Info::default() };
    for (major, minor, native) in [
        ("1", "28", false),
        ("1", "29", true),
        ("1", "29+", true),
        ("1", "31-gke", true),
        ("1", "20", false),
        ("2", "0", true),
        ("0", "30", false),
        ("", "", false),
    ] {
        assert_eq!(knows(&version(major, minor)), native, "{major}.{minor}");
    }
}

#[test]
fn what_the_operator_says_is_known_at_once() {
    assert_eq!((Native::fixed(true).decided(), Native::fixed(false).decided()), (Some(true), Some(false)));
}
