#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use serde_json::json;

use super::*;

fn draw(kind: &str, objects: &[Value], look: &Look) -> String {
    table(kind, objects, look, "2026-11-21T10:00:00Z".parse().unwrap()).to_string()
}

fn named(name: &str) -> Value {
    json!({"name": name, "namespace": "shop", "creationTimestamp": "2026-11-21T09:59:30Z", "labels": {"app": "x"}})
}

#[test]
fn services_look_as_in_kubectl() {
    let service = json!({"metadata": named("httpbin"), "spec": {"clusterIP": "10.0.0.7", "selector": {"app": "httpbin"},
        "ports": [{"port": 14001}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]}});
    assert_eq!(
        draw("Service", std::slice::from_ref(&service), &Look::default()),
        "NAME      TYPE        CLUSTER-IP   EXTERNAL-IP   PORT(S)                  AGE\n\
         httpbin   ClusterIP   10.0.0.7     <none>        14001/TCP,53:30053/UDP   30s\n"
    );
    let look = Look { wide: true, namespaces: true, labels: true, prefix: Some("service".to_owned()), verdicts: None };
    let all = draw("Service", &[service], &look);
    assert!(all.starts_with("NAMESPACE   NAME              TYPE"), "{all}");
    assert!(all.contains("shop        service/httpbin   ClusterIP"), "{all}");
    assert!(all.ends_with("30s   app=httpbin   app=x\n"), "{all}");
}

fn pod(spec: Value, status: Value) -> Value {
    json!({"metadata": named("a"), "spec": spec, "status": status})
}

#[test]
fn a_pod_says_what_is_going_on() {
    let two = json!({"containers": [{"name": "app"}, {"name": "sidecar"}]});
    let ready = json!({"ready": true, "state": {"running": {}}});
    let native = json!({"initContainers": [{"name": "i", "restartPolicy": "Always"}], "containers": [{"name": "app"}]});
    let cases = [
        (pod(two.clone(), json!({})), "0/2", "Pending", "0"),
        (pod(two.clone(), json!({"phase": "Running", "containerStatuses": [ready, ready]})), "2/2", "Running", "0"),
        (
            pod(
                two.clone(),
                json!({"phase": "Running", "containerStatuses": [ready, {"restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"finishedAt": "2026-11-21T09:58:00Z"}}}]}),
            ),
            "1/2",
            "CrashLoopBackOff",
            "3 (2m ago)",
        ),
        (
            pod(
                two.clone(),
                json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
            ),
            "0/2",
            "Completed",
            "0",
        ),
        (
            pod(
                two.clone(),
                json!({"phase": "Running", "containerStatuses": [{"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}, ready]}),
            ),
            "1/2",
            "NotReady",
            "0",
        ),
        (
            pod(
                two.clone(),
                json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}),
            ),
            "0/2",
            "ExitCode:3",
            "0",
        ),
        (
            pod(
                json!({"initContainers": [{"name": "i"}], "containers": [{"name": "app"}]}),
                json!({"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]}),
            ),
            "0/1",
            "Init:0/1",
            "0",
        ),
        (
            pod(
                json!({"initContainers": [{"name": "i"}], "containers": [{"name": "app"}]}),
                json!({"phase": "Pending", "initContainerStatuses": [{"state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}),
            ),
            "0/1",
            "Init:Error",
            "0",
        ),
        (
            pod(
                native.clone(),
                json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "ready": false, "started": false, "state": {"running": {}}}]}),
            ),
            "0/2",
            "Init:0/1",
            "0",
        ),
        (
            pod(
                native,
                json!({"phase": "Running", "containerStatuses": [ready],
                    "initContainerStatuses": [{"name": "i", "ready": true, "started": true, "state": {"running": {}}}]}),
            ),
            "2/2",
            "Running",
            "0",
        ),
    ];
    for (pod, ready, status, restarts) in cases {
        let table = draw("Pod", std::slice::from_ref(&pod), &Look::default());
        let row: Vec<_> = table.lines().nth(1).unwrap().split("   ").map(str::trim).filter(|c| !c.is_empty()).collect();
        assert_eq!(row, ["a", ready, status, restarts, "30s"], "{pod}");
    }
    let leaving = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-11-21T09:59:30Z"}});
    assert!(draw("Pod", &[leaving], &Look::default()).contains("Terminating"));
}

#[test]
fn policies_show_what_the_control_plane_says_of_them() {
    let egress = |name| json!({"metadata": named(name), "spec": {"hosts": ["a.example", "b.example"]}});
    let verdict = Verdict { status: "Conflict".to_owned(), problem: "host also in shop/b".to_owned() };
    let look =
        Look { verdicts: Some(BTreeMap::from([(("shop".to_owned(), "a".to_owned()), verdict)])), ..Look::default() };
    assert_eq!(
        draw("Egress.policy.flomesh.io", &[egress("a"), egress("b")], &look),
        "NAME   HOSTS                 STATUS     PROBLEM               AGE\n\
         a      a.example,b.example   Conflict   host also in shop/b   30s\n\
         b      a.example,b.example   Accepted   <none>                30s\n"
    );
}

#[test]
fn every_kind_has_a_name_and_an_age_and_odd_objects_do_no_harm() {
    let kinds = [
        "Pod",
        "Service",
        "Namespace",
        "Secret",
        "ConfigMap",
        "ServiceAccount",
        "Endpoints",
        "EndpointSlice.discovery.k8s.io",
        "Ingress.networking.k8s.io",
        "Deployment.apps",
        "ReplicaSet.apps",
        "StatefulSet.apps",
        "DaemonSet.apps",
        "Job.batch",
        "TrafficSplit.split.smi-spec.io",
        "TrafficTarget.access.smi-spec.io",
        "MeshConfig.config.flomesh.io",
        "Retry.policy.flomesh.io",
        "Something.example.com",
    ];
    for kind in kinds {
        for object in
            [json!({}), json!([]), json!({"spec": 1, "metadata": []}), json!({"spec": {"ports": {}, "rules": "x"}})]
        {
            let table = draw(kind, &[object], &Look { wide: true, ..Look::default() });
            assert!(table.starts_with("NAME") && table.contains("AGE") && table.contains("<unknown>"), "{table}");
        }
    }
}

#[test]
fn long_lists_are_shortened() {
    let slice = json!({"metadata": named("s"), "addressType": "IPv4", "ports": [{"port": 80}],
        "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.3"]}, {"addresses": ["10.0.0.4"]}]});
    assert!(
        draw("EndpointSlice.discovery.k8s.io", &[slice], &Look::default())
            .contains("10.0.0.1,10.0.0.2,10.0.0.3 + 1 more...")
    );
}
