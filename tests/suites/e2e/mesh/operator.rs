//! What an operator asks of a mesh that runs, with the commands that FSM has for it.

use super::{TheMesh, fine, until};
use fsm_tests::unpacked;
use serde_json::json;

/// In a variable and in a Secret of the client; nothing that is collected may have it.
const SECRET: &str = "open-sesame-4711";

pub(super) async fn questions_are_answered(mesh: &TheMesh) {
    let cluster = &mesh.cluster;
    let client = cluster.pod_of("client", "client").await;
    let server = cluster.pod_of("server", "server-v1").await;

    let said = fine(cluster.fsm(&["env"]).await);
    assert!(said.contains("namespace: fsm-system"), "{said}");
    let said = fine(cluster.fsm(&["support", "error-info", "E4000"]).await);
    assert!(said.contains("| E4000      |"), "{said}");

    let (from, to) = (format!("client/{client}"), format!("server/{server}"));
    let said = fine(cluster.fsm(&["policy", "check-pods", &from, &to]).await);
    let allowed = format!(
        "[+] Pod '{from}' is allowed to communicate to pod '{to}' via the SMI TrafficTarget policy \"client\" in namespace server"
    );
    assert!(said.contains("SMI traffic policy mode enabled") && said.contains(&allowed), "{said}");
    let said = fine(cluster.fsm(&["policy", "check-pods", &to, &from]).await);
    assert!(said.contains("missing SMI TrafficTarget policy"), "{said}");

    commands_and_logs(mesh, &client).await;
    conflicts(mesh).await;
    metrics(mesh, &client).await;
    bug_report(mesh, &client).await;

    let checked = cluster.fsm(&["check"]).await;
    assert_eq!(checked.code, 0, "{}\n{}", checked.stdout, checked.stderr);
}

/// `fsm exec` and `fsm logs` do in a cluster what they do on one machine.
async fn commands_and_logs(mesh: &TheMesh, client: &str) {
    let cluster = &mesh.cluster;
    let ran = cluster
        .fsm(&["exec", "deploy/client", "-n", "client", "--", "sh", "-c", "echo here; echo no >&2; exit 7"])
        .await;
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (7, "here\n", "no\n"));
    let said = fine(cluster.fsm(&["logs", client, "-n", "client", "-c", "fsm-init"]).await);
    assert!(!said.is_empty(), "what the init container did is told");
    let said = fine(cluster.fsm(&["logs", "control", "--tail", "3"]).await);
    assert!((1..=3).contains(&said.lines().count()), "{said}");
    let nowhere = cluster.fsm(&["logs", "daemon"]).await;
    assert!(nowhere.code == 1 && nowhere.stderr.contains("there is no daemon in a cluster"), "{nowhere:?}");
    let nobody = cluster.fsm(&["exec", client, "-n", "client", "-c", "other", "--", "true"]).await;
    assert!(nobody.code == 1 && nobody.stderr.contains("which has: sidecar, client, fsm-init"), "{nobody:?}");
}

async fn conflicts(mesh: &TheMesh) {
    let cluster = &mesh.cluster;
    let check = ["policy", "check-conflicts", "IngressBackend", "-n", "server"];
    let none = fine(cluster.fsm(&check).await);
    assert_eq!(none, "No conflicts among IngressBackend resources in namespace server\n");
    let backend = |name: &str| {
        json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "IngressBackend",
            "metadata": {"namespace": "server", "name": name},
            "spec": {"backends": [{"name": "server", "port": {"number": 14001, "protocol": "http"}}],
                "sources": [{"kind": "IPRange", "name": "192.0.2.0/24"}]}})
    };
    cluster.apply(&backend("one").to_string()).await;
    // The validator says it too, and may refuse the second one: then there is nothing to find.
    let second = cluster.kubectl(&["apply", "-f", "-"], &backend("two").to_string()).await;
    let found = fine(cluster.fsm(&check).await);
    let conflict = found.contains("[+] IngressBackend server/one conflicts with server/two:");
    assert!(conflict || second.code != 0, "{found}\n{second:?}");
    for name in ["one", "two"] {
        cluster.kubectl(&["delete", "ingressbackend", "-n", "server", name, "--ignore-not-found"], "").await;
    }
}

/// Annotations of pods that run, and of those to come.
async fn metrics(mesh: &TheMesh, client: &str) {
    let cluster = &mesh.cluster;
    let scraped = async || {
        let path = r"jsonpath={.metadata.annotations.prometheus\.io/scrape}";
        fine(cluster.kubectl(&["get", "pod", "-n", "client", client, "-o", path], "").await)
    };
    for (switch, wanted) in [("enable", "true"), ("disable", "")] {
        let said = fine(cluster.fsm(&["metrics", switch, "--namespace", "client"]).await);
        assert_eq!(said, format!("Metrics successfully {switch}d in namespace [client]\n"));
        assert_eq!(scraped().await, wanted, "after {switch}");
    }
    let outside = cluster.fsm(&["metrics", "enable", "--namespace", "default"]).await;
    assert!(outside.code == 1 && outside.stderr.contains("does not belong to any mesh"), "{outside:?}");
}

async fn bug_report(mesh: &TheMesh, client: &str) {
    let cluster = &mesh.cluster;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "fsm-system", "name": "words"},
        "stringData": {"word": SECRET}});
    cluster.apply(&secret.to_string()).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("report.tar.gz");
    let path = file.display().to_string();
    let asked = [
        "support",
        "bug-report",
        "--all",
        "--app-pods",
        "client/nobody",
        "--tail",
        "500",
        "--since",
        "1h",
        "-o",
        &path,
    ];
    let told = until("a bug report of a mesh that is well has everything", async || {
        let told = cluster.fsm(&asked).await;
        assert_eq!(told.code, 0, "{told:?}");
        // A pod that is being replaced does not answer.
        (!told.stdout.contains("could not be collected")).then_some(told)
    })
    .await;
    assert!(told.stderr.contains("pod client/nobody is left out: there is no such pod"), "{told:?}");
    assert!(told.stdout.contains("[+] Collecting information from namespace client"), "{told:?}");
    let report = unpacked(&file);
    let has = |name: &str, text: &str| {
        let found = report.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", report.keys()));
        assert!(found.contains(text), "{name} has no {text:?}: {found}");
    };
    let pod = format!("namespaces/client/pods/{client}");
    has("mesh/objects/meshconfigs.yaml", "name: fsm-mesh-config");
    has("mesh/objects/traffictargets.yaml", "name: client");
    has("mesh/check.txt", "Status check results are");
    has("mesh/proxies.txt", client);
    has("mesh/mutating-webhooks.yaml", "fsm-inject");
    has("control/secrets.txt", "fsm-ca-bundle");
    has("control/secrets.txt", "words (Opaque): word");
    has("control/events.txt", "ReplicaSet/fsm-controller");
    has("control/proxies.json", client);
    has("control/deployments.yaml", "name: fsm-injector");
    has(&format!("{pod}/pod.yaml"), "fsm-proxy-uuid");
    has(&format!("{pod}/config_dump.json"), "\"Outbound\"");
    has(&format!("{pod}/config_wanted.json"), "\"Outbound\"");
    has(&format!("{pod}/certs.json"), "spiffe://");
    has(&format!("{pod}/stats.txt"), "cluster.");
    has(&format!("{pod}/fsm-init.log"), "");
    has("namespaces/client/events.txt", client);
    has("summary.txt", "! pod client/nobody is left out");
    let controller =
        |name: &&String| name.starts_with("control/pods/fsm-controller") && name.ends_with("fsm-controller.log");
    assert!(report.keys().any(|name| controller(&name)), "{:?}", report.keys());
    for (name, text) in &report {
        assert!(!text.contains(SECRET), "a secret is in {name}");
        assert!(!text.contains("PRIVATE KEY-----"), "a private key is in {name}");
        assert!(!text.contains("eyJhbGciOi"), "a token is in {name}");
    }
    cluster.delete("secret -n fsm-system words").await;
}

/// MeshConfig `sidecar.localDNSProxy`, in a pod that is made after it was switched on.
pub(super) async fn sidecars_answer_names(mesh: &TheMesh) {
    let cluster = &mesh.cluster;
    let names = json!({"enable": true, "db": [{"dn": "db.example.test", "ips": [{"ipv4": "192.0.2.7"}]}]});
    mesh.patch_mesh_config(&json!({"spec": {"sidecar": {"localDNSProxy": names}}})).await;
    let before = cluster.pod_of("client", "client").await;
    fine(cluster.kubectl(&["rollout", "restart", "deployment", "client", "-n", "client"], "").await);
    until("a new client knows the name", async || {
        let client = cluster.pod_of("client", "client").await;
        let found = cluster.exec("client", &client, "client", &["getent", "hosts", "db.example.test"]).await;
        (client != before && found.stdout.starts_with("192.0.2.7 ")).then_some(())
    })
    .await;
    until("names of the cluster are still known", async || (mesh.status("/get").await == "200").then_some(())).await;
}
