//! A real API server takes what the chart makes, in the versions of APIs that it has.

use super::{MATRIX, chart, helm, run, template};
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

#[tokio::test]
async fn values_without_an_effect_are_said_aloud() {
    let Some(helm) = helm() else { return };
    let Some(server) = api_server().await else { return };
    let (chart, kubeconfig) = (chart(), server.kubeconfig());
    let places = ["--kubeconfig", kubeconfig.to_str().unwrap(), "--namespace", "fsm-notes"];
    let told = |values: &str| {
        let words = ["install", "fsm", chart.to_str().unwrap(), "--dry-run=client", "--set", values];
        let outcome = run(&helm, &[&words[..], &places].concat());
        assert_eq!(outcome.code, 0, "{outcome:#?}");
        outcome.stdout
    };
    let notes = told("fsm.deployConsulConnector=true,fsm.serviceLB.enabled=true,fsm.sidecar.sidecarDisabledMTLS=true");
    assert!(
        notes.contains("does not act on these values: fsm.deployConsulConnector, fsm.serviceLB.enabled"),
        "{notes}"
    );
    assert!(notes.contains("neither encrypted nor authenticated"), "{notes}");
    assert!(!told("fsm.deployJaeger=true").contains("WARNING"));
}
