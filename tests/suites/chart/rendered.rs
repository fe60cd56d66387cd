//! What the chart makes: rights, security contexts, labels, versions of APIs.

use super::{EVERYTHING, MATRIX, find, helm, objects, template};
use fsm_tests::{binary, tool};
use serde_json::Value;
use std::process::Command;

fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(object: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

/// Pods that the chart makes: name of what makes them, their spec.
fn pods(objects: &[Value]) -> Vec<(&str, &Value)> {
    let makers = objects.iter().filter(|object| matches!(text(object, "/kind"), "Deployment" | "Job"));
    makers.map(|object| (text(object, "/metadata/name"), &object["spec"]["template"]["spec"])).collect()
}

#[test]
fn all_pods_fit_the_restricted_level_of_pod_security() {
    let Some(helm) = helm() else { return };
    for (name, values) in MATRIX {
        let objects = objects(&template(&helm, values, &[]).unwrap());
        for (pod, spec) in pods(&objects) {
            let at = format!("{name}: {pod}");
            let security = &spec["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{at}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{at}");
            assert_eq!(security.get("runAsUser").is_none(), name == "OpenShift", "{at}: ids are OpenShift's there");
            for key in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(spec.get(key).is_none(), "{at}");
            }
            for container in list(spec, "/containers") {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{at}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{at}");
                assert_eq!(security["capabilities"]["drop"][0], "ALL", "{at}");
                assert!(container["resources"].get("requests").is_some(), "{at}");
            }
        }
    }
}

#[test]
fn everything_carries_the_labels_by_which_people_find_it() {
    let Some(helm) = helm() else { return };
    for (name, values) in MATRIX {
        let mesh = if name == "a mesh of another name" { "shop" } else { "fsm" };
        for object in objects(&template(&helm, values, &[]).unwrap()) {
            let labels = &object["metadata"]["labels"];
            assert_eq!(labels["app.kubernetes.io/name"], "flomesh.io", "{object}");
            assert_eq!(labels["app.kubernetes.io/instance"], mesh, "{object}");
        }
    }
}

#[test]
fn two_meshes_have_no_object_of_the_cluster_in_common() {
    let Some(helm) = helm() else { return };
    let names = |values: &str| -> Vec<String> {
        objects(&template(&helm, values, &[]).unwrap())
            .iter()
            .filter(|object| object["metadata"].get("namespace").is_none())
            .map(|object| format!("{} {}", text(object, "/kind"), text(object, "/metadata/name")))
            .collect()
    };
    let (one, other) = (names(EVERYTHING), names("fsm.meshName=shop"));
    assert!(one.len() > 5, "{one:?}");
    assert!(one.iter().all(|name| !other.contains(name)), "{one:?} {other:?}");
}

#[test]
fn each_component_has_an_account_of_its_own_and_no_right_without_limits() {
    let Some(helm) = helm() else { return };
    let objects = objects(&template(&helm, EVERYTHING, &[]).unwrap());
    let mut accounts = Vec::new();
    for (pod, spec) in pods(&objects) {
        let account = text(spec, "/serviceAccountName");
        find(&objects, "ServiceAccount", account);
        accounts.push(account.to_owned());
        assert_eq!(account, pod, "each has its own");
    }
    let roles = objects.iter().filter(|object| matches!(text(object, "/kind"), "Role" | "ClusterRole"));
    for role in roles {
        let name = text(role, "/metadata/name");
        for rule in list(role, "/rules") {
            let has = |path: &str, wanted: &str| list(rule, path).any(|value| value == wanted);
            assert!(!has("/verbs", "*") && !has("/apiGroups", "*"), "{name}: {rule}");
            assert!(!has("/resources", "*") || name.starts_with("fsm-bootstrap"), "{name}: {rule}");
            assert!(!has("/apiGroups", "rbac.authorization.k8s.io"), "{name} could give itself rights: {rule}");
            assert!(!has("/verbs", "impersonate") && !has("/resources", "serviceaccounts/token"), "{name}: {rule}");
            let secrets = has("/resources", "secrets") && rule.get("resourceNames").is_none();
            // Which Secrets MeshRootCertificates will name is not known beforehand: those of the mesh's own namespace.
            let own_namespace = text(role, "/kind") == "Role" && name == "fsm-injector";
            let allowed = name.starts_with("fsm-controller")
                || name.starts_with("fsm-cleanup")
                || own_namespace
                || has("/verbs", "create");
            assert!(!secrets || allowed, "{name} reads Secrets: {rule}");
        }
    }
}

#[test]
fn images_are_named_by_registry_and_tag_or_by_digest() {
    let Some(helm) = helm() else { return };
    let images = |values: &str| -> Vec<String> {
        let objects = objects(&template(&helm, values, &[]).unwrap());
        pods(&objects).iter().map(|(_, spec)| text(spec, "/containers/0/image").to_owned()).collect()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert!(images("").iter().all(|image| *image == format!("flomesh/fsm-control:{version}")));
    assert!(
        images("fsm.image.registry=r.example/x,fsm.image.tag=v7")
            .iter()
            .all(|image| image == "r.example/x/fsm-control:v7")
    );
    let digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let by_digest = images(&format!("fsm.image.digest.fsmControl={digest}"));
    assert!(by_digest.iter().all(|image| *image == format!("flomesh/fsm-control@{digest}")), "{by_digest:?}");
    let own = images("fsm.image.name.fsmInjector=own-injector");
    assert!(own.contains(&format!("flomesh/own-injector:{version}")), "{own:?}");
}

#[test]
fn replicas_are_the_autoscalers_business_where_there_is_one() {
    let Some(helm) = helm() else { return };
    let rendered = objects(&template(&helm, EVERYTHING, &[]).unwrap());
    assert!(find(&rendered, "Deployment", "fsm-controller")["spec"].get("replicas").is_none());
    assert_eq!(find(&rendered, "HorizontalPodAutoscaler", "fsm-controller-hpa")["apiVersion"], "autoscaling/v2");
    assert_eq!(find(&rendered, "PodDisruptionBudget", "fsm-injector-pdb")["apiVersion"], "policy/v1");
}

#[test]
fn webhooks_come_and_go_with_the_release_and_stop_nobody_before_they_are_served() {
    let Some(helm) = helm() else { return };
    let rendered = objects(&template(&helm, "fsm.webhookConfigNamePrefix=own", &[]).unwrap());
    let injector = find(&rendered, "MutatingWebhookConfiguration", "own-fsm");
    assert!(injector.get("webhooks").is_none(), "the injector fills it in: {injector}");
    let arguments: Vec<_> =
        list(find(&rendered, "Deployment", "fsm-injector"), "/spec/template/spec/containers/0/args").collect();
    assert!(arguments.iter().any(|argument| **argument == "--webhook-config-name=own-fsm"), "{arguments:?}");
}

#[test]
fn every_argument_is_one_that_the_program_knows() {
    let Some(helm) = helm() else { return };
    for (name, values) in MATRIX {
        let rendered = objects(&template(&helm, values, &[]).unwrap());
        let mut roles = 0;
        for (pod, spec) in
            pods(&rendered).into_iter().filter(|(_, spec)| spec["containers"][0]["command"][0] == "fsm-control")
        {
            let arguments = list(spec, "/containers/0/args").map(|argument| argument.as_str().unwrap());
            // With --help nothing is done, but what comes before it has to be understood.
            let output = Command::new(binary("fsm-control")).args(arguments).arg("--help").output().unwrap();
            assert!(output.status.success(), "{name}: {pod}: {}", String::from_utf8_lossy(&output.stderr));
            roles += 1;
        }
        assert_eq!(roles, 5, "{name}: controller, injector, bootstrap, preinstall, cleanup");
    }
}

#[test]
fn who_asks_vault_has_its_roots_as_a_file() {
    let Some(helm) = helm() else { return };
    let vault = "fsm.certificateProvider.kind=vault,fsm.vault.host=v,fsm.vault.protocol=https,fsm.vault.token=t";
    let own_first = "fsm.featureFlags.enableMeshRootCertificate=true";
    let from = "fsm.vault.mount=mesh,fsm.vault.ca.name=roots,fsm.vault.ca.key=vault.pem";
    for (values, source) in [
        (format!("{vault},{from}"), "configMap"),
        (format!("{vault},{from},fsm.vault.ca.kind=Secret"), "secret"),
        // A MeshRootCertificate may have Vault sign later, and has no field for either.
        (format!("{own_first},{from}"), "configMap"),
    ] {
        let rendered = objects(&template(&helm, &values, &[]).unwrap());
        let all = pods(&rendered);
        for (pod, spec) in all.iter().filter(|(pod, _)| matches!(*pod, "fsm-controller" | "fsm-injector")) {
            let has = |argument: &str| list(spec, "/containers/0/args").any(|one| one == argument);
            assert!(
                has("--vault-mount=mesh") && has("--vault-ca-file=/var/run/fsm/vault-ca/vault.pem"),
                "{pod}: {spec}"
            );
            let mounted = list(spec, "/containers/0/volumeMounts").find(|mount| mount["name"] == "vault-ca");
            assert_eq!(mounted.unwrap()["mountPath"], "/var/run/fsm/vault-ca", "{pod}");
            let volume = list(spec, "/volumes").find(|volume| volume["name"] == "vault-ca").unwrap();
            let named = if source == "secret" { "secretName" } else { "name" };
            assert_eq!(volume[source][named], "roots", "{pod}: {volume}");
            assert_eq!(volume[source]["items"][0]["path"], "vault.pem", "{pod}: {volume}");
        }
    }
    let without = template(&helm, vault, &[]).unwrap();
    assert!(!without.contains("vault-ca") && without.contains("--vault-mount=pki"), "the system's roots");
    assert!(!template(&helm, "", &[]).unwrap().contains("vault"), "and nobody else hears of it");
}

#[test]
fn prometheus_takes_its_configuration() {
    let Some(helm) = helm() else { return };
    let Some(promtool) = tool("promtool", "install Debian's package prometheus") else { return };
    let rendered = objects(&template(&helm, EVERYTHING, &[]).unwrap());
    let text = text(find(&rendered, "ConfigMap", "fsm-prometheus-server-conf"), "/data/prometheus.yml").to_owned();
    // Debian's Prometheus is built without discovery in Kubernetes: that one line is not looked at.
    let lines: Vec<&str> = text
        .lines()
        .map(|line| {
            if line.contains("kubernetes_sd_configs") {
                "    static_configs: [{targets: ['127.0.0.1:1']}]"
            } else {
                line
            }
        })
        .collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prometheus.yml");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let output = Command::new(promtool).args(["check", "config", "--syntax-only"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
