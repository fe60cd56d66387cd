//! The whole way: files, source, owner task, authority, files again.

use super::super::{DirectoryWriter, Keeper, Ledger, Owner};
use super::{Hand, access_cert, mesh_config, namespace};
use crate::auth::TokenDirectory;
use crate::cert::server::ServerNames;
use crate::controller::{self, Ends, Publisher};
use crate::push::{Board, Push, Roster, Settings};
use crate::source::Source;
use crate::telemetry::Telemetry;
use crate::world::{self, Problem, World};
use arc_swap::ArcSwap;
use fsm_api::resources::{Object, manifest};
use k8s_openapi::api::core::v1::Secret;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer, unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

struct Plane {
    directory: TempDir,
    telemetry: Arc<Telemetry>,
    problems: Arc<ArcSwap<Vec<Problem>>>,
    stop: CancellationToken,
    _following: crate::source::Following,
}

impl Plane {
    fn start() -> Self {
        let (directory, hand) = (tempfile::tempdir().unwrap(), Hand::new());
        let objects = directory.path().join("objects");
        let tresor = hand.tresor(&directory.path().join("ca"));
        let roster = Arc::new(Roster::default());
        let push = Arc::new(Push {
            board: Arc::new(Board::default()),
            telemetry: Arc::new(Telemetry::new(&roster)),
            roster,
            issuer: tresor.clone(),
            tokens: Arc::new(TokenDirectory::new(directory.path())),
            trust_domain: "cluster.local".into(),
            settings: ArcSwap::from_pointee(Settings::default()),
        });
        let owner = Owner::of_mesh("fsm");
        let writer = Arc::new(DirectoryWriter::open(&objects, owner.clone()).unwrap());
        let (told, situation) = watch::channel(Arc::default());
        let (events, received) = mpsc::channel(64);
        let telemetry = push.telemetry.clone();
        let keeper = Keeper {
            owner: owner.clone(),
            situation,
            issuer: tresor,
            writer,
            events: events.clone(),
            telemetry: telemetry.clone(),
        };
        let stop = CancellationToken::new();
        tokio::spawn(keeper.run(hand.clock(), stop.clone()));
        let (problems, world) = (Arc::new(ArcSwap::default()), World::new(world::Settings::default()));
        let ledger = Ledger::new(owner, ServerNames::default(), Some(told));
        let publisher = Publisher::new(world, push, problems.clone()).with_ledger(ledger);
        let (_, queries) = mpsc::channel(1);
        let ends = Ends { events: received, queries, ready: watch::Sender::new(false), stop: stop.clone() };
        controller::start(publisher, ends).unwrap();
        let following = Source::Directory(objects).follow(None, events).unwrap();
        Self { directory, telemetry, problems, stop, _following: following }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// As the command does: one object a file, renamed into its place.
    fn write(&self, name: &str, object: &Value) {
        let aside = self.path("objects/.aside");
        fs::write(&aside, serde_saphyr::to_string(object).unwrap()).unwrap();
        fs::rename(aside, self.path("objects").join(name)).unwrap();
    }

    async fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begin.elapsed() < PATIENCE, "{what}: {:?}", self.problems.load());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn secret(&self) -> Option<Secret> {
        let text = fs::read_to_string(self.path("objects/Secret/curl/curl-mtls-secret.yaml")).ok()?;
        match &manifest::read(&text, "secret").0.first()?.value {
            Object::Secret(secret) => Some((**secret).clone()),
            _ => None,
        }
    }

    fn status(&self, name: &str) -> Option<Value> {
        let text = fs::read_to_string(self.path("status/AccessCert.policy.flomesh.io/httpbin").join(name)).ok()?;
        Some(serde_saphyr::from_str(&text).unwrap())
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn the_page_gets_a_certificate_that_servers_of_the_mesh_accept() {
    let plane = Plane::start();
    plane.write("httpbin.yaml", &namespace("httpbin", true));
    plane.write("curl.yaml", &namespace("curl", false));
    plane.write("config.yaml", &mesh_config(json!({})));
    plane.write("cert.yaml", &access_cert());
    let secret = plane.until("a Secret", || plane.secret()).await;
    let status = plane.until("a status", || plane.status("curl-mtls-cert.yaml")).await;
    assert_eq!(status, json!({"currentStatus": "committed", "reason": "successfully committed by the system"}));

    let pem = |key: &str| secret.data.as_ref().unwrap()[key].0.clone();
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&pem("ca.crt")) {
        roots.add(root.unwrap()).unwrap();
    }
    let leaf = CertificateDer::from_pem_slice(&pem("tls.crt")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    verifier.verify_client_cert(&leaf, &[], UnixTime::now()).unwrap();
    let parsed = rustls::server::ParsedCertificate::try_from(&leaf).unwrap();
    let name = ServerName::try_from("curl.curl.cluster.local").unwrap();
    rustls::client::verify_server_name(&parsed, &name).unwrap();

    // What was written has come back; another policy passes the same way, and the first one is not touched again.
    let mut other = access_cert();
    other["metadata"]["name"] = "second".into();
    plane.write("second.yaml", &other);
    let status = plane.until("a status of the second", || plane.status("second.yaml")).await;
    assert_eq!(status["currentStatus"], "error");
    assert!(plane.problems.load().iter().any(|problem| problem.reason == "SecretConflict"));
    assert_eq!(plane.telemetry.certificates.get(), 1);

    // The second one takes over when the first is gone, and with the last one the Secret goes.
    fs::remove_file(plane.path("objects/cert.yaml")).unwrap();
    plane
        .until("the second's certificate", || {
            let secret = plane.secret()?;
            let owner = secret.metadata.annotations?.remove("flomesh.io/issued-for")?;
            (owner == "AccessCert httpbin/second").then_some(())
        })
        .await;
    plane.until("no status of the first", || plane.status("curl-mtls-cert.yaml").is_none().then_some(())).await;
    fs::remove_file(plane.path("objects/second.yaml")).unwrap();
    plane.until("no Secret", || plane.secret().is_none().then_some(())).await;
    assert_eq!(plane.telemetry.certificates.get(), 2);
    plane.until("no problem", || plane.problems.load().is_empty().then_some(())).await;
}

#[tokio::test]
async fn while_a_file_is_broken_nothing_is_removed() {
    let plane = Plane::start();
    plane.write("httpbin.yaml", &namespace("httpbin", true));
    plane.write("curl.yaml", &namespace("curl", false));
    plane.write("config.yaml", &mesh_config(json!({})));
    plane.write("cert.yaml", &access_cert());
    plane.until("a Secret", || plane.secret()).await;
    fs::write(plane.path("objects/broken.yaml"), "kind: [unfinished").unwrap();
    let told = || plane.problems.load().iter().any(|problem| problem.reason == "BrokenManifest").then_some(());
    plane.until("the broken file is told", told).await;
    fs::remove_file(plane.path("objects/cert.yaml")).unwrap();
    // Something else passes the whole way after it.
    let mut other = access_cert();
    (other["metadata"]["name"], other["spec"]["secret"]["name"]) = ("second".into(), "second".into());
    plane.write("second.yaml", &other);
    plane.until("another Secret", || plane.path("objects/Secret/curl/second.yaml").exists().then_some(())).await;
    assert!(plane.secret().is_some());
    fs::remove_file(plane.path("objects/broken.yaml")).unwrap();
    plane.until("no Secret", || plane.secret().is_none().then_some(())).await;
}
