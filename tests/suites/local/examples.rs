//! The READMEs of `examples/`, and pages of `docs/` that show a mesh, executed as they are written; `examples/README.md`
//! says how they are read.

use fsm_tests::LocalMesh;
use fsm_tests::pages::{Compare, steps};
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

async fn works_as_written(example: &str) {
    page_works_as_written(&format!("examples/{example}/README.md"), Compare::Text).await;
}

async fn page_works_as_written(page: &str, compare: Compare) {
    let file = repository().join(page);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
    let steps = steps(&text, "```console");
    assert!(steps.len() > 3, "{steps:?}");
    assert!(steps.iter().any(|step| step.shown.iter().any(|line| line != "…")), "{steps:?}");
    let Some(mesh) = LocalMesh::not_yet().await else { return };
    for step in steps {
        let script = format!("cd '{}'\n{}", repository().display(), step.command);
        step.run(page, compare, async || mesh.page(&script).await).await;
    }
}

#[tokio::test]
async fn httpbin() {
    works_as_written("httpbin").await;
}

#[tokio::test]
async fn canary() {
    works_as_written("canary").await;
}

#[tokio::test]
async fn bookstore() {
    works_as_written("bookstore").await;
}

#[tokio::test]
async fn egress() {
    works_as_written("egress").await;
}

#[tokio::test]
async fn the_page_about_looking_at_a_mesh() {
    page_works_as_written("docs/observe.md", Compare::Shape).await;
}

#[test]
fn every_example_has_a_test() {
    let source = include_str!("examples.rs");
    for entry in std::fs::read_dir(repository().join("examples")).expect("examples") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name");
        assert!(
            entry.path().is_file() || source.contains(&format!("works_as_written(\"{name}\")")),
            "examples/{name} has no test"
        );
    }
}

/// "Up" is said when every sidecar has acknowledged what follows from every endpoint, and no sooner.
#[tokio::test]
async fn the_first_request_after_up_is_answered() {
    let Some(mesh) = LocalMesh::up_example("examples/httpbin").await else { return };
    let proxies = mesh.page(PROXIES).await;
    let get = r#"fsm exec "$(pod_of curl)" -n curl -c curl -- curl -s -o /dev/null -w '%{http_code}' http://httpbin.httpbin:14001/get"#;
    let first = mesh.page(get).await;
    assert_eq!((first.code, first.stdout.as_str()), (0, "200"), "{first:?}");
    let proxies: Vec<serde_json::Value> =
        serde_json::from_str(&proxies.stdout).unwrap_or_else(|_| panic!("{proxies:?}"));
    assert!(!proxies.is_empty());
    for proxy in proxies {
        assert!(proxy["versionWanted"].is_string(), "{proxy}");
        assert_eq!(proxy["versionWanted"], proxy["versionAcknowledged"], "{proxy}");
    }
}

/// What fsm-control says of sidecars.
const PROXIES: &str = r#"
control=$(grep -A2 '"control"' "$FSM_STATE_DIR/fsm/run.json" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
user=; grep -q '"rootless": true' "$FSM_STATE_DIR/fsm/run.json" && user='--user --preserve-credentials'
nsenter $user --net --target "$control" curl -sf http://127.0.0.1:9091/proxies
"#;
