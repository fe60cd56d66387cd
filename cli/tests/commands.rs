//! The commands that work on objects, as people type them: over the built program, with a state directory of their own
//! and no mesh that runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

struct Mesh {
    directory: tempfile::TempDir,
}

impl Mesh {
    fn new() -> Self {
        let mesh = Self { directory: tempfile::tempdir().unwrap() };
        for part in ["objects", "tokens"] {
            fs::create_dir_all(mesh.directory.path().join("fsm").join(part)).unwrap();
        }
        mesh
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn run(&self, line: &str) -> Output {
        self.run_with(line, "")
    }

    fn run_with(&self, line: &str, input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fsm"))
            .args(words(line))
            .env_clear()
            .env("FSM_STATE_DIR", self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read has closed its end.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Standard output of a command that must succeed.
    fn said(&self, line: &str) -> String {
        self.said_to(line, "")
    }

    fn said_to(&self, line: &str, input: &str) -> String {
        let output = self.run_with(line, input);
        assert!(output.status.success(), "fsm {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a command that must fail with exit code 1.
    fn refused(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(1), "fsm {line}: {}", String::from_utf8_lossy(&output.stdout));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with("Error: "), "{text}");
        text
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.said(line)).unwrap()
    }
}

/// Splits at blanks, but for those in single quotes, as a shell does.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<Option<String>> = vec![None];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                words.last_mut().unwrap().get_or_insert_default();
            }
            ' ' if !quoted => words.push(None),
            c => words.last_mut().unwrap().get_or_insert_default().push(c),
        }
    }
    words.into_iter().flatten().collect()
}

const HTTPBIN: &str = "
apiVersion: v1
kind: ServiceAccount
metadata:
  name: httpbin
---
apiVersion: v1
kind: Service
metadata:
  name: httpbin
  labels: {app: httpbin}
spec:
  selector: {app: httpbin}
  ports:
  - port: 14001
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: httpbin
spec:
  replicas: 1
  selector: {matchLabels: {app: httpbin}}
  template:
    metadata: {labels: {app: httpbin}}
    spec:
      serviceAccountName: httpbin
      containers:
      - name: httpbin
        image: kennethreitz/httpbin
        ports: [{containerPort: 14001}]
";

fn with_httpbin() -> Mesh {
    let mesh = Mesh::new();
    mesh.said("create namespace httpbin");
    mesh.said_to("apply -n httpbin -f -", HTTPBIN);
    mesh
}

#[test]
fn objects_are_created_configured_unchanged_and_deleted() {
    let mesh = Mesh::new();
    assert_eq!(mesh.said("create ns httpbin"), "namespace/httpbin created\n");
    assert!(mesh.refused("create namespace httpbin").contains("namespaces \"httpbin\" already exists"));
    let apply = "apply -n httpbin -f -";
    let lines =
        |what: &str| format!("serviceaccount/httpbin {what}\nservice/httpbin {what}\ndeployment.apps/httpbin {what}\n");
    assert_eq!(mesh.said_to(apply, HTTPBIN), lines("created"));
    assert_eq!(mesh.said_to(apply, HTTPBIN), lines("unchanged"));
    let changed = mesh.said_to(apply, &HTTPBIN.replace("replicas: 1", "replicas: 2"));
    assert!(changed.ends_with("service/httpbin unchanged\ndeployment.apps/httpbin configured\n"), "{changed}");
    assert_eq!(mesh.said("scale deploy/httpbin -n httpbin --replicas 3"), "deployment.apps/httpbin scaled\n");
    assert_eq!(mesh.json("get deploy httpbin -n httpbin -o json")["spec"]["replicas"], 3);
    assert_eq!(mesh.said("delete svc httpbin -n httpbin"), "service \"httpbin\" deleted\n");
    assert!(mesh.refused("get svc httpbin -n httpbin").contains("services \"httpbin\" not found"));
    assert!(mesh.refused("delete svc httpbin -n httpbin").contains("not found"));
    assert_eq!(mesh.said("delete svc httpbin -n httpbin --ignore-not-found"), "");
    assert_eq!(mesh.said("delete namespace httpbin"), "namespace \"httpbin\" deleted\n");
    let output = mesh.run("get all -n httpbin");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "No resources found in httpbin namespace.\n");
}

#[test]
fn a_bad_document_does_not_stop_the_good_ones() {
    let mesh = Mesh::new();
    mesh.said("create ns a");
    let text = "
apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: a}
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: a}
spec:
  ports:
  - port: many
---
apiVersion: v1
kind: ConfigMap
metadata: {name: three, namespace: missing}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: four, namespace: a}
";
    let output = mesh.run_with("apply -f -", text);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "configmap/one created\nconfigmap/four created\n");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("standard input:10") || errors.contains("standard input:11"), "{errors}");
    assert!(errors.contains("Service a/two") && errors.contains("spec.ports[0].port"), "{errors}");
    assert!(
        errors.contains("namespaces \"missing\" not found: create it with `fsm create namespace missing`"),
        "{errors}"
    );
}

#[test]
fn tables_and_other_forms_are_kubectls() {
    let mesh = with_httpbin();
    let table = mesh.said("get svc -n httpbin");
    assert!(table.starts_with("NAME      TYPE        CLUSTER-IP   EXTERNAL-IP   PORT(S)     AGE\nhttpbin   ClusterIP   <none>       <none>        14001/TCP   "), "{table}");
    let several = mesh.said("get svc,deploy -n httpbin");
    assert!(
        several.contains("service/httpbin")
            && several.contains("\n\nNAME")
            && several.contains("deployment.apps/httpbin"),
        "{several}"
    );
    assert!(mesh.said("get services -A").starts_with("NAMESPACE   NAME"));
    assert_eq!(mesh.said("get svc -n httpbin -o name"), "service/httpbin\n");
    assert_eq!(mesh.said("get svc -n httpbin -l app=httpbin -o jsonpath='{.items[0].metadata.name}'"), "httpbin");
    assert_eq!(mesh.said("get svc -n httpbin -l app=other -o jsonpath='{.items..metadata.name}'"), "");
    assert_eq!(mesh.said("get svc/httpbin -n httpbin -o jsonpath='{.spec.ports[*].port}'"), "14001");
    assert_eq!(mesh.json("get svc -n httpbin -o json")["items"].as_array().unwrap().len(), 1);
    let yaml = mesh.said("get svc httpbin -n httpbin -o yaml");
    assert!(yaml.contains("kind: Service") && yaml.contains("port: 14001"), "{yaml}");
    // What was printed can be applied.
    assert_eq!(mesh.said_to("apply -f -", &yaml), "service/httpbin unchanged\n");
    assert!(mesh.refused("get nonsense").contains("there is no kind of object `nonsense`"));
}

#[test]
fn namespaces_join_and_leave_the_mesh_in_fsms_words() {
    let mesh = Mesh::new();
    mesh.said("create ns curl");
    mesh.said("create ns fsm-system");
    assert_eq!(mesh.said("namespace list"), "No namespaces in any mesh\n");
    assert_eq!(mesh.said("namespace list --mesh-name fsm"), "No namespaces in mesh [fsm]\n");
    assert_eq!(mesh.said("namespace add curl"), "Namespace [curl] successfully added to mesh [fsm]\n");
    assert_eq!(mesh.said("namespace add curl"), "Namespace [curl] has already been added to mesh [fsm]\n");
    assert_eq!(mesh.said("ns list"), "NAMESPACE   MESH   SIDECAR-INJECTION\ncurl        fsm    enabled\n");
    let metadata = mesh.json("get ns curl -o json")["metadata"].clone();
    assert_eq!(metadata["labels"]["flomesh.io/monitored-by"], "fsm");
    assert_eq!(metadata["annotations"]["flomesh.io/sidecar-injection"], "enabled");
    assert_eq!(
        mesh.said("namespace add fsm-system"),
        "Namespace [fsm-system] already has [fsm-controller] installed and cannot be added to mesh [fsm]\n"
    );
    assert_eq!(mesh.said("namespace remove curl"), "Namespace [curl] successfully removed from mesh [fsm]\n");
    assert_eq!(mesh.said("namespace remove curl"), "Namespace [curl] already does not belong to any mesh\n");
    assert_eq!(mesh.said("namespace ignore curl"), "Successfully configured namespace [curl] to be ignored\n");
    assert!(mesh.refused("namespace add curl").contains("Cannot add ignored namespace"));
    assert!(mesh.refused("namespace add nowhere").contains("namespaces \"nowhere\" not found"));
    assert!(
        mesh.refused("namespace add curl --mesh-name other").contains(
            "mesh [other] does not exist, please specify another mesh using --mesh-name or create a new mesh"
        )
    );
}

#[test]
fn fields_are_patched_and_nothing_becomes_invalid() {
    let mesh = Mesh::new();
    mesh.said("create ns fsm-system");
    let config = r#"{"apiVersion":"config.flomesh.io/v1alpha3","kind":"MeshConfig",
        "metadata":{"name":"fsm-mesh-config","namespace":"fsm-system"},
        "spec":{"traffic":{"enableEgress":true,"enablePermissiveTrafficPolicyMode":true}}}"#;
    mesh.said_to("apply -f -", config);
    let patch = r#"patch meshconfig fsm-mesh-config -n fsm-system -p '{"spec":{"traffic":{"enableEgress":false}}}' --type=merge"#;
    assert_eq!(mesh.said(patch), "meshconfig.config.flomesh.io/fsm-mesh-config patched\n");
    assert_eq!(mesh.said(patch), "meshconfig.config.flomesh.io/fsm-mesh-config patched (no change)\n");
    // Without -n it is the mesh's own namespace that counts.
    let traffic = mesh.json("get meshconfig fsm-mesh-config -o json")["spec"]["traffic"].clone();
    assert_eq!(
        (&traffic["enableEgress"], &traffic["enablePermissiveTrafficPolicyMode"]),
        (&false.into(), &true.into())
    );
    let wrong =
        mesh.refused(r#"patch meshconfig fsm-mesh-config -p '{"spec":{"traffic":{"enableEgress":"perhaps"}}}'"#);
    assert!(wrong.contains("stays as it was") && wrong.contains("enableEgress"), "{wrong}");
    assert!(
        mesh.refused(r#"patch meshconfig fsm-mesh-config -p '{"metadata":{"name":"x"}}'"#)
            .contains("cannot be changed")
    );
    assert!(mesh.refused("patch meshconfig other -p '{}'").contains("not found"));
    assert!(mesh.refused("patch meshconfig fsm-mesh-config -p '{'").contains("neither JSON nor YAML"));
}

#[test]
fn labels_and_annotations_are_set_and_removed() {
    let mesh = with_httpbin();
    assert_eq!(mesh.said("label svc httpbin -n httpbin a=b c=d"), "service/httpbin labeled\n");
    assert_eq!(mesh.said("label svc/httpbin -n httpbin c-"), "service/httpbin labeled\n");
    assert!(mesh.refused("label svc httpbin -n httpbin a=x").contains("--overwrite"));
    mesh.said("label svc httpbin -n httpbin a=x --overwrite");
    assert_eq!(mesh.said("get svc -n httpbin -l a=x,!c -o name"), "service/httpbin\n");
    assert_eq!(mesh.said("annotate svc httpbin -n httpbin x/y=z"), "service/httpbin annotated\n");
}

#[test]
fn secrets_are_made_of_files() {
    let mesh = Mesh::new();
    mesh.said("create ns a");
    let path = |name: &str| mesh.path().join(name).display().to_string();
    fs::write(path("tls.crt"), "cert").unwrap();
    fs::write(path("key.pem"), "key").unwrap();
    let line = format!(
        "create secret generic s -n a --from-file={} --from-file=tls.key={} --from-literal=x=y",
        path("tls.crt"),
        path("key.pem")
    );
    assert_eq!(mesh.said(&line), "secret/s created\n");
    let data = mesh.json("get secret s -n a -o json")["data"].clone();
    assert_eq!(data, serde_json::json!({"tls.crt": "Y2VydA==", "tls.key": "a2V5", "x": "eQ=="}));
    assert!(mesh.said("get secrets -n a").contains("Opaque   3"));
}

#[test]
fn directories_are_read_whole_and_namespaces_come_first() {
    let mesh = Mesh::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let source = elsewhere.path().join("source");
    fs::create_dir_all(source.join("deeper")).unwrap();
    fs::write(source.join("a.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: late}\n")
        .unwrap();
    fs::write(source.join("deeper/z.json"), r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"late"}}"#)
        .unwrap();
    fs::write(source.join("README.md"), "no: yaml: at: all").unwrap();
    let apply = format!("apply -f {}", source.display());
    assert_eq!(mesh.said(&apply), "namespace/late created\nconfigmap/x created\n");
    assert_eq!(
        mesh.said(&format!("delete -f {}", source.display())),
        "configmap \"x\" deleted\nnamespace \"late\" deleted\n"
    );
    assert!(mesh.refused("apply -f /nonexistent").contains("cannot read /nonexistent"));
    assert!(
        mesh.refused("apply -f https://example.com/x.yaml")
            .contains("curl -sfL https://example.com/x.yaml | fsm apply -f -")
    );
}

#[test]
fn a_command_finds_its_mesh_or_says_what_there_is() {
    let mesh = Mesh::new();
    assert!(mesh.said("mesh list").contains("fsm         fsm-system"));
    fs::create_dir_all(mesh.path().join("other/objects")).unwrap();
    assert!(mesh.refused("get pods").contains("there are several meshes (fsm, other): choose one with --name"));
    assert!(mesh.run("get pods --name other").status.success());
    for name in ["fsm", "other"] {
        fs::remove_dir_all(mesh.path().join(name)).unwrap();
    }
    assert!(mesh.refused("get pods").contains("fsm up DIR"));
    assert_eq!(mesh.said("mesh list"), "No fsm mesh control planes found\n");
    assert!(mesh.said("down").contains("There is no mesh"));
}

#[test]
fn what_a_dead_mesh_left_is_removed() {
    let mesh = with_httpbin();
    assert!(mesh.refused("exec deploy/httpbin -n httpbin -- true").contains("has no pods"));
    assert!(
        mesh.refused("wait pod --for=condition=ready -n httpbin -l app=httpbin --timeout 9s").contains("does not run")
    );
    assert_eq!(mesh.said("down"), "Mesh [fsm] is down\n");
    assert!(!mesh.path().join("fsm").exists());
}

#[test]
fn definitions_completions_and_versions_are_printed() {
    let mesh = Mesh::new();
    let crds = mesh.said("crds");
    assert!(
        crds.matches("\n---\n").count() > 10 && crds.contains("name: trafficsplits.split.smi-spec.io"),
        "{}",
        crds.len()
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(mesh.said(&format!("completion {shell}")).contains("namespace"));
    }
    let version = mesh.said("version");
    assert!(version.starts_with("CLI Version: version.Info{Version:\"v"), "{version}");
    assert!(version.ends_with("Unable to find FSM control plane in the cluster\n"), "{version}");
    let output = mesh.run("nonsense");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn whoever_reads_only_the_beginning_of_an_answer_gets_no_panic() {
    let mesh = Mesh::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fsm"))
        .arg("crds")
        .env("FSM_STATE_DIR", mesh.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
