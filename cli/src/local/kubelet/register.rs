//! The Node object, and the Service that keeps the DNS server's address from being given to another.

use crate::local::workload::process::Host;
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// Registers the node, or tells anew how it is.
///
/// # Errors
/// When the API server does not take it.
pub(super) async fn node(client: &Client, host: &Host, dns: Ipv4Addr, port: u16) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let labels =
        json!({"kubernetes.io/hostname": host.name, "kubernetes.io/os": "linux", "kubernetes.io/arch": arch()});
    let object = json!({"metadata": {"name": host.name, "labels": labels}});
    if let Err(error) = nodes.create(&PostParams::default(), &serde_json::from_value(object)?).await {
        exists(error).with_context(|| format!("cannot register the node {}", host.name))?;
    }
    let told = nodes.patch_status(&host.name, &PatchParams::default(), &Patch::Merge(&status(host, port))).await;
    told.with_context(|| format!("cannot tell how the node {} is", host.name))?;
    let services: Api<Service> = Api::namespaced(client.clone(), "kube-system");
    let ports = json!([
        {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]);
    let service = json!({"metadata": {"name": "kube-dns"}, "spec": {"clusterIP": dns, "ports": ports}});
    if let Err(error) = services.create(&PostParams::default(), &serde_json::from_value(service)?).await {
        exists(error).context("cannot reserve the address of the DNS server by a Service kube-system/kube-dns")?;
    }
    Ok(())
}

fn exists(error: kube::Error) -> Result<(), kube::Error> {
    match error {
        kube::Error::Api(status) if status.code == 409 => Ok(()),
        // As 1.20 says that somebody has the address: the Service itself, made by an earlier run.
        kube::Error::Api(status) if status.code == 422 && status.message.contains("already allocated") => Ok(()),
        error => Err(error),
    }
}

fn status(host: &Host, port: u16) -> Value {
    let now = jiff::Timestamp::now().to_string();
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": reason,
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        })
    };
    let capacity = json!({"cpu": "64", "memory": "64Gi", "ephemeral-storage": "64Gi", "pods": "250"});
    let version = format!("v1.20.0-fsm.{}", env!("CARGO_PKG_VERSION"));
    json!({"status": {
        "capacity": capacity, "allocatable": capacity,
        "addresses": [
            {"type": "InternalIP", "address": host.address}, {"type": "Hostname", "address": host.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "conditions": [
            condition("Ready", "True", "KubeletReady"),
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID"),
        ],
        "nodeInfo": {
            "architecture": arch(), "bootID": "", "containerRuntimeVersion": "fsm://1", "kernelVersion": "",
            "kubeProxyVersion": version, "kubeletVersion": version, "machineID": "", "operatingSystem": "linux",
            "osImage": "fsm node", "systemUUID": "",
        },
    }})
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
