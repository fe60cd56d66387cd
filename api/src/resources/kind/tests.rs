#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use super::*;

#[test]
fn kinds_are_found_by_every_name_that_people_type() {
    for (text, kind) in [
        ("svc", Kind::Service),
        ("services", Kind::Service),
        ("Service", Kind::Service),
        ("service", Kind::Service),
        ("ts", Kind::TrafficSplit),
        ("trafficsplit", Kind::TrafficSplit),
        ("trafficsplits.split.smi-spec.io", Kind::TrafficSplit),
        ("httproutegroups", Kind::HttpRouteGroup),
        ("HTTPRouteGroup", Kind::HttpRouteGroup),
        ("egress", Kind::Egress),
        ("egresses", Kind::Egress),
        ("serviceexports.flomesh.io", Kind::ServiceExport),
        ("deploy", Kind::Deployment),
        ("deployments.apps", Kind::Deployment),
        ("po", Kind::Pod),
    ] {
        assert_eq!(Kind::find(text), Some(kind), "{text}");
    }
    for text in ["", ".", "nothing", "pods.apps", "trafficsplits.", "other"] {
        assert_eq!(Kind::find(text), None, "{text}");
    }
}

#[test]
fn no_name_means_two_kinds() {
    let mut seen = BTreeMap::new();
    for kind in Kind::ALL {
        let names = kind.names().unwrap();
        let singular = names.kind.to_lowercase();
        let mut words: Vec<&str> = names.short_names.to_vec();
        words.extend([names.plural, &singular]);
        words.sort_unstable();
        words.dedup();
        for word in words {
            assert_eq!(seen.insert(word.to_owned(), kind.clone()), None, "{word}");
            assert_eq!(Kind::find(word), Some(kind.clone()));
        }
        assert_eq!(Kind::of(&names.api_version(), names.kind), *kind);
    }
}

#[test]
fn kinds_of_the_mesh_have_definitions_and_kubernetes_own_have_none() {
    assert!(Kind::Egress.has_definition() && Kind::TcpRoute.has_definition());
    assert!(!Kind::Pod.has_definition() && !Kind::Other("X".into()).has_definition());
}

#[test]
fn unknown_kinds_keep_their_group() {
    let kind = Kind::of("gateway.networking.k8s.io/v1", "Gateway");
    assert_eq!((kind.name(), kind.group()), ("Gateway", "gateway.networking.k8s.io"));
    assert_eq!(kind.qualified(), "Gateway.gateway.networking.k8s.io");
    assert_eq!((kind.api_version(), kind.scope()), (None, None));
    assert_eq!(Kind::of("v1", "Node").qualified(), "Node");
    assert_eq!(Kind::of("split.smi-spec.io/v1alpha4", "TrafficTarget").qualified(), "TrafficTarget.split.smi-spec.io");
}
