#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

const MANIFEST: &str = r#"# The shop.
apiVersion: v1
kind: Namespace
metadata: {name: shop}   # as it was
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 2
  template:
    metadata:
      labels:
        app: web
    spec:
      serviceAccountName: web
      containers:
      - name: web
        image: web:1
        of_tomorrow: true
        livenessProbe:
          tcpSocket:
            port: 80
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: nightly
spec:
  schedule: 0 1 * * *
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - name: job
            image: job:1
--- # the last one
apiVersion: v1
kind: ConfigMap
metadata:
  name: text
data:
  text: |
    a
     --- no document
"#;

fn settings() -> Settings {
    Settings {
        mesh: "fsm".into(),
        fsm_namespace: "fsm-system".into(),
        sidecar_image: "proxy:1".into(),
        init_image: "init:1".into(),
        pull_policy: "Always".into(),
        native_sidecars: true,
        token_audience: String::new(),
    }
}

fn pass(text: &str, change: impl Fn(&Value, &Owner<'_>) -> Result<Outcome>) -> Result<(String, Vec<String>)> {
    let mut told = Vec::new();
    let documents = Document::all(text);
    let parts: Result<String> = documents.iter().map(|one| one.rewritten("test", &change, &mut told)).collect();
    Ok((parts?, told))
}

fn injected(text: &str) -> Result<(String, Vec<String>)> {
    pass(text, |pod, owner| add(pod, owner, "default", &settings()))
}

fn values(text: &str) -> Vec<Value> {
    let parsed: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    parsed.into_iter().filter(|value| !value.is_null()).collect()
}

#[test]
fn documents_are_told_apart_without_losing_a_byte() {
    for text in [MANIFEST, "", "---\n", "--- {a: 1}\n---\nb: 1", "a: 1\n---", "\n\n---\r\na: 1\r\n---\r\nb: 2\r\n"] {
        let whole: String = Document::all(text).iter().map(|one| format!("{}{}", one.separator, one.text)).collect();
        assert_eq!(whole, text);
    }
    let lines: Vec<_> = Document::all(MANIFEST).iter().map(|document| document.line).collect();
    assert_eq!(lines, [1, 5, 26, 41]);
}

#[test]
fn pods_and_templates_get_sidecars_and_all_else_stays_as_written() {
    let (text, told) = injected(MANIFEST).unwrap();
    assert_eq!(told, ["deployment/web injected", "cronjob/nightly injected"]);
    let (head, tail) = (MANIFEST.split("---\n").next().unwrap(), MANIFEST.split_once("--- # the").unwrap().1);
    assert!(text.starts_with(head) && text.ends_with(tail), "{text}");
    let objects = values(&text);
    let web = &objects[1]["spec"]["template"];
    assert_eq!(objects[1]["spec"]["replicas"], 2);
    assert_eq!(web["spec"]["initContainers"][1]["restartPolicy"], "Always");
    assert_eq!(web["spec"]["initContainers"][1]["image"], "proxy:1");
    assert_eq!(web["spec"]["containers"][0]["of_tomorrow"], true);
    assert_eq!(web["metadata"].get("ownerReferences"), None);
    let environment = web["spec"]["initContainers"][1]["env"].as_array().unwrap();
    let owner = environment.iter().find(|variable| variable["name"] == "POD_CONTROLLER_NAME").unwrap();
    assert_eq!(owner["value"], "web");
    let job = &objects[2]["spec"]["jobTemplate"]["spec"]["template"];
    assert_eq!(job["spec"]["initContainers"][0]["name"], "fsm-init");
    assert_eq!(job["metadata"].get("ownerReferences"), None);

    let (again, told) = injected(&text).unwrap();
    assert_eq!(again, text, "an injected pod is left alone");
    assert!(told.iter().all(|line| line.ends_with("it has a sidecar already")), "{told:?}");
}

#[test]
fn what_was_injected_is_taken_away() {
    let (text, _) = injected(MANIFEST).unwrap();
    let (back, told) = pass(&text, |pod, _| take_away(pod)).unwrap();
    assert_eq!(told, ["deployment/web uninjected", "cronjob/nightly uninjected"]);
    assert_eq!(values(&back), values(MANIFEST));
}

#[test]
fn lists_and_json_stay_what_they_are() {
    let list = r#"{"apiVersion":"v1","kind":"List","items":[
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"a"}]}},
        {"apiVersion":"v1","kind":"Pod","metadata":{"name":"b"},"spec":{"hostNetwork":true,"containers":[{"name":"b"}]}},
        {"apiVersion":"batch.volcano.sh/v1alpha1","kind":"Job","metadata":{"name":"c"}}]}"#;
    let (text, told) = injected(list).unwrap();
    assert_eq!(told, ["pod/a injected", "pod/b skipped: it uses the network of its node"]);
    let object: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(object["items"].as_array().unwrap().len(), 3);
    let before: Value = serde_json::from_str(list).unwrap();
    assert_eq!(object["items"][1], before["items"][1]);
}

#[test]
fn what_cannot_be_done_names_the_object() {
    let annotated =
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  annotations:\n    flomesh.io/sidecar-injection: maybe\n";
    for (text, says) in [
        (annotated, "flomesh.io/sidecar-injection"),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", "deployment/a has no pod template"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: 7}\n", "pod/a: its pod cannot be read"),
        ("a: [", "neither YAML nor JSON"),
    ] {
        let error = format!("{:#}", injected(text).unwrap_err());
        assert!(error.contains(says) && error.starts_with("test"), "{error}");
    }
}
