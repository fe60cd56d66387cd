//! The world for developers' eyes: what the debug server shows. Nothing secret: credentials of MeshConfig are hidden.

use super::World;
use super::model::NamespacedName;
use super::objects::Kept;
use serde_json::{Map, Value, json};

impl World {
    /// Namespaces, and what the mesh knows of them.
    pub fn show_namespaces(&self) -> Value {
        let namespaces = self.namespaces().map(|namespace| {
            json!({
                "name": namespace.name,
                "monitored": namespace.monitored,
                "excludedServices": namespace.excluded_services,
                "pods": self.pods().filter(|pod| pod.key.namespace == namespace.name).count(),
                "services": self.services().filter(|service| service.key.namespace == namespace.name).count(),
            })
        });
        namespaces.collect()
    }

    /// The policies that are known, by kind; `counts` is false for those in namespaces outside of the mesh.
    pub fn show_policies(&self) -> Value {
        let objects = &self.objects;
        let mut kinds = Map::new();
        let mut add = |kind: &str, names: Vec<NamespacedName>| {
            let shown = names.iter().map(|name| {
                let counts = name.namespace.is_empty() || self.policy_counts(name);
                json!({ "name": name.to_string(), "counts": counts })
            });
            kinds.insert(kind.to_owned(), shown.collect());
        };
        add("TrafficTarget", names(&objects.targets));
        add("HTTPRouteGroup", names(&objects.route_groups));
        add("TCPRoute", names(&objects.tcp_routes));
        add("TrafficSplit", names(&objects.splits));
        add("UpstreamTrafficSetting", names(&objects.settings));
        add("Retry", names(&objects.retries));
        add("Egress", names(&objects.egresses));
        add("EgressGateway", names(&objects.egress_gateways));
        add("IngressBackend", names(&objects.ingress_backends));
        add("AccessControl", names(&objects.access_controls));
        add("AccessCert", names(&objects.access_certs));
        add("Isolation", names(&objects.isolations));
        add("Plugin", names(&objects.plugins));
        add("PluginChain", names(&objects.plugin_chains));
        add("PluginConfig", names(&objects.plugin_configs));
        add("TrafficWarmup", names(&objects.warm_ups));
        add("ServiceImport", names(&objects.imports));
        add("ServiceExport", names(&objects.exports));
        add("GlobalTrafficPolicy", names(&objects.global_policies));
        add("NamespacedIngress", names(&objects.namespaced_ingresses));
        Value::Object(kinds)
    }

    /// The MeshConfig that counts; null if there is none.
    pub fn show_mesh_config(&self) -> Value {
        let mut spec =
            self.mesh_config().and_then(|config| serde_json::to_value(&config.spec).ok()).unwrap_or_default();
        if let Some(secret) = spec.pointer_mut("/observability/remoteLogging/authorization") {
            *secret = json!("<redacted>");
        }
        spec
    }

    /// The feature flags as they count.
    pub fn show_feature_flags(&self) -> Value {
        let features = &self.mesh.features;
        json!({
            "enableEgressPolicy": features.egress_policy,
            "enableIngressBackendPolicy": features.ingress_backend_policy,
            "enableAccessControlPolicy": features.access_control_policy,
            "enableAccessCertPolicy": features.access_cert_policy,
            "enableRetryPolicy": features.retry_policy,
            "enablePluginPolicy": features.plugin_policy,
            "enableTrafficWarmupPolicy": features.traffic_warmup_policy,
            "enableAutoDefaultRoute": features.auto_default_route,
            "enableSidecarActiveHealthChecks": features.sidecar_active_health_checks,
        })
    }
}

fn names<T>(kept: &Kept<T>) -> Vec<NamespacedName> {
    kept.keys().cloned().collect()
}
