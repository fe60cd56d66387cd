//! Which namespaces a mesh needs more of than their policies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::needs::{Named, Needed, Needs, named_by};
use fsm_api::resources::Kind;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn named(own: &str, names: &[&str]) -> Named {
    Named::from([(own.to_owned(), set(names))])
}

#[test]
fn a_policy_names_namespaces_wherever_it_does() {
    let ingress = json!({"metadata": {"namespace": "shop"}, "spec": {"backends": [{"name": "web"}],
        "sources": [{"kind": "Service", "namespace": "ingress-nginx", "name": "c"}, {"kind": "IPRange", "name": "10.0.0.0/8"}]}});
    assert_eq!(named_by(&Kind::IngressBackend, &ingress), set(&["ingress-nginx"]));
    let certificate = json!({"spec": {"secret": {"namespace": "curl", "name": "s"}}, "status": {"namespace": "no"}});
    assert_eq!(named_by(&Kind::AccessCert, &certificate), set(&["curl"]));
    let split = json!({"spec": {"service": "web", "backends": [{"service": "web-v1"}, {"service": "other/web-v2"}]}});
    assert_eq!(named_by(&Kind::TrafficSplit, &split), set(&["other"]));
    let settings = json!({"spec": {"certificate": {"ingressGateway": {"secret": {"namespace": "edge", "name": "s"}}}}});
    assert_eq!(named_by(&Kind::MeshConfig, &settings), set(&["edge"]));
    assert_eq!(named_by(&Kind::AccessCert, &json!({"spec": {"secret": {"namespace": "", "name": "s"}}})), set(&[]));
}

#[test]
fn nothing_is_needed_before_everything_that_may_say_so_was_listed() {
    let mut needs = Needs::new([Kind::IngressBackend, Kind::AccessCert].into());
    assert_eq!(needs.namespaces(), None);
    needs.set_mesh(Arc::new(set(&["shop", "fsm-system"])));
    needs.set_named(&Kind::IngressBackend, named("shop", &["ingress-nginx"]));
    assert_eq!(needs.namespaces(), None);
    needs.set_named(&Kind::AccessCert, Named::new());
    assert_eq!(needs.namespaces(), Some(set(&["fsm-system", "ingress-nginx", "shop"])));
}

#[test]
fn what_is_needed_comes_and_goes_with_policies_and_with_namespaces_of_the_mesh() {
    let mut needs = Needs::new(BTreeSet::new());
    needs.set_mesh(Arc::new(set(&["shop"])));
    needs.set_named(&Kind::AccessCert, named("theirs", &["secrets-of-theirs"]));
    assert_eq!(needs.namespaces(), Some(set(&["shop"])), "policies of others need nothing");
    needs.set_mesh(Arc::new(set(&["shop", "theirs"])));
    assert_eq!(needs.namespaces(), Some(set(&["secrets-of-theirs", "shop", "theirs"])));
    needs.set_named(&Kind::AccessCert, Named::new());
    assert_eq!(needs.namespaces(), Some(set(&["shop", "theirs"])));
    needs.set_named(&Kind::Isolation, named("", &["of-all"]));
    assert_eq!(needs.namespaces(), Some(set(&["of-all", "shop", "theirs"])), "those of no namespace count");
    needs.set_mesh(Arc::new(set(&[])));
    assert_eq!(needs.namespaces(), Some(set(&["of-all"])));
}

#[test]
fn it_is_told_once_and_only_when_it_is_something_new() {
    let needed = Needed::new([Kind::AccessCert].into(), [Kind::Service].into_iter());
    let mut heard = needed.subscribe();
    needed.update(|needs| needs.set_mesh(Arc::new(set(&["shop"]))));
    assert!(!heard.has_changed().unwrap());
    needed.update(|needs| needs.set_named(&Kind::AccessCert, named("shop", &["curl"])));
    assert_eq!(heard.borrow_and_update().as_deref(), Some(&set(&["curl", "shop"])));
    needed.update(|needs| needs.set_named(&Kind::AccessCert, named("shop", &["curl", "shop"])));
    assert!(!heard.has_changed().unwrap());
}

#[test]
fn an_ingress_class_names_the_namespace_of_its_controller() {
    let class = |annotations: serde_json::Value| json!({"metadata": {"name": "fsm", "annotations": annotations}});
    let both = class(json!({"meta.flomesh.io/namespace": " edge ", "meta.flomesh.io/ingress-pipy-svc": "ingress"}));
    assert_eq!(named_by(&Kind::IngressClass, &both), set(&["edge"]));
    assert_eq!(named_by(&Kind::IngressClass, &class(json!({"meta.flomesh.io/namespace": "edge"}))), set(&[]));
    assert_eq!(named_by(&Kind::IngressClass, &json!({"metadata": {"name": "nginx"}})), set(&[]));
}

#[tokio::test(start_paused = true)]
async fn what_is_needed_is_waited_for_until_every_kind_has_it() {
    let needed = Needed::new([Kind::AccessCert].into(), [Kind::Service, Kind::Secret].into_iter());
    needed.update(|needs| needs.set_mesh(Arc::new(set(&["shop"]))));
    let first = needed.update(|needs| needs.set_named(&Kind::AccessCert, Named::new()));
    assert_eq!(first, None, "the beginning is not something more");
    let more = needed.update(|needs| needs.add_named(&Kind::AccessCert, named("shop", &["curl"])));
    assert_eq!(more.as_deref(), Some(&set(&["curl", "shop"])));
    assert_eq!(needed.update(|needs| needs.set_named(&Kind::AccessCert, Named::new())), None, "nor is less");

    let all = set(&["curl", "shop"]);
    let everywhere = Some(Arc::new(all.clone()));
    assert!(needed.is_news(&Kind::Service, &everywhere));
    needed.set_complete(&Kind::Service, everywhere.clone());
    assert!(!needed.is_news(&Kind::Service, &everywhere));
    assert!(!needed.wait_for(&all, Duration::from_secs(4)).await, "there are no Secrets");
    assert!(!needed.is_news(&Kind::Pod, &None), "not one of those that are waited for");
    let later = async { needed.set_complete(&Kind::Secret, None) };
    assert_eq!(tokio::join!(needed.wait_for(&all, Duration::from_secs(4)), later), (true, ()));
}
