//! What `fsm node` does for pods of an API server: what a kubelet would.

use fsm_tests::{Cluster, cluster, eventually, within};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const NAMESPACE: &str = "node";

/// Everything of one pod that its node has to provide.
fn manifests() -> String {
    let file = |name: &str| json!({"name": name, "mountPath": format!("/fsm-node/{name}")});
    let probe = |path: &str| json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": 1});
    let web = json!({
        "initContainers": [{
            "name": "first", "image": "busybox", "command": ["sh", "-c", "echo begun > /fsm-node/scratch/first"],
            "volumeMounts": [file("scratch")],
        }],
        "containers": [{
            "name": "web", "image": "httpbin", "args": ["--port", "8080"],
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": probe("/status/200"), "livenessProbe": probe("/get"),
            "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", "echo hooked > /fsm-node/scratch/second"]}}},
            "env": [
                {"name": "OWN_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "OWN_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}},
            ],
            "envFrom": [{"secretRef": {"name": "words"}}],
            "securityContext": {"runAsUser": 1234, "runAsGroup": 1234},
            "volumeMounts": [file("scratch"), file("settings"), file("token")],
        }],
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            {"name": "settings", "configMap": {"name": "settings"}},
            {"name": "token", "projected": {"sources": [
                {"serviceAccountToken": {"path": "token", "audience": "somebody", "expirationSeconds": 600}},
            ]}},
        ],
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": NAMESPACE, "name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": web},
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": NAMESPACE, "name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    });
    let client = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": NAMESPACE, "name": "client", "labels": {"app": "client"}},
        "spec": {
            "containers": [{
                "name": "client", "image": "curlimages/curl", "volumeMounts": [file("scratch")],
                "command": ["sh", "-c", "echo I am here; until [ -e /fsm-node/scratch/go ]; do sleep 0.1; done; echo I go on; exec sleep 1000"],
            }],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    });
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": NAMESPACE, "name": "once"},
        "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox", "command": ["echo", "done"]}],
        }}},
    });
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": NAMESPACE, "name": "settings"},
        "data": {"color": "red"},
    });
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": NAMESPACE, "name": "words"},
        "stringData": {"PASSWORD": "sesame"},
    });
    [map, secret, deployment, service, client, job].map(|object| object.to_string()).join("\n---\n")
}

async fn sh(cluster: &Cluster, pod: &str, container: &str, script: &str) -> String {
    let outcome = cluster.exec(NAMESPACE, pod, container, &["sh", "-c", script]).await;
    assert_eq!(outcome.code, 0, "{script}: {outcome:?}");
    outcome.stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_does_for_pods_what_a_kubelet_does() {
    let Some(cluster) = cluster().await else { return };
    cluster.namespace(NAMESPACE).await;
    cluster.apply(&manifests()).await;
    let web = cluster.pod_of(NAMESPACE, "web").await;
    let client = cluster.pod_of(NAMESPACE, "client").await;
    containers_have_what_their_spec_says(&cluster, &web).await;
    services_and_names_lead_to_pods(&cluster, &client).await;
    the_api_server_passes_people_on(&cluster, &web, &client).await;
    a_job_ends(&cluster).await;
    objects_that_change_are_seen(&cluster, &web).await;
    a_deleted_pod_is_replaced(&cluster, &web).await;
    let outcome = cluster.kubectl(&["delete", "namespace", NAMESPACE, "--timeout=30s"], "").await;
    assert_eq!(outcome.code, 0, "everything of it ends: {outcome:?}");
}

async fn containers_have_what_their_spec_says(cluster: &Cluster, web: &str) {
    let expected = [
        ("cat /fsm-node/scratch/*", "begun\nhooked\n"),
        ("cat /fsm-node/settings/color", "red"),
        ("echo $COLOR $PASSWORD $OWN_NODE", "red sesame fsm-node\n"),
        ("id -u; id -g", "1234\n1234\n"),
        ("ip -4 -o address show dev eth0 | grep -c \"inet $OWN_IP/32\"", "1\n"),
        ("cat /etc/hostname", &format!("{web}\n")),
        ("echo $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT", "10.96.0.1:443\n"),
    ];
    for (script, said) in expected {
        assert_eq!(sh(cluster, web, "web", script).await, said, "{script}");
    }
    // The token is one of the API server, for this pod and this audience.
    let token = sh(cluster, web, "web", "cat /fsm-node/token/token").await;
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": ["somebody"]},
    });
    let answer = cluster.kubectl(&["create", "-f", "-", "-o", "json"], &review.to_string()).await;
    let answer: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(answer["status"]["authenticated"], true, "{answer}");
    assert_eq!(answer["status"]["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!([web]));
}

async fn services_and_names_lead_to_pods(cluster: &Cluster, client: &str) {
    for name in ["web", "web.node", "web.node.svc.cluster.local"] {
        eventually(&format!("{name} answers"), async || {
            let script = format!("curl -s -o /dev/null -w '%{{http_code}}' http://{name}/status/201");
            cluster.exec(NAMESPACE, client, "client", &["sh", "-c", &script]).await.stdout == "201"
        })
        .await;
    }
    // The API server itself, by its Service, with the pod's own token and the cluster's authority.
    let script = "cd /var/run/secrets/kubernetes.io/serviceaccount && curl -s --cacert ca.crt \
                  -H \"Authorization: Bearer $(cat token)\" https://kubernetes.default.svc/readyz";
    assert_eq!(sh(cluster, client, "client", script).await, "ok");
}

async fn the_api_server_passes_people_on(cluster: &Cluster, web: &str, client: &str) {
    logs_are_told_as_they_are_asked_for(cluster, client).await;
    let failed = cluster.exec(NAMESPACE, client, "client", &["sh", "-c", "echo no >&2; exit 7"]).await;
    assert_eq!((failed.code, failed.stderr.as_str()), (7, "no\n"));
    people_type(cluster, client).await;
    let pods: Api<Pod> = Api::namespaced(cluster.client().await, NAMESPACE);
    let mut forwarded = within("port-forward begins", pods.portforward(web, &[8080])).await.unwrap();
    let mut stream = forwarded.take_stream(8080).unwrap();
    stream.write_all(b"GET /status/202 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    within("the pod answers", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 202");
}

/// `kubectl exec -i`, and `-it` at a terminal that `script` makes: what is typed arrives, and the size, and how it ended.
async fn people_type(cluster: &Cluster, client: &str) {
    let version = cluster.shows("kubectl version --client -o json").await;
    let version: Value = serde_json::from_str(&version).unwrap();
    let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default();
    if minor.trim_end_matches('+').parse::<u32>().unwrap_or_default() < 31 {
        eprintln!("SKIPPED: `kubectl exec`, as this kubectl (1.{minor}) speaks no WebSocket: it takes 1.31 or newer");
        return;
    }
    let exec = format!("kubectl exec -n {NAMESPACE} {client} -i -- sh -c 'cat; exit 5'");
    let said = cluster.shows(&format!("printf typed | {exec}; echo \" $?\"")).await;
    assert_eq!(said, "typed 5\n");
    let typed = r#"until [ "$(stty size)" = "33 101" ]; do sleep 0.1; done; tty && echo si""zed; exit 3"#;
    let exec = format!("stty rows 33 cols 101; kubectl exec -n {NAMESPACE} -it {client} -c client -- sh");
    let said = cluster.shows(&format!("echo '{typed}' | script -qec '{exec}' /dev/null; echo \"code $?\"")).await;
    assert!(said.contains("/dev/pts/") && said.contains("\nsized") && said.ends_with("code 3\n"), "{said}");
}

async fn logs_are_told_as_they_are_asked_for(cluster: &Cluster, client: &str) {
    let logs = async |options: &[&str]| {
        let words = [&["logs", "-n", NAMESPACE, client], options].concat();
        let said = cluster.kubectl(&words, "").await;
        assert_eq!(said.code, 0, "{options:?}: {said:?}");
        said.stdout
    };
    assert_eq!(logs(&[]).await, "I am here\n");
    eventually("what it said is longer ago than two seconds", async || logs(&["--since=2s"]).await.is_empty()).await;
    // Followed until so many bytes were told.
    let following = logs(&["-f", "--limit-bytes=18"]);
    let going_on = sh(cluster, client, "client", "touch /fsm-node/scratch/go");
    let (followed, _) = tokio::join!(following, going_on);
    assert_eq!(followed, "I am here\nI go on\n");
    assert_eq!(logs(&["--since=1h"]).await, "I am here\nI go on\n");
    assert_eq!(logs(&["--since=1h", "--tail=1"]).await, "I go on\n");
    let young = logs(&["--since=2s"]).await;
    assert!(young.is_empty() || young == "I go on\n", "{young}");
}

async fn a_job_ends(cluster: &Cluster) {
    let waiting = ["wait", "-n", NAMESPACE, "job/once", "--for=condition=complete", "--timeout=30s"];
    let outcome = cluster.kubectl(&waiting, "").await;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let logs = cluster.kubectl(&["logs", "-n", NAMESPACE, "job/once"], "").await;
    assert_eq!(logs.stdout, "done\n", "{logs:?}");
}

async fn objects_that_change_are_seen(cluster: &Cluster, web: &str) {
    let patch = [
        "patch",
        "-n",
        NAMESPACE,
        "configmap",
        "settings",
        "--type=merge",
        "-p",
        r#"{"data": {"color": "blue", "size": "9"}}"#,
    ];
    assert_eq!(cluster.kubectl(&patch, "").await.code, 0);
    eventually("the volume says what the ConfigMap says", async || {
        sh(cluster, web, "web", "cat /fsm-node/settings/*").await == "blue9"
    })
    .await;
}

async fn a_deleted_pod_is_replaced(cluster: &Cluster, web: &str) {
    cluster.delete(&format!("pod -n {NAMESPACE} {web}")).await;
    let another = cluster.pod_of(NAMESPACE, "web").await;
    assert_ne!(another, web);
    eventually("the first is gone", async || {
        cluster.kubectl(&["get", "pod", "-n", NAMESPACE, web], "").await.stderr.contains("NotFound")
    })
    .await;
}
