//! What happens to objects becomes events.

use super::{Follower, account, namespace, pod, split};
use fsm_api::resources::{Kind, crds};
use fsm_tests::api_server;
use serde_json::{Value, json};

#[tokio::test]
async fn the_api_server_accepts_all_our_definitions_as_they_are() {
    let Some(server) = api_server().await else { return };
    let listed = server.kubectl(&["get", "crd", "-o", "json"], "").await;
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let names: Vec<&str> =
        listed["items"].as_array().unwrap().iter().map(|crd| crd["metadata"]["name"].as_str().unwrap()).collect();
    for definition in crds() {
        assert!(names.contains(&definition.metadata.name.as_deref().unwrap()));
    }
    for crd in listed["items"].as_array().unwrap() {
        for condition in crd["status"]["conditions"].as_array().unwrap() {
            let bad = condition["type"] == "NonStructuralSchema";
            assert!(!bad && condition["status"] == "True", "{}: {condition}", crd["metadata"]["name"]);
        }
    }
}

#[tokio::test]
async fn objects_arrive_change_and_go() {
    let Some(server) = api_server().await else { return };
    server.apply(&(namespace("arrive", "arrive") + &split("arrive", "before", 1))).await;
    let mut follower = Follower::new(server.config().await, "arrive").await.synced().await;
    assert!(follower.has(Kind::TrafficSplit, "arrive", "before") && follower.has(Kind::Namespace, "", "arrive"));
    server.apply(&(split("arrive", "during", 1) + &split("arrive", "before", 2))).await;
    follower
        .until("the new split and the changed one arrive", |follower| {
            follower.has(Kind::TrafficSplit, "arrive", "during")
                && follower.json(Kind::TrafficSplit, "arrive", "before")["spec"]["backends"][0]["weight"] == 2
        })
        .await;
    let seen = follower.json(Kind::TrafficSplit, "arrive", "before").to_string();
    assert!(!seen.contains("managedFields") && !seen.contains("last-applied"), "{seen}");
    server.delete("-n arrive trafficsplit before during").await;
    follower
        .until("both are gone", |follower| {
            !["before", "during"].iter().any(|name| follower.has(Kind::TrafficSplit, "arrive", name))
        })
        .await;
    assert_eq!(follower.problems.get("Kubernetes"), None);
}

#[tokio::test]
async fn pods_count_as_long_as_their_namespace_is_in_the_mesh() {
    let Some(server) = api_server().await else { return };
    let accounts = account("joins", "sa") + &account("stays", "sa") + &account("joining-system", "sa");
    let outside = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string() + "\n---\n"
    };
    server.apply(&(outside("joins") + &outside("stays") + &outside("joining-system"))).await;
    server
        .apply(&(accounts + &pod("joins", "p", "sa") + &pod("stays", "p", "sa") + &pod("joining-system", "p", "sa")))
        .await;
    let mut follower = Follower::new(server.config().await, "joining").await.synced().await;
    assert!(!follower.has(Kind::Pod, "joins", "p"));
    assert!(follower.has(Kind::Pod, "joining-system", "p"), "the control plane's own namespace counts");
    let label = |value: &'static str| ["label", "namespace", "joins", value, "--overwrite"];
    assert_eq!(server.kubectl(&label("flomesh.io/monitored-by=joining"), "").await.code, 0);
    follower.until("the pod of the namespace that joined", |follower| follower.has(Kind::Pod, "joins", "p")).await;
    assert!(follower.has(Kind::Namespace, "", "joins") && !follower.has(Kind::Pod, "stays", "p"));
    let seen = follower.json(Kind::Pod, "joins", "p").to_string();
    assert!(!seen.contains("PASSWORD") && !seen.contains("image"), "{seen}");
    assert_eq!(server.kubectl(&label("flomesh.io/monitored-by-"), "").await.code, 0);
    follower
        .until("namespace and pod are gone", |follower| {
            !follower.has(Kind::Pod, "joins", "p") && !follower.has(Kind::Namespace, "", "joins")
        })
        .await;
}

#[tokio::test]
async fn of_secrets_nothing_arrives_but_certificates() {
    let Some(server) = api_server().await else { return };
    let secret = |name: &str, data: Value| {
        let metadata = json!({"namespace": "secrets", "name": name});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}).to_string() + "\n---\n"
    };
    let objects = namespace("secrets", "secrets")
        + &secret("password", json!({"password": "p"}))
        + &secret("certificate", json!({"tls.crt": "c", "tls.key": "k", "ca.crt": "a", "password": "hidden"}));
    server.apply(&objects).await;
    let follower = Follower::new(server.config().await, "secrets").await.synced().await;
    let seen = follower.json(Kind::Secret, "secrets", "certificate");
    assert_eq!(seen["data"], json!({"ca.crt": "YQ==", "tls.crt": "Yw==", "tls.key": "aw=="}));
    let seen = follower.json(Kind::Secret, "secrets", "password");
    assert_eq!(seen["data"], json!({}), "its name is known, and nothing in it");
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_a_problem_and_stops_nothing() {
    let Some(server) = api_server().await else { return };
    let config = |name: &str, deep: usize| {
        let nested = format!("{}1{}", "[".repeat(deep), "]".repeat(deep));
        format!(
            r#"{{"apiVersion":"plugin.flomesh.io/v1alpha1","kind":"PluginConfig","metadata":{{"namespace":"undecodable","name":"{name}"}},
            "spec":{{"plugin":"p","destinationRefs":[],"config":{{"nested":{nested}}}}}}}"#
        )
        .replace('\n', " ")
            + "\n---\n"
    };
    server.apply(&(namespace("undecodable", "undecodable") + &config("good", 1) + &config("bad", 1))).await;
    // An annotation of kubectl would hold it a second time.
    let bad = server.kubectl(&["replace", "--validate=false", "-f", "-"], &config("bad", 300)).await;
    assert_eq!(bad.code, 0, "{bad:?}");
    let mut follower = Follower::new(server.config().await, "undecodable").await.synced().await;
    let origin = "Kubernetes PluginConfig undecodable/bad";
    let problem = &follower.problems[origin][0];
    assert_eq!(problem.objects, ["PluginConfig undecodable/bad"]);
    assert!(problem.text.contains("recursion limit"), "{problem}");
    assert!(follower.has(Kind::PluginConfig, "undecodable", "good"));
    assert!(!follower.has(Kind::PluginConfig, "undecodable", "bad"));
    // The watch goes on, and what is mended counts.
    let mended = server.kubectl(&["replace", "--validate=false", "-f", "-"], &config("bad", 2)).await;
    assert_eq!(mended.code, 0, "{mended:?}");
    follower.until("it is mended", |follower| follower.has(Kind::PluginConfig, "undecodable", "bad")).await;
    assert!(!follower.problems.contains_key(origin));
    // One that was good stays as it was.
    let worse = server.kubectl(&["replace", "--validate=false", "-f", "-"], &config("good", 300)).await;
    assert_eq!(worse.code, 0, "{worse:?}");
    let origin = "Kubernetes PluginConfig undecodable/good";
    follower.until("it is reported", |follower| follower.problems.contains_key(origin)).await;
    assert!(follower.has(Kind::PluginConfig, "undecodable", "good"));
}

#[tokio::test]
async fn the_controllers_slices_arrive() {
    let Some(server) = api_server().await else { return };
    server.start_controllers();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "slices", "name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    // Controllers make a slice only of pods whose node they know.
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "slices"}}).to_string() + "\n---\n";
    let placed = pod("slices", "web", "sa").replace(r#""spec":{"#, r#""spec":{"nodeName":"slices","#);
    server.apply(&(namespace("slices", "slices") + &account("slices", "sa") + &node + &placed)).await;
    server.apply(&service.to_string()).await;
    let mut follower = Follower::new(server.config().await, "slices").await.synced().await;
    let status = json!({"status": {"phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}],
        "conditions": [{"type": "Ready", "status": "True"}]}});
    // There is no kubelet, and kubectl of today patches status only where the server knows how.
    let path = "/api/v1/namespaces/slices/pods/web/status";
    let patch = http::Request::patch(path).header("content-type", "application/merge-patch+json");
    let patch = patch.body(status.to_string().into_bytes()).unwrap();
    server.client().await.request::<Value>(patch).await.unwrap();
    follower
        .until("a slice with the pod's address", |follower| {
            let mut slices = follower.objects.iter().filter(|(key, _)| {
                key.kind == Kind::EndpointSlice && key.namespace == "slices" && key.name.starts_with("web-")
            });
            slices.any(|(_, slice)| slice.to_json().unwrap().to_string().contains("10.1.2.3"))
        })
        .await;
    assert!(!follower.objects.keys().any(|key| key.kind == Kind::Endpoints), "slices say everything already");
}
