//! What the objects of a cluster say about a mesh. Pure: an object in, an outcome out.

use std::collections::BTreeMap;

use fsm_api::resources::{crds, mesh_config::MeshConfigSpec};
use k8s_openapi::ByteString;
use serde_json::Value;

use super::certificate;
use super::report::Outcome;
use crate::cluster::ControlPlane;
use crate::commands::VERSION;
use crate::commands::namespace::{IGNORE, INJECTION};
use crate::commands::pods::{self, is_ready};

/// Roots that end sooner deserve attention: replacing one takes days where certificates live long.
const SOON: i64 = 30 * 24 * 3600;
/// How many names a finding lists.
const LISTED: usize = 5;

/// The version of the API server, shown and judged.
pub(super) fn version(text: &str, oldest: u32) -> (String, Outcome) {
    let told: Value = serde_json::from_str(text).unwrap_or_default();
    let digits = |key: &str| {
        let text = told[key].as_str().unwrap_or_default();
        text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok()
    };
    let shown = told["gitVersion"].as_str().unwrap_or("unknown").to_owned();
    let outcome = match (digits("major"), digits("minor")) {
        (Some(major), Some(minor)) if (major, minor) >= (1, oldest) => Outcome::Pass,
        (Some(_), Some(_)) => {
            Outcome::fail(format!("it is {shown}"), format!("upgrade the cluster to Kubernetes 1.{oldest} or newer"))
        }
        _ => Outcome::warn("the API server does not tell its version", "see `kubectl version`"),
    };
    (shown, outcome)
}

/// Whether another mesh forbids a new one.
pub(in crate::commands) fn room_for(meshes: &[ControlPlane], name: &str, namespace: &str) -> Outcome {
    let list = |of: &[&ControlPlane]| {
        of.iter()
            .map(|mesh| format!("[{}] in namespace [{}]", mesh.mesh, mesh.namespace))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let same: Vec<_> = meshes.iter().filter(|mesh| mesh.mesh == name || mesh.namespace == namespace).collect();
    let alone: Vec<_> = meshes.iter().filter(|mesh| mesh.enforces_single_mesh).collect();
    if !same.is_empty() {
        return Outcome::fail(
            format!("there is mesh {} already", list(&same)),
            "`fsm mesh upgrade` changes it; another one needs another --mesh-name and another --fsm-namespace",
        );
    }
    if !alone.is_empty() {
        return Outcome::fail(
            format!("mesh {} is to be the only one of the cluster", list(&alone)),
            "install both with --enforce-single-mesh=false",
        );
    }
    if !meshes.is_empty() {
        let all: Vec<_> = meshes.iter().collect();
        return Outcome::warn(
            format!("there is mesh {}", list(&all)),
            "install with --enforce-single-mesh=false; both use the same definitions of custom resources",
        );
    }
    Outcome::Pass
}

/// Whether definitions that are there are in the way of an installation.
pub(super) fn definitions_before(found: &[Value]) -> Outcome {
    let state = Definitions::of(found);
    if state.foreign.is_empty() {
        return Outcome::Pass;
    }
    Outcome::fail(
        format!("somebody else's, which do not serve the version that the mesh needs: {}", listed(&state.foreign)),
        "remove what brought them, or hand them over: kubectl label crd NAME app.kubernetes.io/name=flomesh.io",
    )
}

/// Whether all definitions are there and serve what is needed; `home` is the namespace of the control plane.
pub(super) fn definitions(found: &[Value], home: &str) -> Outcome {
    let state = Definitions::of(found);
    let wrong: Vec<String> = state.missing.into_iter().chain(state.foreign).chain(state.old).collect();
    if wrong.is_empty() {
        return Outcome::Pass;
    }
    Outcome::fail(
        format!("missing, or without the version that the mesh needs: {}", listed(&wrong)),
        format!(
            "the bootstrap makes them: see `kubectl logs -l app=fsm-bootstrap -n {home}`, or make them yourself with `fsm crds | \
             kubectl apply -f -`"
        ),
    )
}

#[derive(Default)]
struct Definitions {
    missing: Vec<String>,
    old: Vec<String>,
    foreign: Vec<String>,
}

impl Definitions {
    fn of(found: &[Value]) -> Self {
        let there: BTreeMap<_, _> = found.iter().map(|object| (text(object, "/metadata/name"), object)).collect();
        let mut state = Self::default();
        for wanted in crds() {
            let name = wanted.metadata.name.clone().unwrap_or_default();
            let Some(object) = there.get(name.as_str()) else {
                state.missing.push(name);
                continue;
            };
            let stored = wanted.spec.versions.iter().find(|version| version.storage).map(|v| v.name.clone());
            let versions = object.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
            let served = versions
                .filter(|version| version["served"] == true)
                .any(|version| version["name"].as_str() == stored.as_deref());
            let ours = text(object, "/metadata/labels/app.kubernetes.io~1name") == "flomesh.io";
            match (served, ours) {
                (true, _) => {}
                (false, true) => state.old.push(name),
                (false, false) => state.foreign.push(name),
            }
        }
        state
    }
}

/// Whether the namespace of the control plane is fit for it.
pub(super) fn home(namespace: Option<&Value>, name: &str) -> Outcome {
    let Some(namespace) = namespace else { return Outcome::Pass };
    if text(namespace, "/status/phase") == "Terminating" {
        return Outcome::fail("it is being deleted", format!("wait until it is gone: kubectl get namespace {name}"));
    }
    Outcome::Pass
}

/// Whether a Deployment has all its pods.
pub(super) fn deployment(found: Option<&Value>, namespace: &str) -> Outcome {
    let Some(found) = found else {
        return Outcome::fail("there is no such Deployment", "install it again: `fsm mesh upgrade`");
    };
    let number = |path: &str| found.pointer(path).and_then(Value::as_u64);
    let (wanted, ready) = (number("/spec/replicas").unwrap_or(1), number("/status/readyReplicas").unwrap_or(0));
    let app = text(found, "/metadata/name");
    let hint = format!(
        "`kubectl get pods -n {namespace} -l app={app}` shows its pods, `kubectl describe pods -n {namespace} -l app={app}` \
         what keeps them, `kubectl logs -n {namespace} -l app={app}` what they say"
    );
    match ready {
        0 => Outcome::fail(format!("none of {wanted} pods is ready"), hint),
        ready if ready < wanted => Outcome::warn(format!("{ready} of {wanted} pods are ready"), hint),
        _ => Outcome::Pass,
    }
}

/// Whether the control plane has the version of this program.
pub(super) fn versions(of_mesh: &str, mesh: &str) -> Outcome {
    if of_mesh.trim_start_matches('v') == VERSION {
        return Outcome::Pass;
    }
    Outcome::warn(
        format!("it is {of_mesh}, and this program is {VERSION}"),
        format!("`fsm mesh upgrade --mesh-name {mesh}` brings the mesh to {VERSION}, or use the program of {of_mesh}"),
    )
}

/// Whether the MeshConfig is there and means something.
pub(super) fn mesh_config(found: Option<&Value>, namespace: &str) -> Outcome {
    let Some(found) = found else {
        return Outcome::fail(
            "it is not there; until it is, defaults count",
            format!(
                "the bootstrap makes it from ConfigMap preset-mesh-config: see `kubectl logs -n {namespace} -l app=fsm-bootstrap`"
            ),
        );
    };
    match serde_json::from_value::<MeshConfigSpec>(found["spec"].clone()) {
        Ok(_) => Outcome::Pass,
        Err(error) => Outcome::fail(
            format!("it cannot be read: {error}"),
            format!("kubectl edit meshconfig {} -n {namespace}", text(found, "/metadata/name")),
        ),
    }
}

/// Whether a webhook is registered so that API servers can believe it.
pub(super) fn webhook(found: &[Value], app: &str, home: &str) -> Outcome {
    let hint = format!("{app} registers it when it starts: see `kubectl logs -l app={app} -n {home}`");
    let hooks = found.iter().filter_map(|object| object["webhooks"].as_array()).flatten();
    let hooks: Vec<_> = hooks.collect();
    if hooks.is_empty() {
        return Outcome::fail("it is not registered", hint);
    }
    for hook in hooks {
        let name = text(hook, "/name");
        let bundle = bytes(hook.pointer("/clientConfig/caBundle"));
        match bundle.as_deref().and_then(certificate::first_end) {
            None => return Outcome::fail(format!("webhook {name} has no certificate authority"), hint),
            Some(end) if end < certificate::now() => {
                return Outcome::fail(format!("a certificate authority of webhook {name} has expired"), hint);
            }
            Some(_) => {}
        }
    }
    Outcome::Pass
}

/// Whether the roots of the mesh are there and valid for a while.
pub(super) fn roots(secret: Option<&Value>, namespace: &str) -> Outcome {
    let Some(secret) = secret else {
        return Outcome::warn(
            format!("it is not in namespace {namespace}"),
            "with the built-in authority fsm-controller makes it at its start; with Vault or cert-manager the root is there",
        );
    };
    let Some(end) = bytes(secret.pointer("/data/ca.crt")).as_deref().and_then(certificate::first_end) else {
        return Outcome::fail("its ca.crt is no certificate", "restore the Secret from a backup");
    };
    let left = end - certificate::now();
    let days = left / (24 * 3600);
    if left < 0 {
        return Outcome::fail("it has expired: nobody in the mesh believes anybody", "docs/certificates.md, new roots");
    }
    if left < SOON {
        return Outcome::warn(format!("it ends in {days} days"), "docs/certificates.md says how to replace a root");
    }
    Outcome::Pass
}

/// Whether sidecars of a namespace can know the control plane.
pub(super) fn trust_bundle(found: Option<&Value>, namespace: &str, home: &str) -> Outcome {
    let end = found
        .and_then(|object| object.pointer("/data/ca.crt"))
        .and_then(Value::as_str)
        .and_then(|pem| certificate::first_end(pem.as_bytes()));
    match end {
        None => Outcome::fail(
            "it is not there, so new pods of the namespace do not start",
            format!("fsm-controller writes it: see `kubectl logs -l app=fsm-controller -n {home} | grep {namespace}`"),
        ),
        Some(end) if end < certificate::now() => {
            Outcome::fail("a root in it has expired", format!("see `kubectl logs -l app=fsm-controller -n {home}`"))
        }
        Some(_) => Outcome::Pass,
    }
}

/// Whether pod security lets the redirecting init container in.
pub(super) fn admission(namespace: &Value) -> Outcome {
    let level = text(namespace, "/metadata/labels/pod-security.kubernetes.io~1enforce");
    if !matches!(level, "restricted" | "baseline") {
        return Outcome::Pass;
    }
    let name = text(namespace, "/metadata/name");
    Outcome::fail(
        format!(
            "its pod security level is {level}, which refuses the capability NET_ADMIN of fsm-init: new pods are refused"
        ),
        format!("kubectl label namespace {name} --overwrite pod-security.kubernetes.io/enforce=privileged"),
    )
}

/// Whether pods that should have a sidecar have one.
pub(super) fn injected(namespace: &Value, pods: &[Value], name: &str) -> Outcome {
    let on = text(namespace, &format!("/metadata/annotations/{}", INJECTION.replace('/', "~1")));
    let ignored = namespace.pointer(&format!("/metadata/labels/{}", IGNORE.replace('/', "~1"))).is_some();
    let wanted = matches!(on, "enabled" | "yes" | "true") && !ignored;
    let own = |pod: &Value| text(pod, &format!("/metadata/annotations/{}", INJECTION.replace('/', "~1"))).to_owned();
    let without: Vec<String> = pods
        .iter()
        .filter(|pod| is_alive(pod) && pod.pointer("/spec/hostNetwork") != Some(&Value::Bool(true)))
        .filter(|pod| match own(pod).as_str() {
            "" => wanted,
            own => matches!(own, "enabled" | "yes" | "true"),
        })
        .filter(|pod| !has_sidecar(pod))
        .map(|pod| text(pod, "/metadata/name").to_owned())
        .collect();
    if without.is_empty() {
        return Outcome::Pass;
    }
    Outcome::warn(
        format!("pods that were started before, and have none: {}", listed(&without)),
        format!("restart them: kubectl rollout restart deployment -n {name}"),
    )
}

/// Whether sidecars are ready.
pub(super) fn sidecars(pods: &[Value], name: &str) -> Outcome {
    let ill: Vec<String> = pods
        .iter()
        .filter(|pod| is_alive(pod) && has_sidecar(pod) && !is_ready(pod))
        .filter(|pod| !sidecar_ready(pod))
        .map(|pod| text(pod, "/metadata/name").to_owned())
        .collect();
    match ill.first() {
        None => Outcome::Pass,
        Some(first) => Outcome::warn(
            format!("not ready: {}", listed(&ill)),
            format!(
                "`kubectl logs {first} -c sidecar -n {name}` says why; `fsm proxy get config_status {first} -n {name}`, too"
            ),
        ),
    }
}

/// Whether sidecars have the version of the control plane.
pub(super) fn sidecar_versions(pods: &[Value], version: &str, name: &str) -> Outcome {
    let mut other: BTreeMap<String, usize> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_alive(pod)) {
        let Some(image) = sidecar_container(pod).map(|container| text(container, "/image").to_owned()) else {
            continue;
        };
        let tag = image.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag.to_owned());
        // An image by digest, or of the user's own, tells nothing.
        if image.contains("/fsm-proxy:") && tag.is_some_and(|tag| tag != version.trim_start_matches('v')) {
            *other.entry(image).or_default() += 1;
        }
    }
    if other.is_empty() {
        return Outcome::Pass;
    }
    let others: Vec<String> = other.iter().map(|(image, count)| format!("{count} of {image}")).collect();
    Outcome::warn(
        format!("the control plane is {version}: {}", others.join(", ")),
        format!("pods get the new sidecar when they are restarted: kubectl rollout restart deployment -n {name}"),
    )
}

fn is_alive(pod: &Value) -> bool {
    !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
        && pod.pointer("/metadata/deletionTimestamp").is_none()
}

fn has_sidecar(pod: &Value) -> bool {
    sidecar_container(pod).is_some()
}

fn sidecar_container(pod: &Value) -> Option<&Value> {
    let list = |path: &str| pod.pointer(path).and_then(Value::as_array).into_iter().flatten();
    list("/spec/containers").chain(list("/spec/initContainers")).find(|container| container["name"] == pods::SIDECAR)
}

fn sidecar_ready(pod: &Value) -> bool {
    let list = |path: &str| pod.pointer(path).and_then(Value::as_array).into_iter().flatten();
    list("/status/containerStatuses")
        .chain(list("/status/initContainerStatuses"))
        .any(|status| status["name"] == pods::SIDECAR && status["ready"] == true)
}

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// What is in base64 in JSON.
fn bytes(value: Option<&Value>) -> Option<Vec<u8>> {
    let ByteString(bytes) = serde_json::from_value(value?.clone()).ok()?;
    Some(bytes)
}

/// `a, b, c and 4 more`.
fn listed(names: &[String]) -> String {
    let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
