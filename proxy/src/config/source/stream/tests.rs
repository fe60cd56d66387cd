#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod certificates;
mod double;
mod hostile;
mod restart;

use super::*;
use crate::telemetry::Direction;
use crate::tls::fixtures::Authority;
use crate::upstream::cluster::Cluster;
use aws_lc_rs::digest::{SHA256, digest};
use double::{Double, NAME, Opened, PATIENCE, TOKEN, update};
use fsm_api::config::{Change, Config};
use fsm_api::stream::{ControlMessage, Current, Delta, ProxyMessage};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A proxy's stream source; ends when dropped.
struct Proxy {
    store: Arc<Store>,
    telemetry: Arc<Telemetry>,
    options: ControlOptions,
    /// Holds the files that the options name.
    _files: Arc<TempDir>,
    following: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.following.abort();
    }
}

/// Options of a proxy of the pod `shop/web-0`, with the files that they name.
fn options(address: SocketAddr, roots: &Authority) -> (ControlOptions, Arc<TempDir>) {
    let files = tempfile::tempdir().unwrap();
    let (ca, token) = (files.path().join("ca.pem"), files.path().join("token"));
    std::fs::write(&ca, roots.pem()).unwrap();
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let options = ControlOptions {
        address: ControlAddress { host: address.ip().to_string(), port: address.port() },
        ca,
        token,
        name: NAME.into(),
        pod: Pod { namespace: "shop".into(), name: "web-0".into(), uid: "u-1".into() },
        mark: None,
    };
    (options, Arc::new(files))
}

impl Proxy {
    fn start(address: SocketAddr, roots: &Authority) -> Self {
        let (options, files) = options(address, roots);
        Self::start_with(options, files, None)
    }

    fn start_with(options: ControlOptions, files: Arc<TempDir>, cache: Option<&Path>) -> Self {
        let telemetry = Arc::new(Telemetry::new());
        let store = Arc::new(Store::new(Arc::clone(&telemetry)));
        let cache = cache.map(|path| Arc::new(Cache::open(path, &options.cache_owner()).unwrap()));
        let following = tokio::spawn(follow(options.clone(), Arc::clone(&store), Arc::clone(&telemetry), cache));
        Self { store, telemetry, options, _files: files, following }
    }

    /// Waits for a document to be put in force that is called so.
    async fn version(&self, version: &str) {
        let mut generations = self.store.subscribe();
        let waiting = async {
            while self.store.snapshot().is_none_or(|snapshot| snapshot.version != version) {
                generations.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("version {version} in time"));
    }

    /// Waits until `state` of the link is so, and tells it. The link has no event of its own: nothing but people and
    /// scrapers look at it.
    async fn link(
        &self,
        state: impl Fn(&crate::telemetry::control::ControlStatus) -> bool,
    ) -> crate::telemetry::control::ControlStatus {
        let waiting = async {
            loop {
                if let Some(status) = self.telemetry.control.get().map(|link| link.status())
                    && state(&status)
                {
                    return status;
                }
                tokio::task::yield_now().await;
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("the link stays {:?}", self.telemetry.control.get().map(|link| link.status())))
    }

    fn identity(&self) -> Arc<Identity> {
        self.store.snapshot().unwrap().identity.clone().expect("an identity")
    }

    fn cluster(&self, name: &str) -> Arc<Cluster> {
        Arc::clone(self.store.snapshot().unwrap().cluster(Direction::Outbound, name).unwrap())
    }
}

/// A document of a mesh with mutual TLS and two clusters.
fn document(endpoint: &str) -> Value {
    json!({
        "Version": "the document's own", "Spec": {"ServiceIdentity": "web.shop"}, "Certificate": {"FsmIssued": true},
        "Inbound": {
            "TrafficMatches": {"80": {"Port": 8080, "Protocol": "http",
                "HttpHostPort2Service": {"web": {"RuleName": "web", "Service": "shop/web"}},
                "HttpServiceRouteRules": {"web": {"RouteRules": [{"Path": ".*", "Type": "Regex",
                    "TargetClusters": {"shop/web|8080|local": 100}}]}}}},
            "ClustersConfigs": {"shop/web|8080|local": {"127.0.0.1:8080": 100}},
        },
        "Outbound": {
            "TrafficMatches": {"80": [{"Port": 80, "Protocol": "http", "DestinationIPRanges": {"10.96.0.1/32": null},
                "HttpHostPort2Service": {"api": {"RuleName": "api", "Service": "shop/api"}},
                "HttpServiceRouteRules": {"api": {"RouteRules": [{"Path": ".*", "Type": "Regex",
                    "TargetClusters": {"shop/api|80": 50, "shop/db|80": 50}}]}}}]},
            "ClustersConfigs": {
                "shop/api|80": {"Endpoints": {endpoint: {"Weight": 100}}, "ServiceIdentities": ["api.shop"]},
                "shop/db|80": {"Endpoints": {"10.0.0.9:80": {"Weight": 100}}, "ServiceIdentities": ["db.shop"]},
            },
        },
    })
}

/// The same document with other endpoints of one cluster.
fn with_endpoints(document: &Value, cluster: &str, endpoints: &[&str]) -> Value {
    let mut document = document.clone();
    let endpoints: serde_json::Map<_, _> =
        endpoints.iter().map(|address| ((*address).to_owned(), json!({"Weight": 100}))).collect();
    document["Outbound"]["ClustersConfigs"][cluster]["Endpoints"] = endpoints.into();
    document
}

/// What makes `new`, named `version`, of `old`, named `base`.
fn delta(base: &str, old: &Value, version: &str, new: &Value) -> Delta {
    let read = |document: &Value| Config::read(document.to_string().as_bytes()).unwrap().0;
    let (old, mut new) = (read(old), read(new));
    let change = Change::between(&old, &new).unwrap();
    let digest = digest(&SHA256, &new.stampless().unwrap());
    let digest = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Delta { version: version.into(), base: base.into(), digest, changes: vec![change] }
}

fn addresses(cluster: &Cluster) -> Vec<String> {
    cluster.endpoints().into_iter().map(|endpoint| endpoint.address).collect()
}

async fn connected() -> (Arc<Authority>, Double, Proxy, Opened) {
    let authority = Arc::new(Authority::new());
    let mut control = Double::start(&authority).await;
    let proxy = Proxy::start(control.address, &authority);
    let stream = control.stream().await;
    (authority, control, proxy, stream)
}

#[tokio::test]
async fn a_proxy_gets_its_certificate_and_then_its_document() {
    let (_, control, proxy, mut stream) = connected().await;
    assert_eq!((stream.hello.namespace.as_str(), stream.hello.pod.as_str()), ("shop", "web-0"));
    assert_eq!((stream.hello.uid.as_str(), &stream.hello.version), ("u-1", &None));
    assert_eq!(stream.service, "web.shop", "the stream shows the certificate that was issued");
    assert_eq!(control.behaviour.lock().issued, 1);

    let answer = stream.publish("v1", &document("10.0.0.1:80")).await;

    let ProxyMessage::Ack(ack) = answer else { panic!("{answer:?}") };
    assert_eq!((ack.version.as_str(), ack.problems.as_slice()), ("v1", &[][..]));
    let snapshot = proxy.store.snapshot().unwrap();
    assert_eq!(snapshot.version, "v1", "the stream's name for it, not the document's");
    assert_eq!(proxy.identity().principal(), "web.shop.cluster.local");
    assert_eq!(proxy.identity().trust_domain(), "cluster.local");
    assert!(matches!(snapshot.inbound.as_ref().unwrap().mesh_tls, crate::config::snapshot::MeshTls::On { .. }));
    assert_eq!(snapshot.document.certificate.as_ref().unwrap().private_key, "", "no key in any document");
    assert_eq!(proxy.store.source(), proxy.options.address.to_string());
    let status = proxy.link(|status| status.version.as_deref() == Some("v1")).await;
    assert!(status.connected && status.last_failure.is_none() && status.certificate_failure.is_none());
    assert_eq!(status.certificate.unwrap().principal, "web.shop.cluster.local");
    assert_eq!(status.streams, 1);
}

#[tokio::test]
async fn a_document_without_certificate_is_one_without_mutual_tls() {
    let (_, _control, proxy, mut stream) = connected().await;
    let mut plain = document("10.0.0.1:80");
    plain.as_object_mut().unwrap().remove("Certificate");
    assert!(matches!(stream.publish("v1", &plain).await, ProxyMessage::Ack(_)));
    let snapshot = proxy.store.snapshot().unwrap();
    assert!(snapshot.identity.is_none());
    assert!(matches!(snapshot.inbound.as_ref().unwrap().mesh_tls, crate::config::snapshot::MeshTls::Off));
    assert!(matches!(stream.publish("v2", &document("10.0.0.1:80")).await, ProxyMessage::Ack(_)));
    assert!(proxy.store.snapshot().unwrap().identity.is_some(), "and back again");
}

#[tokio::test]
async fn other_endpoints_replace_those_of_their_cluster_and_nothing_else() {
    let (_, _control, proxy, mut stream) = connected().await;
    stream.publish("v1", &document("10.0.0.1:80")).await;
    let (api, db, before) =
        (proxy.cluster("shop/api|80"), proxy.cluster("shop/db|80"), proxy.store.snapshot().unwrap());
    let kept = Arc::clone(&api.load().members()[0].endpoint);

    let first = document("10.0.0.1:80");
    let second = with_endpoints(&first, "shop/api|80", &["10.0.0.1:80", "10.0.0.2:80"]);
    stream.send(&ControlMessage::Delta(delta("v1", &first, "v2", &second)));

    let answer = stream.answer().await;
    assert!(matches!(&answer, ProxyMessage::Ack(ack) if ack.version == "v2"), "{answer:?}");
    let after = proxy.store.snapshot().unwrap();
    assert_eq!(after.version, "v2");
    assert!(Arc::ptr_eq(&api, &proxy.cluster("shop/api|80")) && Arc::ptr_eq(&db, &proxy.cluster("shop/db|80")));
    assert!(Arc::ptr_eq(&before.outbound, &after.outbound), "no route was touched");
    assert_eq!(addresses(&api), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(addresses(&db), ["10.0.0.9:80"]);
    assert!(Arc::ptr_eq(&kept, &api.load().members()[0].endpoint), "what stayed keeps its connections");
    let shown = &after.document.outbound.as_ref().unwrap().clusters_configs["shop/api|80"];
    assert_eq!(shown.endpoints.len(), 2, "the document is shown as it is in force");

    let third = with_endpoints(&first, "shop/api|80", &[]);
    stream.send(&ControlMessage::Delta(delta("v2", &second, "v3", &third)));
    assert!(matches!(stream.answer().await, ProxyMessage::Ack(_)));
    assert!(addresses(&api).is_empty());
    let fourth = with_endpoints(&first, "shop/api|80", &["10.0.0.3:80"]);
    stream.send(&ControlMessage::Delta(delta("v3", &third, "v4", &fourth)));
    assert!(matches!(stream.answer().await, ProxyMessage::Ack(_)));
    assert_eq!(addresses(&api), ["10.0.0.3:80"]);
    let endpoint = Arc::clone(&api.load().members()[0].endpoint);
    assert!(endpoint.transport.tls.is_some(), "also after none was left they are reached over mutual TLS");
}

#[tokio::test]
async fn a_delta_that_does_not_fit_is_refused_and_the_whole_is_asked_for() {
    let (_, _control, proxy, mut stream) = connected().await;
    let first = document("10.0.0.1:80");
    let second = with_endpoints(&first, "shop/api|80", &["10.0.0.2:80"]);
    let fitting = || delta("v1", &first, "v2", &second);
    let other_base = Delta { base: "v0".into(), ..fitting() };
    let other_digest = Delta { digest: "00".repeat(32), ..fitting() };
    let no_digest = Delta { digest: String::new(), ..fitting() };
    let mut other_document = fitting();
    other_document.changes[0].removed.push("/Outbound/ClustersConfigs/unheard~1of".into());
    for (number, misfit) in [fitting(), other_base, other_digest, no_digest, other_document].into_iter().enumerate() {
        stream.send(&ControlMessage::Delta(misfit));
        let ProxyMessage::Nack(nack) = stream.answer().await else { panic!("{number}") };
        assert!(nack.wants_whole && nack.version == "v2", "{nack:?}");
        assert!(nack.reason.contains("whole document"), "{nack:?}");
        stream.publish("v1", &first).await;
        assert_eq!(addresses(&proxy.cluster("shop/api|80")), ["10.0.0.1:80"]);
    }
    stream.send(&ControlMessage::Delta(fitting()));
    assert!(matches!(stream.answer().await, ProxyMessage::Ack(_)));
}

#[tokio::test]
async fn a_delta_may_change_more_than_endpoints() {
    let (_, _control, proxy, mut stream) = connected().await;
    let first = document("10.0.0.1:80");
    stream.publish("v1", &first).await;
    let kept = Arc::clone(&proxy.cluster("shop/api|80").load().members()[0].endpoint);
    let mut second = first.clone();
    let element = &mut second["Outbound"]["TrafficMatches"]["80"][0];
    element["HttpServiceRouteRules"]["api"]["RouteRules"][0]["TargetClusters"] = json!({"shop/api|80": 100});
    second["Outbound"]["ClustersConfigs"].as_object_mut().unwrap().remove("shop/db|80");

    stream.send(&ControlMessage::Delta(delta("v1", &first, "v2", &second)));

    let answer = stream.answer().await;
    assert!(matches!(&answer, ProxyMessage::Ack(ack) if ack.version == "v2"), "{answer:?}");
    let snapshot = proxy.store.snapshot().unwrap();
    assert!(snapshot.cluster(Direction::Outbound, "shop/db|80").is_none());
    assert!(Arc::ptr_eq(&kept, &proxy.cluster("shop/api|80").load().members()[0].endpoint));
    let whole = Config::read(second.to_string().as_bytes()).unwrap().0;
    assert_eq!(Config { version: None, ..Config::clone(&snapshot.document) }, Config { version: None, ..whole });
}

#[tokio::test]
async fn a_document_that_is_none_is_refused_with_a_reason_and_one_with_problems_is_acknowledged_with_them() {
    let (_, _control, proxy, mut stream) = connected().await;
    stream.publish("v1", &document("10.0.0.1:80")).await;
    for broken in [json!([]), json!("text"), json!(null)] {
        let ProxyMessage::Nack(nack) = stream.publish("v2", &broken).await else { panic!("{broken}") };
        assert!(!nack.wants_whole && !nack.reason.is_empty(), "{nack:?}");
    }
    assert_eq!(proxy.store.snapshot().unwrap().version, "v1");
    let mut odd = document("10.0.0.1:80");
    odd["Outbound"]["ClustersConfigs"]["shop/api|80"]["Endpoints"]["nonsense"] = json!({"Weight": 1});
    let ProxyMessage::Ack(ack) = stream.publish("v3", &odd).await else { panic!("a problem is no reason to refuse") };
    assert_eq!(ack.problems.len(), 1);
    assert!(ack.problems[0].contains("nonsense"), "{ack:?}");
}

#[tokio::test]
async fn after_a_break_the_stream_goes_on_from_the_version_in_force() {
    let (_, mut control, proxy, mut stream) = connected().await;
    stream.publish("v1", &document("10.0.0.1:80")).await;
    let before = proxy.store.snapshot().unwrap();
    drop(stream);

    let stream = control.stream().await;
    assert_eq!(stream.hello.version.as_deref(), Some("v1"));
    assert_eq!(control.behaviour.lock().issued, 1, "a new stream needs no new certificate");
    stream.send(&ControlMessage::Current(Current { version: "v1".into() }));
    let status = proxy.link(|status| status.connected && status.streams == 2).await;
    assert!(status.last_failure.unwrap().message.contains("ended the stream"));
    assert_eq!(proxy.telemetry.control.get().unwrap().reconnects.get(), 1);
    assert!(Arc::ptr_eq(&before, &proxy.store.snapshot().unwrap()));

    // fsm-control believes in something else: the proxy asks for the whole.
    stream.send(&ControlMessage::Current(Current { version: "v7".into() }));
    let mut stream = control.stream().await;
    assert_eq!(stream.hello.version, None);
    stream.publish("v7", &document("10.0.0.7:80")).await;
    drop(stream);
    assert_eq!(control.stream().await.hello.version.as_deref(), Some("v7"));
}

#[tokio::test]
async fn messages_of_a_newer_control_plane_are_passed_over() {
    let (_, _control, _proxy, mut stream) = connected().await;
    stream.send_bytes(vec![0, 0, 0, 4, 99, b'n', b'e', b'w', b'!']);
    assert!(matches!(stream.publish("v1", &document("10.0.0.1:80")).await, ProxyMessage::Ack(_)));
}

#[tokio::test]
async fn messages_arrive_whole_however_they_are_cut() {
    let (_, _control, _proxy, mut stream) = connected().await;
    let mut bytes = update("v1", &document("10.0.0.1:80")).encode();
    let (first, second) = (document("10.0.0.1:80"), document("10.0.0.2:80"));
    bytes.extend(ControlMessage::Delta(delta("v1", &first, "v2", &second)).encode());
    for piece in bytes.chunks(7) {
        stream.send_bytes(piece.to_vec());
    }
    for version in ["v1", "v2"] {
        let answer = stream.answer().await;
        assert!(matches!(&answer, ProxyMessage::Ack(ack) if ack.version == version), "{answer:?}");
    }
}
