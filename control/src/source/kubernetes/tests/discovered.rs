#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::discovery::{Availability, Resource, Served};
use super::view;
use fsm_api::resources::Kind;
use std::collections::BTreeSet;

fn resources(all: &[(&str, &str, &str)]) -> BTreeSet<Resource> {
    let resource = |(group, version, plural): &(&str, &str, &str)| Resource {
        group: (*group).to_owned(),
        version: (*version).to_owned(),
        plural: (*plural).to_owned(),
    };
    all.iter().map(resource).collect()
}

fn kinds() -> BTreeSet<Kind> {
    [Kind::MeshConfig, Kind::ServiceImport, Kind::EndpointSlice, Kind::Endpoints, Kind::Service].into()
}

fn version(served: &Served, kind: Kind) -> String {
    match served.availability(&view(kind)) {
        Availability::As(resource) => resource.api_version,
        other => format!("{other:?}"),
    }
}

#[test]
fn the_best_version_counts_and_older_groups_do_too() {
    let mut served = Served::default();
    assert_eq!(version(&served, Kind::MeshConfig), "Unknown");
    let old = [("config.flomesh.io", "v1alpha2", "meshconfigs"), ("flomesh.io", "v1alpha1", "serviceimports")];
    served.take_in(resources(&old), true, &kinds());
    assert_eq!(version(&served, Kind::MeshConfig), "config.flomesh.io/v1alpha2");
    assert_eq!(version(&served, Kind::ServiceImport), "flomesh.io/v1alpha1");
    let new = [
        ("config.flomesh.io", "v1alpha2", "meshconfigs"),
        ("config.flomesh.io", "v1alpha3", "meshconfigs"),
        ("flomesh.io", "v1alpha1", "serviceimports"),
        ("multicluster.flomesh.io", "v1alpha1", "serviceimports"),
        ("", "v1", "services"),
    ];
    served.take_in(resources(&new), true, &kinds());
    assert_eq!(version(&served, Kind::MeshConfig), "config.flomesh.io/v1alpha3");
    assert_eq!(version(&served, Kind::ServiceImport), "multicluster.flomesh.io/v1alpha1");
    assert_eq!(version(&served, Kind::Service), "v1");
}

#[test]
fn that_a_kind_is_missing_is_believed_when_a_ready_server_says_it_again() {
    let mut served = Served::default();
    for _ in 0..5 {
        served.take_in(resources(&[]), false, &kinds());
        assert_eq!(version(&served, Kind::MeshConfig), "Unknown", "the server is not ready");
    }
    served.take_in(resources(&[]), true, &kinds());
    assert_eq!(version(&served, Kind::MeshConfig), "Unknown");
    served.take_in(resources(&[]), true, &kinds());
    assert_eq!(version(&served, Kind::MeshConfig), "Missing");
    served.take_in(resources(&[("config.flomesh.io", "v1alpha3", "meshconfigs")]), false, &kinds());
    assert_eq!(version(&served, Kind::MeshConfig), "config.flomesh.io/v1alpha3");
    served.take_in(resources(&[]), true, &kinds());
    assert_eq!(version(&served, Kind::MeshConfig), "Unknown", "it begins anew");
}

#[test]
fn endpoints_are_followed_only_where_there_are_no_slices() {
    let mut served = Served::default();
    let old = [("", "v1", "endpoints"), ("", "v1", "services")];
    served.take_in(resources(&old), true, &kinds());
    assert_eq!(version(&served, Kind::Endpoints), "Unknown", "slices may come");
    served.take_in(resources(&old), true, &kinds());
    assert_eq!(version(&served, Kind::Endpoints), "v1");
    let new = [("", "v1", "endpoints"), ("discovery.k8s.io", "v1", "endpointslices")];
    served.take_in(resources(&new), true, &kinds());
    assert_eq!(version(&served, Kind::Endpoints), "Missing");
    assert_eq!(version(&served, Kind::EndpointSlice), "discovery.k8s.io/v1");
}
