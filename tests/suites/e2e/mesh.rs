//! The life of a mesh, as its operators lead it: `fsm install` with the chart and its own rights, namespaces, applications,
//! policies, MeshConfig, certificates that are renewed, an API server that is away, an upgrade, and the end.
//!
//! One test, since each step stands on those before it; each is a function that says what it is about.

mod configuration;
mod identity;
mod operator;
mod outage;
mod reconciler;
mod root_certificates;
mod traffic;
mod views;

use fsm_tests::{Cluster, ClusterSession, HELM, Outcome, cluster, tool};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use traffic::Traffic;

/// Longer than anything here takes; certificates of 90 s are renewed after 60.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long certificates live here, so that a renewal is seen.
const VALIDITY: &str = "90s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_lives_from_its_installation_to_its_end() {
    if tool("helm", HELM).is_none() {
        return;
    }
    let Some(cluster) = cluster().await else { return };
    let mut clock = Clock(Instant::now());
    let before = cluster_wide(&cluster).await;
    let mesh = TheMesh { cluster };
    mesh.install().await;
    clock.tell("installed");
    mesh.applications_join_it().await;
    clock.tell("applications talk through mTLS");
    mesh.a_policy_decides_who_may_call().await;
    clock.tell("a TrafficTarget decides");
    operator::questions_are_answered(&mesh).await;
    clock.tell("an operator asked");
    operator::sidecars_answer_names(&mesh).await;
    clock.tell("sidecars answer names");
    let first = mesh.certificate("client").await;
    mesh.a_split_moves_traffic().await;
    clock.tell("a TrafficSplit moves traffic");
    views::every_command_that_looks_at_a_mesh_works_on_a_cluster(&mesh).await;
    clock.tell("it was looked at");
    identity::a_token_is_good_for_its_own_account_only(&mesh).await;
    clock.tell("a token is good for its own account only");
    outage::the_api_server_is_away(&mesh).await;
    clock.tell("the API server was away");
    mesh.upgrade().await;
    clock.tell("upgraded");
    mesh.certificates_are_renewed(&first).await;
    clock.tell("certificates were renewed");
    configuration::the_table_of_the_guide_holds(&mesh).await;
    clock.tell("the guide's table of MeshConfig holds");
    reconciler::what_is_taken_away_comes_back(&mesh).await;
    clock.tell("what is taken away comes back");
    mesh.the_root_is_replaced().await;
    clock.tell("another root was announced");
    mesh.uninstall(&before).await;
    clock.tell("uninstalled");
}

/// Says on the standard error how long each step took.
struct Clock(Instant);

impl Clock {
    fn tell(&mut self, what: &str) {
        eprintln!("{what}: {:.1} s", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}

/// Repeats a look until it says something.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}: did not happen within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Names of what does not belong to a namespace, of all kinds that an installation makes, and of all definitions.
async fn cluster_wide(cluster: &Cluster) -> Vec<String> {
    let kinds = "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations,crds";
    let listed = cluster.kubectl(&["get", kinds, "-o", "name"], "").await;
    assert_eq!(listed.code, 0, "{listed:?}");
    listed.stdout.lines().map(str::to_owned).collect()
}

struct TheMesh {
    cluster: ClusterSession,
}

fn fine(outcome: Outcome) -> String {
    assert_eq!(outcome.code, 0, "{}\n{}", outcome.stdout, outcome.stderr);
    outcome.stdout
}

impl TheMesh {
    async fn install(&self) {
        let validity = format!("fsm.certificateProvider.serviceCertValidityDuration={VALIDITY}");
        let reconciler = "fsm.enableReconciler=true";
        let flags = ["install", "--set", reconciler, "--set", &validity, "--timeout", "90s"];
        let said = fine(self.cluster.fsm(&flags).await);
        for component in ["fsm-preinstall", "fsm-bootstrap", "fsm-injector", "fsm-controller"] {
            let done = |line: &str| line.starts_with(&format!("{component}[{component}-")) && line.ends_with("] Done");
            assert!(said.lines().any(done), "{component}: {said}");
        }
        assert!(
            said.ends_with("FSM installed successfully in namespace [fsm-system] with mesh name [fsm]\n"),
            "{said}"
        );
        let listed = fine(self.cluster.fsm(&["mesh", "list"]).await);
        assert!(listed.contains("fsm-system"), "{listed}");
    }

    async fn applications_join_it(&self) {
        for namespace in ["client", "server"] {
            self.cluster.namespace(namespace).await;
        }
        let said = fine(self.cluster.fsm(&["namespace", "add", "client", "server"]).await);
        assert!(said.contains("Namespace [client] successfully added to mesh [fsm]"), "{said}");
        self.cluster.apply(&applications()).await;
        for (namespace, app) in [("client", "client"), ("server", "server-v1"), ("server", "server-v2")] {
            let pod = self.cluster.pod_of(namespace, app).await;
            let asked = ["get", "pod", "-n", namespace, &pod, "-o", "jsonpath={.spec.containers[*].name}"];
            let containers = fine(self.cluster.kubectl(&asked, "").await);
            let names: Vec<&str> = containers.split_whitespace().collect();
            assert!(names.contains(&"sidecar") && names.len() == 2, "{pod} was not injected: {containers}");
        }
        // What the server's sidecar says of its caller, from the certificate that it has verified.
        let headers: Value = until("the client reaches the server", async || {
            serde_json::from_str(&self.call("/headers").await.stdout).ok()
        })
        .await;
        let identity = &headers["headers"]["Serviceidentity"];
        assert_eq!(identity, "client.client", "{headers}");
    }

    /// Runs curl in the client; its standard output is the body, the last line of its standard error the status.
    async fn call(&self, path: &str) -> Outcome {
        let pod = self.cluster.pod_of("client", "client").await;
        let url = format!("http://server.server:14001{path}");
        let command = ["curl", "-s", "-m", "5", "-w", "%{stderr}%{http_code}", &url];
        self.cluster.exec("client", &pod, "client", &command).await
    }

    async fn status(&self, path: &str) -> String {
        self.call(path).await.stderr
    }

    async fn a_policy_decides_who_may_call(&self) {
        let patch = json!({"spec": {"traffic": {"enablePermissiveTrafficPolicyMode": false}}});
        self.patch_mesh_config(&patch).await;
        until("without a policy nobody may call", async || (self.status("/get").await != "200").then_some(())).await;
        self.cluster.apply(&target()).await;
        until("what the policy allows is allowed", async || (self.status("/get").await == "200").then_some(())).await;
        assert_eq!(self.status("/status/200").await, "403", "and nothing else is");
        let refused = json!({"spec": {"traffic": {"enableEgress": "no"}}}).to_string();
        let patch = ["patch", "meshconfig", "fsm-mesh-config", "-n", "fsm-system", "--type=merge", "-p", &refused];
        let outcome = self.cluster.kubectl(&patch, "").await;
        assert_ne!(outcome.code, 0, "a wrong type is refused: {outcome:?}");
    }

    async fn patch_mesh_config(&self, patch: &Value) {
        let patch = patch.to_string();
        let words = ["patch", "meshconfig", "fsm-mesh-config", "-n", "fsm-system", "--type=merge", "-p", &patch];
        fine(self.cluster.kubectl(&words, "").await);
    }

    async fn a_split_moves_traffic(&self) {
        for (version, other) in [("v1", "v2"), ("v2", "v1")] {
            self.cluster.apply(&split(version, other)).await;
            until(&format!("all traffic goes to {version}"), async || {
                for _ in 0..5 {
                    if self.call("/hostname").await.stdout.contains(&format!("server-{other}")) {
                        return None;
                    }
                }
                self.call("/hostname").await.stdout.contains(&format!("server-{version}")).then_some(())
            })
            .await;
        }
    }

    /// What a sidecar says of the certificate that it uses, but for the time it has left.
    async fn certificate(&self, app: &str) -> String {
        let pod = self.cluster.pod_of(app, app).await;
        let certificates = ["curl", "-s", "http://127.0.0.1:15000/certs"];
        let said = fine(self.cluster.exec(app, &pod, "client", &certificates).await);
        let read: Value = serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {said}"));
        let mut own = read[0].clone();
        assert_eq!(own["role"], "mesh-chain", "{said}");
        own.as_object_mut().unwrap().remove("secondsLeft");
        own.to_string()
    }

    async fn certificates_are_renewed(&self, first: &str) {
        until("the client has another certificate", async || {
            (self.certificate("client").await != *first).then_some(())
        })
        .await;
        assert_eq!(self.status("/get").await, "200");
    }

    /// `fsm certificate`, which asks fsm-control through the API server.
    async fn the_root_is_replaced(&self) {
        let before = fine(self.cluster.fsm(&["certificate", "status"]).await);
        let words: Vec<&str> = before.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        let [provider, phase, _, signs, _, root] = words[..] else { panic!("{before}") };
        assert_eq!((provider, phase, signs, before.lines().count()), ("tresor", "steady", "yes", 2), "{before}");
        let said = fine(self.cluster.fsm(&["certificate", "rotate", "-o", "json"]).await);
        let rows: Value = serde_json::from_str(&said).unwrap_or_else(|why| panic!("{why}: {said}"));
        assert_eq!((&rows[0]["phase"], &rows[0]["signs"]), (&json!("announced"), &json!(true)), "{said}");
        assert_eq!((&rows[0]["fingerprint"], &rows[1]["signs"]), (&json!(root), &json!(false)), "{said}");
        let again = self.cluster.fsm(&["certificate", "rotate"]).await;
        assert!(again.code != 0 && again.stderr.contains("being rotated already"), "{again:?}");
        let pod = self.cluster.pod_of("client", "client").await;
        until("sidecars trust both", async || {
            let asked = ["curl", "-s", "http://127.0.0.1:15000/certs"];
            let said = self.cluster.exec("client", &pod, "client", &asked).await.stdout;
            (said.matches("\"mesh-root\"").count() == 2).then_some(())
        })
        .await;
        assert_eq!(self.status("/get").await, "200");
    }

    /// To images of another name, as a new release has them, so that every part of the control plane is replaced.
    async fn upgrade(&self) {
        let values = "fsm.sidecar.sidecarLogLevel=info,fsm.image.tag=next";
        let before = self.cluster.pod_of("fsm-system", "fsm-controller").await;
        let traffic = Traffic::begin(self).await;
        let said = fine(self.cluster.fsm(&["mesh", "upgrade", "--set", values, "--timeout", "90s"]).await);
        assert_ne!(self.cluster.pod_of("fsm-system", "fsm-controller").await, before, "{said}");
        until("every sidecar follows the control plane that came", async || {
            (self.cluster.fsm(&["proxy", "status"]).await.code == 0).then_some(())
        })
        .await;
        traffic.ends_well(self, "while the mesh was upgraded").await;
        assert!(said.ends_with("FSM successfully upgraded mesh [fsm] in namespace [fsm-system]\n"), "{said}");
        let path = r"jsonpath={.data.preset-mesh-config\.json}";
        let preset = ["get", "configmap", "-n", "fsm-system", "preset-mesh-config", "-o", path];
        let preset: Value = serde_json::from_str(&fine(self.cluster.kubectl(&preset, "").await)).unwrap();
        let validity = &preset["certificate"]["serviceCertValidityDuration"];
        assert_eq!(validity, VALIDITY, "values of the installation are kept: {preset}");
        let level = "kubectl get meshconfig fsm-mesh-config -n $FSM_NAMESPACE -o jsonpath={.spec.sidecar.logLevel}";
        assert_eq!(preset["sidecar"]["logLevel"], "info", "new ones count: {preset}");
        assert_eq!(self.cluster.shows(level).await, "error", "MeshConfig stays as it was");
        assert_eq!(self.status("/get").await, "200");
    }

    /// In the order of FSM's guide: namespaces leave, pods are restarted, the control plane goes, then what it left.
    async fn uninstall(&self, before: &[String]) {
        let listed = self.cluster.shows("fsm namespace list --mesh-name=fsm").await;
        let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
        let row = |namespace: &'static str| vec![namespace, "fsm", "enabled"];
        assert_eq!(rows, [vec!["NAMESPACE", "MESH", "SIDECAR-INJECTION"], row("client"), row("server")]);
        for namespace in ["client", "server"] {
            let said = self.cluster.shows(&format!("fsm namespace remove {namespace} --mesh-name=fsm")).await;
            assert_eq!(said, format!("Namespace [{namespace}] successfully removed from mesh [fsm]\n"));
            let metadata = self.cluster.shows(&format!("kubectl get namespace {namespace} -o yaml")).await;
            assert!(!metadata.contains("flomesh.io/"), "label and annotation are gone: {metadata}");
            self.cluster.shows(&format!("kubectl rollout restart deployment -n {namespace}")).await;
        }
        until("restarted pods have no sidecar and reach each other", async || {
            let asked = ["get", "pods", "-A", "-o", "jsonpath={.items[*].spec.containers[*].name}"];
            let containers = fine(self.cluster.kubectl(&asked, "").await);
            (!containers.contains("sidecar") && self.status("/get").await == "200").then_some(())
        })
        .await;

        let said = self.cluster.shows("echo y | fsm uninstall mesh --mesh-name=fsm").await;
        let question = "Uninstall FSM [mesh name: fsm] in namespace [fsm-system] and/or FSM resources? [y/n]: ";
        assert_eq!(said, format!("{question}FSM [mesh name: fsm] in namespace [fsm-system] uninstalled\n"));
        let left = self.left(before).await;
        assert!(
            left.iter().all(|name| name.starts_with("customresourcedefinition.")),
            "only definitions stay: {left:?}"
        );
        assert!(left.len() > 20, "{left:?}");
        let policies = self.cluster.shows("kubectl get traffictargets,trafficsplits -A -o name").await;
        assert_eq!(policies.lines().count(), 2, "and what users have made: {policies}");
        assert_eq!(self.cluster.shows("kubectl get meshconfigs -A -o name").await, "");

        let said = self.cluster.shows("echo y | fsm uninstall mesh --delete-cluster-wide-resources").await;
        assert!(said.contains("  CRD traffictargets.access.smi-spec.io with 1 object\n"), "it says what goes: {said}");
        assert_eq!(self.left(before).await, Vec::<String>::new(), "what does not belong to a namespace is gone");
        let all = "deployments,pods,services,secrets,configmaps,serviceaccounts,roles,rolebindings,leases";
        until("the control plane's namespace is empty", async || {
            let listed = fine(self.cluster.kubectl(&["get", all, "-n", "fsm-system", "-o", "name"], "").await);
            let of_kubernetes = |name: &&str| name.contains("default") || name.contains("kube-root-ca.crt");
            let left: Vec<&str> = listed.lines().filter(|name| !of_kubernetes(name)).collect();
            left.is_empty().then_some(())
        })
        .await;
        assert_eq!(self.status("/get").await, "200", "applications run on");
        let said = self.cluster.shows("echo y | fsm uninstall mesh --delete-namespace").await;
        assert!(said.ends_with("FSM namespace [fsm-system] deleted successfully\n"), "{said}");
    }

    /// What does not belong to a namespace and was not there before.
    async fn left(&self, before: &[String]) -> Vec<String> {
        cluster_wide(&self.cluster).await.into_iter().filter(|name| !before.contains(name)).collect()
    }
}

/// A client that only waits, and two versions of a server behind one Service.
fn applications() -> String {
    let account = |namespace: &str, name: &str| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": namespace, "name": name}});
    let deployment = |namespace: &str, name: &str, account: &str, labels: Value, container: Value| {
        let mut labels = labels;
        labels["app"] = json!(name);
        let spec = json!({
            "serviceAccountName": account, "terminationGracePeriodSeconds": 5, "containers": [container],
        });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": namespace, "name": name},
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        })
    };
    let service = |name: &str, selector: Value| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "server", "name": name},
            "spec": {"selector": selector, "ports": [{"port": 14001, "name": "http", "appProtocol": "http"}]},
        })
    };
    let httpbin = json!({
        "name": "server", "image": "httpbin", "args": ["--port", "14001"], "ports": [{"containerPort": 14001, "name": "http"}],
        "readinessProbe": {"httpGet": {"path": "/get", "port": "http"}, "periodSeconds": 1},
    });
    let curl = json!({"name": "client", "image": "curlimages/curl", "command": ["sleep", "3600"]});
    let part = json!({"part-of": "server"});
    let objects = [
        account("client", "client"),
        account("server", "server"),
        deployment("client", "client", "client", json!({}), curl),
        deployment("server", "server-v1", "server", part.clone(), httpbin.clone()),
        deployment("server", "server-v2", "server", part.clone(), httpbin),
        service("server", part),
        service("server-v1", json!({"app": "server-v1"})),
        service("server-v2", json!({"app": "server-v2"})),
    ];
    objects.map(|object| object.to_string()).join("\n---\n")
}

/// The client may GET /get, /headers and /hostname of the server.
fn target() -> String {
    let routes = json!({
        "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup",
        "metadata": {"namespace": "server", "name": "routes"},
        "spec": {"matches": [{"name": "some", "pathRegex": "/(get|headers|hostname)", "methods": ["GET"]}]},
    });
    let account = |name: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": name});
    let target = json!({
        "apiVersion": "access.smi-spec.io/v1alpha3", "kind": "TrafficTarget",
        "metadata": {"namespace": "server", "name": "client"},
        "spec": {
            "destination": account("server"), "sources": [account("client")],
            "rules": [{"kind": "HTTPRouteGroup", "name": "routes", "matches": ["some"]}],
        },
    });
    format!("{routes}\n---\n{target}")
}

fn split(all: &str, none: &str) -> String {
    let backend = |version: &str, weight: u32| json!({"service": format!("server-{version}"), "weight": weight});
    json!({
        "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit",
        "metadata": {"namespace": "server", "name": "server"},
        "spec": {"service": "server", "backends": [backend(all, 100), backend(none, 0)]},
    })
    .to_string()
}
