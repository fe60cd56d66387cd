//! FSM's guide "Mesh configuration": its table of keys, each with the command that it shows, and what the command brings
//! about in pods that run.
//!
//! Seven of the guide's commands do not do what its table says: they were never run. What comes of those is told here, too,
//! and `docs/installation.md` has the list.

use super::{TheMesh, fine, until};
use serde_json::{Value, json};

/// A patch; the path in the spec where it is seen; the value there, as JSON.
type Change = (&'static str, &'static str, &'static str);

/// The guide's commands that change what their row names.
const ROWS: [Change; 12] = [
    (r#"{"spec":{"traffic":{"enableEgress":true}}}"#, "/traffic/enableEgress", "true"),
    (
        r#"{"spec":{"traffic":{"enablePermissiveTrafficPolicyMode":true}}}"#,
        "/traffic/enablePermissiveTrafficPolicyMode",
        "true",
    ),
    (
        r#"{"spec":{"certificate":{"serviceCertValidityDuration":"24h"}}}"#,
        "/certificate/serviceCertValidityDuration",
        r#""24h""#,
    ),
    // Three rows of tracing have the commands of each other.
    (r#"{"spec":{"observability":{"tracing":{"enable":true}}}}"#, "/observability/tracing/enable", "true"),
    (
        r#"{"spec":{"observability":{"tracing":{"address": "jaeger.fsm-system.svc.cluster.local"}}}}"#,
        "/observability/tracing/address",
        r#""jaeger.fsm-system.svc.cluster.local""#,
    ),
    (
        r#"{"spec":{"observability":{"tracing":{"endpoint":"/api/v2/spans"}}}}"#,
        "/observability/tracing/endpoint",
        r#""/api/v2/spans""#,
    ),
    (r#"{"spec":{"observability":{"tracing":{"port":9411}}}}"#, "/observability/tracing/port", "9411"),
    (
        r#"{"spec":{"sidecar":{"enablePrivilegedInitContainer":true}}}"#,
        "/sidecar/enablePrivilegedInitContainer",
        "true",
    ),
    (r#"{"spec":{"sidecar":{"logLevel":"error"}}}"#, "/sidecar/logLevel", r#""error""#),
    (r#"{"spec":{"sidecar":{"configResyncInterval":"30s"}}}"#, "/sidecar/configResyncInterval", r#""30s""#),
    // Of the guide about upgrading.
    (
        r#"{"spec":{"sidecar":{"sidecarImage": "flomesh/pipy:latest"}}}"#,
        "/sidecar/sidecarImage",
        r#""flomesh/pipy:latest""#,
    ),
    // The guide's example of the command.
    (r#"{"spec":{"traffic":{"enableEgress":true}}}"#, "/traffic/enableEgress", "true"),
];

/// The guide's commands that are refused; why; and what they were meant to be.
const REFUSED: [(&str, &str, Change); 3] = [
    (
        r#"{"spec":{"traffic":{"outboundPortExclusionList":6379,8080}}}"#,
        "Invalid JSON Patch",
        (
            r#"{"spec":{"traffic":{"outboundPortExclusionList":[6379,8080]}}}"#,
            "/traffic/outboundPortExclusionList",
            "[6379,8080]",
        ),
    ),
    (
        r#"{"spec":{"traffic":{"outboundIPRangeExclusionList":"10.0.0.0/32,1.1.1.1/24"}}}"#,
        r#"spec.traffic.outboundIPRangeExclusionList in body must be of type array: "string""#,
        (
            r#"{"spec":{"traffic":{"outboundIPRangeExclusionList":["10.0.0.0/32","1.1.1.1/24"]}}}"#,
            "/traffic/outboundIPRangeExclusionList",
            r#"["10.0.0.0/32","1.1.1.1/24"]"#,
        ),
    ),
    (
        r#"{"spec":{"sidecar":{"maxDataPlaneConnections":"error"}}}"#,
        r#"spec.sidecar.maxDataPlaneConnections in body must be of type integer: "string""#,
        (r#"{"spec":{"sidecar":{"maxDataPlaneConnections":20}}}"#, "/sidecar/maxDataPlaneConnections", "20"),
    ),
];

/// The guide's commands with a field that MeshConfig does not have; and what they were meant to be.
const UNKNOWN: [(&str, Option<Change>); 2] = [
    // FSM's own definition does not have it any more.
    (r#"{"spec":{"traffic":{"useHTTPSIngress":true}}}"#, None),
    (
        r#"{"spec":{"observability":{"serviceCertValidityDuration":true}}}"#,
        Some((r#"{"spec":{"observability":{"enableDebugServer":true}}}"#, "/observability/enableDebugServer", "true")),
    ),
];

/// A pod that is shown to the injector and never made.
const POD: &str = "kubectl create --dry-run=server -o json -f - <<'EOF'
apiVersion: v1
kind: Pod
metadata: {name: looked-at, namespace: client}
spec: {containers: [{name: app, image: app}]}
EOF";

pub(super) async fn the_table_of_the_guide_holds(mesh: &TheMesh) {
    let cluster = &mesh.cluster;
    let before = config(mesh).await;
    egress_is_closed(mesh).await;
    wrong_types_are_refused(mesh).await;

    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (patch, path, value) in ROWS {
        changed(mesh, patch).await;
        wanted.push((path, value));
    }
    for (patch, why, (meant, path, value)) in REFUSED {
        let refusal = cluster.page(&command(patch)).await;
        assert!(refusal.code == 1 && refusal.stderr.contains(why), "{patch}: {refusal:?}");
        changed(mesh, meant).await;
        wanted.push((path, value));
    }
    for (patch, meant) in UNKNOWN {
        let said = cluster.shows(&command(patch)).await;
        assert_eq!(said, "meshconfig.config.flomesh.io/fsm-mesh-config patched (no change)\n", "{patch}");
        if let Some((meant, path, value)) = meant {
            changed(mesh, meant).await;
            wanted.push((path, value));
        }
    }
    let now = config(mesh).await;
    for (path, value) in wanted {
        let value: Value = serde_json::from_str(value).unwrap();
        assert_eq!(now["spec"].pointer(path), Some(&value), "{path}: {now}");
    }
    obeyed(mesh).await;

    let back = json!({"spec": before["spec"]});
    mesh.patch_mesh_config(&json!({"spec": {"sidecar": {"sidecarImage": null}, "observability": {
        "enableDebugServer": null, "tracing": {"address": null, "endpoint": null, "port": null}}}}))
        .await;
    mesh.patch_mesh_config(&back).await;
    until("the policy decides again", async || (mesh.status("/status/200").await == "403").then_some(())).await;
}

/// The guide's command.
fn command(patch: &str) -> String {
    format!(r#"kubectl patch meshconfig fsm-mesh-config -n "$FSM_NAMESPACE" -p '{patch}' --type=merge"#)
}

async fn changed(mesh: &TheMesh, patch: &str) {
    let said = mesh.cluster.shows(&command(patch)).await;
    assert!(said.starts_with("meshconfig.config.flomesh.io/fsm-mesh-config patched"), "{patch}: {said}");
}

async fn config(mesh: &TheMesh) -> Value {
    let shown = mesh.cluster.shows(r#"kubectl get meshconfig fsm-mesh-config -n "$FSM_NAMESPACE" -o yaml"#).await;
    serde_saphyr::from_str(&shown).unwrap_or_else(|why| panic!("{why}: {shown}"))
}

async fn wrong_types_are_refused(mesh: &TheMesh) {
    let refusal = mesh.cluster.page(&command(r#"{"spec":{"traffic":{"enableEgress":"no"}}}"#)).await;
    assert_eq!(refusal.code, 1, "{refusal:?}");
    assert_eq!(
        refusal.stderr.trim_end(),
        "The MeshConfig \"fsm-mesh-config\" is invalid: spec.traffic.enableEgress: Invalid value: \"string\": \
         spec.traffic.enableEgress in body must be of type boolean: \"string\"",
        "in the guide's words"
    );
}

/// What the client gets of a place outside of the mesh: the API server.
async fn outside(mesh: &TheMesh) -> i32 {
    let pod = mesh.cluster.pod_of("client", "client").await;
    let call = ["curl", "-sk", "-m", "5", "-o", "/dev/null", "https://kubernetes.default.svc/readyz"];
    mesh.cluster.exec("client", &pod, "client", &call).await.code
}

/// So that what opens it is seen to.
async fn egress_is_closed(mesh: &TheMesh) {
    mesh.patch_mesh_config(&json!({"spec": {"traffic": {"enableEgress": false}, "sidecar": {"logLevel": "info"}}}))
        .await;
    until("nothing outside of the mesh is reached", async || (outside(mesh).await != 0).then_some(())).await;
    assert_eq!(mesh.status("/status/200").await, "403", "a policy decides");
}

/// What MeshConfig says is so in the control plane, in sidecars, and in new pods.
async fn obeyed(mesh: &TheMesh) {
    let cluster = &mesh.cluster;
    until("egress is open", async || (outside(mesh).await == 0).then_some(())).await;
    until("everybody may call everybody", async || (mesh.status("/status/200").await == "200").then_some(())).await;

    let pod = cluster.pod_of("client", "client").await;
    let dump = until("the sidecar traces", async || {
        let dump = cluster.fsm(&["proxy", "get", "config_dump", &pod, "-n", "client"]).await;
        let dump: Value = serde_json::from_str(&dump.stdout).ok()?;
        dump["Spec"]["Observability"]["tracing"].is_object().then_some(dump)
    })
    .await;
    let tracing = &dump["Spec"]["Observability"]["tracing"];
    assert_eq!(tracing["address"], "jaeger.fsm-system.svc.cluster.local:9411", "{tracing}");
    assert_eq!(tracing["endpoint"], "/api/v2/spans", "{tracing}");
    until("the sidecar says errors only", async || {
        let said = cluster.fsm(&["proxy", "log-level", &pod, "-n", "client"]).await.stdout;
        said.contains("logs at level error").then_some(())
    })
    .await;

    let controller = cluster.pod_of("fsm-system", "fsm-controller").await;
    let counting = until("the debug server answers", async || {
        let asked = ["curl", "-s", "http://127.0.0.1:9092/debug/config"];
        let page = cluster.exec("fsm-system", &controller, "fsm-controller", &asked).await;
        serde_json::from_str::<Value>(&page.stdout).ok()
    })
    .await;
    assert_eq!(counting["sidecar"]["maxDataPlaneConnections"], 20, "{counting}");
    assert_eq!(counting["certificate"]["serviceCertValidityDuration"], "24h", "{counting}");

    let pod: Value = serde_json::from_str(&cluster.shows(POD).await).unwrap();
    let init = &pod["spec"]["initContainers"][0];
    assert_eq!(init["securityContext"]["privileged"], true, "{init}");
    for argument in ["--outbound-exclude-port=6379,8080", "--outbound-exclude-cidr=10.0.0.0/32,1.1.1.1/24"] {
        assert!(init["args"].as_array().unwrap().contains(&json!(argument)), "{argument}: {init}");
    }
    let sidecar = pod["spec"]["containers"].as_array().unwrap().iter().find(|one| one["name"] == "sidecar").unwrap();
    assert_eq!(sidecar["image"], "flomesh/pipy:latest", "{sidecar}");
    certificates_live_longer(mesh).await;
}

/// A pod that comes now has a certificate of the new length.
async fn certificates_live_longer(mesh: &TheMesh) {
    let cluster = &mesh.cluster;
    mesh.patch_mesh_config(&json!({"spec": {"sidecar": {"sidecarImage": null}}})).await;
    let before = cluster.pod_of("client", "client").await;
    fine(cluster.kubectl(&["rollout", "restart", "deployment", "client", "-n", "client"], "").await);
    until("a new client has a certificate for a day", async || {
        let client = cluster.pod_of("client", "client").await;
        let asked = ["curl", "-s", "http://127.0.0.1:15000/certs"];
        let said = cluster.exec("client", &client, "client", &asked).await.stdout;
        let certificates: Value = serde_json::from_str(&said).unwrap_or_default();
        let left = certificates[0]["secondsLeft"].as_i64().unwrap_or(0);
        (client != before && left > 23 * 3600).then_some(())
    })
    .await;
}
