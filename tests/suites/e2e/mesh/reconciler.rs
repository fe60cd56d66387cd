//! FSM's guide about the reconciler, on a mesh that was installed with `--set fsm.enableReconciler=true`: what somebody takes
//! away or changes comes back, with no more rights than the chart gives.

use super::{TheMesh, until};
use serde_json::Value;

const INJECTOR: &str = "mutatingwebhookconfiguration/fsm-webhook-fsm";
const VALIDATOR: &str = "validatingwebhookconfiguration/fsm-validator-mesh-fsm";
const DEFINITION: &str = "crd/retries.policy.flomesh.io";

pub(super) async fn what_is_taken_away_comes_back(mesh: &TheMesh) {
    let cluster = &mesh.cluster;
    let labelled = "kubectl get crd,mutatingwebhookconfiguration,validatingwebhookconfiguration -o name \
        -l flomesh.io/reconcile=true,app.kubernetes.io/name=flomesh.io";
    let before = cluster.shows(labelled).await;
    for kind in ["meshconfigs.config.flomesh.io", "traffictargets.access.smi-spec.io", "fsm-webhook-", "fsm-validator-"]
    {
        assert!(before.contains(kind), "{kind}: {before}");
    }

    let injector = |object: &Value| object["webhooks"][0]["failurePolicy"] == "Fail" && calls(object, "fsm-injector");
    let validator = |object: &Value| object["webhooks"][0]["failurePolicy"] == "Fail" && calls(object, "fsm-validator");
    let definition = |object: &Value| object["spec"]["versions"][0]["served"] == true;

    // Changed.
    let patch = |object: &str, patch: &str| format!("kubectl patch {object} --type=json -p '[{patch}]'");
    let ignore = r#"{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}"#;
    let unserved = r#"{"op": "replace", "path": "/spec/versions/0/served", "value": false}"#;
    for (object, change) in [(INJECTOR, ignore), (VALIDATOR, ignore), (DEFINITION, unserved)] {
        cluster.shows(&patch(object, change)).await;
    }
    is_so(mesh, INJECTOR, injector).await;
    is_so(mesh, VALIDATOR, validator).await;
    is_so(mesh, DEFINITION, definition).await;

    // Taken away.
    let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    for object in [INJECTOR, VALIDATOR, DEFINITION] {
        let old = uid(&get(mesh, object).await);
        cluster.shows(&format!("kubectl delete {object}")).await;
        is_so(mesh, object, |found| !uid(found).is_empty() && uid(found) != old).await;
    }
    is_so(mesh, INJECTOR, injector).await;
    is_so(mesh, VALIDATOR, validator).await;
    is_so(mesh, DEFINITION, definition).await;
    assert_eq!(cluster.shows(labelled).await, before, "nothing is missing, and nothing has lost its labels");

    // Only metadata may be changed.
    for object in [INJECTOR, VALIDATOR, DEFINITION] {
        cluster.shows(&format!("kubectl label {object} team=shop")).await;
    }
    // What is changed later is put right, and the label is still there then.
    for (object, change) in [(INJECTOR, ignore), (VALIDATOR, ignore), (DEFINITION, unserved)] {
        cluster.shows(&patch(object, change)).await;
    }
    let labelled = |object: &Value| object["metadata"]["labels"]["team"] == "shop";
    is_so(mesh, INJECTOR, |object| injector(object) && labelled(object)).await;
    is_so(mesh, VALIDATOR, |object| validator(object) && labelled(object)).await;
    is_so(mesh, DEFINITION, |object| definition(object) && labelled(object)).await;
}

async fn get(mesh: &TheMesh, object: &str) -> Value {
    let found = mesh.cluster.kubectl(&["get", object, "-o", "json"], "").await;
    serde_json::from_str(&found.stdout).unwrap_or_default()
}

async fn is_so(mesh: &TheMesh, object: &str, holds: impl Fn(&Value) -> bool) {
    until(&format!("{object} is as it should be"), async || holds(&get(mesh, object).await).then_some(())).await;
}

/// Whether API servers ask a Service of the mesh.
fn calls(configuration: &Value, service: &str) -> bool {
    configuration["webhooks"][0]["clientConfig"]["service"]["name"] == service
}
