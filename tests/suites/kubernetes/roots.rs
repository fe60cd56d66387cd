//! The roots of the mesh in a Secret that all processes share.

use super::rights::{binding, config_of, roles};
use super::{account, namespace};
use fsm_control::cert::authority::Signer;
use fsm_control::cert::custody::{Custody, Place};
use fsm_control::cert::tresor::TresorSettings;
use fsm_control::cert::{Issuer, LeafNames, LeafRequest, SecretPlace, SigningRequest, Tresor};
use fsm_control::leader::{Candidate, LeaseSettings, Terms};
use fsm_tests::{ApiServer, api_server, eventually, within};
use kube::Client;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

/// A client with the rights that the page names for the roots, in the namespace `<name>-system`.
async fn client(server: &ApiServer, name: &str) -> Client {
    let namespaced = format!("{name}-system");
    server.apply(&(namespace(&namespaced, name) + &account(&namespaced, "fsm") + &roles(name, &namespaced))).await;
    server.apply(&binding("Role", &format!("fsm-control-roots-{name}"), &namespaced)).await;
    Client::try_from(config_of(server, &namespaced).await).unwrap()
}

fn place(name: &str) -> SecretPlace {
    SecretPlace { namespace: format!("{name}-system"), name: "fsm-ca-bundle".into(), mesh: name.into() }
}

async fn open(client: &Client, name: &str) -> Tresor {
    let settings = TresorSettings { announce: Duration::ZERO, ..TresorSettings::default() };
    let opened = Tresor::open_secret(client.clone(), place(name), settings, Arc::new(SystemTime::now));
    within("the roots are read", opened).await.unwrap()
}

async fn secret(server: &ApiServer, name: &str) -> Value {
    let asked = ["-n", &format!("{name}-system"), "get", "secret", "fsm-ca-bundle", "-o", "json"];
    serde_json::from_str(&server.kubectl(&asked, "").await.stdout).unwrap_or(Value::Null)
}

fn roots(tresor: &Tresor) -> usize {
    tresor.trust_bundle().pem.matches("BEGIN CERTIFICATE").count()
}

/// Whether a client that has these roots accepts a server with this chain.
fn is_trusted(chain: &str, root: &str) -> bool {
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut store = RootCertStore::empty();
    store.add(der(root)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build().unwrap();
    let name = ServerName::try_from("web.shop.cluster.local").unwrap();
    verifier.verify_server_cert(&der(chain), &[], &name, &[], UnixTime::now()).is_ok()
}

#[tokio::test]
async fn of_many_processes_that_start_together_one_makes_the_roots() {
    let Some(server) = api_server().await else { return };
    let client = client(&server, "together").await;
    let racing = (0..6).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { open(&client, "together").await.trust_bundle().pem.clone() })
    });
    let racing: Vec<_> = racing.collect();
    let mut bundles = BTreeSet::new();
    for one in racing {
        bundles.insert(one.await.unwrap());
    }
    assert_eq!(bundles.len(), 1);
    let secret = secret(&server, "together").await;
    assert_eq!(secret["type"], "Opaque");
    let keys: BTreeSet<&str> = secret["data"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(["ca.crt", "private.key", "rotation.json"]));
}

#[tokio::test]
async fn an_authority_that_fsm_made_is_taken_over() {
    let Some(server) = api_server().await else { return };
    let client = client(&server, "taken").await;
    // As FSM makes it: RSA 2048, ten years, PKCS #8.
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (kind, name) in [
        (DnType::CommonName, "fsm-ca.flomesh.io"),
        (DnType::OrganizationName, "Flomesh Service Mesh"),
        (DnType::CountryName, "ZH"),
        (DnType::LocalityName, "CN"),
    ] {
        params.distinguished_name.push(kind, name);
    }
    let theirs = params.self_signed(&key).unwrap().pem();
    let secret = json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"namespace": "taken-system", "name": "fsm-ca-bundle", "labels": {"theirs": "stays"}},
        "stringData": {"ca.crt": theirs, "private.key": key.serialize_pem()}});
    server.apply(&secret.to_string()).await;

    let tresor = open(&client, "taken").await;
    assert_eq!(tresor.trust_bundle().pem.trim(), theirs.trim());
    let leaf_key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&leaf_key).unwrap().pem().unwrap();
    let names = LeafNames {
        common_name: "web.shop.cluster.local".into(),
        dns: Vec::new(),
        spiffe: Some("spiffe://cluster.local/ns/shop/sa/web".into()),
        addresses: Vec::new(),
    };
    let validity = Duration::from_secs(3600);
    let leaf = LeafRequest { request: SigningRequest::check(&request).unwrap(), names, validity };
    let issued = within("a certificate is signed", tresor.issue(leaf)).await.unwrap();
    assert!(is_trusted(&issued.chain, &theirs));

    // With a rotation its root is replaced by one of ours, and trusted for as long as what it signed is valid.
    within("the root is replaced", tresor.rotate()).await.unwrap();
    assert_eq!((tresor.status().phase, roots(&tresor)), ("overlapping", 2));
    assert!(tresor.trust_bundle().pem.contains(theirs.trim()));
    let seen = super::roots::secret(&server, "taken").await;
    assert_eq!(seen["metadata"]["labels"]["theirs"], "stays");
}

#[tokio::test]
async fn every_process_follows_a_change_of_roots_whoever_makes_it() {
    let Some(server) = api_server().await else { return };
    let client = client(&server, "followed").await;
    let leader = open(&client, "followed").await;
    let custody = Custody::open(
        Place::Secret(client.clone(), place("followed")),
        TresorSettings::default(),
        Arc::new(SystemTime::now),
    );
    let custody = within("the other one reads the roots", custody).await.unwrap();
    let follower = custody.tresor();
    assert_eq!(follower.trust_bundle(), leader.trust_bundle());
    let stop = CancellationToken::new();
    // It follows, and never leads: nobody stands for it.
    let (_candidate, leadership) = Candidate::new(
        client.clone(),
        LeaseSettings {
            namespace: "followed-system".into(),
            name: "nobody".into(),
            candidate: "nobody".into(),
            terms: Terms::default(),
        },
    );
    let signer = Signer::Tresor(Box::new(custody));
    let tended = tokio::spawn(signer.tend(leadership, None, stop.clone()));

    let mut changes = follower.changes();
    within("the leader rotates", leader.rotate()).await.unwrap();
    assert_eq!(roots(&leader), 2);
    // By the watch, long before it would look by itself.
    let told = async {
        while follower.trust_bundle() != leader.trust_bundle() {
            changes.changed().await.unwrap();
        }
    };
    within("the follower hears of it", told).await;
    assert_eq!(follower.status().phase, leader.status().phase);

    // What somebody removes is put back with the same roots.
    let gone = server.kubectl(&["-n", "followed-system", "delete", "secret", "fsm-ca-bundle"], "").await;
    assert_eq!(gone.code, 0, "{gone:?}");
    eventually("the Secret is back", async || secret(&server, "followed").await != Value::Null).await;
    let third = open(&client, "followed").await;
    assert_eq!(third.trust_bundle(), leader.trust_bundle());
    stop.cancel();
    within("it ends", tended).await.unwrap();
}

#[tokio::test]
async fn a_root_that_somebody_puts_in_place_signs_and_the_one_of_before_stays_trusted() {
    let Some(server) = api_server().await else { return };
    let client = client(&server, "brought").await;
    let before = open(&client, "brought").await;
    let old = before.trust_bundle().pem.clone();
    let directory = tempfile::tempdir_in(server.directory()).unwrap();
    let other = Tresor::open(directory.path(), TresorSettings::default(), Arc::new(SystemTime::now)).unwrap();
    let kept: Value = serde_json::from_slice(&std::fs::read(directory.path().join("ca.json")).unwrap()).unwrap();
    let patch =
        json!({"stringData": {"ca.crt": kept["roots"][0]["certificate"], "private.key": kept["roots"][0]["key"]}});
    let patched =
        ["-n", "brought-system", "patch", "secret", "fsm-ca-bundle", "--type=merge", "-p", &patch.to_string()];
    let patched = server.kubectl(&patched, "").await;
    assert_eq!(patched.code, 0, "{patched:?}");
    within("it is followed", before.follow()).await.unwrap();
    within("it is led", before.tick()).await.unwrap();
    assert_eq!((before.status().phase, roots(&before)), ("overlapping", 2));
    let bundle = before.trust_bundle().pem.clone();
    assert!(bundle.starts_with(other.trust_bundle().pem.trim()) && bundle.contains(old.trim()));
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_with_its_remedy() {
    let Some(server) = api_server().await else { return };
    server.apply(&(namespace("rightless-system", "rightless") + &account("rightless-system", "fsm"))).await;
    let client = Client::try_from(config_of(&server, "rightless-system").await).unwrap();
    let settings = TresorSettings::default();
    let opened = Tresor::open_secret(client, place("rightless"), settings, Arc::new(SystemTime::now));
    let error = within("it is refused", opened).await.err().unwrap().to_string();
    assert!(error.starts_with("fsm-control may not read Secret rightless-system/fsm-ca-bundle"), "{error}");
    assert!(error.ends_with("grant get, list, watch and patch on this Secret, and create on Secrets of its namespace"));
}

#[tokio::test]
async fn a_secret_of_something_else_is_left_as_it_is() {
    let Some(server) = api_server().await else { return };
    let client = client(&server, "else").await;
    let other = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"password": "x"},
        "metadata": {"namespace": "else-system", "name": "fsm-ca-bundle"}});
    server.apply(&other.to_string()).await;
    let before = secret(&server, "else").await;
    let opened = Tresor::open_secret(client, place("else"), TresorSettings::default(), Arc::new(SystemTime::now));
    let error = within("it is refused", opened).await.err().unwrap().to_string();
    assert!(error.contains("Secret else-system/fsm-ca-bundle") && error.contains("it has no key ca.crt"), "{error}");
    assert_eq!(secret(&server, "else").await, before);
}
