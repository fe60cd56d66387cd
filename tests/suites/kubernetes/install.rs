//! FSM's guides about installing, upgrading and uninstalling, line by line, as far as an API server goes: nobody runs pods
//! here, somebody only says of them that they are well.

mod by_helm;

use crate::chart::helm;
use fsm_tests::{ApiServer, Outcome, api_server_alone, binary, eventually, within};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Somebody at a terminal, with `fsm` and `helm`, and a kubeconfig of the cluster.
struct Operator<'a> {
    server: &'a ApiServer,
    helm: PathBuf,
    home: TempDir,
}

impl Operator<'_> {
    async fn run(&self, program: PathBuf, words: &str, input: &str) -> Outcome {
        let mut command = Command::new(program);
        command
            .args(words.split_whitespace())
            .env("KUBECONFIG", self.server.kubeconfig())
            .env("HOME", self.home.path());
        command.env("FSM_HELM", &self.helm).env("FSM_STATE_DIR", self.home.path().join("meshes"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (words, input) = (words.to_owned(), input.to_owned());
        let running = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("the program runs");
            // It may ask nothing.
            let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
            child.wait_with_output().expect("the program ends")
        });
        let output = tokio::time::timeout(PATIENCE, running).await;
        let output =
            output.unwrap_or_else(|_| panic!("`{words}` goes on for more than {PATIENCE:?}")).expect("no panic");
        Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// `fsm` that succeeds; what it prints.
    async fn fsm(&self, words: &str) -> String {
        self.answering(words, "").await
    }

    async fn answering(&self, words: &str, input: &str) -> String {
        let outcome = self.run(binary("fsm"), words, input).await;
        assert_eq!(outcome.code, 0, "fsm {words}: {outcome:#?}");
        outcome.stdout
    }

    /// `fsm` that fails; why.
    async fn refused(&self, words: &str) -> String {
        let outcome = self.run(binary("fsm"), words, "").await;
        assert_eq!(outcome.code, 1, "fsm {words}: {outcome:#?}");
        outcome.stderr
    }

    async fn helm(&self, words: &str) -> String {
        let outcome = self.run(self.helm.clone(), words, "").await;
        assert_eq!(outcome.code, 0, "helm {words}: {outcome:#?}");
        outcome.stdout
    }

    async fn kubectl(&self, words: &str) -> String {
        let words: Vec<&str> = words.split_whitespace().collect();
        let outcome = within("kubectl answers", self.server.kubectl(&words, "")).await;
        assert_eq!(outcome.code, 0, "kubectl {words:?}: {outcome:#?}");
        outcome.stdout
    }
}

/// Says of pods that they are well: those of Jobs have succeeded, all others are ready.
async fn say_that_pods_are_well(client: Client) {
    let all: Api<Pod> = Api::all(client.clone());
    loop {
        for pod in all.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default() {
            let labels = pod.metadata.labels.clone().unwrap_or_default();
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            let wanted = if labels.contains_key("job-name") { "Succeeded" } else { "Running" };
            let (Some(name), Some(namespace)) = (pod.metadata.name, pod.metadata.namespace) else { continue };
            if phase == wanted {
                continue;
            }
            let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
            if wanted == "Succeeded" && phase != "Running" {
                let _ = pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status("Running"))).await;
                continue;
            }
            let _ = pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status(wanted))).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn status(phase: &str) -> Value {
    let ready = if phase == "Running" { "True" } else { "False" };
    json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}})
}

#[tokio::test]
async fn the_guides_hold_from_installing_to_uninstalling() {
    let Some(helm) = helm() else { return };
    let Some(server) = api_server_alone().await else { return };
    server.start_controllers();
    let pods = tokio::spawn(say_that_pods_are_well(server.client().await));
    let operator = Operator { server: &server, helm, home: tempfile::tempdir().unwrap() };
    before(&operator).await;
    install(&operator).await;
    inspect(&operator).await;
    namespaces(&operator).await;
    upgrade(&operator).await;
    uninstall(&operator).await;
    by_helm::a_mesh_is_managed(&operator).await;
    // For the tests that follow.
    server.apply(&operator.fsm("crds").await).await;
    server.wait_for_definitions().await;
    pods.abort();
}

async fn before(operator: &Operator<'_>) {
    // Another test may have had a namespace of this name, which takes a while to go.
    eventually("the namespace is free", async || {
        operator.server.kubectl(&["get", "namespace", "fsm-system"], "").await.code != 0
    })
    .await;
    let said = operator.fsm("check --pre").await;
    assert!(said.starts_with("kubernetes-api\n--------------\n√ can initialize the client\n"), "{said}");
    assert!(said.ends_with("\nStatus check results are √\n"), "{said}");
    assert_eq!(
        operator.fsm("mesh list").await.trim_end(),
        format!("No fsm mesh control planes found in {}", cluster(operator))
    );
    let refusal = operator.run(binary("fsm"), "check -o json", "").await;
    assert_eq!(refusal.code, 1);
    let told: Value = serde_json::from_str(&refusal.stdout).unwrap();
    assert_eq!(told["success"], false);
    assert!(operator.refused("install --set fsm.nonsense=1").await.contains("'nonsense' not allowed"));
    assert!(operator.refused("install --set fsm.enableEgress").await.contains("invalid format for --set"));
    assert!(operator.refused("install --mesh-name Shop").await.contains("invalid mesh-name"));
    let missing =
        Command::new(binary("fsm")).arg("install").env("PATH", "/nowhere").env_remove("FSM_HELM").output().unwrap();
    assert!(
        String::from_utf8_lossy(&missing.stderr).contains("helm is needed for this and is not there"),
        "{missing:?}"
    );
}

fn cluster(operator: &Operator<'_>) -> String {
    format!("the cluster of context t (https://{})", operator.server.address())
}

async fn install(operator: &Operator<'_>) {
    let rendered = operator.fsm("install --render").await;
    assert!(rendered.contains("kind: Deployment"), "{rendered}");
    let tried = operator.fsm("install --dry-run").await;
    assert!(tried.contains("name: fsm-controller"), "{tried}");
    let said = operator.fsm("install --timeout 100s").await;
    let mut lines = said.lines();
    for component in ["fsm-preinstall", "fsm-bootstrap", "fsm-controller", "fsm-injector"] {
        let done = |line: &str| line.starts_with(&format!("{component}[{component}-")) && line.ends_with("] Done");
        assert!(said.lines().any(done), "{component}: {said}");
    }
    assert!(lines.next().unwrap().starts_with("fsm-preinstall["), "first it is looked whether it can be: {said}");
    assert!(said.ends_with("FSM installed successfully in namespace [fsm-system] with mesh name [fsm]\n"), "{said}");
    let again = operator.refused("install").await;
    assert!(again.contains("mesh [fsm] is already installed") && again.contains("fsm mesh upgrade"), "{again}");
    let pre = operator.run(binary("fsm"), "check --pre", "").await;
    assert!(pre.code == 1 && pre.stdout.contains("there is mesh [fsm] in namespace [fsm-system] already"), "{pre:#?}");
}

async fn inspect(operator: &Operator<'_>) {
    // The definitions are there already; the bootstrap would have made the MeshConfig of this.
    let preset = operator
        .kubectl("get configmap preset-mesh-config -n fsm-system -o jsonpath={.data.preset-mesh-config\\.json}")
        .await;
    let spec: Value = serde_json::from_str(&preset).unwrap();
    let config = json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshConfig",
        "metadata": {"name": "fsm-mesh-config", "namespace": "fsm-system"}, "spec": spec});
    operator.server.apply(&config.to_string()).await;
    let found = operator.kubectl("get pods,svc,secrets,meshconfigs,serviceaccount --namespace fsm-system").await;
    for name in [
        "pod/fsm-controller-",
        "service/fsm-validator",
        "meshconfig.config.flomesh.io/fsm-mesh-config",
        "serviceaccount/fsm-injector",
    ] {
        assert!(found.contains(name), "{name}: {found}");
    }
    let found = operator
        .kubectl("get clusterrolebinding,clusterrole,mutatingwebhookconfiguration,validatingwebhookconfigurations -l app.kubernetes.io/name=flomesh.io -o name")
        .await;
    for name in [
        "clusterrolebinding.rbac.authorization.k8s.io/fsm-controller-fsm",
        "/fsm-webhook-fsm",
        "/fsm-validator-mesh-fsm",
    ] {
        assert!(found.contains(name), "{name}: {found}");
    }
    assert!(operator.helm("get manifest fsm --namespace fsm-system").await.contains("name: fsm-controller"));
    assert!(operator.helm("list --namespace fsm-system").await.contains("deployed"));
    // The guide's example of a value that is refused.
    let words = ["patch", "meshconfig", "fsm-mesh-config", "-n", "fsm-system", "--type=merge", "-p"];
    let refusal =
        operator.server.kubectl(&[&words[..], &[r#"{"spec":{"traffic":{"enableEgress":"no"}}}"#]].concat(), "").await;
    assert!(
        refusal.stderr.contains(r#"spec.traffic.enableEgress in body must be of type boolean: "string""#),
        "{refusal:#?}"
    );
    let said = operator.fsm("mesh list").await;
    let head = ["MESH", "NAME", "MESH", "NAMESPACE", "VERSION", "ADDED", "NAMESPACES", "STATUS"];
    assert_eq!(said.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>(), head, "{said}");
    let version = env!("CARGO_PKG_VERSION");
    assert!(said.lines().nth(2).unwrap().starts_with("fsm"), "{said}");
    assert!(
        said.contains(version) && said.contains("kubectl get pods -n <fsm-mesh-namespace> -l app=fsm-controller"),
        "{said}"
    );
    assert!(operator.fsm("version").await.contains(&format!("v{version}")));
    assert!(operator.fsm("env").await.starts_with("---\ninstall:\n"));
    let health = operator.run(binary("fsm"), "check", "").await;
    assert!(health.stdout.contains("√ fsm-controller is ready"), "{health:#?}");
    assert!(health.stdout.contains("√ MeshConfig fsm-mesh-config is there and can be read"), "{health:#?}");
    // Nobody runs the injector here, so nobody has registered its webhook.
    assert!(health.code == 1 && health.stdout.contains("× new pods get their sidecar"), "{health:#?}");
}

async fn namespaces(operator: &Operator<'_>) {
    operator.kubectl("create namespace guide-shop").await;
    assert!(
        operator.refused("namespace add guide-shop --mesh-name other").await.contains("mesh [other] does not exist")
    );
    let added = operator.fsm("namespace add guide-shop").await;
    assert_eq!(added, "Namespace [guide-shop] successfully added to mesh [fsm]\n");
    let metadata = operator.kubectl("get namespace guide-shop -o json").await;
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["metadata"]["labels"]["flomesh.io/monitored-by"], "fsm");
    assert_eq!(metadata["metadata"]["annotations"]["flomesh.io/sidecar-injection"], "enabled");
    assert_eq!(
        operator.fsm("namespace add guide-shop").await,
        "Namespace [guide-shop] has already been added to mesh [fsm]\n"
    );
    assert!(operator.fsm("namespace add fsm-system").await.contains("already has [fsm-controller] installed"));
    let listed = operator.fsm("namespace list --mesh-name=fsm").await;
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAMESPACE", "MESH", "SIDECAR-INJECTION"]);
    assert!(rows.iter().any(|row| *row == ["guide-shop", "fsm", "enabled"]), "{rows:?}");
    assert!(operator.refused("namespace add nowhere").await.contains("not found in the cluster of context t"));
    assert!(operator.refused("metrics enable --namespace default").await.contains("does not belong to any mesh"));
    assert_eq!(
        operator.fsm("metrics enable --namespace guide-shop").await,
        "Metrics successfully enabled in namespace [guide-shop]\n"
    );
    let annotation = "get namespace guide-shop -o jsonpath={.metadata.annotations.flomesh\\.io/metrics}";
    assert_eq!(operator.kubectl(annotation).await, "enabled");
    let removed = operator.fsm("namespace remove guide-shop --mesh-name=fsm").await;
    assert_eq!(removed, "Namespace [guide-shop] successfully removed from mesh [fsm]\n");
    assert_eq!(operator.kubectl(annotation).await, "");
    let again = operator.fsm("namespace remove guide-shop").await;
    assert_eq!(again, "Namespace [guide-shop] already does not belong to any mesh\n");
    operator.fsm("namespace ignore guide-shop").await;
    assert!(operator.refused("namespace add guide-shop").await.contains("Cannot add ignored namespace"));
    operator.server.delete("namespace guide-shop").await;
}

async fn upgrade(operator: &Operator<'_>) {
    let done = "FSM successfully upgraded mesh [fsm] in namespace [fsm-system]\n";
    let values = "get values fsm -n fsm-system -o json";
    let said = operator.fsm("mesh upgrade --set fsm.injector.replicaCount=2,fsm.enableEgress=false").await;
    assert!(said.ends_with(done), "{said}");
    // What was set before is kept; that a mesh forgot its values was a trap.
    let said = operator.fsm("mesh upgrade --set fsm.controllerLogLevel=debug").await;
    assert!(said.ends_with(done), "{said}");
    let kept: Value = serde_json::from_str(&operator.helm(values).await).unwrap();
    assert_eq!(kept["fsm"]["injector"]["replicaCount"], 2);
    assert_eq!(kept["fsm"]["controllerLogLevel"], "debug");
    let config =
        operator.kubectl("get meshconfig fsm-mesh-config -n fsm-system -o jsonpath={.spec.traffic.enableEgress}").await;
    assert_eq!(config, "true", "an upgrade leaves the MeshConfig alone");
    let said = operator.fsm("mesh upgrade --reset-values").await;
    assert!(said.ends_with(done), "{said}");
    let kept: Value = serde_json::from_str(&operator.helm(values).await).unwrap();
    assert_eq!(kept["fsm"].get("injector"), None);
    assert_eq!(kept["fsm"]["meshName"], "fsm", "the name is no setting");
    assert!(operator.refused("mesh upgrade --mesh-name other").await.contains("fsm in fsm-system"));
}

async fn uninstall(operator: &Operator<'_>) {
    let question = "Uninstall FSM [mesh name: fsm] in namespace [fsm-system] and/or FSM resources? [y/n]: ";
    assert_eq!(operator.answering("uninstall mesh", "n\n").await, question);
    assert!(operator.helm("list --namespace fsm-system").await.contains("deployed"), "no is no");
    let said = operator.answering("uninstall mesh --mesh-name=fsm", "y\n").await;
    assert_eq!(said, format!("{question}FSM [mesh name: fsm] in namespace [fsm-system] uninstalled\n"));
    let labelled = "-l app.kubernetes.io/name=flomesh.io -o name";
    // Other tests of this run may have left things of their own meshes.
    let of_mesh = "-l app.kubernetes.io/name=flomesh.io,app.kubernetes.io/instance=fsm -o name";
    let cluster_wide =
        "get clusterrolebinding,clusterrole,mutatingwebhookconfiguration,validatingwebhookconfigurations";
    assert_eq!(operator.kubectl(&format!("{cluster_wide} {of_mesh}")).await, "");
    assert!(
        operator.kubectl(&format!("get crd {labelled}")).await.contains("meshconfigs.config.flomesh.io"),
        "they stay"
    );
    operator.kubectl("get namespace fsm-system").await;
    let said = operator.fsm("uninstall mesh --delete-namespace -a -f").await;
    assert!(said.starts_with("No FSM control planes found"), "{said}");
    assert!(said.contains("  CRD meshconfigs.config.flomesh.io with "), "it says what goes: {said}");
    assert!(said.contains("Successfully deleted FSM CRD: meshconfigs.config.flomesh.io"), "{said}");
    assert!(said.contains("FSM namespace [fsm-system] deleted successfully"), "{said}");
    eventually("nothing is left", async || {
        operator.kubectl(&format!("get crd {labelled}")).await.is_empty()
            && operator.kubectl(&format!("get clusterrole {of_mesh}")).await.is_empty()
            && !operator.kubectl("get namespaces -o name").await.contains("fsm-system")
    })
    .await;
}
