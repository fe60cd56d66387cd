//! The mesh on one machine: FSM's pages as they are written, examples, and what happens when parts of it die.

mod capacity;
mod commands;
mod dapr;
mod debug;
mod down;
mod examples;
mod names;
mod native;
mod outage;
mod pages;
mod policies;
mod problems;
mod refused;
mod support;
mod views;

use fsm_tests::{LocalMesh, Outcome};

pub(crate) const MANIFESTS: &str = "https://raw.githubusercontent.com/flomesh-io/fsm-docs/main/manifests";

/// The first step of most pages: the client, in a namespace of the mesh or outside of it.
async fn deploy_curl(mesh: &LocalMesh, in_the_mesh: bool) {
    let add = if in_the_mesh { "fsm namespace add curl" } else { "true" };
    mesh.shows(&format!(
        "kubectl create namespace curl && {add} &&
         kubectl apply -f {MANIFESTS}/samples/curl/curl.yaml -n curl &&
         kubectl wait --for=condition=ready pod -n curl -l app=curl --timeout=60s"
    ))
    .await;
}

/// The server of most pages.
async fn deploy_httpbin(mesh: &LocalMesh) {
    mesh.shows(&format!(
        "kubectl create namespace httpbin && fsm namespace add httpbin &&
         kubectl apply -f {MANIFESTS}/samples/httpbin/httpbin.yaml -n httpbin &&
         kubectl wait --for=condition=ready pod -n httpbin -l app=httpbin --timeout=60s"
    ))
    .await;
}

/// MeshConfig's patch as pages write it.
pub(crate) async fn patch(mesh: &LocalMesh, spec: &str) {
    mesh.shows(&format!(
        r#"kubectl patch meshconfig fsm-mesh-config -n "$FSM_NAMESPACE" -p '{{"spec":{spec}}}' --type=merge"#
    ))
    .await;
}

/// A command in the client, as pages write it.
fn in_curl(command: &str) -> String {
    format!(
        r#"kubectl exec "$(kubectl get pod -n curl -l app=curl -o jsonpath='{{.items[0].metadata.name}}')" -n curl -c curl -- {command}"#
    )
}

fn answered(status: u16) -> impl Fn(&Outcome) -> bool {
    move |outcome| {
        outcome.code == 0
            && outcome
                .stdout
                .lines()
                .next()
                .is_some_and(|line| line.split(' ').nth(1) == Some(status.to_string().as_str()))
    }
}

fn failed(code: i32) -> impl Fn(&Outcome) -> bool {
    move |outcome| outcome.code == code
}
