//! Cluster, GlobalTrafficPolicy.

use super::Faults;
use fsm_api::resources::multicluster::{Cluster, GlobalTrafficPolicy, LbType};
use std::net::IpAddr;

pub(super) fn cluster(cluster: &Cluster, faults: &mut Faults) {
    let spec = &cluster.spec;
    let host = spec.gateway_host.as_deref().unwrap_or_default();
    match host.parse::<IpAddr>() {
        _ if host.is_empty() => {
            faults.add(
                "spec.gatewayHost",
                "GatewayHost is required; write the address or name of the other cluster's gateway",
            );
        }
        Ok(address) if address.is_loopback() || address.is_unspecified() => faults.add(
            "spec.gatewayHost",
            format!(
                "{address} is not an address by which another cluster can be reached; write the one of its gateway"
            ),
        ),
        Ok(_) => {}
        Err(_) if is_name(host) => {}
        Err(_) => faults.add("spec.gatewayHost", format!("{host:?} is neither an address nor a name of DNS")),
    }
    if spec.gateway_port == 0 {
        faults.add("spec.gatewayPort", "0 is no port; write one from 1 to 65535");
    }
    if spec.kubeconfig.as_deref().is_none_or(|text| text.trim().is_empty()) {
        faults
            .add("spec.kubeconfig", "kubeconfig must be set, as it is how the other cluster is asked for its services");
    }
}

pub(super) fn policy(policy: &GlobalTrafficPolicy, faults: &mut Faults) {
    let targets = policy.spec.targets.len();
    match policy.spec.lb_type {
        LbType::Locality if targets > 1 => faults.add(
            "spec.targets",
            format!("In case of Locality load balancer, the traffic can only be sticky to exact one cluster, and there are {targets}"),
        ),
        LbType::FailOver if targets == 0 => {
            faults.add("spec.targets", "In case of FailOver load balancer, the targets cannot be empty; name a cluster");
        }
        _ => {}
    }
}

/// A name of DNS, RFC 1123.
fn is_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let known = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_');
        !label.is_empty() && label.len() <= 63 && known && !label.starts_with('-') && !label.ends_with('-')
    };
    host.len() <= 253 && host.trim_end_matches('.').split('.').all(is_label)
}
