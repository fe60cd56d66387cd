#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

#[test]
fn every_reason_of_the_pages_is_explained() {
    let all = explain::all();
    assert!(all.len() > 80, "{}", all.len());
    for known in &all {
        assert!(!known.cause.is_empty() && !known.reason.contains('`'), "{known:?}");
        assert_eq!(explain::find(&known.reason).unwrap().reason, known.reason);
    }
    let found = explain::find("NO_ROUTE").unwrap();
    assert_eq!(found.status.as_deref(), Some("403 / 7"));
    assert!(found.remedy.unwrap().contains("config_dump"));
    assert!(explain::find("MissingMatch").unwrap().cause.contains("does not exist"));
    assert!(explain::find("no-such-reason").is_none());
    assert!(explain::similar("no-rout").contains(&"no-route".to_owned()));
}
