//! `fsm support`: what somebody else needs to find out what is wrong.

use fsm_tests::{LocalMesh, unpacked};
use std::os::unix::fs::PermissionsExt as _;

/// A member whose owner wrote a password where all can read it, and a Secret.
const SECRETS: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {flomesh.io/monitored-by: fsm}, annotations: {flomesh.io/sidecar-injection: enabled}}
---
apiVersion: v1
kind: Secret
metadata: {name: words, namespace: shop}
stringData: {word: open-sesame-4711}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec:
  containers:
  - {name: web, image: curlimages/curl, command: [sleep, '1000'], env: [{name: DB_PASSWORD, value: open-sesame-4711}]}
---
apiVersion: policy.flomesh.io/v1alpha1
kind: Egress
metadata: {name: out, namespace: shop}
spec:
  sources: [{kind: ServiceAccount, name: default, namespace: shop}]
  hosts: [example.test]
  ports: [{number: 80, protocol: http}]
";

#[tokio::test]
async fn a_bug_report_has_what_is_there_and_says_what_is_not() {
    let Some(mesh) = LocalMesh::up(&[("shop.yaml", SECRETS)]).await else { return };
    // A part that cannot be had costs nothing but itself.
    mesh.shows("find \"$FSM_STATE_DIR\" -path '*shop*web*' -name 'sidecar*' -type f -delete").await;
    let file = mesh.path("report.tar.gz");
    let said = mesh
        .page(&format!(
            "fsm support bug-report --app-namespaces shop,nowhere --app-pods shop/web,web -o {}",
            file.display()
        ))
        .await;
    assert_eq!(said.code, 0, "{said:?}");
    for wanted in
        ["from namespace shop", "from pod shop/web", "1 parts could not be collected", "Read it before you send it"]
    {
        assert!(said.stdout.contains(wanted), "{wanted}: {said:?}");
    }
    for wanted in ["namespace nowhere is left out", "pod web is left out: write it as NAMESPACE/NAME"] {
        assert!(said.stderr.contains(wanted), "{wanted}: {said:?}");
    }
    let mode = std::fs::metadata(&file).expect("the report").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else may read it");

    let report = unpacked(&file);
    let pod = "namespaces/shop/pods/web";
    for (name, text) in [
        ("mesh/objects/egresses.yaml", "example.test"),
        ("mesh/objects/meshconfigs.yaml", "fsm-mesh-config"),
        ("mesh/version.txt", "CLI Version"),
        ("mesh/proxies.txt", "Synced"),
        ("control/fsm-control.log", ""),
        ("control/problems.json", "["),
        (&format!("{pod}/pod.yaml"), "name: DB_PASSWORD"),
        (&format!("{pod}/config_dump.json"), "\"Outbound\""),
        (&format!("{pod}/certs.json"), "spiffe://cluster.local/ns/shop/sa/default"),
        (&format!("{pod}/stats.txt"), "."),
        (&format!("{pod}/ready.txt"), ""),
        ("summary.txt", &format!("× {pod}/sidecar.log: cannot read")),
    ] {
        let found = report.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", report.keys()));
        assert!(found.contains(text), "{name} has no {text:?}: {found}");
    }
    for (name, text) in &report {
        assert!(!text.contains("open-sesame-4711"), "a secret is in {name}: {text}");
        assert!(!text.contains("PRIVATE KEY-----"), "a private key is in {name}");
    }
}

#[tokio::test]
async fn a_bug_report_has_as_much_of_the_logs_as_is_asked_for() {
    let Some(mesh) = LocalMesh::up(&[]).await else { return };
    let report = async |flags: &str| {
        let file = mesh.path("logs.tar.gz");
        let said = mesh.shows(&format!("fsm support bug-report {flags} -o {}", file.display())).await;
        (said, unpacked(&file))
    };
    let (said, all) = report("").await;
    let log = "control/fsm-control.log";
    assert!(all[log].lines().count() > 1 && !said.contains("--max-logs"), "{said}: {}", all[log]);

    let (_, short) = report("--tail 1").await;
    assert_eq!(short[log].lines().count(), 1, "{}", short[log]);

    let (said, none) = report("--max-logs 100b").await;
    let logs = none.iter().filter(|(name, _)| name.ends_with(".log")).map(|(_, text)| text.len()).sum::<usize>();
    assert_eq!(logs, 100, "{:?}", none.keys());
    assert!(said.contains("logs were shortened or left out"), "{said}");
    assert!(none["summary.txt"].contains(".log (without its first "), "{}", none["summary.txt"]);
    assert!(none["mesh/version.txt"].contains("CLI Version"), "only logs are cut");

    let refused = mesh.page("fsm support bug-report --since 1h").await;
    assert!(refused.code == 1 && refused.stderr.contains("--since works in a cluster only"), "{refused:?}");
    let refused = mesh.page("fsm support bug-report --max-logs many").await;
    assert!(refused.code == 2 && refused.stderr.contains("is no size"), "{refused:?}");
}

#[tokio::test]
async fn a_bug_report_that_cannot_be_written_is_an_error_and_leaves_nothing() {
    let Some(mesh) = LocalMesh::up(&[("shop.yaml", SECRETS)]).await else { return };
    let said = mesh.page("fsm support bug-report -o /nowhere/at/all.tar.gz").await;
    assert!(said.code == 1 && said.stderr.contains("choose a file with --out-file"), "{said:?}");
    assert!(said.stdout.is_empty(), "it is found out first: {said:?}");
}
