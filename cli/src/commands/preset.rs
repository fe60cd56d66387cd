//! The objects that a new mesh begins with: what FSM's chart installs, with its default values.

use anyhow::Result;
use serde_json::{Value, json};

use super::apply;
use crate::local::state::Objects;

/// Name of the one MeshConfig that counts.
pub(super) const MESH_CONFIG: &str = "fsm-mesh-config";

/// Writes the namespaces `default` and that of the mesh, and the MeshConfig.
pub(super) fn write(objects: &Objects, mesh: &str, fsm_namespace: &str) -> Result<()> {
    for name in ["default", fsm_namespace] {
        objects.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))?;
        apply::finish_namespace(objects, name)?;
    }
    objects.put(&mesh_config(mesh, fsm_namespace))?;
    Ok(())
}

/// FSM's chart defaults, but for what only a cluster has (images, ingress controllers, gateways).
fn mesh_config(mesh: &str, fsm_namespace: &str) -> Value {
    json!({
        "apiVersion": "config.flomesh.io/v1alpha3",
        "kind": "MeshConfig",
        "metadata": {"name": MESH_CONFIG, "namespace": fsm_namespace, "labels": {"app.kubernetes.io/instance": mesh}},
        "spec": {
            "sidecar": {
                "enablePrivilegedInitContainer": false,
                "logLevel": "error",
                "sidecarDisabledMTLS": false,
                "maxDataPlaneConnections": 0,
                "configResyncInterval": "0s",
                "sidecarTimeout": 60,
                "localProxyMode": "Localhost",
                "localDNSProxy": {"enable": false},
            },
            "repoServer": {"ipaddr": "127.0.0.1", "port": 6060, "codebase": ""},
            "traffic": {
                "interceptionMode": "PodLevel",
                "enableEgress": true,
                "enablePermissiveTrafficPolicyMode": true,
                "http1PerRequestLoadBalancing": false,
                "http2PerRequestLoadBalancing": true,
                "serviceAccessMode": "mixed",
                "outboundIPRangeExclusionList": [],
                "outboundIPRangeInclusionList": [],
                "outboundPortExclusionList": [],
                "inboundPortExclusionList": [],
                "networkInterfaceExclusionList": [],
            },
            "observability": {
                "fsmLogLevel": "info",
                "tracing": {"enable": false},
                "remoteLogging": {"enable": false},
            },
            "certificate": {"serviceCertValidityDuration": "24h", "certKeyBitSize": 2048},
            "featureFlags": {
                "enableEgressPolicy": true,
                "enableIngressBackendPolicy": true,
                "enableAccessControlPolicy": true,
                "enableAccessCertPolicy": false,
                "enableRetryPolicy": false,
                "enablePluginPolicy": false,
                "enableTrafficWarmupPolicy": false,
                "enableAutoDefaultRoute": false,
                "enableSidecarActiveHealthChecks": false,
                "enableSidecarPrettyConfig": true,
                "enableSnapshotCacheMode": false,
                "enableAsyncProxyServiceMapping": false,
                "enableValidateGatewayListenerHostname": true,
                "enableValidateHTTPRouteHostnames": true,
                "enableValidateGRPCRouteHostnames": true,
                "enableValidateTLSRouteHostnames": true,
                "useEndpointSlicesForGateway": true,
                "dropRouteRuleIfNoAvailableBackends": false,
            },
            "pluginChains": {
                "inbound-tcp": [],
                "inbound-http": [],
                "outbound-tcp": [],
                "outbound-http": [],
            },
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_a_mesh_begins_with_is_valid() {
        let text = mesh_config("fsm", "fsm-system").to_string();
        let (objects, errors) = fsm_api::resources::manifest::read(&text, "preset");
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(objects.len(), 1);
    }

    #[test]
    fn a_mesh_begins_with_two_namespaces() {
        let directory = tempfile::tempdir().unwrap();
        let objects = Objects::new(directory.path().to_owned());
        write(&objects, "fsm", "fsm-system").unwrap();
        assert_eq!(objects.list("Namespace", None).unwrap().len(), 2);
        assert_eq!(objects.list("ServiceAccount", None).unwrap().len(), 2);
        assert_eq!(objects.list("MeshConfig.config.flomesh.io", Some("fsm-system")).unwrap().len(), 1);
    }
}
