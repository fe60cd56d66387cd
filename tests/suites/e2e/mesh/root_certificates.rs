//! The built-in authority hands over to a Vault in a mesh that was installed with the chart and runs with its rights: sidecars
//! get certificates of the new root while both are trusted, and no request fails on the way.
//!
//! A test of its own, since it needs an installation of its own. The Vault is a pod of the cluster.

use super::traffic::Traffic;
use super::{TheMesh, fine, until};
use crate::certificates::ROLE;
use fsm_tests::{Cluster, HELM, OpenBao, Outcome, cluster, tool};
use serde_json::{Value, json};

/// The Vault is in there too: its certificate is for its host's name, `vault`, which is a name of its Service here.
const NAMESPACE: &str = "fsm-system";

/// Where the Vault writes the root of its own certificate.
const FILES: &str = "/var/run/vault";

/// Long enough that proxies hear of a new root before it signs.
const ANNOUNCE: &str = "--ca-announce=20s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_built_in_authority_hands_over_to_vault_in_a_running_mesh() {
    if tool("helm", HELM).is_none() {
        return;
    }
    let Some(bao) = OpenBao::program() else { return };
    let Some(cluster) = cluster().await else { return };
    let mesh = TheMesh { cluster };
    empty(&mesh.cluster).await;
    mesh.cluster.namespace(NAMESPACE).await;
    let vault = Vault::start(&mesh.cluster, &bao.display().to_string()).await;
    vault.says_its_root(&mesh.cluster).await;
    mesh.install().await;
    mesh.applications_join_it().await;
    let own = mesh.root_of("client").await;
    let traffic = Traffic::begin(&mesh).await;
    let announce = format!("--set=fsm.fsmController.extraArgs={{{ANNOUNCE}}}");
    let values =
        "--set=fsm.featureFlags.enableMeshRootCertificate=true,fsm.vault.mount=mesh,fsm.vault.ca.name=vault-roots";
    fine(mesh.cluster.fsm(&["mesh", "upgrade", values, &announce, "--timeout", "90s"]).await);
    mesh.becomes("fsm-mesh-root-certificate", "active").await;
    let rows = mesh.authority().await;
    let [only] = rows.as_array().map_or(&[][..], Vec::as_slice) else { panic!("{rows}") };
    assert_eq!((&only["provider"], &only["rootCertificate"]), (&json!("tresor"), &json!("fsm-mesh-root-certificate")));
    assert_eq!(mesh.root_of("client").await, own, "the authority is the one of before");

    // As docs/certificates.md says it.
    let token = json!({"secretKeyRef": {"namespace": "fsm-system", "name": "fsm-vault-token", "key": "token"}});
    let provider = json!({"host": "vault", "port": 8200, "protocol": "https", "role": "fsm", "token": token});
    let object = json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshRootCertificate",
        "metadata": {"name": "vault", "namespace": "fsm-system"},
        "spec": {"trustDomain": "cluster.local", "provider": {"vault": provider}}});
    mesh.cluster.apply(&object.to_string()).await;
    mesh.becomes("vault", "validatingRollout").await;
    until("sidecars trust both", async || (mesh.trusted("client").await == 2).then_some(())).await;
    assert_eq!(mesh.root_of("client").await, own, "who has to be known by everybody first signs nothing");
    let rows = mesh.authority().await;
    assert_eq!(rows.as_array().map(Vec::len), Some(2), "{rows}");
    assert_eq!(
        (&rows[0]["phase"], &rows[0]["signs"], &rows[1]["signs"]),
        (&json!("announced"), &json!(true), &json!(false))
    );

    mesh.becomes("vault", "issuingRollout").await;
    mesh.becomes("fsm-mesh-root-certificate", "validatingRollback").await;
    let other = until("the client's certificate is Vault's", async || {
        let root = mesh.root_of("client").await;
        (root != own).then_some(root)
    })
    .await;
    assert!(other.contains("mesh of the vault"), "{other}");
    until("the server's is, too", async || (mesh.root_of("server").await == other).then_some(())).await;
    assert_eq!(mesh.trusted("client").await, 2, "what the one of before signed may still be in use");
    let said = fine(mesh.cluster.fsm(&["certificate", "status"]).await);
    let rows: Vec<Vec<&str>> = said.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let [new, old] = rows.as_slice() else { panic!("{said}") };
    assert_eq!((&new[..3], new[4]), (&["vault", "(vault)", "overlapping"][..], "yes"), "{said}");
    assert_eq!((&old[..2], old[4]), (&["tresor", "(fsm-mesh-root-certificate)"][..], "no"), "{said}");
    let refused = mesh.cluster.fsm(&["certificate", "rotate"]).await;
    assert!(refused.code != 0 && refused.stderr.contains("vault"), "{refused:?}");

    traffic.ends_well(&mesh, "while Vault takes over from the built-in authority").await;
    fine(mesh.cluster.fsm(&["uninstall", "mesh", "-f", "--delete-cluster-wide-resources", "--delete-namespace"]).await);
    empty(&mesh.cluster).await;
}

/// Removes what this test and the one before leave.
async fn empty(cluster: &Cluster) {
    let delete = ["delete", "namespace", "client", "server", "fsm-system", "--ignore-not-found"];
    fine(cluster.kubectl(&delete, "").await);
}

impl TheMesh {
    async fn becomes(&self, name: &str, state: &str) {
        let asked = ["-n", "fsm-system", "get", "meshrootcertificate", name, "-o", "jsonpath={.status.state}"];
        until(&format!("MeshRootCertificate {name} is {state}"), async || {
            (self.cluster.kubectl(&asked, "").await.stdout == state).then_some(())
        })
        .await;
    }

    /// What `fsm certificate status` says.
    async fn authority(&self) -> Value {
        let said = fine(self.cluster.fsm(&["certificate", "status", "-o", "json"]).await);
        serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {said}"))
    }

    /// What a sidecar says of its certificates.
    async fn certificates(&self, app: &str) -> Vec<Value> {
        let pod = self.cluster.pod_of(app, if app == "server" { "server-v1" } else { app }).await;
        let said = fine(self.cluster.exec(app, &pod, app, &["curl", "-s", "http://127.0.0.1:15000/certs"]).await);
        serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {said}"))
    }

    /// Who issued the certificate that a sidecar shows.
    async fn root_of(&self, app: &str) -> String {
        let all = self.certificates(app).await;
        assert_eq!(all[0]["role"], "mesh-chain", "{all:?}");
        all[0]["issuer"].as_str().unwrap_or_else(|| panic!("{all:?}")).to_owned()
    }

    /// How many roots a sidecar trusts.
    async fn trusted(&self, app: &str) -> usize {
        self.certificates(app).await.iter().filter(|one| one["role"] == "mesh-root").count()
    }
}

/// An OpenBao as a pod behind a Service, with an engine for the mesh.
struct Vault {
    pod: String,
}

impl Vault {
    async fn start(cluster: &Cluster, program: &str) -> Self {
        let flags = ["server", "-dev", "-dev-tls", "-dev-no-store-token", "-dev-listen-address=0.0.0.0:8200"];
        let directory = format!("-dev-tls-cert-dir={FILES}");
        let words: Vec<&str> =
            [program].into_iter().chain(flags).chain(["-dev-root-token-id=root", &directory]).collect();
        let container = json!({"name": "vault", "image": "openbao", "command": words,
            "env": [{"name": "HOME", "value": FILES}], "ports": [{"name": "https", "containerPort": 8200}],
            "readinessProbe": {"tcpSocket": {"port": "https"}, "periodSeconds": 1},
            "volumeMounts": [{"name": "files", "mountPath": FILES}]});
        let spec = json!({"containers": [container], "volumes": [{"name": "files", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 1});
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": NAMESPACE, "name": "vault", "labels": {"app": "vault"}}, "spec": spec});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": NAMESPACE, "name": "vault"},
            "spec": {"selector": {"app": "vault"}, "ports": [{"port": 8200, "targetPort": "https"}]}});
        cluster.apply(&[pod, service].map(|object| object.to_string()).join("\n---\n")).await;
        let vault = Self { pod: cluster.pod_of(NAMESPACE, "vault").await };
        vault.set(cluster, "sys/mounts/mesh", r#"{"type": "pki", "config": {"max_lease_ttl": "87600h"}}"#).await;
        let root = r#"{"common_name": "mesh of the vault", "ttl": "87600h", "key_type": "ec"}"#;
        vault.set(cluster, "mesh/root/generate/internal", root).await;
        vault.set(cluster, "mesh/roles/fsm", ROLE).await;
        let policy = r#"{"policy": "path \"mesh/sign/fsm\" { capabilities = [\"update\"] }"}"#;
        vault.set(cluster, "sys/policies/acl/fsm", policy).await;
        vault
    }

    async fn sh(&self, cluster: &Cluster, script: &str) -> Outcome {
        cluster.exec(NAMESPACE, &self.pod, "vault", &["sh", "-c", script]).await
    }

    async fn set(&self, cluster: &Cluster, path: &str, body: &str) -> String {
        let script = format!(
            "curl -q -sS --fail-with-body --cacert {FILES}/vault-ca.pem -H 'x-vault-token: root' -d '{body}' \
             https://localhost:8200/v1/{path}"
        );
        fine(self.sh(cluster, &script).await)
    }

    /// Puts a token for the mesh, and the root of the Vault's own certificate, where the documentation says.
    async fn says_its_root(&self, cluster: &Cluster) {
        let given =
            self.set(cluster, "auth/token/create", r#"{"policies": ["fsm"], "period": "1h", "no_parent": true}"#).await;
        let given: Value = serde_json::from_str(&given).unwrap_or_else(|why| panic!("{why}: {given}"));
        let root = fine(self.sh(cluster, &format!("cat {FILES}/vault-ca.pem")).await);
        let metadata = |name: &str| json!({"namespace": "fsm-system", "name": name});
        let token = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata("fsm-vault-token"),
            "stringData": {"token": given["auth"]["client_token"]}});
        let roots = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("vault-roots"),
            "data": {"ca.crt": root}});
        cluster.apply(&[token, roots].map(|object| object.to_string()).join("\n---\n")).await;
    }
}
