//! The program itself, with a cluster as its source.

use super::program::{Running, get};
use super::{namespace, split};
use fsm_tests::{ApiServer, api_server, eventually};
use serde_json::json;

/// Starts a controller and waits until it is ready; gives the address of its admin port.
pub(crate) async fn start(server: &ApiServer, mesh: &str, name: &str) -> (Running, String) {
    let flags = ["--source", "kubernetes", "--tokens", "kubernetes:fsm", "--write-objects", "kubernetes"];
    let more = ["--listen-stream", "127.0.0.1:0", "--pod-name", name];
    let running = Running::start(server, mesh, &[&flags[..], &more].concat()).await;
    let admin = running.addresses["admin"].as_str().unwrap().to_owned();
    (running, admin)
}

#[tokio::test]
async fn fsm_control_becomes_ready_with_the_cluster_as_its_source() {
    let Some(server) = api_server().await else { return };
    let system = namespace("program-system", "none");
    server.apply(&(system + &namespace("program", "program") + &split("program", "s", 1))).await;
    let (_running, admin) = start(&server, "program", "one").await;
    assert_eq!(get(&admin, "/world").await["monitoredNamespaces"], json!(["program"]));
    server.apply(&namespace("program-too", "program")).await;
    eventually("the second namespace is seen", async || {
        get(&admin, "/world").await["monitoredNamespaces"].as_array().is_some_and(|names| names.len() == 2)
    })
    .await;
}
