//! Whether a call is allowed: known answers, and that documents and objects never contradict each other.

use super::{cases, objects, world};
use crate::catalog::explain::{Asked, Caller, Explanation, Question, Verdict, explain};
use crate::world::{NamespacedName, World};
use std::collections::BTreeMap;

fn pod_of(world: &World, account: &str) -> Caller {
    let pod = world.pods().find(|pod| pod.account.identity() == account && !pod.phase.is_over());
    Caller::Pod(pod.unwrap_or_else(|| panic!("no pod of {account}")).key.clone())
}

fn asked(world: &World, from: &str, to: (&str, &str), request: Option<(&str, &str)>) -> Explanation {
    let request = request.map(|(method, path)| Asked {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: BTreeMap::new(),
    });
    let question = Question { from: pod_of(world, from), to: NamespacedName::new(to.0, to.1), port: None, request };
    explain(world, &question).unwrap()
}

#[test]
fn permissive_mode_lets_members_in_and_is_named() {
    let world = world(objects("6.1-permissive"));
    let found = asked(&world, "curl.curl", ("httpbin", "httpbin"), Some(("GET", "/get")));
    assert_eq!((found.verdict, found.reason), (Verdict::Allowed, None), "{found:?}");
    assert!(found.objects[0].object.contains("MeshConfig") && found.objects[0].allows, "{found:?}");
}

#[test]
fn without_a_traffic_target_nobody_is_let_in() {
    let world = world(objects("6.1-permissive-off"));
    let found = asked(&world, "curl.curl", ("httpbin", "httpbin"), None);
    assert_eq!(found.verdict, Verdict::Denied, "{found:?}");
    assert!(found.objects.iter().any(|said| said.object.contains("ServiceAccount") && !said.allows), "{found:?}");
    assert!(found.remedy.unwrap().contains("TrafficTarget"));
}

#[test]
fn a_traffic_target_decides_by_method_and_path() {
    let world = world(objects("smi-split"));
    let store = ("bookstore", "bookstore");
    let all = asked(&world, "bookbuyer.bookbuyer", store, None);
    assert_eq!(all.verdict, Verdict::Partly, "{all:?}");
    let good = asked(&world, "bookbuyer.bookbuyer", store, Some(("GET", "/buy-a-book/new")));
    assert_eq!(good.verdict, Verdict::Allowed, "{good:?}");
    let target = good.objects.iter().find(|said| said.object.contains("TrafficTarget") && said.allows);
    assert!(target.unwrap().text.contains("buy-a-book"), "{good:?}");
    let wrong = asked(&world, "bookbuyer.bookbuyer", store, Some(("POST", "/buy-a-book/new")));
    assert_eq!((wrong.verdict, wrong.reason), (Verdict::Denied, Some("no-route")), "{wrong:?}");
    let thief = asked(&world, "bookthief.bookthief", ("bookstore", "bookstore-v1"), Some(("GET", "/buy-a-book/new")));
    assert_eq!(thief.verdict, Verdict::Denied, "{thief:?}");
    let names = |said: &crate::catalog::explain::Said| said.text.contains("does not name bookthief.bookthief");
    assert!(thief.objects.iter().any(names), "{thief:?}");
}

#[test]
fn clients_outside_the_mesh_need_a_policy_of_their_own() {
    let closed = world(objects("6.3-service-access-disabled"));
    let open = world(objects("6.3-service-access"));
    for (world, verdict) in [(&open, Verdict::Allowed), (&closed, Verdict::Denied)] {
        let found = asked(world, "curl.curl", ("httpbin", "httpbin"), Some(("GET", "/get")));
        assert_eq!(found.verdict, verdict, "{found:?}");
    }
}

#[test]
fn what_does_not_exist_is_said() {
    let world = world(objects("6.1-permissive"));
    let question = |from, to| Question { from, to, port: Some(1), request: None };
    let nobody = Caller::Pod(NamespacedName::new("curl", "nobody"));
    let httpbin = NamespacedName::new("httpbin", "httpbin");
    let answers = [
        (question(nobody, httpbin.clone()), "there is no pod curl/nobody"),
        (question(pod_of(&world, "curl.curl"), NamespacedName::new("a", "b")), "there is no Service a/b"),
        (question(pod_of(&world, "curl.curl"), httpbin), "say which one is called"),
    ];
    for (question, text) in answers {
        assert!(explain(&world, &question).unwrap_err().to_string().contains(text));
    }
}

/// The verdict comes from documents, the objects from the world: where TrafficTargets decide, both must say the same.
#[test]
fn objects_agree_with_documents_in_every_case() {
    let mut decided = 0;
    for case in cases() {
        let world = world(objects(&case));
        if world.mesh().permissive || !world.mesh().mtls {
            continue;
        }
        let callers: Vec<Caller> = world.pods().map(|pod| Caller::Pod(pod.key.clone())).collect();
        let services: Vec<_> = world.services().map(|service| (service.key.clone(), service.ports.clone())).collect();
        for caller in &callers {
            for (service, ports) in &services {
                for port in ports.iter().filter(|port| port.protocol.is_http()) {
                    for (method, path) in [("GET", "/buy-a-book/new"), ("POST", "/restock-books"), ("GET", "/")] {
                        let request = Asked { method: method.into(), path: path.into(), headers: BTreeMap::new() };
                        let to = service.clone();
                        let question =
                            Question { from: caller.clone(), to, port: Some(port.port), request: Some(request) };
                        let found = explain(&world, &question).unwrap();
                        decided += usize::from(agrees(&found, &format!("{case}: {question:?}")));
                    }
                }
            }
        }
    }
    assert!(decided > 50, "only {decided} calls were decided by TrafficTargets");
}

/// Whether TrafficTargets were asked; fails where they say something else than the verdict.
fn agrees(found: &Explanation, at: &str) -> bool {
    let targets: Vec<_> = found.objects.iter().filter(|said| said.object.contains("TrafficTarget")).collect();
    let outside = found.objects.iter().any(|said| said.object.contains("Access") || said.object.contains("Ingress"));
    let unmeshed =
        found.steps.iter().any(|step| step.text.contains("no sidecar") || step.text.contains("not in the mesh"));
    if targets.is_empty() || outside || unmeshed {
        return false;
    }
    let allowed = targets.iter().any(|said| said.allows);
    match found.verdict {
        Verdict::Allowed => assert!(allowed, "{at}: {found:#?}"),
        Verdict::Denied if found.reason != Some("no-endpoint") => assert!(!allowed, "{at}: {found:#?}"),
        Verdict::Denied | Verdict::Partly => {}
    }
    true
}

/// What limits the call on this port of a case's service.
fn limits(case: &str, from: &str, to: (&str, &str), port: u16, path: &str) -> Vec<String> {
    let world = world(objects(case));
    let request = Some(Asked { method: "GET".to_owned(), path: path.to_owned(), headers: BTreeMap::new() });
    let to = NamespacedName::new(to.0, to.1);
    let question = Question { from: pod_of(&world, from), to, port: Some(port), request };
    let found = explain(&world, &question).unwrap();
    found.limits.iter().map(|limit| format!("{}: {}", limit.object, limit.text)).collect()
}

#[test]
fn what_limits_a_call_is_told_with_the_object() {
    let retry = "Retry curl/retry: for Service httpbin/httpbin: requests are tried again up to 5 times on 5xx, each try within 1s";
    let httpbin = ("httpbin", "httpbin");
    assert_eq!(limits("1.2-retry", "curl.curl", httpbin, 14001, "/get"), [retry]);
    assert!(limits("1.2-retry-disabled", "curl.curl", httpbin, 14001, "/get").is_empty());

    let breaker = limits("1.5-circuit-breaking", "fortio-client.client", ("server", "fortio"), 8080, "/");
    assert_eq!(
        breaker,
        [
            "each caller's sidecar has at most 200 connections, 1000 requests on one connection",
            "a connection is waited for 1.5s",
            "a circuit breaker refuses with 503 for 10s when, of 200 or more requests within 1m0s, 100 fail or 10 % are slower than 200ms",
        ]
        .map(|text| format!("UpstreamTrafficSetting server/http-circuit-breaking: for Service server/fortio: {text}"))
    );
}

#[test]
fn limits_of_other_routes_and_protocols_do_not_concern_a_call() {
    let demo = ("demo", "fortio");
    let of = |text: &str, name: &str| format!("UpstreamTrafficSetting demo/{name}: for Service demo/fortio: {text}");
    let connections = limits("1.6-tcp-rate-limit-burst", "fortio-client.demo", demo, 8078, "/");
    let text = "each of its pods takes 1 new connections a minute and 10 more at once";
    assert_eq!(connections, [of(text, "tcp-echo-limit")]);
    let fast = "on the route .* each of its pods answers 3 requests a minute, and others with 429";
    let slow = "on the route /slow/.* each of its pods answers 1 requests a second, and others with 429";
    let route = |path| limits("1.7-http-route-limit", "fortio-client.demo", demo, 8080, path);
    assert_eq!(route("/get"), [of(fast, "http-rate-limit")]);
    assert_eq!(route("/slow/1"), [of(fast, "http-rate-limit"), of(slow, "http-rate-limit")]);
}
