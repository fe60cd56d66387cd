//! What the objects of a big cluster cost a controller that has nothing to do with most of them.

use super::control::start;
use super::namespace;
use fsm_tests::{ApiServer, api_server};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

/// Namespaces outside of the mesh, and objects in each.
const NAMESPACES: usize = 20;
const SERVICES: usize = 100;
const SECRETS: usize = 25;
/// Bytes in a Secret that is no certificate.
const PAYLOAD: usize = 20_000;

/// kB of memory that the strangers' 2,000 Services, 2,000 EndpointSlices and 500 Secrets may cost.
const BUDGET: u64 = 30_000;

#[tokio::test]
#[ignore = "makes 4,500 objects, which takes a minute: run it with --ignored when the source changes"]
async fn what_is_not_of_the_mesh_costs_little_memory() {
    let Some(server) = api_server().await else { return };
    server.apply(&(namespace("memory-system", "memory") + &namespace("memory", "memory"))).await;
    let (before, _) = start(&server, "memory", "before").await;
    let small = before.resident();
    before.end().await;
    fill(&server).await;
    let (after, _) = start(&server, "memory", "after").await;
    let big = after.resident();
    eprintln!("a controller of an empty mesh: {small} kB; with the strangers' objects: {big} kB");
    after.end().await;
    for index in 0..NAMESPACES {
        server.delete(&format!("namespace memory-stranger-{index}")).await;
    }
    assert!(big < small + BUDGET, "{small} kB became {big} kB");
}

async fn fill(server: &ApiServer) {
    let client = server.client().await;
    let names: Vec<String> = (0..NAMESPACES).map(|index| format!("memory-stranger-{index}")).collect();
    server.apply(&names.iter().map(|name| namespace(name, "somebody-else")).collect::<String>()).await;
    let wanted = names.iter().flat_map(|namespace| (0..SERVICES).map(move |index| (namespace.clone(), index)));
    let made = futures_util::stream::iter(wanted).map(|(namespace, index)| {
        let client = client.clone();
        async move {
            let post = PostParams::default();
            let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
            services.create(&post, &read(service(index))).await.expect("a Service");
            let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &namespace);
            slices.create(&post, &read(slice(index))).await.expect("a slice");
            if index < SECRETS {
                let secrets: Api<Secret> = Api::namespaced(client, &namespace);
                secrets.create(&post, &read(secret(index))).await.expect("a Secret");
            }
        }
    });
    made.buffer_unordered(32).collect::<Vec<()>>().await;
}

fn read<T: k8s_openapi::serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).expect("an object")
}

fn service(index: usize) -> Value {
    let annotations = json!({"example.org/owner": "somebody", "example.org/notes": "n".repeat(500)});
    json!({"metadata": {"name": format!("service-{index}"), "annotations": annotations},
        "spec": {"selector": {"app": format!("app-{index}")}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
}

/// As many addresses as a Deployment of ten pods has.
fn slice(index: usize) -> Value {
    let endpoints: Vec<Value> = (1..=10)
        .map(|pod| {
            json!({"addresses": [format!("10.{}.{}.{pod}", 1 + index / 200, index % 200)], "conditions": {"ready": true},
                "targetRef": {"kind": "Pod", "name": format!("app-{index}-{pod}"), "namespace": "x"}, "nodeName": "node-1"})
        })
        .collect();
    json!({"metadata": {"name": format!("service-{index}-abcde"), "labels": {"kubernetes.io/service-name": format!("service-{index}")}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
}

fn secret(index: usize) -> Value {
    json!({"metadata": {"name": format!("secret-{index}")}, "stringData": {"payload": "p".repeat(PAYLOAD)}})
}
