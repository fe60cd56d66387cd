//! Is the mesh well?

use anyhow::Result;
use serde_json::Value;

use super::report::{Outcome, Report};
use super::{judge, unknown};
use crate::cluster::{Cluster, ClusterError, ControlPlane, Selector, Type, types};
use crate::commands::MeshChoice;
use crate::commands::namespace::MONITORED_BY;
use crate::commands::preset::MESH_CONFIG;

/// Deployments of a control plane.
const DEPLOYMENTS: [&str; 3] = ["fsm-controller", "fsm-injector", "fsm-bootstrap"];
/// Secret with the roots, and the ConfigMap with them in each namespace of the mesh.
const ROOTS: &str = "fsm-ca-bundle";
const TRUST_BUNDLE: &str = "fsm-trust-bundle";

pub(super) fn look(report: &mut Report, cluster: &Cluster, choice: &MeshChoice) -> Result<()> {
    const PLANE: &str = "control-plane";
    let meshes = match cluster.meshes() {
        Ok(meshes) => meshes,
        Err(error) => {
            report.add(PLANE, "a mesh is installed", unknown(&error));
            return Ok(());
        }
    };
    let named = choice.name.as_deref();
    let chosen: Vec<_> = meshes.iter().filter(|mesh| named.is_none_or(|name| mesh.mesh == name)).collect();
    let Some(first) = chosen.first() else {
        let what = named.map_or_else(|| "a mesh is installed".to_owned(), |name| format!("mesh [{name}] is installed"));
        let outcome = Outcome::fail(
            format!("there is none in {}", cluster.describe()),
            "`fsm check --pre` says whether one can be installed, `fsm install` installs it; a mesh of this machine is \
             looked at with `fsm get pods -A` and `fsm get meshconfig`",
        );
        report.add(PLANE, what, outcome);
        return Ok(());
    };
    definitions(report, cluster, &first.namespace);
    for mesh in chosen {
        one(report, cluster, mesh);
    }
    Ok(())
}

fn definitions(report: &mut Report, cluster: &Cluster, home: &str) {
    let outcome = match cluster.list(types::DEFINITION, None, Selector::default()) {
        Ok(found) => judge::definitions(&found, home),
        Err(error) => unknown(&error),
    };
    report.add("definitions", "all definitions of custom resources are there and serve what the mesh needs", outcome);
}

/// Reads what `judge` needs; what cannot be read is a finding.
fn judged<T>(read: Result<T, ClusterError>, judge: impl FnOnce(T) -> Outcome) -> Outcome {
    match read {
        Ok(found) => judge(found),
        Err(error) => unknown(&error),
    }
}

fn one(report: &mut Report, cluster: &Cluster, mesh: &ControlPlane) {
    let (name, home) = (mesh.mesh.as_str(), mesh.namespace.as_str());
    let get = |of: Type, object: &str| cluster.get(of, Some(home), object);
    const PLANE: &str = "control-plane";
    report.add(PLANE, format!("mesh [{name}] is installed in namespace [{home}]"), Outcome::Pass);
    for deployment in DEPLOYMENTS {
        let outcome = judged(get(types::DEPLOYMENT, deployment), |found| judge::deployment(found.as_ref(), home));
        report.add(PLANE, format!("{deployment} is ready"), outcome);
    }
    report.add(PLANE, "its version is that of this program", judge::versions(&mesh.version, name));
    let config = judged(get(types::MESH_CONFIG, MESH_CONFIG), |found| judge::mesh_config(found.as_ref(), home));
    report.add("configuration", format!("MeshConfig {MESH_CONFIG} is there and can be read"), config);

    webhooks(report, cluster, mesh);
    const IDENTITY: &str = "identity";
    let roots = get(types::SECRET, ROOTS);
    let outcome = judged(roots, |found| judge::roots(found.as_ref(), home));
    report.add(IDENTITY, format!("the root of the mesh (Secret {ROOTS}) is there and valid"), outcome);
    let label = format!("{MONITORED_BY}={name}");
    match cluster.list(types::NAMESPACE, None, Selector::labels(&label)) {
        Ok(namespaces) => {
            for namespace in &namespaces {
                data_plane(report, cluster, namespace, mesh);
            }
        }
        Err(error) => {
            report.add("data-plane", "namespaces of the mesh can be looked at", unknown(&error));
        }
    }
}

fn webhooks(report: &mut Report, cluster: &Cluster, mesh: &ControlPlane) {
    for (of, app, what) in [
        (types::MUTATING_WEBHOOK, "fsm-injector", "new pods get their sidecar: the injector's webhook"),
        (types::VALIDATING_WEBHOOK, "fsm-controller", "policies are validated: the validator's webhook"),
    ] {
        let labels = format!("app.kubernetes.io/name=flomesh.io,app.kubernetes.io/instance={},app={app}", mesh.mesh);
        let found = cluster.list(of, None, Selector::labels(&labels));
        let outcome = judged(found, |found| judge::webhook(&found, app, &mesh.namespace));
        report.add("webhooks", format!("{what} is registered"), outcome);
    }
}

fn data_plane(report: &mut Report, cluster: &Cluster, namespace: &Value, mesh: &ControlPlane) {
    const DATA: &str = "data-plane";
    let name = namespace.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    report.add(DATA, format!("namespace {name} admits sidecars"), judge::admission(namespace));
    let bundle = judged(cluster.get(types::CONFIG_MAP, Some(name), TRUST_BUNDLE), |found| {
        judge::trust_bundle(found.as_ref(), name, &mesh.namespace)
    });
    report.add(DATA, format!("namespace {name} has the roots of the mesh (ConfigMap {TRUST_BUNDLE})"), bundle);
    let pods = cluster.list(types::POD, Some(name), Selector::default());
    match pods {
        Ok(pods) => {
            let injected = judge::injected(namespace, &pods, name);
            report.add(DATA, format!("pods of namespace {name} have sidecars"), injected);
            report.add(DATA, format!("sidecars of namespace {name} are ready"), judge::sidecars(&pods, name));
            let current = judge::sidecar_versions(&pods, &mesh.version, name);
            report.add(DATA, format!("sidecars of namespace {name} are of the version of the control plane"), current);
        }
        Err(error) => {
            report.add(DATA, format!("pods of namespace {name} have sidecars"), unknown(&error));
        }
    }
}
