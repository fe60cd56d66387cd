//! `fsm policy check-pods` and `check-conflicts`, in FSM's words.

use anyhow::{Result, anyhow, bail};
use clap::Args;
use fsm_api::resources::Kind;
use serde_json::Value;

use super::super::preset::MESH_CONFIG;
use super::super::{MeshChoice, pods, say_line};
use crate::reach::{Mesh, PodName};

/// `fsm policy check-pods`.
#[derive(Debug, Args)]
#[command(
    after_help = "Looks at the mode of the mesh and at TrafficTargets only; `fsm policy explain` follows a request through all rules.\n\n\
    Examples:\n  fsm policy check-pods bookbuyer/bookbuyer-7c9 bookstore/bookstore-5d4"
)]
pub(in super::super) struct CheckPods {
    /// Who calls: NAMESPACE/POD, or POD in namespace default
    source: String,
    /// Whom: NAMESPACE/POD, or POD in namespace default
    destination: String,
}

/// `fsm policy check-conflicts`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  fsm policy check-conflicts IngressBackend -n bookstore")]
pub(in super::super) struct CheckConflicts {
    /// IngressBackend or AccessControl
    kind: String,
    /// The namespace to look at
    #[arg(short, long = "namespaces", visible_alias = "namespace", value_name = "NS")]
    namespace: String,
}

impl CheckPods {
    pub(in super::super) fn run(self, choice: &MeshChoice) -> Result<()> {
        let mesh = choice.reach()?;
        let source = Member::find(&mesh, &self.source)?;
        let destination = Member::find(&mesh, &self.destination)?;
        let home = mesh.home(&choice.fsm_namespace);
        let config = mesh.get(&Kind::MeshConfig, home, MESH_CONFIG)?;
        let targets = mesh.list(&Kind::TrafficTarget, None)?;
        for line in told(&source, &destination, config.as_ref(), &targets, home) {
            say_line(line);
        }
        Ok(())
    }
}

impl CheckConflicts {
    pub(in super::super) fn run(self, choice: &MeshChoice) -> Result<()> {
        let kind = match self.kind.to_ascii_lowercase().as_str() {
            "ingressbackend" | "ingressbackends" => Kind::IngressBackend,
            "accesscontrol" | "accesscontrols" => Kind::AccessControl,
            _ => bail!("Invalid resource kind {}: it is IngressBackend or AccessControl", self.kind),
        };
        let objects = choice.reach()?.list(&kind, Some(&self.namespace))?;
        let conflicts = conflicts(kind.name(), &self.namespace, &objects);
        if conflicts.is_empty() {
            say_line(format!("No conflicts among {kind} resources in namespace {}", self.namespace));
        }
        for line in conflicts {
            say_line(line);
        }
        Ok(())
    }
}

/// A pod of the mesh.
#[derive(Debug)]
struct Member {
    name: PodName,
    account: String,
}

impl Member {
    fn find(mesh: &Mesh, text: &str) -> Result<Self> {
        let (namespace, pod) = match *text.split('/').collect::<Vec<_>>() {
            [pod] if !pod.is_empty() => ("default", pod),
            [namespace, pod] if !namespace.is_empty() && !pod.is_empty() => (namespace, pod),
            _ => bail!("{text:?} names no pod: write NAMESPACE/POD, or POD for one in namespace default"),
        };
        let found = mesh.get(&Kind::Pod, namespace, pod)?;
        let found = found.ok_or_else(|| {
            anyhow!(
                "Pod {pod} in namespace {namespace} does not exist: `fsm get pods -n {namespace}` shows those that do"
            )
        })?;
        if !is_member(&found) {
            bail!(
                "Pod {pod} in namespace {namespace} is not a part of a mesh: see that its namespace is (`fsm namespace list`), \
                 and restart the pod"
            );
        }
        let account = found["spec"]["serviceAccountName"].as_str().unwrap_or("default").to_owned();
        Ok(Self { name: PodName::new(namespace, pod), account })
    }

    /// Whether a reference of a TrafficTarget means its account.
    fn is(&self, reference: &Value, own_namespace: &str) -> bool {
        let namespace = reference["namespace"].as_str().filter(|namespace| !namespace.is_empty());
        reference["kind"] == "ServiceAccount"
            && reference["name"] == self.account
            && namespace.unwrap_or(own_namespace) == self.name.namespace
    }
}

/// Marked by the injector, or with a sidecar.
fn is_member(pod: &Value) -> bool {
    !pod["metadata"]["labels"]["fsm-proxy-uuid"].is_null() || pods::has_sidecar(pod)
}

fn told(
    source: &Member,
    destination: &Member,
    config: Option<&Value>,
    targets: &[Value],
    fsm_namespace: &str,
) -> Vec<String> {
    let (from, to) = (&source.name, &destination.name);
    let permissive = config.and_then(|config| config["spec"]["traffic"]["enablePermissiveTrafficPolicyMode"].as_bool());
    let operated = format!("mesh operated by fsm-controller running in '{fsm_namespace}' namespace");
    // Without a word of MeshConfig the mesh is permissive.
    if permissive.unwrap_or(true) {
        return vec![
            format!("[+] Permissive mode enabled for {operated}"),
            format!("[+] Pod '{from}' is allowed to communicate to pod '{to}'"),
        ];
    }
    let mut lines = vec![format!("[+] SMI traffic policy mode enabled for {operated}")];
    for target in targets {
        let text = |field: &str| target["metadata"][field].as_str().unwrap_or_default();
        let namespace = text("namespace");
        // Whoever may write in one namespace must not open another.
        let counts = destination.is(&target["spec"]["destination"], namespace) && namespace == to.namespace;
        let sources = target["spec"]["sources"].as_array().into_iter().flatten();
        if counts && sources.into_iter().any(|one| source.is(one, namespace)) {
            lines.push(format!(
                "[+] Pod '{from}' is allowed to communicate to pod '{to}' via the SMI TrafficTarget policy {:?} in namespace {namespace}",
                text("name")
            ));
        }
    }
    if lines.len() == 1 {
        lines.push(format!(
            "[+] Pod '{from}' is not allowed to communicate to pod '{to}', missing SMI TrafficTarget policy"
        ));
    }
    lines
}

/// Every two objects that name the same port of the same service.
fn conflicts(kind: &str, namespace: &str, objects: &[Value]) -> Vec<String> {
    let backends = |object: &Value| -> Vec<(String, u64)> {
        let backends = object["spec"]["backends"].as_array().into_iter().flatten();
        backends.filter_map(|b| Some((b["name"].as_str()?.to_owned(), b["port"]["number"].as_u64()?))).collect()
    };
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut lines = Vec::new();
    for (index, one) in objects.iter().enumerate() {
        for other in &objects[index + 1..] {
            let theirs = backends(other);
            let shared: Vec<_> = backends(one).into_iter().filter(|backend| theirs.contains(backend)).collect();
            if shared.is_empty() {
                continue;
            }
            lines.push(format!("[+] {kind} {namespace}/{} conflicts with {namespace}/{}:", name(one), name(other)));
            let reason = |(service, port): &(String, u64)| {
                format!(
                    "Backend {service} specified in {} and {} conflicts: both name port {port}",
                    name(one),
                    name(other)
                )
            };
            lines.extend(shared.iter().map(reason));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::{Member, conflicts, is_member, told};
    use crate::reach::PodName;
    use serde_json::{Value, json};

    fn member(namespace: &str, pod: &str, account: &str) -> Member {
        Member { name: PodName::new(namespace, pod), account: account.into() }
    }

    fn target(namespace: &str, source: &str) -> Value {
        json!({"metadata": {"namespace": namespace, "name": "t"}, "spec": {
            "destination": {"kind": "ServiceAccount", "name": "store", "namespace": "shop"},
            "sources": [{"kind": "ServiceAccount", "name": source, "namespace": "buyers"}]}})
    }

    #[test]
    fn the_mode_and_the_policy_are_told_in_fsms_words() {
        let (buyer, store) = (member("buyers", "buyer-1", "buyer"), member("shop", "store-1", "store"));
        let permissive = told(&buyer, &store, None, &[], "fsm-system");
        assert_eq!(
            permissive,
            [
                "[+] Permissive mode enabled for mesh operated by fsm-controller running in 'fsm-system' namespace",
                "[+] Pod 'buyers/buyer-1' is allowed to communicate to pod 'shop/store-1'"
            ]
        );
        let strict = json!({"spec": {"traffic": {"enablePermissiveTrafficPolicyMode": false}}});
        let lines = |target: Value| told(&buyer, &store, Some(&strict), &[target], "fsm-system").remove(1);
        assert_eq!(
            lines(target("shop", "buyer")),
            "[+] Pod 'buyers/buyer-1' is allowed to communicate to pod 'shop/store-1' via the SMI TrafficTarget policy \"t\" in \
             namespace shop"
        );
        for other in [target("shop", "thief"), target("buyers", "buyer")] {
            assert!(lines(other).ends_with("missing SMI TrafficTarget policy"));
        }
    }

    #[test]
    fn two_objects_that_name_the_same_port_conflict() {
        let backend = |name: &str, port: u16| json!({"metadata": {"name": name}, "spec": {"backends": [{"name": "web", "port": {"number": port}}]}});
        let objects = [backend("x", 80), backend("y", 80), backend("z", 81)];
        let lines = conflicts("IngressBackend", "shop", &objects);
        assert_eq!(lines[0], "[+] IngressBackend shop/x conflicts with shop/y:");
        assert!(lines[1].contains("port 80") && lines.len() == 2, "{lines:?}");
        assert!(conflicts("IngressBackend", "shop", &objects[1..]).is_empty());
    }

    #[test]
    fn a_pod_is_a_member_by_its_label_or_its_sidecar() {
        assert!(is_member(&json!({"metadata": {"labels": {"fsm-proxy-uuid": "1"}}})));
        assert!(is_member(&json!({"spec": {"initContainers": [{"name": "sidecar"}]}})));
        assert!(!is_member(&json!({"spec": {"containers": [{"name": "web"}]}})));
    }
}
