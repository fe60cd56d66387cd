//! The API server goes away and comes back, and so do connections and definitions.

use super::{Follower, namespace, split};
use fsm_api::resources::{Kind, crds};
use fsm_tests::{api_server, api_server_alone};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A way to the API server that can be cut.
struct Line {
    address: SocketAddr,
    up: Arc<watch::Sender<bool>>,
    _tasks: JoinSet<()>,
}

impl Line {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let up = Arc::new(watch::channel(true).0);
        let mut tasks = JoinSet::new();
        let state = up.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut from, _) = listener.accept().await.unwrap();
                let mut state = state.subscribe();
                if !*state.borrow() {
                    continue;
                }
                let server = server.clone();
                connections.spawn(async move {
                    let Ok(mut to) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut from, &mut to) => {}
                        _ = state.wait_for(|up| !up) => {}
                    }
                });
            }
        });
        Self { address, up, _tasks: tasks }
    }
}

#[tokio::test]
async fn what_was_deleted_while_the_connection_was_cut_is_noticed() {
    let Some(server) = api_server().await else { return };
    server.apply(&(namespace("cut", "cut") + &split("cut", "goes", 1) + &split("cut", "stays", 1))).await;
    let line = Line::to(server.address()).await;
    let mut config = server.config().await;
    config.cluster_url = format!("https://{}", line.address).parse().unwrap();
    let mut follower = Follower::new(config, "cut").await.synced().await;
    line.up.send_replace(false);
    follower.until("the absence is reported", |follower| follower.problems.contains_key("Kubernetes")).await;
    assert!(follower.problems["Kubernetes"].iter().all(|problem| problem.reason == "ApiServerAway"));
    assert!(follower.has(Kind::TrafficSplit, "cut", "goes"), "what was seen stays in force");
    server.delete("-n cut trafficsplit goes").await;
    server.apply(&(split("cut", "comes", 1) + &split("cut", "stays", 7))).await;
    line.up.send_replace(true);
    follower
        .until("all differences are seen", |follower| {
            !follower.has(Kind::TrafficSplit, "cut", "goes")
                && follower.has(Kind::TrafficSplit, "cut", "comes")
                && follower.json(Kind::TrafficSplit, "cut", "stays")["spec"]["backends"][0]["weight"] == 7
        })
        .await;
    follower.until("the absence is over", |follower| !follower.problems.contains_key("Kubernetes")).await;
}

#[tokio::test]
async fn a_restart_of_the_api_server_is_survived_and_changes_after_it_are_seen() {
    let Some(server) = api_server_alone().await else { return };
    server
        .apply(&(namespace("restart", "restart") + &split("restart", "goes", 1) + &split("restart", "stays", 1)))
        .await;
    let mut follower = Follower::new(server.config().await, "restart").await.synced().await;
    server.kill();
    follower.until("the absence is reported", |follower| follower.problems.contains_key("Kubernetes")).await;
    server.start_again().await;
    server.delete("-n restart trafficsplit goes").await;
    server.apply(&(split("restart", "comes", 1) + &namespace("restart-too", "restart"))).await;
    follower
        .until("all differences are seen", |follower| {
            !follower.has(Kind::TrafficSplit, "restart", "goes")
                && follower.has(Kind::TrafficSplit, "restart", "comes")
                && follower.has(Kind::Namespace, "", "restart-too")
        })
        .await;
    assert!(follower.has(Kind::TrafficSplit, "restart", "stays"));
    follower.until("the absence is over", |follower| !follower.problems.contains_key("Kubernetes")).await;
}

#[tokio::test]
async fn a_definition_may_go_and_come_back() {
    let Some(server) = api_server_alone().await else { return };
    let name = "trafficsplits.split.smi-spec.io";
    let definition = crds().into_iter().find(|crd| crd.metadata.name.as_deref() == Some(name)).unwrap();
    server.apply(&(namespace("defined", "defined") + &split("defined", "a", 1))).await;
    let mut follower = Follower::new(server.config().await, "defined").await.synced().await;
    assert!(follower.has(Kind::TrafficSplit, "defined", "a"));
    let deleted = server.kubectl(&["delete", "crd", name, "--wait=true", "--timeout=30s"], "").await;
    assert_eq!(deleted.code, 0, "{deleted:?}");
    follower.until("its objects are gone", |follower| !follower.has(Kind::TrafficSplit, "defined", "a")).await;
    // Whoever starts now does not wait for what may never come.
    let mut late = Follower::new(server.config().await, "defined").await.synced().await;
    server.apply(&serde_json::to_string(&definition).unwrap()).await;
    server.wait_for_definitions().await;
    server.apply(&split("defined", "b", 1)).await;
    for follower in [&mut follower, &mut late] {
        follower.until("the kind is followed", |follower| follower.has(Kind::TrafficSplit, "defined", "b")).await;
    }
}
