//! Services are followed where the mesh needs them, and no longer than that.

use super::{Follower, namespace};
use fsm_api::resources::Kind;
use fsm_tests::api_server;
use serde_json::json;

fn service(namespace: &str) -> String {
    let spec = json!({"ports": [{"name": "http", "port": 80}]});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": "web"}, "spec": spec})
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
    server.apply(&(namespaces + &service(shop) + &service(edge) + &service(other))).await;
    // A policy of another mesh needs nothing of ours.
    server.apply(&ingress(other, edge)).await;
    let mut follower = Follower::new(server.config().await, "needed").await.synced().await;
    let has = |follower: &Follower, namespace: &str| follower.has(Kind::Service, namespace, "web");
    assert!(has(&follower, shop) && !has(&follower, edge) && !has(&follower, other));

    server.apply(&ingress(shop, edge)).await;
    follower.until("the source of the ingress is there", |follower| has(follower, edge)).await;
    server.apply(&namespace(other, "needed")).await;
    follower.until("a namespace joins", |follower| has(follower, other)).await;
    server.apply(&namespace(other, "none")).await;
    follower.until("it leaves", |follower| !has(follower, other)).await;
    assert!(has(&follower, shop) && has(&follower, edge));
    server.delete(&format!("-n {shop} ingressbackend ingress")).await;
    follower.until("the ingress is gone", |follower| !has(follower, edge)).await;
    assert!(has(&follower, shop));

    // Whoever comes after all that begins with what is needed.
    server.apply(&ingress(shop, edge)).await;
    let follower = Follower::new(server.config().await, "needed").await.synced().await;
    assert!(has(&follower, shop) && has(&follower, edge) && !has(&follower, other));
}
