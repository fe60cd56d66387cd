#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Facts, InjectionFacts, MUTATE_PATH, Native, NotReady, Webhook, serve};
use crate::cert::Tresor;
use crate::cert::server::{ServerNames, ServerTls};
use crate::cert::tresor::TresorSettings;
use crate::inject::{NamespaceFacts, Settings};
use crate::limits;
use crate::push::Roster;
use crate::telemetry::{Outcome, Telemetry};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

const NAME: &str = "fsm-injector.fsm-system.svc";

/// Namespaces `shop` (in the mesh), `plain` (not in it), and `early`, about which nothing can be told.
struct Known;

impl Facts for Known {
    async fn of_namespace(&self, name: &str) -> Result<Option<InjectionFacts>, NotReady> {
        let facts = |monitored_by: Option<&str>| {
            let annotations = [("flomesh.io/sidecar-injection".to_owned(), "enabled".to_owned())];
            let monitored_by = monitored_by.map(str::to_owned);
            let namespace = NamespaceFacts { name: name.into(), monitored_by, annotations: annotations.into() };
            InjectionFacts { namespace, mesh: None }
        };
        match name {
            "shop" => Ok(Some(facts(Some("fsm")))),
            "plain" => Ok(Some(facts(None))),
            "early" => Err(NotReady),
            _ => Ok(None),
        }
    }
}

struct Server {
    address: SocketAddr,
    roots: String,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
    _state: TempDir,
}

impl Server {
    async fn start() -> Self {
        let state = TempDir::new().unwrap();
        let tresor =
            Arc::new(Tresor::open(state.path(), TresorSettings::default(), Arc::new(SystemTime::now)).unwrap());
        let roots = crate::cert::Issuer::trust_bundle(tresor.as_ref()).pem.clone();
        let names = ServerNames { dns: vec![NAME.into()], addresses: Vec::new() };
        let tls = Arc::new(ServerTls::start(tresor, names, None).await.unwrap());
        let telemetry = Arc::new(Telemetry::new(&Arc::new(Roster::default())));
        let settings = Settings {
            mesh: "fsm".into(),
            fsm_namespace: "fsm-system".into(),
            sidecar_image: "proxy:1".into(),
            init_image: "init:1".into(),
            pull_policy: "IfNotPresent".into(),
            native_sidecars: false,
            token_audience: String::new(),
        };
        let webhook =
            Arc::new(Webhook { facts: Known, settings, native: Native::fixed(false), telemetry: telemetry.clone() });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(serve(listener, webhook, tls, stop.clone()));
        Self { address, roots, telemetry, stop, _state: state }
    }

    /// Over a connection of its own, as an API server that knows the mesh's root.
    async fn ask(&self, request: Request<Full<Bytes>>) -> (StatusCode, String) {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let exchange = async {
            let socket = TcpStream::connect(self.address).await.unwrap();
            let name = ServerName::try_from(NAME).unwrap();
            let secured = TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(secured)).await.unwrap();
            let connection = tokio::spawn(connection);
            let reply = sender.send_request(request).await.unwrap();
            let status = reply.status();
            let body = reply.into_body().collect().await.unwrap().to_bytes();
            connection.abort();
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        tokio::time::timeout(Duration::from_secs(20), exchange).await.expect("an answer in time")
    }

    async fn post(&self, content_type: &str, body: impl Into<Bytes>) -> (StatusCode, String) {
        let request = Request::post(format!("{MUTATE_PATH}?timeout=20s"))
            .header("host", NAME)
            .header("content-type", content_type)
            .body(Full::new(body.into()))
            .unwrap();
        self.ask(request).await
    }

    async fn plain(&self, method: Method, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).header("host", NAME);
        self.ask(request.body(Full::default()).unwrap()).await
    }

    /// The `response` of a review.
    async fn review(&self, namespace: &str, pod: &Value) -> Value {
        let (status, body) = self.post("application/json; charset=utf-8", review(namespace, pod).to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&answer["apiVersion"], &answer["kind"]),
            (&json!("admission.k8s.io/v1"), &json!("AdmissionReview"))
        );
        assert_eq!(answer["response"]["uid"], "705ab4f5");
        answer["response"].take()
    }

    fn counted(&self, outcome: &'static str) -> u64 {
        self.telemetry.admissions.get_or_create(&Outcome { outcome }).get()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn review(namespace: &str, pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5", "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace, "operation": "CREATE", "userInfo": {"username": "me"}, "dryRun": true,
            "object": pod, "oldObject": null,
        },
    })
}

/// With fields that no type here has.
fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "web-", "labels": {"app": "web"}, "fieldOfTheFuture": {"a": 1}},
        "spec": {
            "containers": [
                {"name": "web", "image": "web:1", "wisdom": [1, 2], "readinessProbe": {"httpGet": {"port": 8080}, "patience": 3}},
                {"name": "log", "image": "log:1", "wisdom": [3]},
            ],
            "volumes": [{"name": "data", "emptyDir": {}, "speed": "high"}],
            "tolerations": [{"operator": "Exists"}], "mood": null,
        },
    })
}

fn patched(pod: &Value, response: &Value) -> Value {
    assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
    let ByteString(patch) = serde_json::from_value(response["patch"].clone()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut pod = pod.clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

#[tokio::test]
async fn a_pod_of_the_mesh_gets_its_sidecar_and_keeps_all_that_it_said() {
    let server = Server::start().await;
    let response = server.review("shop", &pod()).await;
    let mut injected = patched(&pod(), &response);
    let uuid = injected["metadata"]["labels"]["fsm-proxy-uuid"].as_str().unwrap();
    assert!(uuid.len() == 36 && &uuid[14..15] == "4", "{uuid}");
    // Take away what is known to come, and compare all the rest.
    injected["metadata"]["labels"].as_object_mut().unwrap().shift_remove("fsm-proxy-uuid");
    let sidecar = injected["spec"]["containers"].as_array_mut().unwrap().remove(0);
    assert_eq!((&sidecar["name"], &sidecar["image"]), (&json!("sidecar"), &json!("proxy:1")));
    assert!(sidecar.get("wisdom").is_none(), "{sidecar}");
    let init = injected["spec"].as_object_mut().unwrap().shift_remove("initContainers").unwrap();
    assert_eq!(init[0]["name"], "fsm-init");
    let volumes = injected["spec"]["volumes"].as_array_mut().unwrap();
    let names: Vec<_> = volumes.drain(1..).map(|volume| volume["name"].clone()).collect();
    assert_eq!(names, ["fsm-identity", "fsm-state"]);
    let probe = &mut injected["spec"]["containers"][0]["readinessProbe"];
    assert_eq!((&probe["httpGet"]["port"], &probe["patience"]), (&json!(15902), &json!(3)));
    probe["httpGet"] = json!({"port": 8080});
    assert_eq!(injected, pod());
    assert_eq!(server.counted("injected"), 1);
}

#[tokio::test]
async fn the_patch_gives_the_very_pod_that_injection_makes() {
    let server = Server::start().await;
    let plain = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "livenessProbe": {"tcpSocket": {"port": 1}}}]}});
    let injected = patched(&plain, &server.review("shop", &plain).await);
    let uuid = injected["metadata"]["labels"]["fsm-proxy-uuid"].as_str().unwrap().to_owned();
    let facts = Known.of_namespace("shop").await.unwrap().unwrap();
    let typed = serde_json::from_value(plain).unwrap();
    let settings = Settings {
        mesh: "fsm".into(),
        fsm_namespace: "fsm-system".into(),
        sidecar_image: "proxy:1".into(),
        init_image: "init:1".into(),
        pull_policy: "IfNotPresent".into(),
        native_sidecars: false,
        token_audience: String::new(),
    };
    let wanted = crate::inject::inject(&typed, &facts.namespace, &Default::default(), &settings, &uuid).unwrap();
    let crate::inject::Decision::Inject(wanted) = wanted else { panic!("skipped") };
    assert_eq!(serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(injected).unwrap(), *wanted);
}

#[tokio::test]
async fn who_is_not_of_the_mesh_is_admitted_as_it_is() {
    let server = Server::start().await;
    let host = json!({"metadata": {"name": "a"}, "spec": {"hostNetwork": true, "containers": []}});
    for (namespace, pod) in [("plain", pod()), ("shop", host)] {
        assert_eq!(server.review(namespace, &pod).await, json!({"uid": "705ab4f5", "allowed": true}));
    }
    for (field, value) in [("operation", json!("UPDATE")), ("kind", json!({"group": "apps", "kind": "Deployment"}))] {
        let mut other = review("shop", &pod());
        other["request"][field] = value;
        let (_, body) = server.post("application/json", other.to_string()).await;
        assert!(body.contains(r#""allowed":true"#) && !body.contains("patch"), "{body}");
    }
    assert_eq!(server.counted("skipped"), 4);
}

#[tokio::test]
async fn who_would_silently_be_outside_of_the_mesh_is_refused_with_the_reason() {
    let server = Server::start().await;
    let mut wrong = pod();
    wrong["metadata"]["annotations"] = json!({"flomesh.io/outbound-port-exclusion-list": "http"});
    let unreadable = json!({"metadata": {"name": "a"}, "spec": {"containers": "none"}});
    for (namespace, pod, code, says) in [
        ("shop", &wrong, 400, "flomesh.io/outbound-port-exclusion-list"),
        ("shop", &unreadable, 400, "cannot be read"),
        ("unknown", &pod(), 503, "namespace unknown is not known"),
        ("early", &pod(), 503, "has not read the resources"),
    ] {
        let response = server.review(namespace, pod).await;
        assert_eq!((&response["allowed"], &response["status"]["code"]), (&json!(false), &json!(code)));
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
        assert_eq!(response.get("patch"), None);
    }
    assert_eq!((server.counted("refused"), server.counted("not-ready")), (2, 2));
    assert!(server.telemetry.page().contains(r#"fsm_admission_request_count{outcome="refused"} 2"#));
}

#[tokio::test]
async fn what_is_no_review_is_told_so() {
    let server = Server::start().await;
    let old = review("shop", &pod()).to_string().replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1");
    let long = " ".repeat(limits::MAX_REVIEW_BYTES + 1);
    let whole = review("shop", &pod()).to_string();
    for (content_type, body, status, says) in [
        ("text/plain", whole.as_str(), StatusCode::BAD_REQUEST, "application/json"),
        ("", &whole, StatusCode::BAD_REQUEST, "application/json"),
        ("application/json", "", StatusCode::BAD_REQUEST, "no AdmissionReview"),
        ("application/json", "[1", StatusCode::BAD_REQUEST, "no AdmissionReview"),
        ("application/json", "{}", StatusCode::BAD_REQUEST, "AdmissionReview of admission.k8s.io/v1"),
        ("application/json", &old, StatusCode::BAD_REQUEST, "v1beta1"),
        (
            "application/json",
            r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
            StatusCode::BAD_REQUEST,
            "no request",
        ),
        ("application/json", &long, StatusCode::PAYLOAD_TOO_LARGE, "longer than"),
    ] {
        let (got, reason) = server.post(content_type, body.to_owned()).await;
        assert_eq!(got, status, "{reason}");
        assert!(reason.contains(says), "{reason}");
    }
    assert_eq!(server.counted("invalid"), 8);
}

#[tokio::test]
async fn probes_and_strangers_get_plain_answers() {
    let server = Server::start().await;
    assert_eq!(server.plain(Method::GET, "/healthz").await, (StatusCode::OK, "Health OK".to_owned()));
    assert_eq!(server.plain(Method::POST, "/healthz").await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(server.plain(Method::GET, MUTATE_PATH).await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(server.plain(Method::GET, "/").await.0, StatusCode::NOT_FOUND);
}
