//! Services are followed where the mesh needs them, and no longer than that.

use super::program::{Running, get, page};
use super::{Follower, namespace};
use fsm_api::resources::Kind;
use fsm_tests::{ApiServer, api_server, eventually};
use serde_json::{Value, json};

fn service(namespace: &str) -> String {
    let spec = json!({"ports": [{"name": "http", "port": 80}]});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": "web"}, "spec": spec})
        .to_string()
        + "\n---\n"
}

fn secret(namespace: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": namespace, "name": "s"}, "stringData": {"ca.crt": "c"}})
        .to_string()
        + "\n---\n"
}

fn ingress(namespace: &str, source: &str) -> String {
    let spec = json!({"backends": [{"name": "web", "port": {"number": 80, "protocol": "http"}}],
        "sources": [{"kind": "Service", "namespace": source, "name": "web"}]});
    json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "IngressBackend",
        "metadata": {"namespace": namespace, "name": "ingress"}, "spec": spec})
    .to_string()
        + "\n---\n"
}

#[tokio::test]
async fn services_come_and_go_with_the_namespaces_of_the_mesh_and_with_the_policies_that_name_others() {
    let Some(server) = api_server().await else { return };
    let (shop, edge, other) = ("needed-shop", "needed-edge", "needed-other");
    let namespaces = namespace(shop, "needed") + &namespace(edge, "none") + &namespace(other, "none");
    server.apply(&(namespaces + &service(shop) + &service(edge) + &service(other) + &secret(edge))).await;
    // A policy of another mesh needs nothing of ours.
    server.apply(&ingress(other, edge)).await;
    let mut follower = Follower::new(server.config().await, "needed").await.synced().await;
    let has = |follower: &Follower, namespace: &str| follower.has(Kind::Service, namespace, "web");
    assert!(has(&follower, shop) && !has(&follower, edge) && !has(&follower, other));
    assert!(!follower.has(Kind::Secret, edge, "s"));
    let complete = |follower: &Follower, namespace: &str| {
        let kinds = [Kind::Service, Kind::EndpointSlice, Kind::Secret].map(|kind| follower.complete[&kind].clone());
        kinds.iter().all(|kind| kind.as_ref().is_none_or(|namespaces| namespaces.contains(namespace)))
    };
    assert!(complete(&follower, shop) && !complete(&follower, edge), "{:?}", follower.complete);

    server.apply(&ingress(shop, edge)).await;
    follower.until("the ingress is there", |follower| follower.has(Kind::IngressBackend, shop, "ingress")).await;
    assert!(has(&follower, edge) && follower.has(Kind::Secret, edge, "s"), "what a policy names comes before it");
    assert!(complete(&follower, edge), "{:?}", follower.complete);
    server.apply(&namespace(other, "needed")).await;
    follower.until("a namespace joins", |follower| has(follower, other)).await;
    server.apply(&namespace(other, "none")).await;
    follower.until("it leaves", |follower| !has(follower, other)).await;
    assert!(has(&follower, shop) && has(&follower, edge));
    server.delete(&format!("-n {shop} ingressbackend ingress")).await;
    let is_gone = |follower: &Follower| !has(follower, edge) && !follower.has(Kind::Secret, edge, "s");
    follower.until("the ingress is gone", |follower| is_gone(follower) && !complete(follower, edge)).await;
    assert!(has(&follower, shop));

    // Whoever comes after all that begins with what is needed.
    server.apply(&ingress(shop, edge)).await;
    let follower = Follower::new(server.config().await, "needed").await.synced().await;
    assert!(has(&follower, shop) && has(&follower, edge) && !has(&follower, other));
}

/// A controller with a validator, and with a keeper of statuses.
const FLAGS: [&str; 17] = [
    "--source",
    "kubernetes",
    "--tokens",
    "kubernetes:fsm",
    "--write-objects",
    "kubernetes",
    "--listen-stream",
    "127.0.0.1:0",
    "--listen-validator",
    "127.0.0.1:0",
    "--validator-url",
    "https://127.0.0.1:0",
    "--server-name",
    "127.0.0.1",
    "--enable-reconciler",
    "--pod-name",
    "needed",
];

/// What an ingress controller has in its namespace: addresses from which its pods call.
fn slice(namespace: &str, address: &str) -> String {
    let metadata = json!({"namespace": namespace, "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}});
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}], "ports": [{"name": "http", "port": 80}]})
    .to_string()
        + "\n---\n"
}

/// A pod with a sidecar, behind the service of its namespace.
async fn workload(server: &ApiServer, namespace: &str) {
    let metadata = json!({"namespace": namespace, "name": "web-0", "labels": {"app": "web", "fsm-proxy-uuid": "u"}});
    let spec = json!({"automountServiceAccountToken": false, "containers": [{"name": "web", "image": "web"}]});
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": "default"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    let ports = json!([{"name": "http", "port": 80, "targetPort": 80, "appProtocol": "http"}]);
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": ports}});
    server.apply(&[account, service, pod].map(|object| object.to_string()).join("\n---\n")).await;
    let status = json!({"status": {"phase": "Running", "podIP": "10.9.0.1", "podIPs": [{"ip": "10.9.0.1"}],
        "conditions": [{"type": "Ready", "status": "True"}]}})
    .to_string();
    let words = ["-n", namespace, "patch", "pod", "web-0", "--subresource=status", "--type=merge", "-p", &status];
    let outcome = server.kubectl(&words, "").await;
    assert_eq!(outcome.code, 0, "{outcome:#?}");
}

/// Every status that a policy had, until it is deleted.
async fn follow_statuses(server: &ApiServer, namespace: &str) -> tokio::task::JoinHandle<Vec<Value>> {
    use futures_util::StreamExt as _;
    use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
    let kind = GroupVersionKind::gvk("policy.flomesh.io", "v1alpha1", "IngressBackend");
    let resource = ApiResource::from_gvk_with_plural(&kind, "ingressbackends");
    let api = kube::Api::<DynamicObject>::namespaced_with(server.client().await, namespace, &resource);
    let mut seen = kube::runtime::watcher(api, kube::runtime::watcher::Config::default()).boxed();
    tokio::spawn(async move {
        let mut statuses = Vec::new();
        while let Some(Ok(event)) = seen.next().await {
            match event {
                kube::runtime::watcher::Event::Delete(_) => break,
                kube::runtime::watcher::Event::Apply(policy) => {
                    statuses.extend(policy.data.get("status").map(|status| status["currentStatus"].clone()));
                }
                _ => {}
            }
        }
        statuses.dedup();
        statuses
    })
}

#[tokio::test]
async fn a_policy_that_names_another_namespace_is_taken_without_warning_and_holds() {
    let Some(server) = api_server().await else { return };
    let (shop, edge, empty) = ("named-shop", "named-edge", "named-empty");
    let namespaces = ["named-system", edge, empty].map(|name| namespace(name, "none")).concat();
    server.apply(&(namespaces + &namespace(shop, "named") + &service(edge) + &slice(edge, "10.9.0.7"))).await;
    server.apply(&service(empty)).await;
    workload(&server, shop).await;
    let controller = Running::start(&server, "named", &FLAGS).await;
    let admin = controller.address("admin").to_owned();
    let endpoints =
        async |namespace: &str| get(&admin, "/world").await["endpoints"][format!("{namespace}/web")].clone();
    assert_eq!(endpoints(edge).await, Value::Null, "nobody needs it");
    // A webhook counts a moment after it was registered.
    let apply = async |manifest: &str| server.kubectl(&["apply", "--validate=false", "-f", "-"], manifest).await;
    eventually("the validator is asked", async || {
        apply(&ingress(shop, edge).replace(r#""http""#, r#""ftp""#)).await.stderr.contains("denied the request")
    })
    .await;
    let statuses = follow_statuses(&server, shop).await;

    let taken = apply(&ingress(shop, edge)).await;
    assert_eq!((taken.code, taken.stderr.as_str()), (0, ""), "{taken:#?}");
    let document = async || page(&admin, &format!("/config?pod={shop}/web-0")).await;
    eventually("who is named is let in", async || document().await.contains("10.9.0.7")).await;
    assert_eq!(endpoints(edge).await, json!(1));

    // What is not there is said when it is known.
    let taken = apply(&ingress(shop, empty)).await;
    assert_eq!((taken.code, taken.stderr.as_str()), (0, ""), "{taken:#?}");
    let problems = async || page(&admin, "/problems").await;
    let missing = format!("endpoints not found for service {empty}/web");
    eventually("it is missed", async || problems().await.contains(&missing)).await;
    eventually("and not the one of before", async || endpoints(edge).await == Value::Null).await;
    let again = apply(&ingress(shop, empty).replace(r#""number":80"#, r#""number":81"#)).await;
    assert!(again.stderr.contains(&missing), "it is followed now, so whoever changes it is told: {again:#?}");

    server.apply(&ingress(shop, edge)).await;
    eventually("who is named again is let in again", async || document().await.contains("10.9.0.7")).await;
    assert!(!problems().await.contains("endpoints not found"), "{}", problems().await);
    eventually("its status says so", async || {
        let words = ["-n", shop, "get", "ingressbackend", "ingress", "-o", "jsonpath={.status.currentStatus}"];
        server.kubectl(&words, "").await.stdout == "committed"
    })
    .await;
    server.delete(&format!("-n {shop} ingressbackend ingress")).await;
    let statuses = fsm_tests::within("the policy is gone", statuses).await.unwrap();
    assert_eq!(statuses, ["committed", "error", "committed"], "none of them was said too early");
    eventually("nobody needs it any more", async || endpoints(edge).await == Value::Null).await;
}
