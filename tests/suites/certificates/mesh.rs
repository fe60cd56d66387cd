//! A whole mesh, if a small one, whose certificates a Vault signs: fsm-control with a directory of objects, two pods with
//! sidecars, redirected traffic, and a real OpenBao.

use super::vault::{ROLE, engine};
use fsm_control::auth::Token;
use fsm_tests::{Application, Control, Mesh, OpenBao, Pod, Process, Sidecar, binary, curl, eventually};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

const SERVICE: &str = "10.96.0.10";

fn write(directory: &Path, name: &str, object: &Value) {
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join(name), object.to_string()).unwrap();
}

/// A pod's object, and its token.
fn joins(pod: &Pod, objects: &Path, tokens: &Path, account: &str) -> String {
    let name = pod.name();
    let object = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "uid": format!("uid-{name}"),
            "labels": {"app": name, "fsm-proxy-uuid": format!("proxy-{name}")}},
        "spec": {"serviceAccountName": account, "containers": [{"name": "app", "image": "app"}]},
        "status": {"phase": "Running", "podIP": pod.ip().to_string(), "conditions": [{"type": "Ready", "status": "True"}]}});
    write(objects, &format!("pod-{name}.yaml"), &object);
    let token = format!("token-of-{name}");
    let digest = Token::bearer(Some(format!("Bearer {token}").as_bytes())).unwrap().fingerprint();
    let whose = json!({"namespace": "shop", "pod": name, "uid": format!("uid-{name}"), "serviceAccount": account});
    write(tokens, &format!("{digest}.json"), &whose);
    token
}

/// A namespace of the mesh with a Service of one pod.
fn shop(objects: &Path, server: &Pod) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"flomesh.io/monitored-by": "fsm"}}});
    let config = json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshConfig",
        "metadata": {"namespace": "fsm-system", "name": "fsm-mesh-config"},
        "spec": {"traffic": {"enablePermissiveTrafficPolicyMode": true}}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": "server"},
        "spec": {"clusterIP": SERVICE, "selector": {"app": "server"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "appProtocol": "http"}]}});
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"namespace": "shop", "name": "server-1", "labels": {"kubernetes.io/service-name": "server"}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [server.ip().to_string()], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "namespace": "shop", "name": "server"}}]});
    for (name, object) in [("namespace", namespace), ("config", config), ("service", service), ("slice", slice)] {
        write(objects, &format!("{name}.yaml"), &object);
    }
    for account in ["client", "server"] {
        let object =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": "shop", "name": account}});
        write(objects, &format!("account-{account}.yaml"), &object);
    }
}

/// fsm-control in a pod of its own, to which the Vault is brought in.
struct Running {
    _process: Process,
    address: SocketAddr,
    roots: String,
}

impl Running {
    async fn start(pod: &Pod, objects: &Path, tokens: &Path, bao: &OpenBao) -> Self {
        pod.bring_in(([127, 0, 0, 1], bao.port()).into());
        let path = |name: &str| pod.directory().join(name).display().to_string();
        let address = SocketAddr::new(pod.ip(), 15128);
        let mut command = Command::new(binary("fsm-control"));
        command.args(["--source", &format!("dir:{}", objects.display())]);
        command.args(["--tokens", &format!("dir:{}", tokens.display())]);
        command.args(["--listen-stream", &address.to_string(), "--listen-admin", "127.0.0.1:9091"]);
        command.args(["--ready-file", &path("ready"), "--write-ca-bundle", &path("roots.pem")]);
        command.args(["--certificate-manager", "vault", "--vault-protocol", "https", "--vault-host", "127.0.0.1"]);
        command.args([
            "--vault-port",
            &bao.port().to_string(),
            "--vault-ca-file",
            &bao.ca_file().display().to_string(),
        ]);
        command.args(["--vault-mount", "mesh", "--vault-role", "fsm"]).env("FSM_CONTROL_VAULT_TOKEN", bao.root_token());
        let process = Process::start(pod, command);
        eventually("fsm-control is ready", async || fs::exists(path("ready")).unwrap()).await;
        let roots = fs::read_to_string(path("roots.pem")).unwrap();
        Self { _process: process, address, roots }
    }

    fn sidecar(&self, pod: &Pod, token: String) -> Sidecar {
        let of = ("shop".to_owned(), pod.name().to_owned(), format!("uid-{}", pod.name()));
        let name = "fsm-controller.fsm-system.svc".to_owned();
        Sidecar::launch_from_control(
            pod,
            &Control { address: self.address, name, roots: self.roots.clone(), token, pod: of },
        )
    }
}

#[tokio::test]
async fn pods_speak_mutual_tls_with_certificates_that_a_vault_has_signed() {
    let Some(mesh) = Mesh::create() else { return };
    let Some(bao) = OpenBao::start() else { return };
    engine(&bao, "mesh");
    bao.set("mesh/roles/fsm", ROLE);
    let (server, client, control) = (mesh.pod("server"), mesh.pod("client"), mesh.pod("control"));
    let (objects, tokens) = (control.directory().join("objects"), control.directory().join("tokens"));
    shop(&objects, &server);
    let of_server = joins(&server, &objects, &tokens, "server");
    let of_client = joins(&client, &objects, &tokens, "client");
    let control = Running::start(&control, &objects, &tokens, &bao).await;

    let application = Application::start(&server, &[SocketAddr::new([127, 0, 0, 1].into(), 8080)]);
    let sidecars = [control.sidecar(&server, of_server), control.sidecar(&client, of_client)];
    for sidecar in &sidecars {
        sidecar.ready().await;
    }
    client.hosts(&[(SERVICE, "server.shop")]);
    let call = async || curl(&client, "-s -i http://server.shop/hello").await;
    let answer = call().await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_eq!(application.last().header("serviceidentity"), Some("client.shop"), "as its certificate says");

    for (sidecar, own) in sidecars.iter().zip(["server.shop.cluster.local", "client.shop.cluster.local"]) {
        let said: Value = serde_json::from_slice(&sidecar.admin("/certs").await.body).unwrap();
        let of = |role: &str| said.as_array().unwrap().iter().find(|one| one["role"] == role).unwrap().clone();
        assert!(of("mesh-chain").to_string().contains(own), "{said}");
        assert!(of("mesh-root").to_string().contains("mesh root"), "the Vault's root: {said}");
    }

    // What is there goes on when the Vault does not, and a pod that is new waits for it.
    assert_eq!(bao.ask("PUT", "sys/seal", "").0, 204);
    assert_eq!(call().await.status(), 200);
}
