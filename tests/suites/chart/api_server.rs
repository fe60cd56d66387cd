//! A real API server takes what the chart makes, in the versions of APIs that it has.

use super::{MATRIX, helm, template};
use fsm_tests::api_server;

#[tokio::test]
async fn every_object_is_taken_by_the_api_server() {
    let Some(helm) = helm() else { return };
    let Some(server) = api_server().await else { return };
    let kubeconfig = server.kubeconfig().display().to_string();
    server.apply(r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fsm-system"}}"#).await;
    for (name, values) in MATRIX {
        // Rendered for this server, as an installation does it: it may be older than Helm's own idea.
        let rendered = template(&helm, values, &["--validate", "--kubeconfig", &kubeconfig]);
        let rendered = rendered.unwrap_or_else(|why| panic!("{name}: {why}"));
        let outcome = server.kubectl(&["apply", "--server-side", "--dry-run=server", "-f", "-"], &rendered).await;
        assert_eq!(outcome.code, 0, "{name}: {}", outcome.stderr);
    }
    server.delete("namespace fsm-system").await;
}
