//! Who is granted which certificate, and what is said to the others.

use super::super::{COMMITTED, ERROR};
use super::{
    Desk, HOUR, access_cert, access_cert_for, foreign, ingress_gateway, key, mesh_config, namespace, page_secret,
    page_wish, secret,
};
use fsm_api::resources::{Kind, ObjectKey};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

fn status(desk: &Desk, kind: Kind, namespace: &str, name: &str) -> Option<(String, String)> {
    let statuses = desk.situation().statuses;
    let status = statuses.get(&ObjectKey::new(kind, namespace, name)).expect("a policy").clone()?;
    Some((status.current_status.unwrap(), status.reason.unwrap()))
}

#[test]
fn the_policy_of_the_page_is_granted_all_its_names_and_the_usual_validity() {
    let wish = page_wish();
    assert_eq!(wish.owner.to_string(), "AccessCert httpbin/curl-mtls-cert");
    assert_eq!(wish.validity.get(), 24 * HOUR);
    let mut desk = Desk::new();
    let names = ["curl.curl.cluster.local", "other.example.com", "10.0.0.9", "Other.example.com", "::1"];
    desk.put(access_cert_for("httpbin", "a", &names));
    desk.put(mesh_config(json!({"serviceCertValidityDuration": "1h"})));
    let wish = desk.wanted().wishes.remove(&page_secret()).unwrap();
    let leaf = wish.names.leaf();
    assert_eq!((&*leaf.common_name, leaf.spiffe), ("curl.curl.cluster.local", None));
    assert_eq!(leaf.dns, ["other.example.com"]);
    assert_eq!(leaf.addresses.len(), 2);
    assert_eq!(wish.validity.get(), HOUR);
}

#[test]
fn access_cert_is_prohibited_unless_the_mesh_allows_it() {
    let mut desk = Desk::new();
    desk.put(access_cert());
    let mut off = mesh_config(json!({}));
    off["spec"]["featureFlags"] = json!({});
    desk.put(off);
    let (reason, objects, text) = desk.refusal();
    assert_eq!((reason, objects), ("CertificatesProhibited", vec!["AccessCert httpbin/curl-mtls-cert".to_owned()]));
    assert!(text.starts_with("FSM is prohibited to issue certificates for external services."), "{text}");
    assert!(text.contains("enableAccessCertPolicy of MeshConfig fsm-system/fsm-mesh-config"), "{text}");
    let status = status(&desk, Kind::AccessCert, "httpbin", "curl-mtls-cert");
    assert_eq!(status, Some((ERROR.to_owned(), text)));
}

#[test]
fn without_a_place_to_write_policies_say_so() {
    let mut desk = Desk::with_keeper(None);
    desk.furnish();
    desk.put(access_cert());
    let (reason, _, text) = desk.refusal();
    assert_eq!(reason, "NowhereToWrite");
    assert!(text.contains("Secret curl/curl-mtls-secret") && text.contains("--write-objects"), "{text}");
    desk.put(mesh_config(ingress_gateway(&["nginx.ingress.cluster.local"], "24h")));
    assert_eq!(desk.wanted().problems.len(), 2);
}

#[test]
fn names_that_are_none_are_refused() {
    let long = "a".repeat(64);
    let many: Vec<String> = (0..101).map(|number| format!("n{number}.example.com")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let wrong: [&[&str]; 10] = [
        &[],
        &[""],
        &["*.cluster.local"],
        &["spiffe://cluster.local/ns/a/sa/b"],
        &["a b"],
        &["a..b"],
        &["-a"],
        &[&long],
        &["10.0.0.1", "a.b"],
        &many,
    ];
    for names in wrong {
        let mut desk = Desk::new();
        desk.put(access_cert_for("httpbin", "curl-mtls-cert", names));
        let (reason, objects, text) = desk.refusal();
        assert_eq!((reason, objects.len()), ("InvalidNames", 1), "{names:?}");
        assert!(text.contains("spec.subjectAltNames"), "{text}");
        assert!(desk.wanted().wishes.is_empty());
    }
}

#[test]
fn the_names_of_the_control_plane_are_given_to_nobody() {
    for name in ["fsm-controller.fsm-system.svc", "FSM-Controller.fsm-system.SVC", "localhost"] {
        for from in ["httpbin", "fsm-system"] {
            let mut desk = Desk::new();
            desk.put(access_cert_for(from, "a", &["curl.curl.cluster.local", name]));
            assert_eq!(desk.refusal().0, "ReservedName", "{name} for {from}");
        }
    }
    let mut desk = Desk::new();
    desk.put(access_cert_for("httpbin", "a", &["curl.curl.cluster.local", "127.0.0.1"]));
    assert_eq!(desk.refusal().0, "ReservedName");
    desk.remove(Kind::AccessCert, "httpbin", "a");
    desk.put(mesh_config(ingress_gateway(&["fsm-controller.fsm-system.svc"], "24h")));
    assert_eq!(desk.refusal().0, "ReservedName");
}

#[test]
fn the_identity_of_a_workload_is_given_only_in_its_own_namespace() {
    let mut desk = Desk::new();
    desk.put(namespace("bookstore", true));
    let granted = |desk: &mut Desk, from: &str, name: &str| {
        desk.put(access_cert_for(from, "a", &["first.example.com", name]));
        let granted = !desk.wanted().wishes.is_empty();
        desk.remove(Kind::AccessCert, from, "a");
        granted
    };
    for name in
        ["bookbuyer.bookstore.cluster.local", "BookBuyer.Bookstore.Cluster.Local", "a.b.bookstore.cluster.local"]
    {
        assert!(!granted(&mut desk, "httpbin", name), "{name}");
        assert!(granted(&mut desk, "bookstore", name), "{name}");
        assert!(granted(&mut desk, "fsm-system", name), "{name}");
    }
    // A namespace outside the mesh has no workloads of it; the page does this.
    assert!(granted(&mut desk, "httpbin", "curl.curl.cluster.local"));
    desk.put(access_cert_for("httpbin", "a", &["bookbuyer.bookstore.cluster.local"]));
    let (_, _, text) = desk.refusal();
    assert!(text.contains("namespace bookstore") && text.contains("bookbuyer.bookstore.cluster.local"), "{text}");
    // The mesh's operator may.
    desk.remove(Kind::AccessCert, "httpbin", "a");
    desk.put(mesh_config(ingress_gateway(&["bookbuyer.bookstore.cluster.local"], "24h")));
    assert_eq!(desk.wanted().problems, BTreeSet::new());
}

#[test]
fn a_secret_of_somebody_else_is_a_problem_that_names_both() {
    let mut desk = Desk::new();
    desk.put(access_cert());
    desk.put(foreign());
    let (reason, objects, text) = desk.refusal();
    assert_eq!(reason, "SecretConflict");
    assert_eq!(objects, ["AccessCert httpbin/curl-mtls-cert", "Secret curl/curl-mtls-secret"]);
    assert!(text.contains("was not made by this control plane"), "{text}");
    desk.remove(Kind::Secret, "curl", "curl-mtls-secret");
    assert!(desk.wanted().wishes.contains_key(&page_secret()));
}

#[test]
fn another_meshs_secret_is_somebody_elses() {
    let mut desk = Desk::new();
    desk.put(access_cert());
    let mut theirs = foreign();
    theirs["metadata"]["labels"] =
        json!({"app.kubernetes.io/managed-by": "fsm-control", "app.kubernetes.io/instance": "other"});
    desk.put(theirs);
    assert_eq!(desk.refusal().0, "SecretConflict");
}

#[test]
fn of_two_policies_for_one_secret_the_older_one_has_it() {
    let mut desk = Desk::new();
    let aged = |name: &str, created: &str| {
        let mut policy = access_cert_for("httpbin", name, &["curl.curl.cluster.local"]);
        policy["metadata"]["creationTimestamp"] = json!(created);
        policy
    };
    desk.put(aged("a", "2026-01-02T00:00:00Z"));
    desk.put(aged("b", "2026-01-01T00:00:00Z"));
    let (reason, objects, text) = desk.refusal();
    assert_eq!(
        (reason, objects),
        ("SecretConflict", vec!["AccessCert httpbin/a".into(), "AccessCert httpbin/b".into()])
    );
    assert!(text.contains("AccessCert httpbin/b") && text.contains("Secret curl/curl-mtls-secret"), "{text}");
    assert_eq!(desk.wanted().wishes[&page_secret()].owner.name, "b");
    // Of the loser it is said, of the winner not.
    assert_eq!(status(&desk, Kind::AccessCert, "httpbin", "a").unwrap().0, ERROR);
    assert_eq!(status(&desk, Kind::AccessCert, "httpbin", "b"), None);
}

#[test]
fn secrets_need_a_name_a_namespace_and_that_it_is_there() {
    let mut desk = Desk::new();
    let wrong = [
        json!({"name": "a"}),
        json!({"namespace": "curl"}),
        json!({"namespace": "..", "name": "a"}),
        json!({"namespace": "curl", "name": "../../a"}),
        json!({"namespace": "curl", "name": "A"}),
        json!({"namespace": "a.b", "name": "a"}),
    ];
    for wrong in wrong {
        let mut policy = access_cert();
        policy["spec"]["secret"] = wrong.clone();
        desk.put(policy);
        assert_eq!(desk.refusal().0, "InvalidSecret", "{wrong}");
    }
    let mut policy = access_cert();
    policy["spec"]["secret"] = json!({"namespace": "nowhere", "name": "a"});
    desk.put(policy);
    let (reason, _, text) = desk.refusal();
    assert!(reason == "UnknownNamespace" && text.contains("nowhere"), "{reason}: {text}");
    desk.put(namespace("nowhere", false));
    assert!(desk.wanted().wishes.contains_key(&key("nowhere", "a")));
}

#[test]
fn the_ingress_gateways_certificate_has_its_own_validity() {
    let mut desk = Desk::new();
    desk.put(mesh_config(ingress_gateway(&["nginx.ingress.cluster.local"], "1h30m")));
    let wish = desk.wanted().wishes.remove(&key("curl", "ingress")).unwrap();
    assert_eq!(wish.owner.to_string(), "MeshConfig fsm-system/fsm-mesh-config");
    assert_eq!(wish.validity.get(), HOUR + HOUR / 2);
    desk.put(mesh_config(ingress_gateway(&["nginx.ingress.cluster.local"], "1s")));
    assert_eq!(desk.wanted().wishes[&key("curl", "ingress")].validity.get(), Duration::from_secs(60));
    for wrong in ["", "0s", "soon", "-1h"] {
        desk.put(mesh_config(ingress_gateway(&["nginx.ingress.cluster.local"], wrong)));
        let (reason, _, text) = desk.refusal();
        assert!(reason == "InvalidValidity" && text.contains("validityDuration"), "{reason}: {text}");
        assert!(desk.wanted().suspended.contains(&key("curl", "ingress")));
    }
}

#[test]
fn a_policy_outside_the_mesh_does_not_count_and_its_secret_stays() {
    let mut desk = Desk::new();
    desk.put(access_cert_for("curl", "a", &["curl.curl.cluster.local"]));
    assert_eq!(desk.refusal().0, "NamespaceNotInMesh");
    assert!(desk.wanted().suspended.contains(&page_secret()));
    assert_eq!(status(&desk, Kind::AccessCert, "curl", "a").unwrap().0, ERROR);
}

#[test]
fn of_what_another_mesh_has_nothing_is_said_and_nothing_is_kept() {
    let mut desk = Desk::new();
    let mut theirs = namespace("theirs", true);
    theirs["metadata"]["labels"]["flomesh.io/monitored-by"] = "another".into();
    desk.put(theirs);
    let mut config = mesh_config(json!({}));
    config["metadata"]["namespace"] = "another-system".into();
    desk.put(config);
    let gateway = |namespace: &str| {
        json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "EgressGateway",
            "metadata": {"name": "g", "namespace": namespace}, "spec": {"global": [{"service": "g", "namespace": "g"}]}})
    };
    for namespace in ["theirs", "another-system"] {
        desk.put(access_cert_for(namespace, "a", &["curl.curl.cluster.local"]));
        desk.put(gateway(namespace));
    }
    assert!(desk.wanted().problems.is_empty());
    assert!(desk.wanted().suspended.is_empty());
    let said = desk.world.problems();
    assert!(said.iter().all(|problem| problem.reason != "NamespaceNotInMesh"), "{said:?}");
    assert!(said.iter().all(|problem| problem.reason != "MeshConfigUnused"), "{said:?}");
    for namespace in ["theirs", "another-system"] {
        for (kind, name) in [(Kind::AccessCert, "a"), (Kind::EgressGateway, "g")] {
            assert_eq!(status(&desk, kind, namespace, name), None);
        }
    }
    // Nobody's namespace is another matter: its policies wait in vain.
    desk.put(gateway("curl"));
    assert_eq!(status(&desk, Kind::EgressGateway, "curl", "g").unwrap().0, ERROR);
}

#[test]
fn a_source_that_does_not_know_a_namespace_is_no_proof_that_there_is_none() {
    let mut desk = Desk::new();
    desk.ledger = desk.ledger.without_other_namespaces();
    let mut policy = access_cert();
    policy["spec"]["secret"] = json!({"namespace": "outside", "name": "a"});
    desk.put(policy);
    assert!(desk.wanted().wishes.contains_key(&key("outside", "a")));
}

#[tokio::test]
async fn a_certificate_is_committed_when_it_is_there() {
    let mut desk = Desk::new();
    desk.put(access_cert());
    assert_eq!(status(&desk, Kind::AccessCert, "httpbin", "curl-mtls-cert"), None);
    let directory = tempfile::tempdir().unwrap();
    let made = secret(&page_wish(), &super::Hand::new().tresor(directory.path())).await;
    desk.put(serde_json::to_value(made).unwrap());
    let committed = Some((COMMITTED.to_owned(), "successfully committed by the system".to_owned()));
    assert_eq!(status(&desk, Kind::AccessCert, "httpbin", "curl-mtls-cert"), committed);
}

#[test]
fn other_policies_are_committed_unless_a_problem_is_first_of_all_theirs() {
    let mut desk = Desk::new();
    let policy = |kind: &str, name: &str, spec: serde_json::Value| {
        json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": kind,
            "metadata": {"name": name, "namespace": "httpbin"}, "spec": spec})
    };
    desk.put(policy("UpstreamTrafficSetting", "a", json!({"host": "web.httpbin.svc.cluster.local"})));
    desk.put(policy(
        "IngressBackend",
        "b",
        json!({"backends": [{"name": "web", "port": {"number": 80, "protocol": "http"}}],
            "sources": [{"kind": "Service", "namespace": "httpbin", "name": "nobody"}]}),
    ));
    desk.put(policy(
        "Retry",
        "c",
        json!({"source": {"kind": "ServiceAccount", "name": "a", "namespace": "httpbin"}, "destinations": [],
            "retryPolicy": {"retryOn": "5xx"}}),
    ));
    let (now, reason) = status(&desk, Kind::IngressBackend, "httpbin", "b").unwrap();
    assert_eq!(now, ERROR);
    assert!(reason.contains("endpoints not found for service httpbin/nobody"), "{reason}");
    assert!(reason.contains("; "), "all that is wrong is said: {reason}");
    // Retries are off in this mesh: that is only a warning, but nothing of it has effect.
    let (now, reason) = status(&desk, Kind::Retry, "httpbin", "c").unwrap();
    assert!(now == ERROR && reason.contains("enableRetryPolicy"), "{now}: {reason}");
}
