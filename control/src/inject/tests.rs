#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod annotations;
mod removal;

use super::*;
use serde_json::{Value, json};

fn settings() -> Settings {
    Settings {
        mesh: "fsm".into(),
        fsm_namespace: "fsm-system".into(),
        sidecar_image: "flomesh/fsm-proxy:1".into(),
        init_image: "flomesh/fsm-proxy-init:1".into(),
        pull_policy: "IfNotPresent".into(),
        native_sidecars: false,
        token_audience: String::new(),
    }
}

fn namespace(annotations: &[(&str, &str)]) -> NamespaceFacts {
    NamespaceFacts {
        name: "shop".into(),
        monitored_by: Some("fsm".into()),
        annotations: annotations.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
    }
}

fn pod(extra: Value) -> Pod {
    let mut pod = json!({
        "metadata": {
            "generateName": "web-5b8b94b9-",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5b8b94b9", "uid": "1", "controller": true}],
        },
        "spec": {"serviceAccountName": "web", "containers": [{"name": "web", "image": "web:1"}]},
    });
    merge(&mut pod, extra);
    serde_json::from_value(pod).unwrap()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn mesh(spec: Value) -> MeshConfigSpec {
    serde_json::from_value(spec).unwrap()
}

fn inject_into(pod: &Pod, spec: Value, settings: &Settings) -> Value {
    let enabled = namespace(&[("flomesh.io/sidecar-injection", "enabled")]);
    match inject(pod, &enabled, &mesh(spec), settings, "u-1").unwrap() {
        Decision::Inject(pod) => serde_json::to_value(pod).unwrap(),
        Decision::Skip(reason) => panic!("skipped: {}", reason.text()),
    }
}

fn names(containers: &Value) -> Vec<&str> {
    containers.as_array().unwrap().iter().map(|container| container["name"].as_str().unwrap()).collect()
}

fn decision(pod: &Pod, namespace: &NamespaceFacts) -> Result<Option<SkipReason>, InjectError> {
    inject(pod, namespace, &mesh(json!({})), &settings(), "u-1").map(|decision| match decision {
        Decision::Skip(reason) => Some(reason),
        Decision::Inject(_) => None,
    })
}

#[test]
fn who_is_in_the_mesh_is_decided_as_fsm_decides_it() {
    let enabled = namespace(&[("flomesh.io/sidecar-injection", "enabled")]);
    let plain = pod(json!({}));
    let annotated = |value: &str| pod(json!({"metadata": {"annotations": {"flomesh.io/sidecar-injection": value}}}));
    assert_eq!(decision(&plain, &enabled), Ok(None));
    assert_eq!(decision(&plain, &namespace(&[])), Ok(Some(SkipReason::NotWanted)));
    assert_eq!(decision(&annotated("YES"), &namespace(&[])), Ok(None));
    assert_eq!(decision(&annotated("no"), &enabled), Ok(Some(SkipReason::NotWanted)));
    let host = pod(json!({"spec": {"hostNetwork": true}}));
    assert_eq!(decision(&host, &enabled), Ok(Some(SkipReason::HostNetwork)));
    for name in ["kube-system", "kube-public", "fsm-system"] {
        let system = NamespaceFacts { name: name.into(), ..enabled.clone() };
        assert_eq!(decision(&plain, &system), Ok(Some(SkipReason::SystemNamespace)));
    }
    for mesh in [None, Some("other".to_owned())] {
        let stranger = NamespaceFacts { monitored_by: mesh, ..enabled.clone() };
        assert_eq!(decision(&plain, &stranger), Ok(Some(SkipReason::NotMonitored)));
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_name_and_the_remedy() {
    let wrong = [
        ("flomesh.io/sidecar-injection", "perhaps", "write enabled or disabled"),
        ("flomesh.io/outbound-port-exclusion-list", "80, 70000", "\"70000\""),
        ("flomesh.io/inbound-port-exclusion-list", "0", "1 to 65535"),
        ("flomesh.io/outbound-ip-range-exclusion-list", "10.0.0.0/40", "10.0.0.0/8"),
        ("flomesh.io/outbound-ip-range-inclusion-list", "everything", "no range"),
        ("flomesh.io/sidecar-resource-limits-cpu", "much", "100m"),
        ("flomesh.io/hold-application-until-proxy-starts", "2", "enabled or disabled"),
    ];
    for (name, value, expected) in wrong {
        let pod = pod(json!({"metadata": {"annotations": {name: value}}}));
        let enabled = namespace(&[("flomesh.io/sidecar-injection", "enabled")]);
        let error = decision(&pod, &enabled).unwrap_err().to_string();
        assert!(
            error.contains(name) && error.contains(expected) && error.contains("pod shop/web-5b8b94b9-*"),
            "{error}"
        );
    }
}

#[test]
fn the_sidecar_comes_first_and_holds_the_application() {
    let injected =
        inject_into(&pod(json!({"spec": {"initContainers": [{"name": "migrate"}]}})), json!({}), &settings());
    assert_eq!(injected["metadata"]["labels"]["fsm-proxy-uuid"], "u-1");
    assert_eq!(names(&injected["spec"]["initContainers"]), ["migrate", "fsm-init"]);
    assert_eq!(names(&injected["spec"]["containers"]), ["sidecar", "web"]);
    let sidecar = &injected["spec"]["containers"][0];
    assert_eq!(sidecar["image"], "flomesh/fsm-proxy:1");
    assert_eq!(sidecar["securityContext"]["runAsUser"], 1500);
    assert_eq!(sidecar["lifecycle"]["postStart"]["exec"]["command"], json!(["fsm-proxy", "wait"]));
    assert_eq!(sidecar["lifecycle"]["preStop"]["exec"]["command"], json!(["fsm-proxy", "drain"]));
    let environment = sidecar["env"].as_array().unwrap();
    let value = |name: &str| environment.iter().find(|variable| variable["name"] == name).unwrap()["value"].clone();
    assert_eq!((value("SERVICE_ACCOUNT"), value("POD_CONTROLLER_KIND")), (json!("web"), json!("Deployment")));
    assert_eq!(value("POD_CONTROLLER_NAME"), "web");
    let arguments = sidecar["args"].as_array().unwrap();
    assert!(arguments.contains(&json!("--control=https://fsm-controller.fsm-system.svc:15128")), "{arguments:?}");
    let text = injected.to_string();
    assert!(!text.contains("\"secret\""), "no private key comes from the control plane: {text}");

    let unheld =
        json!({"sidecar": {"holdApplicationUntilProxyStarts": false, "gracefulExitUntilDownstreamEnds": false}});
    let injected = inject_into(&pod(json!({})), unheld, &settings());
    assert_eq!(names(&injected["spec"]["containers"]), ["web", "sidecar"]);
    assert_eq!(injected["spec"]["containers"][1]["lifecycle"], Value::Null);
}

#[test]
fn a_native_sidecar_starts_before_the_applications_init_containers() {
    let native = Settings { native_sidecars: true, ..settings() };
    let injected = inject_into(&pod(json!({"spec": {"initContainers": [{"name": "migrate"}]}})), json!({}), &native);
    assert_eq!(names(&injected["spec"]["initContainers"]), ["fsm-init", "sidecar", "migrate"]);
    assert_eq!(names(&injected["spec"]["containers"]), ["web"]);
    let sidecar = &injected["spec"]["initContainers"][1];
    assert_eq!(sidecar["restartPolicy"], "Always");
    assert_eq!(sidecar["startupProbe"]["exec"]["command"], json!(["fsm-proxy", "wait", "--timeout=1s"]));
    assert_eq!(sidecar["lifecycle"]["postStart"], Value::Null);
}

#[test]
fn exclusions_of_the_mesh_and_of_the_pod_are_joined() {
    let traffic = json!({"traffic": {
        "outboundIPRangeExclusionList": ["10.1.0.0/16"], "outboundPortExclusionList": [6379],
        "inboundPortExclusionList": [9000], "networkInterfaceExclusionList": ["eth9"],
    }, "sidecar": {"localProxyMode": "PodIP", "enablePrivilegedInitContainer": true}});
    let annotated = pod(json!({"metadata": {"annotations": {
        "flomesh.io/outbound-ip-range-exclusion-list": "10.2.0.0/16 , 10.3.0.1/32",
        "flomesh.io/outbound-port-exclusion-list": "5432",
        "flomesh.io/inbound-port-exclusion-list": "9001,9002",
        "flomesh.io/outbound-ip-range-inclusion-list": "10.0.0.0/8",
    }}}));
    let injected = inject_into(&annotated, traffic, &settings());
    let init = &injected["spec"]["initContainers"][0];
    assert_eq!(
        init["args"],
        json!([
            "--inbound-exclude-port=9000,9001,9002",
            "--outbound-exclude-port=6379,5432",
            "--outbound-exclude-cidr=10.2.0.0/16,10.3.0.1/32,10.1.0.0/16",
            "--outbound-include-cidr=10.0.0.0/8",
            "--exclude-interface=eth9",
            "--pod-ip=$(POD_IPS)",
        ])
    );
    assert_eq!(init["securityContext"]["privileged"], true);
}

#[test]
fn images_and_resources_are_the_pods_before_the_namespaces_before_the_meshs() {
    let spec = json!({"sidecar": {
        "sidecarImage": "mesh:1", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "10m"}},
    }});
    let of_namespace = namespace(&[
        ("flomesh.io/sidecar-injection", "enabled"),
        ("flomesh.io/sidecar-image", "namespace:1"),
        ("flomesh.io/sidecar-resource-limits-cpu", "2"),
        ("flomesh.io/sidecar-resource-limits-memory", "2Gi"),
    ]);
    let annotated = pod(json!({"metadata": {"annotations": {"flomesh.io/sidecar-resource-limits-cpu": "3"}}}));
    let Ok(Decision::Inject(injected)) = inject(&annotated, &of_namespace, &mesh(spec), &settings(), "u-1") else {
        panic!("injected")
    };
    let injected = serde_json::to_value(injected).unwrap();
    let sidecar = &injected["spec"]["containers"][0];
    assert_eq!(sidecar["image"], "namespace:1");
    assert_eq!(sidecar["resources"], json!({"limits": {"cpu": "3", "memory": "2Gi"}, "requests": {"cpu": "10m"}}));
}

#[test]
fn probes_are_led_to_the_proxy_with_their_timing_kept() {
    let probed = pod(json!({"spec": {"containers": [{
        "name": "web", "ports": [{"name": "http", "containerPort": 8080}],
        "livenessProbe": {"httpGet": {"path": "/live", "port": "http", "httpHeaders": [{"name": "a", "value": "b"}]}, "timeoutSeconds": 7},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8443, "scheme": "HTTPS"}},
        "startupProbe": {"tcpSocket": {"port": 5432}},
    }, {"name": "job", "livenessProbe": {"exec": {"command": ["true"]}}, "readinessProbe": {"grpc": {"port": 50051, "service": "shop"}, "periodSeconds": 4}}]}}));
    let injected = inject_into(&probed, json!({}), &settings());
    let web = &injected["spec"]["containers"][1];
    assert_eq!(
        web["livenessProbe"],
        json!({"httpGet": {"path": "/fsm-healthcheck", "port": 15901, "scheme": "HTTP", "httpHeaders": [
            {"name": "a", "value": "b"}, {"name": "Original-Http-Port", "value": "8080"},
            {"name": "Original-Http-Path", "value": "/live"}]}, "timeoutSeconds": 7})
    );
    let asked = |probe: &str| (web[probe]["httpGet"]["port"].clone(), web[probe]["httpGet"]["httpHeaders"].clone());
    assert_eq!(asked("readinessProbe"), (json!(15902), json!([{"name": "Original-Tcp-Port", "value": "8443"}])));
    assert_eq!(asked("startupProbe"), (json!(15904), json!([{"name": "Original-Tcp-Port", "value": "5432"}])));
    let job = &injected["spec"]["containers"][2];
    assert_eq!(job["livenessProbe"], json!({"exec": {"command": ["true"]}}));
    assert_eq!(
        job["readinessProbe"],
        json!({"httpGet": {"path": "/fsm-healthcheck", "port": 15902, "scheme": "HTTP", "httpHeaders": [
            {"name": "Original-Grpc-Port", "value": "50051"}, {"name": "Original-Grpc-Service", "value": "shop"}]},
            "periodSeconds": 4})
    );
    let ports = injected["spec"]["containers"][0]["ports"].as_array().unwrap();
    let numbers: Vec<i64> = ports.iter().map(|port| port["containerPort"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [15000, 15003, 15010, 15901, 15902, 15904]);
}

#[test]
fn probes_of_init_containers_that_keep_running_are_led_to_a_proxy_that_is_there_before_them() {
    let lasting = pod(json!({"spec": {"initContainers": [
        {"name": "logs", "restartPolicy": "Always", "livenessProbe": {"tcpSocket": {"port": 24224}}},
        {"name": "migrate", "image": "migrate:1"},
    ], "containers": [{"name": "web", "image": "web:1"}]}}));
    let native = inject_into(&lasting, json!({}), &Settings { native_sidecars: true, ..settings() });
    let logs = &native["spec"]["initContainers"][2];
    assert_eq!((&logs["name"], &logs["livenessProbe"]["httpGet"]["port"]), (&json!("logs"), &json!(15904)));
    let ordinary = inject_into(&lasting, json!({}), &settings());
    assert_eq!(ordinary["spec"]["initContainers"][0]["livenessProbe"]["tcpSocket"]["port"], 24224);
}

#[test]
fn metrics_are_announced_where_the_namespace_asks() {
    let asking = namespace(&[("flomesh.io/sidecar-injection", "enabled"), ("flomesh.io/metrics", "enabled")]);
    let Ok(Decision::Inject(injected)) = inject(&pod(json!({})), &asking, &mesh(json!({})), &settings(), "u-1") else {
        panic!("injected")
    };
    let annotations = injected.metadata.annotations.unwrap();
    assert_eq!(annotations["prometheus.io/path"], "/stats/prometheus");
    assert_eq!(annotations["prometheus.io/port"], "15010");
}

#[test]
fn an_injected_pod_is_left_alone_and_a_taken_name_is_refused() {
    let enabled = namespace(&[("flomesh.io/sidecar-injection", "enabled")]);
    let Ok(Decision::Inject(once)) = inject(&pod(json!({})), &enabled, &mesh(json!({})), &settings(), "u-1") else {
        panic!("injected")
    };
    assert_eq!(decision(&once, &enabled), Ok(Some(SkipReason::AlreadyInjected)));
    let taken = pod(json!({"spec": {"containers": [{"name": "sidecar"}]}}));
    let error = decision(&taken, &enabled).unwrap_err().to_string();
    assert!(error.contains("container named sidecar"), "{error}");
}

#[test]
fn interception_by_the_node_needs_the_label_only() {
    let before = pod(json!({}));
    let injected = inject_into(&before, json!({"traffic": {"interceptionMode": "NodeLevel"}}), &settings());
    assert_eq!(injected["metadata"]["labels"]["fsm-proxy-uuid"], "u-1");
    assert_eq!(injected["spec"], serde_json::to_value(&before).unwrap()["spec"]);
}
