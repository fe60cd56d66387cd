#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{KEPT, Kept, MOST_KEPT, POD_NAME, POD_UID, Status, judge, remember, remembered};
use crate::auth::{Caller, ReviewError};
use crate::cert::Identity;
use k8s_openapi::api::authentication::v1::UserInfo;
use std::time::{Duration, Instant};

fn status(name: &str, extra: &[(&str, &[&str])], audiences: &[&str]) -> Status {
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let extra = extra.iter().map(|(name, values)| ((*name).to_owned(), texts(values))).collect();
    Status {
        authenticated: Some(true),
        audiences: Some(texts(audiences)),
        user: Some(UserInfo { username: Some(name.to_owned()), extra: Some(extra), ..UserInfo::default() }),
        error: None,
    }
}

const OF_POD: [(&str, &[&str]); 2] = [(POD_NAME, &["bookbuyer-0"]), (POD_UID, &["u-1"])];
const NAME: &str = "system:serviceaccount:bookstore:bookbuyer";

fn caller() -> Caller {
    Caller { identity: Identity::new("bookstore", "bookbuyer").unwrap(), pod: "bookbuyer-0".into(), uid: "u-1".into() }
}

#[test]
fn a_token_of_a_pod_names_its_caller() {
    assert_eq!(judge(&status(NAME, &OF_POD, &["fsm"]), Some("fsm")).unwrap(), Some(caller()));
    assert_eq!(judge(&status(NAME, &OF_POD, &["https://kubernetes"]), None).unwrap(), Some(caller()));
}

#[test]
fn everything_less_is_refused() {
    let mut unknown = status(NAME, &OF_POD, &["fsm"]);
    unknown.authenticated = Some(false);
    let mut silent = unknown.clone();
    silent.authenticated = None;
    let nobody = Status { user: None, ..status(NAME, &OF_POD, &["fsm"]) };
    let without_audiences = Status { audiences: None, ..status(NAME, &OF_POD, &["fsm"]) };
    for refused in [
        unknown,
        silent,
        nobody,
        without_audiences,
        status(NAME, &OF_POD, &[]),
        status(NAME, &OF_POD, &["https://kubernetes"]),
        status("system:node:worker", &OF_POD, &["fsm"]),
        status("system:serviceaccount:bookstore", &OF_POD, &["fsm"]),
        status("alice", &OF_POD, &["fsm"]),
        status(NAME, &[], &["fsm"]),
        status(NAME, &OF_POD[..1], &["fsm"]),
        status(NAME, &[(POD_NAME, &[""]), (POD_UID, &["u"])], &["fsm"]),
        status(NAME, &[(POD_NAME, &["a", "b"]), (POD_UID, &["u"])], &["fsm"]),
    ] {
        assert_eq!(judge(&refused, Some("fsm")).unwrap(), None, "{refused:?}");
    }
}

#[test]
fn an_account_whose_name_could_mean_somebody_else_is_refused() {
    for name in ["system:serviceaccount:a.b:c", "system:serviceaccount::c", "system:serviceaccount:a:b:c"] {
        let judged = judge(&status(name, &OF_POD, &["fsm"]), Some("fsm"));
        assert!(matches!(judged, Err(ReviewError::Identity(_))), "{name}: {judged:?}");
    }
}

#[test]
fn answers_are_kept_for_seconds_and_only_so_many_of_them() {
    let start = Instant::now();
    let mut kept = Kept::new();
    remember(&mut kept, "a".into(), start, Some(caller()));
    remember(&mut kept, "b".into(), start, None);
    let just_before = start + KEPT - Duration::from_millis(1);
    assert_eq!(remembered(&kept, "a", just_before), Some(Some(caller())));
    assert_eq!(remembered(&kept, "b", just_before), Some(None));
    assert_eq!(remembered(&kept, "a", start + KEPT), None);
    assert_eq!(remembered(&kept, "c", start), None);
    for number in 0..2 * MOST_KEPT {
        remember(&mut kept, number.to_string(), start + Duration::from_micros(number as u64), None);
        assert!(kept.len() <= MOST_KEPT);
    }
    let latest = (2 * MOST_KEPT - 1).to_string();
    assert_eq!(remembered(&kept, &latest, start + Duration::from_secs(1)), Some(None));
}
