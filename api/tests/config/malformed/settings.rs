//! `Spec`.

use super::*;

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(PERMISSIVE, "/Spec/ServiceIdentity", json!(5), "Spec.ServiceIdentity", Missing("/Spec/ServiceIdentity")),
        note(
            PERMISSIVE,
            "/Spec/SidecarLogLevel",
            json!(5),
            "Spec.SidecarLogLevel",
            Instead("/Spec/SidecarLogLevel", json!("")),
        ),
        row(
            PERMISSIVE,
            "/Spec/SidecarTimeout",
            json!("soon"),
            "Spec.SidecarTimeout",
            Instead("/Spec/SidecarTimeout", json!(0)),
        ),
        row(
            PERMISSIVE,
            "/Spec/SidecarTimeout",
            json!(-1),
            "Spec.SidecarTimeout",
            Instead("/Spec/SidecarTimeout", json!(0)),
        ),
        row(
            PERMISSIVE,
            "/Spec/SidecarTimeout",
            json!(1e300),
            "Spec.SidecarTimeout",
            Instead("/Spec/SidecarTimeout", json!(0)),
        ),
        row(
            PERMISSIVE,
            "/Spec/SidecarTimeout",
            json!("inf"),
            "Spec.SidecarTimeout",
            Instead("/Spec/SidecarTimeout", json!(0)),
        ),
        row(
            PERMISSIVE,
            "/Spec/Traffic/EnableEgress",
            json!("true"),
            "Spec.Traffic.EnableEgress",
            Instead("/Spec/Traffic/EnableEgress", json!(false)),
        ),
        row(
            PERMISSIVE,
            "/Spec/FeatureFlags",
            json!(1),
            "Spec.FeatureFlags",
            Instead("/Spec/FeatureFlags/EnableAutoDefaultRoute", json!(false)),
        ),
        row(
            PERMISSIVE,
            "/Spec/Probes/LivenessProbes",
            json!({}),
            "Spec.Probes.LivenessProbes",
            Missing("/Spec/Probes/LivenessProbes"),
        ),
        row(
            PERMISSIVE,
            "/Spec/Probes/LivenessProbes/0",
            json!("GET /"),
            "Spec.Probes.LivenessProbes[0]",
            Instead("/Spec/Probes/LivenessProbes/0", json!({})),
        ),
        row(
            PERMISSIVE,
            "/Spec/Probes/LivenessProbes/0/httpGet/port",
            json!("http"),
            "Spec.Probes.LivenessProbes[0].httpGet.port",
            Missing("/Spec/Probes/LivenessProbes/0/httpGet"),
        ),
        row(
            PERMISSIVE,
            "/Spec/Probes/LivenessProbes/0/httpGet/httpHeaders/1/value",
            json!(7),
            "Spec.Probes.LivenessProbes[0].httpGet.httpHeaders[1].value",
            Missing("/Spec/Probes/LivenessProbes/0/httpGet"),
        ),
        note(
            PERMISSIVE,
            "/Spec/Probes/LivenessProbes/0/periodSeconds",
            json!([]),
            "Spec.Probes.LivenessProbes[0].periodSeconds",
            Missing("/Spec/Probes/LivenessProbes/0/periodSeconds"),
        ),
        row(
            PERMISSIVE,
            "/Spec/Observability/tracing/address",
            Value::Null,
            "Spec.Observability.tracing.address",
            Missing("/Spec/Observability/tracing"),
        ),
        row(
            PERMISSIVE,
            "/Spec/Observability/tracing/sampledFraction",
            json!("1.5"),
            "Spec.Observability.tracing.sampledFraction",
            Missing("/Spec/Observability/tracing"),
        ),
        row(
            PERMISSIVE,
            "/Spec/Observability/remoteLogging/level",
            json!(-2),
            "Spec.Observability.remoteLogging.level",
            Missing("/Spec/Observability/remoteLogging"),
        ),
        note(PERMISSIVE, "/Spec/ClusterSet", json!([]), "Spec.ClusterSet", Missing("/Spec/ClusterSet")),
        row(
            LEGACY,
            "/Spec/LocalDNSProxy/UpstreamDNSServers",
            json!("10.96.0.10"),
            "Spec.LocalDNSProxy.UpstreamDNSServers",
            Missing("/Spec/LocalDNSProxy/UpstreamDNSServers"),
        ),
    ]
}
