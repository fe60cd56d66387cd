//! A real Prometheus scrapes a mesh with FSM's own configuration (page 7.2); the query of FSM's integration guide gives what
//! the guide says, and every query of every dashboard gives data.

use fsm_tests::{LocalMesh, tool};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// The part of page 7.2 that concerns pods, with the pods found from a file instead of from Kubernetes. The interval is
/// shorter, so that the test is.
const CONFIGURATION: &str = r#"
global: {scrape_interval: 2s, scrape_timeout: 2s}
scrape_configs:
  - job_name: 'kubernetes-pods'
    file_sd_configs: [{files: ['TARGETS']}]
    metric_relabel_configs:
    - source_labels: [__name__]
      regex: '(sidecar_server_live|sidecar_cluster_health_check_.*|sidecar_cluster_upstream_rq_xx|sidecar_cluster_upstream_cx_active|sidecar_cluster_upstream_cx_tx_bytes_total|sidecar_cluster_upstream_cx_rx_bytes_total|sidecar_cluster_upstream_rq_total|sidecar_cluster_upstream_cx_destroy_remote_with_active_rq|sidecar_cluster_upstream_cx_connect_timeout|sidecar_cluster_upstream_cx_destroy_local_with_active_rq|sidecar_cluster_upstream_rq_pending_failure_eject|sidecar_cluster_upstream_rq_pending_overflow|sidecar_cluster_upstream_rq_timeout|sidecar_cluster_upstream_rq_rx_reset|^fsm.*)'
      action: keep
    relabel_configs:
    - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape]
      action: keep
      regex: true
    - source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path]
      action: replace
      target_label: __metrics_path__
      regex: (.+)
    - source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port]
      action: replace
      regex: ([^:]+)(?::\d+)?;(\d+)
      replacement: $1:$2
      target_label: __address__
    - source_labels: [__meta_kubernetes_namespace]
      action: replace
      target_label: source_namespace
    - source_labels: [__meta_kubernetes_pod_name]
      action: replace
      target_label: source_pod_name
    - regex: '(__meta_kubernetes_pod_label_app)'
      action: labelmap
      replacement: source_service
    - regex: '(__meta_kubernetes_pod_label_fsm_sidecar_uid|__meta_kubernetes_pod_label_pod_template_hash|__meta_kubernetes_pod_label_version)'
      action: drop
    - source_labels: [__meta_kubernetes_pod_controller_kind]
      action: replace
      target_label: source_workload_kind
    - source_labels: [__meta_kubernetes_pod_controller_name]
      action: replace
      target_label: source_workload_name
    - source_labels: [__meta_kubernetes_pod_controller_kind]
      action: replace
      regex: ^ReplicaSet$
      target_label: source_workload_kind
      replacement: Deployment
    - source_labels:
      - __meta_kubernetes_pod_controller_kind
      - __meta_kubernetes_pod_controller_name
      action: replace
      regex: ^ReplicaSet;(.*)-[^-]+$
      target_label: source_workload_name
"#;

/// fsm-control's admin port is on the node's loopback only; a web server shows copies of its page.
const CONTROL: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: control, namespace: monitoring, labels: {app: control}}
spec:
  containers:
    - name: copies
      image: python
      command: [python3, -m, http.server, "9102", --directory, DIRECTORY]
      ports: [{containerPort: 9102}]
      readinessProbe: {tcpSocket: {port: 9102}}
---
"#;

/// The query of the guide to Prometheus and Grafana.
const GUIDE: &str = r#"irate(sidecar_cluster_upstream_rq_xx{exported_source_workload_name="curl", sidecar_cluster_name="metrics-demo/httpbin|14001"}[30s])"#;

/// How long data may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

const PROMETHEUS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: v1
kind: Pod
metadata: {name: prometheus, namespace: monitoring, labels: {app: prometheus}}
spec:
  containers:
    - name: prometheus
      image: prom/prometheus
      command: [PROGRAM]
      args:
        - --config.file=DIRECTORY/prometheus.yml
        - --storage.tsdb.path=DIRECTORY/data
        - --web.listen-address=0.0.0.0:9090
      ports: [{containerPort: 9090}]
      readinessProbe: {httpGet: {path: /-/ready, port: 9090}}
"#;

/// Values of a query's result, or what is wrong with it.
type Answer = Result<Vec<f64>, String>;

/// Asks Prometheus all of this at once.
async fn query(mesh: &LocalMesh, expressions: &[&str]) -> Vec<Answer> {
    let url = |expression: &&str| {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("'http://127.0.0.1:9090/api/v1/query?query={encoded}'")
    };
    let urls: Vec<String> = expressions.iter().map(url).collect();
    let shown = mesh.shows(&format!("kubectl exec prometheus -n monitoring -- curl -s {}", urls.join(" "))).await;
    let answers =
        serde_json::Deserializer::from_str(&shown).into_iter::<Value>().map(|answer| values(&answer.unwrap()));
    let answers: Vec<Answer> = answers.collect();
    assert_eq!(answers.len(), expressions.len(), "{shown}");
    answers
}

fn values(answer: &Value) -> Answer {
    if answer["status"] != "success" {
        return Err(answer["error"].as_str().unwrap_or_default().to_owned());
    }
    let result = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    Ok(result.iter().filter_map(|series| series["value"][1].as_str()?.parse().ok()).collect())
}

/// Pods as Prometheus' discovery would describe them.
async fn targets(mesh: &LocalMesh) -> Value {
    let pods: Value = serde_json::from_str(&mesh.shows("kubectl get pods -A -o json").await).unwrap();
    let (mut targets, mut control) = (Vec::new(), String::new());
    for pod in pods["items"].as_array().unwrap() {
        let (metadata, ip) = (&pod["metadata"], pod["status"]["podIP"].as_str().unwrap_or_default());
        if metadata["namespace"] == "monitoring" {
            if metadata["name"] == "control" {
                control = format!("{ip}:9102");
            }
            continue;
        }
        let owner = &metadata["ownerReferences"][0];
        targets.push(json!({
            "targets": [format!("{ip}:80")],
            "labels": {
                "__meta_kubernetes_namespace": metadata["namespace"],
                "__meta_kubernetes_pod_name": metadata["name"],
                "__meta_kubernetes_pod_label_app": metadata["labels"]["app"],
                "__meta_kubernetes_pod_controller_kind": owner["kind"],
                "__meta_kubernetes_pod_controller_name": owner["name"],
                "__meta_kubernetes_pod_annotation_prometheus_io_scrape": "true",
                "__meta_kubernetes_pod_annotation_prometheus_io_port": "15010",
                "__meta_kubernetes_pod_annotation_prometheus_io_path": "/stats/prometheus",
            },
        }));
    }
    targets.push(json!({
        "targets": [control],
        "labels": {
            "__meta_kubernetes_namespace": "fsm-system",
            "__meta_kubernetes_pod_name": "fsm-controller-0",
            "__meta_kubernetes_pod_annotation_prometheus_io_scrape": "true",
            "__meta_kubernetes_pod_annotation_prometheus_io_path": "/metrics",
        },
    }));
    Value::Array(targets)
}

/// Every expression of every dashboard, with its variables filled in.
fn expressions(pod: &str) -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/fsm/dashboards");
    let mut found = Vec::new();
    for file in std::fs::read_dir(&directory).unwrap_or_else(|why| panic!("{}: {why}", directory.display())) {
        let path = file.unwrap().path();
        let board: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap();
                let filled = expression.replace("$namespace", "bookstore").replace("$service", "bookstore-v1");
                found.push((format!("{} / {}", board["title"], panel["title"]), filled.replace("$pod", pod)));
            }
        }
    }
    assert!(found.len() > 40, "{} queries in {}", found.len(), directory.display());
    found
}

/// Whether a panel would show something.
fn shows_data(expression: &str, answer: &Answer) -> bool {
    match answer {
        Err(_) => false,
        // Nothing need have changed in the control plane within the last minute.
        Ok(values) if expression.contains("fsm_proxy_config_update_time") => !values.is_empty(),
        Ok(values) => values.iter().any(|value| !value.is_nan()),
    }
}

/// Asks again until every answer is as it should be.
async fn until_all(
    mesh: &LocalMesh,
    queries: &[(String, String)],
    wanted: impl Fn(&str, &Answer) -> bool,
) -> Vec<Answer> {
    let started = Instant::now();
    let expressions: Vec<&str> = queries.iter().map(|(_, expression)| expression.as_str()).collect();
    loop {
        let answers = query(mesh, &expressions).await;
        let asked = queries.iter().zip(&answers);
        let missing: Vec<_> = asked.filter(|((_, expression), answer)| !wanted(expression, answer)).collect();
        if missing.is_empty() {
            return answers;
        }
        assert!(started.elapsed() < PATIENCE, "{} of {}: {missing:#?}", missing.len(), queries.len());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test]
async fn a_real_prometheus_sees_what_the_guide_and_the_dashboards_ask_for() {
    let Some(program) = tool("prometheus", "apt-get install prometheus") else { return };
    let Some(mesh) = LocalMesh::up_example("examples/bookstore").await else { return };
    let directory = mesh.path("prometheus");
    std::fs::create_dir_all(directory.join("data")).unwrap();
    let text = |template: &str| {
        template
            .replace("PROGRAM", &program.display().to_string())
            .replace("DIRECTORY", &directory.display().to_string())
    };
    std::fs::write(mesh.path("prometheus.yaml"), text(&format!("{PROMETHEUS}---{CONTROL}"))).unwrap();
    let targets_file = directory.join("targets.json");
    let configuration = CONFIGURATION.replace("TARGETS", &targets_file.display().to_string());
    std::fs::write(directory.join("prometheus.yml"), configuration).unwrap();

    // The guide's pods, and traffic of one request a second.
    super::super::local::patch(&mesh, r#"{"traffic":{"enablePermissiveTrafficPolicyMode":true}}"#).await;
    let manifests = super::super::local::MANIFESTS;
    mesh.shows(&format!(
        "kubectl create namespace metrics-demo && fsm namespace add metrics-demo && kubectl apply -f {manifests}/samples/curl/curl.yaml -n metrics-demo &&
         kubectl apply -f {manifests}/samples/httpbin/httpbin.yaml -n metrics-demo && kubectl apply -f {prometheus} &&
         kubectl wait --for=condition=ready pod -n metrics-demo -l app=curl --timeout=60s &&
         kubectl wait --for=condition=ready pod -n metrics-demo -l app=httpbin --timeout=60s &&
         kubectl wait --for=condition=ready pod -n monitoring --all --timeout=60s",
        prometheus = mesh.path("prometheus.yaml").display(),
    ))
    .await;
    let found = serde_json::to_vec(&targets(&mesh).await).unwrap();
    std::fs::write(&targets_file, found).unwrap();
    let _copies = mesh.in_background(&format!(
        r#"control=$(pgrep -f '[f]sm-control.*{state}' | head -1) # not this shell, whose text says so too
           while :; do
               nsenter -t "$control" -n curl -s http://127.0.0.1:9091/metrics > {directory}/new &&
                   mv {directory}/new {directory}/metrics
               sleep 1
           done"#,
        directory = directory.display(),
        state = mesh.path("state").display(),
    ));
    let mut traffic = mesh.in_background(
        r#"fsm exec "$(kubectl get pod -n metrics-demo -l app=curl -o jsonpath='{.items[0].metadata.name}')" -n metrics-demo -c curl -- \
           sh -c 'while :; do curl -s -o /dev/null httpbin.metrics-demo:14001/status/200; sleep 1; done'"#,
    );

    let guide = [("about one request a second".to_owned(), GUIDE.to_owned())];
    let about_one = |_: &str, answer: &Answer| {
        answer.as_ref().is_ok_and(|rates| rates.iter().any(|rate| (0.6..=1.4).contains(rate)))
    };
    let rate = until_all(&mesh, &guide, about_one).await;
    eprintln!("the guide's query gives {rate:?}");
    let buyer = mesh.shows("pod_of bookbuyer").await;
    let panels = expressions(buyer.trim());
    let shown = until_all(&mesh, &panels, shows_data).await;
    eprintln!("{} of {} queries of the dashboards give data", shown.len(), panels.len());
    assert!(traffic.is_running(), "the traffic has ended too early");
}
