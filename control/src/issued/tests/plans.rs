//! What is to be done, and when.

use super::super::{Action, Plan, Situation, Why, plan};
use super::{Desk, HOUR, Hand, access_cert, access_cert_for, mesh_config, page_secret, page_wish, secret};
use crate::cert::{Issuer, Tresor};
use fsm_api::resources::policy::PolicyStatus;
use fsm_api::resources::{Kind, ObjectKey};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

struct Stage {
    desk: Desk,
    hand: Hand,
    tresor: Arc<Tresor>,
    _directory: TempDir,
}

impl Stage {
    /// The page's policy, with its certificate.
    async fn new() -> Self {
        let (mut desk, hand, directory) = (Desk::new(), Hand::new(), tempfile::tempdir().unwrap());
        let tresor = hand.tresor(directory.path());
        desk.put(access_cert());
        desk.put(serde_json::to_value(secret(&page_wish(), &tresor).await).unwrap());
        Self { desk, hand, tresor, _directory: directory }
    }

    fn plan(&self) -> Plan {
        self.plan_of(&self.desk.situation())
    }

    /// Without statuses.
    fn plan_of(&self, situation: &Situation) -> Plan {
        let mut plan = plan(situation, &BTreeMap::new(), &self.tresor.trust_bundle(), self.hand.now());
        plan.actions.retain(|action| !matches!(action, Action::SetStatus(..)));
        plan
    }

    fn why(&self) -> Option<Why> {
        match self.plan().actions.as_slice() {
            [] => None,
            [Action::Issue { why, .. }] => Some(*why),
            others => panic!("{others:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_there_and_young_is_left_alone_until_two_thirds_are_over() {
    let stage = Stage::new().await;
    let plan = stage.plan();
    assert_eq!(plan.actions, []);
    // Certificates begin a minute early, which counts as a part of their validity.
    let due = plan.next.unwrap().duration_since(stage.hand.now()).unwrap();
    assert!((16 * HOUR - Duration::from_secs(60)..=16 * HOUR).contains(&due), "{due:?}");
    stage.hand.forward(due - Duration::from_secs(1));
    assert_eq!(stage.why(), None);
    stage.hand.forward(Duration::from_secs(1));
    assert_eq!(stage.why(), Some(Why::Age));
}

#[tokio::test]
async fn a_certificate_that_is_not_there_is_issued() {
    let mut stage = Stage::new().await;
    stage.desk.remove(Kind::Secret, "curl", "curl-mtls-secret");
    assert_eq!(stage.why(), Some(Why::Missing));
    assert_eq!(stage.plan().next, None);
}

#[tokio::test]
async fn other_names_validity_or_policy_mean_another_certificate() {
    let mut stage = Stage::new().await;
    stage.desk.put(access_cert_for("httpbin", "curl-mtls-cert", &["curl.curl.cluster.local", "b.example.com"]));
    assert_eq!(stage.why(), Some(Why::Changed));
    stage.desk.put(access_cert());
    assert_eq!(stage.why(), None);
    stage.desk.put(mesh_config(json!({"serviceCertValidityDuration": "2h"})));
    assert_eq!(stage.why(), Some(Why::Changed));
    stage.desk.put(mesh_config(json!({})));
    stage.desk.remove(Kind::AccessCert, "httpbin", "curl-mtls-cert");
    stage.desk.put(access_cert_for("httpbin", "another", &["curl.curl.cluster.local"]));
    assert_eq!(stage.why(), Some(Why::Changed));
}

#[tokio::test]
async fn a_secret_that_was_spoiled_is_made_anew() {
    let stage = Stage::new().await;
    let whole = secret(&page_wish(), &stage.tresor).await;
    let other = secret(&page_wish(), &stage.tresor).await;
    let spoil = |change: &dyn Fn(&mut Secret)| {
        let mut spoiled = whole.clone();
        change(&mut spoiled);
        let mut desk = Desk::new();
        desk.put(access_cert());
        desk.put(serde_json::to_value(spoiled).unwrap());
        stage.plan_of(&desk.situation()).actions
    };
    let put = |secret: &mut Secret, key: &str, bytes: &[u8]| {
        secret.data.as_mut().unwrap().insert(key.to_owned(), ByteString(bytes.to_vec()));
    };
    let others_key = other.data.as_ref().unwrap()["tls.key"].0.clone();
    assert_eq!(spoil(&|_| {}), []);
    let spoiled = [
        spoil(&|secret| put(secret, "tls.key", b"\xff")),
        spoil(&|secret| put(secret, "tls.key", &others_key)),
        spoil(&|secret| put(secret, "tls.crt", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
        spoil(&|secret| put(secret, "ca.crt", b"")),
        spoil(&|secret| secret.data = None),
        spoil(&|secret| secret.type_ = Some("Opaque".to_owned())),
        spoil(&|secret| secret.metadata.annotations = None),
    ];
    for actions in spoiled {
        assert!(matches!(actions.as_slice(), [Action::Issue { .. }]), "{actions:?}");
    }
}

#[tokio::test]
async fn each_step_of_a_rotation_of_the_roots_replaces_certificates() {
    let mut stage = Stage::new().await;
    stage.tresor.rotate().await.unwrap();
    assert_eq!(stage.why(), Some(Why::Roots), "the new root is announced");
    stage.desk.put(serde_json::to_value(secret(&page_wish(), &stage.tresor).await).unwrap());
    assert_eq!(stage.why(), None);
    stage.hand.forward(Duration::from_secs(601));
    stage.tresor.tick().await.unwrap();
    assert_eq!(stage.why(), Some(Why::Roots), "the new root signs");
}

#[tokio::test]
async fn a_secret_that_nobody_asks_for_is_removed() {
    let mut stage = Stage::new().await;
    let mut elsewhere = access_cert();
    elsewhere["spec"]["secret"]["name"] = json!("another");
    stage.desk.put(elsewhere);
    let actions = stage.plan().actions;
    assert!(
        matches!(actions.as_slice(), [Action::Issue { wish, .. }, Action::Remove(old)]
            if wish.secret.name == "another" && *old == page_secret()),
        "{actions:?}"
    );
    stage.desk.remove(Kind::AccessCert, "httpbin", "curl-mtls-cert");
    assert_eq!(stage.plan().actions, [Action::Remove(page_secret())]);
    // A policy that cannot be read is not one that is gone.
    let unsure = Situation { complete: false, ..stage.desk.situation() };
    assert_eq!(stage.plan_of(&unsure).actions, []);
}

#[tokio::test]
async fn the_secret_of_a_policy_that_does_not_count_now_stays() {
    let mut stage = Stage::new().await;
    let mut off = mesh_config(json!({}));
    off["spec"]["featureFlags"] = json!({});
    stage.desk.put(off);
    assert_eq!(stage.plan().actions, []);
    stage.desk.put(mesh_config(json!({})));
    stage.desk.put(access_cert_for("httpbin", "curl-mtls-cert", &["*"]));
    assert_eq!(stage.plan().actions, []);
}

#[test]
fn statuses_are_written_when_they_differ_and_removed_with_their_policy() {
    let (mut desk, hand, directory) = (Desk::new(), Hand::new(), tempfile::tempdir().unwrap());
    let roots = hand.tresor(directory.path()).trust_bundle();
    desk.put(json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "Isolation", "metadata": {"name": "i"},
        "spec": {"cidrs": ["10.0.0.0/8"]}}));
    desk.put(access_cert());
    let statuses = |known: &BTreeMap<ObjectKey, PolicyStatus>, situation: &Situation| -> Vec<Action> {
        let actions = plan(situation, known, &roots, hand.now()).actions.into_iter();
        actions.filter(|action| matches!(action, Action::SetStatus(..))).collect()
    };
    let (isolation, pending) =
        (ObjectKey::new(Kind::Isolation, "", "i"), ObjectKey::new(Kind::AccessCert, "httpbin", "curl-mtls-cert"));
    let situation = desk.situation();
    let first = statuses(&BTreeMap::new(), &situation);
    let [Action::SetStatus(policy, Some(committed))] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!(policy, &isolation);
    // What is not decided yet keeps what was said of it.
    let earlier = PolicyStatus { current_status: Some("error".into()), reason: Some("of before".into()) };
    let mut known = BTreeMap::from([(isolation.clone(), committed.clone()), (pending, earlier)]);
    assert_eq!(statuses(&known, &situation), []);
    let gone = ObjectKey::new(Kind::Retry, "httpbin", "gone");
    known.insert(gone.clone(), committed.clone());
    assert_eq!(statuses(&known, &situation), [Action::SetStatus(gone, None)]);
    assert_eq!(statuses(&known, &Situation { complete: false, ..situation }), []);
}
