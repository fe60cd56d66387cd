#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const TWO: &str = r#"
apiVersion: v1
kind: Config
current-context: one
contexts:
- {name: one, context: {cluster: c, user: u, namespace: shop}}
- {name: two, context: {cluster: c, user: u}}
clusters:
- {name: c, cluster: {server: "https://127.0.0.1:1"}}
users:
- {name: u, user: {token: t}}
"#;

fn access(text: &str, context: Option<&str>) -> (tempfile::TempDir, Access) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    std::fs::write(&file, text).unwrap();
    let access = Access { kubeconfig: Some(file), context: context.map(str::to_owned), ..Access::default() };
    (directory, access)
}

#[tokio::test]
async fn the_current_context_counts_unless_another_one_is_named() {
    let (_directory, chosen) = access(TWO, None);
    let found = chosen.find().await.unwrap();
    assert_eq!((found.context.as_str(), found.namespace.as_str()), ("one", "shop"));
    let (_directory, chosen) = access(TWO, Some("two"));
    let found = chosen.find().await.unwrap();
    assert_eq!((found.context.as_str(), found.namespace.as_str()), ("two", "default"));
}

#[tokio::test]
async fn an_unknown_context_is_refused_with_those_that_there_are() {
    let (_directory, chosen) = access(TWO, Some("three"));
    let text = chosen.find().await.map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("`three`") && text.contains("one, two"), "{text}");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let access = Access { kubeconfig: Some("/nowhere/config".into()), ..Access::default() };
    let text = access.find().await.map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("/nowhere/config"), "{text}");
}

#[test]
fn helm_is_given_the_same_cluster() {
    let access = Access { kubeconfig: Some("f".into()), context: Some("c".into()), request_timeout: None };
    assert_eq!(access.arguments("--kube-context"), ["--kubeconfig", "f", "--kube-context", "c"]);
    assert!(Access::default().arguments("--context").is_empty());
}

#[test]
fn times_are_read_as_kubectl_reads_them() {
    assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
    assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
    assert!(duration("soon").unwrap_err().contains("30s"));
}
