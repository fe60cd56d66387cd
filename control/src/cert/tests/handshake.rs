//! Certificates prove themselves to rustls, in both directions and for every kind of key.

use super::{Hand, bookbuyer, issue};
use crate::cert::root::RootKey;
use crate::cert::server::{ServerNames, ServerTls};
use crate::cert::tresor::{Tresor, TresorSettings};
use crate::cert::{Identity, IssueError, IssueFuture, Issuer, LeafRequest, TrustBundle};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::SystemTime;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

fn names() -> ServerNames {
    ServerNames {
        dns: vec!["fsm-controller.fsm-system.svc".into(), "localhost".into()],
        addresses: vec!["127.0.0.1".parse().unwrap()],
    }
}

fn client(bundle: &str, own: Option<(&str, &KeyPair)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// The client's idea of the time.
struct HandTime(crate::cert::tresor::Clock);

impl std::fmt::Debug for HandTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandTime")
    }
}

impl TimeProvider for HandTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch((self.0)().duration_since(SystemTime::UNIX_EPOCH).unwrap()))
    }
}

/// The leaf that the server saw, if any; an error of either side.
async fn shake(server: &ServerTls, client: Arc<ClientConfig>, name: &str) -> Result<Option<Vec<u8>>, String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let accepting = async {
        let mut accepted = TlsAcceptor::from(server.config()).accept(far).await.map_err(|error| error.to_string())?;
        accepted.write_all(b"x").await.map_err(|error| error.to_string())?;
        let leaf = accepted.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec());
        Ok::<_, String>(leaf)
    };
    let connecting = async {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut connected = TlsConnector::from(client).connect(name, near).await.map_err(|error| error.to_string())?;
        // The client learns of a refusal of its certificate with the first byte only.
        connected.read_u8().await.map_err(|error| error.to_string())
    };
    let (accepted, connected) = tokio::join!(accepting, connecting);
    connected.and(accepted)
}

#[tokio::test]
async fn all_kinds_of_keys_verify_in_both_directions() {
    for root_key in [RootKey::EcdsaP256, RootKey::Rsa2048] {
        let directory = TempDir::new().unwrap();
        let settings = TresorSettings { root_key, ..TresorSettings::default() };
        let tresor = Arc::new(Tresor::open(directory.path(), settings, Hand::now().clock()).unwrap());
        let server = ServerTls::start(tresor.clone(), names(), None).await.unwrap();
        let bundle = tresor.trust_bundle().pem.clone();
        for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_RSA_SHA256] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let issued = issue(&tresor, &key, bookbuyer()).await;
            for name in ["fsm-controller.fsm-system.svc", "localhost", "127.0.0.1"] {
                let seen = shake(&server, client(&bundle, Some((&issued.chain, &key))), name).await.unwrap().unwrap();
                let identity = Identity::of_leaf(&CertificateDer::from(seen), "cluster.local").unwrap();
                assert_eq!(identity.to_string(), "bookbuyer.bookstore");
            }
        }
        assert_eq!(shake(&server, client(&bundle, None), "localhost").await, Ok(None), "no certificate is an answer");
        assert!(shake(&server, client(&bundle, None), "somebody.else").await.is_err());
    }
}

#[tokio::test]
async fn certificates_of_another_authority_are_refused_on_both_sides() {
    let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let ours = Arc::new(super::open(ours.path(), &Hand::now()));
    let theirs = Arc::new(super::open(theirs.path(), &Hand::now()));
    let server = ServerTls::start(ours.clone(), names(), None).await.unwrap();
    let key = KeyPair::generate().unwrap();
    let forged = issue(&theirs, &key, bookbuyer()).await;
    let bundle = ours.trust_bundle().pem.clone();
    assert!(shake(&server, client(&bundle, Some((&forged.chain, &key))), "localhost").await.is_err());
    let other_bundle = theirs.trust_bundle().pem.clone();
    assert!(shake(&server, client(&other_bundle, None), "localhost").await.is_err());
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let (directory, hand) = (TempDir::new().unwrap(), Hand::now());
    let tresor = Arc::new(super::open(directory.path(), &hand));
    let server = ServerTls::start(tresor.clone(), names(), None).await.unwrap();
    let past = Arc::new({
        let before = Hand::now();
        *before.0.lock() -= super::DAY * 2;
        super::open(directory.path(), &before)
    });
    let key = KeyPair::generate().unwrap();
    let expired = issue(&past, &key, bookbuyer()).await;
    let bundle = tresor.trust_bundle().pem.clone();
    let error = shake(&server, client(&bundle, Some((&expired.chain, &key))), "localhost").await.unwrap_err();
    assert!(error.to_lowercase().contains("expired"), "{error}");
}

/// An authority whose roots change, and that signs nothing any more when it is told so.
#[derive(Debug)]
struct Moody {
    signer: Arc<Tresor>,
    refuses: AtomicBool,
    bundle: watch::Sender<Arc<TrustBundle>>,
}

impl Issuer for Moody {
    fn issue(&self, leaf: LeafRequest) -> IssueFuture<'_> {
        Box::pin(async move {
            if self.refuses.load(Relaxed) {
                return Err(IssueError::Refused { name: leaf.names.common_name, reason: "sealed".into() });
            }
            self.signer.issue(leaf).await
        })
    }

    fn trust_bundle(&self) -> Arc<TrustBundle> {
        self.bundle.borrow().clone()
    }

    fn changes(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.bundle.subscribe()
    }
}

#[tokio::test]
async fn clients_of_a_root_that_is_news_get_in_although_the_server_gets_no_certificate() {
    let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let ours = Arc::new(super::open(ours.path(), &Hand::now()));
    let theirs = super::open(theirs.path(), &Hand::now());
    let bundle = watch::Sender::new(ours.trust_bundle());
    let moody = Arc::new(Moody { signer: ours.clone(), refuses: AtomicBool::new(false), bundle });
    let server = Arc::new(ServerTls::start(moody.clone(), names(), None).await.unwrap());
    let stop = tokio_util::sync::CancellationToken::new();
    let maintained = tokio::spawn({
        let (server, stop) = (server.clone(), stop.clone());
        async move { server.maintain(stop).await }
    });
    tokio::task::yield_now().await;
    let before = server.config();
    moody.refuses.store(true, Relaxed);
    let both = format!("{}{}", ours.trust_bundle().pem, theirs.trust_bundle().pem);
    moody.bundle.send_replace(Arc::new(TrustBundle { pem: both, since: SystemTime::now() }));
    while Arc::ptr_eq(&before, &server.config()) {
        tokio::task::yield_now().await;
    }
    let key = KeyPair::generate().unwrap();
    let theirs = issue(&theirs, &key, bookbuyer()).await;
    let own = client(&ours.trust_bundle().pem, Some((&theirs.chain, &key)));
    assert!(shake(&server, own, "localhost").await.unwrap().is_some());
    stop.cancel();
    maintained.await.unwrap();
}

/// The server follows a rotation: a client that has just one of the two roots gets in as long as it should.
#[tokio::test]
async fn the_server_and_the_bundle_file_follow_a_rotation() {
    let (directory, hand) = (TempDir::new().unwrap(), Hand::now());
    let file = directory.path().join("bundle.pem");
    let tresor = Arc::new(super::open(&directory.path().join("state"), &hand));
    let server = Arc::new(ServerTls::start(tresor.clone(), names(), Some(file.clone())).await.unwrap());
    let old = fs::read_to_string(&file).unwrap();
    assert_eq!(old, tresor.trust_bundle().pem);
    let key = KeyPair::generate().unwrap();
    let old_leaf = issue(&tresor, &key, bookbuyer()).await;

    // The client's time goes with the authority's; the server's own does not matter to its certificate.
    let client = |bundle: &str, own: Option<(&str, &KeyPair)>| {
        let mut config = client(bundle, own).as_ref().clone();
        config.time_provider = Arc::new(HandTime(hand.clock()));
        Arc::new(config)
    };
    let stop = tokio_util::sync::CancellationToken::new();
    let maintained = tokio::spawn({
        let (server, stop) = (server.clone(), stop.clone());
        async move { server.maintain(stop).await }
    });
    // The maintaining task must have begun to listen.
    tokio::task::yield_now().await;
    let mut before = server.shown();
    let mut renewed = async || {
        while Arc::ptr_eq(&before, &server.shown()) {
            tokio::task::yield_now().await;
        }
        before = server.shown();
    };

    tresor.rotate().await.unwrap();
    renewed().await;
    assert!(shake(&server, client(&old, None), "localhost").await.is_ok(), "announced: the old root still signs");
    assert_eq!(fs::read_to_string(&file).unwrap(), tresor.trust_bundle().pem);

    hand.forward(crate::cert::rotation::ANNOUNCE);
    tresor.tick().await.unwrap();
    renewed().await;
    let both = tresor.trust_bundle().pem.clone();
    assert!(shake(&server, client(&old, None), "localhost").await.is_err(), "the new root signs");
    let own = Some((old_leaf.chain.as_str(), &key));
    assert!(shake(&server, client(&both, own), "localhost").await.is_ok(), "old certificates still get in");

    hand.forward(super::DAY + super::DAY);
    tresor.tick().await.unwrap();
    renewed().await;
    let new = fs::read_to_string(&file).unwrap();
    assert_eq!(new.matches("BEGIN CERTIFICATE").count(), 1);
    assert!(shake(&server, client(&new, own), "localhost").await.is_err(), "the old root is gone");
    stop.cancel();
    maintained.await.unwrap();
}
