//! The chart, rendered by Helm itself, and looked at object by object.

mod api_server;
mod rendered;
mod values;

use fsm_tests::{Outcome, tool};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Everything that may be switched on.
pub(crate) const EVERYTHING: &str = "fsm.deployPrometheus=true,fsm.deployGrafana=true,fsm.deployJaeger=true,\
    fsm.tracing.enable=true,fsm.enableReconciler=true,fsm.featureFlags.enableMeshRootCertificate=true,\
    fsm.fsmController.autoScale.enable=true,fsm.fsmController.enablePodDisruptionBudget=true,\
    fsm.injector.autoScale.enable=true,fsm.injector.enablePodDisruptionBudget=true,fsm.repoServer.serve=true,\
    fsm.remoteLogging.enable=true,fsm.remoteLogging.address=logs.example,fsm.remoteLogging.authorization=secret,\
    fsm.imagePullSecrets[0].name=registry,fsm.controlPlaneTolerations[0].operator=Exists";

/// What people install with: name, values.
pub(crate) const MATRIX: [(&str, &str); 7] = [
    ("defaults", ""),
    ("everything", EVERYTHING),
    ("Vault", "fsm.certificateProvider.kind=vault,fsm.vault.host=vault.example,fsm.vault.token=root"),
    (
        "Vault over TLS",
        "fsm.certificateProvider.kind=vault,fsm.vault.host=vault.example,fsm.vault.protocol=https,fsm.vault.mount=mesh/pki,\
         fsm.vault.ca.name=vault-roots,fsm.vault.secret.name=vault,fsm.vault.secret.key=token",
    ),
    ("cert-manager", "fsm.certificateProvider.kind=cert-manager"),
    ("OpenShift", "fsm.openshift=true"),
    ("a mesh of another name", "fsm.meshName=shop,fsm.enforceSingleMesh=false,fsm.fsmController.replicaCount=2"),
];

/// Helm; `None`, said aloud, where there is none.
pub(crate) fn helm() -> Option<PathBuf> {
    tool("helm", "`.ci/setup test` builds it where Go is, https://helm.sh/docs/intro/install says more")
}

pub(crate) fn chart() -> PathBuf {
    let chart = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/fsm");
    chart.canonicalize().expect("the chart is there")
}

/// Runs helm with these arguments, without a cluster unless they name one.
pub(crate) fn run(helm: &Path, arguments: &[&str]) -> Outcome {
    let home = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(helm);
    command.args(arguments).env("HOME", home.path()).env_remove("KUBECONFIG").stdin(Stdio::null());
    let output = command.output().expect("helm runs");
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What helm makes of the chart with these values: text, or why not.
pub(crate) fn template(helm: &Path, values: &str, more: &[&str]) -> Result<String, String> {
    let chart = chart();
    let chart = chart.to_str().expect("a path");
    let mut arguments = vec!["template", "fsm", chart, "--namespace", "fsm-system"];
    if !values.is_empty() {
        arguments.extend(["--set", values]);
    }
    arguments.extend(more);
    let outcome = run(helm, &arguments);
    if outcome.code == 0 { Ok(outcome.stdout) } else { Err(outcome.stderr) }
}

/// The objects of a rendered chart.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let read: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|why| panic!("{why}\n{text}"));
    read.into_iter().filter(|object| !object.is_null()).collect()
}

/// The one object of this kind and name.
pub(crate) fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let object = found.next().unwrap_or_else(|| panic!("there is no {kind} {name}"));
    assert!(found.next().is_none(), "there are two of {kind} {name}");
    object
}
