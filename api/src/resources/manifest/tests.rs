#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

mod bounds;
mod demos;

fn objects(text: &str) -> Vec<Located<Object>> {
    let (objects, problems) = read(text, "a.yaml");
    assert_eq!(problems, []);
    objects
}

/// The only problem of a text that has no other object.
fn problem(text: &str) -> ManifestError {
    let (objects, mut problems) = read(text, "a.yaml");
    assert_eq!(problems.len(), 1, "{problems:?}");
    let problem = problems.remove(0);
    assert_eq!(objects.len(), usize::from(problem.severity == Severity::Warning), "{objects:?}");
    problem
}

const SPLIT: &str = "\
apiVersion: split.smi-spec.io/v1alpha4
kind: TrafficSplit
metadata:
  name: httpbin
  namespace: httpbin
spec:
  service: httpbin
  matches:
  - kind: HTTPRouteGroup
    name: v2
    apiGroup: specs.smi-spec.io
  backends:
  - service: httpbin-v1
    weight: 90
  - service: httpbin-v2
    weight: 10
";

#[test]
fn several_documents_know_their_lines() {
    let text = format!("# first\n---\n{SPLIT}---\n\n# nothing here\n--- # another\n{SPLIT}...\n---\n");
    let all = objects(&text);
    assert_eq!(all.iter().map(|o| o.line).collect::<Vec<_>>(), [3, 23]);
    let Object::TrafficSplit(split) = &all[0].value else { panic!("{all:?}") };
    assert_eq!(split.spec.backends[0].weight, 90);
    assert_eq!(all[0].value.key().to_string(), "TrafficSplit httpbin/httpbin");
}

#[test]
fn a_bad_document_says_where_and_does_not_stop_the_others() {
    let broken = "kind: Egress\nmetadata:\n  name: broken\n  namespace: curl\nspec:\n\tports: []\n";
    let wrong = SPLIT.replace("weight: 10", "weight: many").replace("name: httpbin\n", "name: wrong\n");
    let (objects, problems) = read(&format!("{broken}---\n{SPLIT}---\n{wrong}---\n{SPLIT}"), "dir/a.yaml");
    assert_eq!(objects.iter().map(|o| o.line).collect::<Vec<_>>(), [8, 42]);
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 2, "{text:?}");
    assert!(text[0].starts_with("dir/a.yaml:6: Egress curl/broken: this is not YAML: "), "{}", text[0]);
    assert_eq!(
        text[1],
        "dir/a.yaml:40: TrafficSplit httpbin/wrong: spec.backends[1].weight: expected a JSON number, found the text \
         \"many\"; correct the value"
    );
}

#[test]
fn a_missing_field_is_named_with_its_path() {
    let problem = problem(&SPLIT.replace("  - service: httpbin-v2\n    weight: 10\n", "  - service: httpbin-v2\n"));
    assert_eq!((problem.line, problem.field.as_str()), (15, "spec.backends[1].weight"));
    assert_eq!(problem.reason, "the field is missing");
    assert_eq!(problem.severity, Severity::Error);
}

#[test]
fn an_unknown_field_is_a_warning_with_a_suggestion() {
    let warning = problem(&SPLIT.replace("    weight: 10", "    weight: 10\n    wieght: 11"));
    assert_eq!(warning.severity, Severity::Warning);
    assert_eq!((warning.line, warning.field.as_str()), (17, "spec.backends[1].wieght"));
    assert_eq!(warning.remedy, "write weight, or take it away");
}

#[test]
fn unknown_fields_of_kubernetes_own_kinds_are_warnings_too() {
    let warning = problem("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports: [{prt: 80}]\n");
    assert_eq!((warning.line, warning.field.as_str()), (5, "spec.ports[0].prt"));
    assert_eq!(warning.remedy, "write port, or take it away");
}

#[test]
fn numbers_and_texts_are_told_apart_with_a_remedy() {
    let pod = |env: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n  - name: c\n    env:\n    - {{name: X, value: {env}}}\n"
        )
    };
    assert_eq!(objects(&pod("\"1\"")).len(), 1);
    let number = problem(&pod("1"));
    assert_eq!(number.field, "spec.containers[0].env[0].value");
    assert_eq!(
        (number.reason.as_str(), number.remedy.as_str()),
        ("expected a text, found 1", "put the value in quotes")
    );
    let port = problem("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: \"80\"}]}\n");
    assert_eq!(port.remedy, "take the quotes away");
    let egress = problem(
        "apiVersion: policy.flomesh.io/v1alpha1\nkind: Egress\nmetadata: {name: a}\nspec:\n  sources: []\n  ports: [{number: 70000, protocol: http}]\n",
    );
    assert_eq!(egress.reason, "expected a whole number of 0 to 65535, found 70000");
}

#[test]
fn closed_sets_name_what_is_allowed() {
    let problem = problem(
        "apiVersion: flomesh.io/v1alpha1\nkind: GlobalTrafficPolicy\nmetadata: {name: a}\nspec:\n  lbType: Everywhere\n",
    );
    assert_eq!((problem.line, problem.field.as_str()), (5, "spec.lbType"));
    assert_eq!(problem.remedy, "write one of Locality, ActiveActive, FailOver");
}

#[test]
fn what_kubernetes_tools_accept_is_accepted() {
    let all = objects(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: , annotations: {}}\nspec:\n  hostNetwork: off\n  \
         volumes: [{name: v, configMap: {name: c, defaultMode: 0644}}]\n  containers:\n  - name: c\n    command: null\n    \
         resources: {limits: {cpu: 1, memory: 64Mi}}\n    ports: [{containerPort: 80.0}]\n",
    );
    let Object::Pod(pod) = &all[0].value else { panic!("{all:?}") };
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!(spec.host_network, Some(false));
    assert_eq!(spec.volumes.as_ref().unwrap()[0].config_map.as_ref().unwrap().default_mode, Some(0o644));
    assert_eq!(spec.containers[0].resources.as_ref().unwrap().limits.as_ref().unwrap()["cpu"].0, "1");
    assert_eq!(spec.containers[0].ports.as_ref().unwrap()[0].container_port, 80);
}

#[test]
fn lists_are_unrolled() {
    let items = "items:\n- metadata: {name: a}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: b}\n";
    for head in ["apiVersion: v1\nkind: ServiceAccountList\n", "apiVersion: v1\nkind: List\n"] {
        let (objects, problems) = read(&format!("{head}{items}"), "a.yaml");
        let names: Vec<String> = objects.iter().map(|o| o.value.key().to_string()).collect();
        if head.contains("ServiceAccountList") {
            assert_eq!(problems, []);
            assert_eq!(names, ["ServiceAccount default/a", "ConfigMap default/b"]);
            assert_eq!(objects[1].line, 5);
        } else {
            assert_eq!(names, ["ConfigMap default/b"]);
            assert_eq!((problems.len(), problems[0].line), (1, 4));
        }
    }
}

#[test]
fn json_is_read() {
    let text = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"List\",\n\t\"items\": [\n\t\t{\"apiVersion\": \"v1\", \"kind\": \
                \"Namespace\", \"metadata\": {\"name\": \"a\"}}\n\t]\n}\n";
    assert_eq!(objects(text)[0].value.key(), ObjectKey::new(Kind::Namespace, "", "a"));
    assert_eq!(objects(text)[0].line, 5);
}

#[test]
fn older_groups_and_versions_are_read_as_the_present_ones() {
    let all = objects(
        "apiVersion: flomesh.io/v1alpha1\nkind: Cluster\nmetadata: {name: c}\nspec: {fsmNamespace: fsm-system}\n---\n\
         apiVersion: split.smi-spec.io/v1alpha2\nkind: TrafficSplit\nmetadata: {name: t}\nspec: {service: a, backends: []}\n---\n\
         apiVersion: config.flomesh.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: fsm-mesh-config}\nspec:\n  \
         observability: {tracing: {enable: true, sampledFraction: 0.5}}\n",
    );
    let Object::Cluster(cluster) = &all[0].value else { panic!("{all:?}") };
    assert_eq!((cluster.spec.gateway_port, cluster.spec.zone.as_str()), (80, "default"));
    assert_eq!(all[0].value.to_json().unwrap()["apiVersion"], "multicluster.flomesh.io/v1alpha1");
    let Object::MeshConfig(mesh) = &all[2].value else { panic!("{all:?}") };
    let tracing = mesh.spec.observability.clone().unwrap().tracing.unwrap();
    assert_eq!(tracing.sampled_fraction.as_deref(), Some("0.5"));
}

#[test]
fn versions_that_nobody_serves_are_refused() {
    let problem = problem(
        "\napiVersion: split.smi-spec.io/v1alpha3\nkind: TrafficSplit\nmetadata: {name: t}\nspec: {service: a, backends: []}\n",
    );
    assert_eq!((problem.line, problem.field.as_str()), (2, "apiVersion"));
    assert_eq!(problem.remedy, "write split.smi-spec.io/v1alpha4");
}

#[test]
fn unknown_kinds_are_kept_as_they_are() {
    let text = "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c, namespace: n}\nspec: {a: null, b: [1]}\n";
    let all = objects(text);
    let Object::Other(value) = &all[0].value else { panic!("{all:?}") };
    assert_eq!(value["spec"], serde_json::json!({ "a": null, "b": [1] }));
    assert_eq!(all[0].value.key(), ObjectKey::new(Kind::Other("Certificate.cert-manager.io".into()), "n", "c"));
    assert_eq!(all[0].value.kind().qualified(), "Certificate.cert-manager.io");
}

#[test]
fn an_object_without_a_spec_has_the_defaults() {
    let all = objects("apiVersion: policy.flomesh.io/v1alpha1\nkind: TrafficWarmup\nmetadata: {name: w}\n");
    let Object::TrafficWarmup(warm_up) = &all[0].value else { panic!("{all:?}") };
    assert_eq!(warm_up.spec, Default::default());
    let missing = problem("apiVersion: policy.flomesh.io/v1alpha1\nkind: Retry\nmetadata: {name: w}\n");
    assert_eq!(missing.field, "spec.source");
}

#[test]
fn names_that_could_leave_a_folder_are_refused() {
    let cases = [
        ("v1", "ConfigMap", "../x", "default", "metadata.name"),
        ("v1", "ConfigMap", "a/b", "default", "metadata.name"),
        ("v1", "ConfigMap", "A", "default", "metadata.name"),
        ("v1", "ConfigMap", "a", "../..", "metadata.namespace"),
        ("x.io/v1", "Thing", "..", "default", "metadata.name"),
        ("x.io/v1", "Thing", "a/b", "default", "metadata.name"),
        ("x.io/v1", "../Thing", "a", "default", "kind"),
        ("../../v1", "Thing", "a", "default", "apiVersion"),
        ("x.io/v1", "Thing", "", "default", "metadata.name"),
    ];
    for (version, kind, name, namespace, field) in cases {
        let text = format!(
            "apiVersion: {version:?}\nkind: {kind:?}\nmetadata: {{name: {name:?}, namespace: {namespace:?}}}\n"
        );
        assert_eq!(problem(&text).field, field, "{text}");
    }
    objects("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: 'system:node'}\n");
}

#[test]
fn documents_that_are_no_objects_are_named() {
    for (text, field) in [("just text\n", ""), ("- a\n", ""), ("a: 1\n", "apiVersion"), ("apiVersion: v1\n", "kind")] {
        assert_eq!(problem(text).field, field, "{text}");
    }
    assert_eq!(problem("apiVersion: v1\nkind: 7\nmetadata: {name: a}\n").line, 2);
    assert_eq!(objects(""), []);
    assert_eq!(objects("\u{feff}---\n# nothing\n---\n~\n"), []);
}

#[test]
fn fields_that_are_there_twice_are_refused() {
    let problem = problem(&format!("{SPLIT}kind: TrafficTarget\n"));
    assert!(problem.reason.contains("\"kind\" is there twice"), "{problem}");
    assert_eq!(problem.line, 17);
    assert_eq!(problem.object.unwrap().to_string(), "TrafficSplit httpbin/httpbin");
}

#[test]
fn block_texts_may_look_like_documents() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n    ---\n    kind: Pod\n    ...\n";
    let all = objects(text);
    let Object::ConfigMap(map) = &all[0].value else { panic!("{all:?}") };
    assert_eq!(map.data.as_ref().unwrap()["x"], "---\nkind: Pod\n...\n");
}

#[test]
fn windows_line_ends_and_directives_are_read() {
    let text = format!("%YAML 1.2\n---\n{SPLIT}---\n{SPLIT}").replace('\n', "\r\n");
    assert_eq!(objects(&text).iter().map(|o| o.line).collect::<Vec<_>>(), [3, 20]);
}
