#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{CertManagerError, Outcome, outcome};
use serde_json::{Value, json};

fn with(conditions: &[Value], more: Value) -> Outcome {
    let mut status = json!({ "conditions": conditions });
    status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    outcome(&json!({ "spec": {}, "status": status }))
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": message })
}

#[test]
fn a_request_is_waited_for_until_it_has_a_certificate() {
    assert!(matches!(outcome(&json!({ "spec": {} })), Outcome::Waiting(_)));
    let approved = condition("Approved", "True", "cert-manager.io", "approved");
    assert!(matches!(with(std::slice::from_ref(&approved), json!({})), Outcome::Waiting(_)));
    let pending = condition("Ready", "False", "Pending", "Referenced \"Issuer\" not found");
    assert_eq!(
        with(&[approved.clone(), pending], json!({})),
        Outcome::Waiting("Referenced \"Issuer\" not found".into())
    );
    let ready = condition("Ready", "True", "Issued", "");
    assert!(matches!(with(std::slice::from_ref(&ready), json!({})), Outcome::Waiting(_)), "ready, and nothing there");
    let issued = with(&[approved, ready], json!({ "certificate": "bGVhZg==", "ca": "cm9vdA==" }));
    assert_eq!(issued, Outcome::Issued { certificate: "leaf".into(), ca: "root".into() });
}

#[test]
fn a_refusal_is_told_apart_and_says_why() {
    let denied = [condition("Denied", "True", "Policy", "no"), condition("Ready", "False", "Denied", "denied")];
    assert_eq!(with(&denied, json!({})), Outcome::Denied("no".into()));
    assert_eq!(with(&denied[1..], json!({})), Outcome::Denied("denied".into()));
    let failed = condition("Ready", "False", "Failed", "");
    assert_eq!(with(&[failed], json!({})), Outcome::Failed("Failed".into()));
    let invalid = condition("InvalidRequest", "True", "Usages", "usages differ");
    assert_eq!(with(&[invalid], json!({})), Outcome::Failed("usages differ".into()));
}

#[test]
fn what_may_pass_is_told_apart_from_what_somebody_has_to_change() {
    let api = |code| CertManagerError::ApiServer { namespace: "fsm-system".into(), code, reason: "no".into() };
    assert!([0, 429, 500, 503].into_iter().all(|code| api(code).is_passing()));
    assert!([403, 404, 422].into_iter().all(|code| !api(code).is_passing()));
    assert!(
        api(403)
            .to_string()
            .ends_with("; grant create, get, list, watch and delete on certificaterequests.cert-manager.io there")
    );
    assert!(api(404).to_string().ends_with("; install cert-manager, with its definitions"));
}
