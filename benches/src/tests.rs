//! The benches measure what they say only if their inputs are what they claim to be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use fsm_api::config::Config;
use fsm_proxy::config::compile::{Environment, compile};
use fsm_proxy::detect::{Verdict, classify};
use fsm_proxy::route::table::Question;
use http::{HeaderMap, Method};
use std::sync::Arc;

#[test]
fn hellos_of_both_sizes_are_understood_whole() {
    for key_share in [36, 1256] {
        let Verdict::Tls(hello) = classify(&client_hello("orders.shop", key_share)) else {
            panic!("not taken for TLS")
        };
        assert_eq!(hello.server_name.as_deref(), Some("orders.shop"));
        assert_eq!(hello.alpn.len(), 2);
    }
}

#[test]
fn other_first_bytes_are_what_they_are_called() {
    assert_eq!(classify(&http1_request()), Verdict::Http1);
    assert_eq!(classify(&http2_preface()), Verdict::Http2);
}

#[test]
fn generated_documents_compile_without_a_problem_and_match_at_the_last_rule() {
    for (rules, path) in
        [(Rules::Exact, "/api/9/orders"), (Rules::Prefix, "/api/9/orders/1"), (Rules::Regex, "/api/9/17")]
    {
        let (config, problems) = Config::read(with_rules(10, rules).as_bytes()).unwrap();
        assert_eq!(problems, []);
        let snapshot = compile(Arc::new(config), problems, None, Environment::default());
        assert_eq!(snapshot.problems, []);
        let service = snapshot.inbound.as_ref().unwrap().ports[&80].hosts.find("orders.shop").unwrap();
        let headers = HeaderMap::new();
        let question = Question { method: &Method::GET, path, headers: &headers, caller: Some("web.shop") };
        let route = service.route(question).unwrap();
        assert!(Arc::ptr_eq(route, service.routes.last().unwrap()), "{rules:?}");
    }
}

#[test]
fn a_generated_mesh_has_all_its_services() {
    let (config, problems) = Config::read(mesh(300).as_bytes()).unwrap();
    assert_eq!(problems, []);
    let snapshot = compile(Arc::new(config), problems, None, Environment::default());
    assert_eq!(snapshot.clusters.iter().filter(|cluster| cluster.name.starts_with("shop/")).count(), 300);
    let entry = snapshot.outbound.ports[&80].ranged.find([10, 96, 1, 43].into()).unwrap();
    assert_eq!(&*entry.hosts.find("service-299.shop.svc:80").unwrap().name, "service-299.shop");
}

#[test]
fn fixtures_with_an_identity_compile_with_it() {
    for name in FIXTURES {
        let (config, problems) = Config::read(fixture(name).as_bytes()).unwrap();
        let config = with_identity(config, "web.shop").unwrap();
        let snapshot = compile(Arc::new(config), problems, None, Environment::default());
        assert!(snapshot.identity.is_some(), "{name}");
    }
}
