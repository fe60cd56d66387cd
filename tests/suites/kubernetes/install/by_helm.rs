//! What FSM's guides do with helm and kubectl instead of `fsm`, and with two meshes in one cluster.

use super::Operator;
use fsm_tests::eventually;
use serde_json::Value;

/// The guide's override.yaml, with what its section about third party dependencies needs.
const OVERRIDE: &str = "cat > override.yaml <<'EOF'
fsm:
  sidecarLogLevel: info
  deployPrometheus: true
  deployGrafana: true
  deployJaeger: true
  enforceSingleMesh: false
EOF
";

pub(super) async fn a_mesh_is_managed(operator: &Operator<'_>) {
    let server = operator.server;
    let directory = operator.home.path().display();
    let page = async |script: &str| server.shows(&format!("cd {directory}\n{OVERRIDE}{script}")).await;

    let said = page("helm install fsm $CHART --namespace fsm-system --create-namespace --values override.yaml").await;
    assert!(said.contains("STATUS: deployed"), "{said}");
    let preset =
        "kubectl get configmap preset-mesh-config -n fsm-system -o jsonpath='{.data.preset-mesh-config\\.json}'";
    let preset: Value = serde_json::from_str(&page(preset).await).unwrap();
    assert_eq!(preset["sidecar"]["logLevel"], "info");
    assert!(page("fsm mesh list").await.lines().any(|line| line.starts_with("fsm ")), "fsm knows it");

    let images = [
        ("fsm-prometheus", "prometheus=\"prom/prometheus:v2.19.1\"", "prom/prometheus:v2.19.1"),
        ("fsm-grafana", "grafana=\"grafana/grafana:8.1.0\"", "grafana/grafana:8.1.0"),
        ("jaeger", "jaeger=\"jaegertracing/all-in-one:1.26.0\"", "jaegertracing/all-in-one:1.26.0"),
    ];
    for (deployment, image, wanted) in images {
        let said = page(&format!("kubectl set image deployment/{deployment} -n $fsm_namespace {image}")).await;
        assert_eq!(said, format!("deployment.apps/{deployment} image updated\n"));
        assert_eq!(image_of(operator, deployment).await, wanted);
    }

    let said = page("helm upgrade fsm $CHART --namespace fsm-system --values override.yaml").await;
    assert!(said.contains("has been upgraded"), "{said}");
    let said = page(
        "CTR_REGISTRY=registry.example.org/mesh CTR_TAG=v7
         fsm mesh upgrade --container-registry $CTR_REGISTRY --fsm-image-tag $CTR_TAG --enable-egress=true",
    )
    .await;
    assert!(said.ends_with("FSM successfully upgraded mesh [fsm] in namespace [fsm-system]\n"), "{said}");
    assert_eq!(image_of(operator, "fsm-controller").await, "registry.example.org/mesh/fsm-control:v7");

    // A mesh that wants to be alone is not installed beside it, and nobody waits for that.
    let refusal = operator.refused("install --mesh-name shop --fsm-namespace shop-system").await;
    assert!(refusal.contains("there is mesh [fsm] in namespace [fsm-system]"), "{refusal}");
    assert!(refusal.contains("--enforce-single-mesh=false"), "{refusal}");
    assert_eq!(page("helm list --all --namespace shop-system --short").await, "", "nothing was made");
    let said =
        operator.fsm("install --mesh-name shop --fsm-namespace shop-system --enforce-single-mesh=false --timeout 100s");
    assert!(said.await.ends_with("FSM installed successfully in namespace [shop-system] with mesh name [shop]\n"));
    let listed = page("fsm mesh list").await;
    assert!(["fsm ", "shop "].iter().all(|mesh| listed.lines().any(|line| line.starts_with(mesh))), "{listed}");
    assert!(operator.refused("uninstall mesh -f").await.contains("--mesh-name"), "which one?");

    assert_eq!(page("helm uninstall fsm --namespace fsm-system").await, "release \"fsm\" uninstalled\n");
    let said = page("fsm uninstall mesh --delete-namespace -a -f -N shop-system").await;
    assert!(said.contains("FSM [mesh name: shop] in namespace [shop-system] uninstalled\n"), "{said}");
    assert!(said.contains("FSM namespace [shop-system] deleted successfully\n"), "{said}");
    eventually("nothing is left of either", async || {
        let asked = "kubectl get clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations \
            -o name -l 'app.kubernetes.io/name=flomesh.io,app.kubernetes.io/instance in (fsm,shop)'";
        page(asked).await.is_empty()
    })
    .await;
    page("kubectl delete namespace fsm-system --wait=false").await;
}

async fn image_of(operator: &Operator<'_>, deployment: &str) -> String {
    let path = "jsonpath={.spec.template.spec.containers[0].image}";
    operator.kubectl(&format!("get deployment {deployment} -n fsm-system -o {path}")).await
}
