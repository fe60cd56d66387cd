//! A control plane without a source, and proxies that speak its protocol and nothing else.

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use fsm_api::config::{ClusterConfig, Config, Endpoint, Outbound};
use fsm_api::stream::frame::Frame;
use fsm_api::stream::{
    Ack, ControlMessage, Hello, IDENTITY_PATH, IdentityRequest, IdentityResponse, ProxyMessage, STREAM_PATH,
};
use fsm_control::auth::{Token, TokenDirectory};
use fsm_control::cert::server::{ServerNames, ServerTls};
use fsm_control::cert::tresor::{Clock, TresorSettings};
use fsm_control::cert::{Identity, Tresor};
use fsm_control::push::{Board, PodKey, Publication, Push, Roster, Settings, Tenant, server};
use fsm_control::telemetry::Telemetry;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer, unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A control plane's push, serving on a port of its own.
pub(crate) struct Control {
    pub(crate) push: Arc<Push>,
    pub(crate) tresor: Arc<Tresor>,
    pub(crate) address: SocketAddr,
    pub(crate) directory: TempDir,
    hand: Arc<Mutex<SystemTime>>,
    stop: CancellationToken,
}

/// What a proxy has to show: a key and what was issued for it.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) key: String,
    pub(crate) issued: IdentityResponse,
}

/// An open stream.
pub(crate) struct Proxy {
    pub(crate) pod: PodKey,
    body: Incoming,
    buffer: BytesMut,
    upward: mpsc::Sender<Bytes>,
    _sender: http2::SendRequest<Outgoing>,
}

/// A stream that was refused.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) reason: String,
}

impl Control {
    pub(crate) async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let hand = Arc::new(Mutex::new(SystemTime::now()));
        let clock: Clock = {
            let hand = hand.clone();
            Arc::new(move || *hand.lock())
        };
        let tresor = Arc::new(Tresor::open(&directory.path().join("state"), TresorSettings::default(), clock).unwrap());
        let names = ServerNames { dns: vec!["localhost".into()], addresses: Vec::new() };
        let tls = Arc::new(ServerTls::start(tresor.clone(), names, None).await.unwrap());
        let roster = Arc::new(Roster::default());
        let push = Arc::new(Push {
            board: Arc::new(Board::default()),
            telemetry: Arc::new(Telemetry::new(&roster)),
            roster,
            issuer: tresor.clone(),
            tokens: Arc::new(TokenDirectory::new(directory.path().join("tokens"))),
            trust_domain: "cluster.local".into(),
            settings: ArcSwap::from_pointee(Settings::default()),
        });
        std::fs::create_dir(directory.path().join("tokens")).unwrap();
        let listener: TcpListener = server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(server::serve(listener, push.clone(), tls.clone(), stop.clone()));
        tokio::spawn({
            let stop = stop.clone();
            async move { tls.maintain(stop).await }
        });
        Self { push, tresor, address, directory, hand, stop }
    }

    /// Makes the authority's clock go on.
    pub(crate) fn later(&self, by: Duration) {
        *self.hand.lock() += by;
    }

    /// Gives a pod its document, and its proxy a token.
    pub(crate) fn place(&self, pod: &PodKey, account: &str, publication: &Arc<Publication>) {
        let identity = Identity::new(&pod.namespace, account).unwrap();
        let tenant = Tenant { identity, uid: uid(pod), proxy_uuid: format!("uuid-of-{}", pod.name) };
        self.push.board.publish(pod, &tenant, publication);
    }

    /// Writes a token file as the runner of pods does; `more` overrides members.
    pub(crate) fn token(&self, pod: &PodKey, account: &str, more: serde_json::Value) -> String {
        let token = format!("token-of.{}.{account}.{}", pod.namespace, pod.name);
        let mut file = serde_json::json!({
            "namespace": pod.namespace, "serviceAccount": account, "pod": pod.name, "uid": uid(pod), "expires": null,
        });
        file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let name = Token::bearer(Some(format!("Bearer {token}").as_bytes())).unwrap().fingerprint();
        std::fs::write(self.directory.path().join(format!("tokens/{name}.json")), file.to_string()).unwrap();
        token
    }

    /// Asks for a certificate with a token.
    pub(crate) async fn identity(&self, token: Option<&str>) -> Result<Credentials, Refused> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        let body = serde_json::to_vec(&IdentityRequest { csr }).unwrap();
        let (status, body) = self.post(IDENTITY_PATH, token, body, None).await;
        if status != StatusCode::OK {
            return Err(Refused { status, reason: String::from_utf8_lossy(&body).into_owned() });
        }
        Ok(Credentials { key: key.serialize_pem(), issued: serde_json::from_slice(&body).unwrap() })
    }

    /// One request with a whole body.
    pub(crate) async fn post(
        &self,
        path: &str,
        token: Option<&str>,
        body: Vec<u8>,
        credentials: Option<&Credentials>,
    ) -> (StatusCode, Bytes) {
        self.post_body(path, token, Outgoing::whole(body), credentials).await
    }

    /// One request with a body that may still be under way.
    pub(crate) async fn post_body(
        &self,
        path: &str,
        token: Option<&str>,
        body: Outgoing,
        credentials: Option<&Credentials>,
    ) -> (StatusCode, Bytes) {
        let mut sender = self.connect(credentials).await.unwrap();
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        let mut request = Request::post(format!("https://localhost{path}")).body(body).unwrap();
        *request.headers_mut() = headers;
        let answer = sender.send_request(request).await.unwrap();
        (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
    }

    /// Credentials for a pod's account, through the front door.
    pub(crate) async fn credentials(&self, pod: &PodKey, account: &str) -> Credentials {
        let token = self.token(pod, account, serde_json::json!({}));
        self.identity(Some(&token)).await.unwrap()
    }

    /// Opens a stream.
    pub(crate) async fn follow(
        &self,
        pod: &PodKey,
        credentials: &Credentials,
        version: Option<&str>,
    ) -> Result<Proxy, Refused> {
        let hello = Hello {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            uid: uid(pod),
            proxy_version: "0.0.1-test".into(),
            version: version.map(str::to_owned),
            deltas: true,
        };
        self.open(pod, Some(credentials), &ProxyMessage::Hello(hello), None).await
    }

    /// Opens a stream with whatever first message, and a window of so many bytes for what comes.
    pub(crate) async fn open(
        &self,
        pod: &PodKey,
        credentials: Option<&Credentials>,
        first: &ProxyMessage,
        window: Option<u32>,
    ) -> Result<Proxy, Refused> {
        let mut sender = self.connect_with(credentials, window).await.unwrap();
        let (upward, outgoing) = mpsc::channel(8);
        upward.send(first.encode().into()).await.unwrap();
        let request =
            Request::post(format!("https://localhost{STREAM_PATH}")).body(Outgoing::Frames(outgoing)).unwrap();
        let answer = patiently(sender.send_request(request)).await.unwrap();
        if answer.status() != StatusCode::OK {
            let status = answer.status();
            let reason = answer.into_body().collect().await.unwrap().to_bytes();
            return Err(Refused { status, reason: String::from_utf8_lossy(&reason).into_owned() });
        }
        let body = answer.into_body();
        Ok(Proxy { pod: pod.clone(), body, buffer: BytesMut::new(), upward, _sender: sender })
    }

    async fn connect(&self, credentials: Option<&Credentials>) -> Result<http2::SendRequest<Outgoing>, String> {
        self.connect_with(credentials, None).await
    }

    /// A connection; the task that drives it ends with the sender and its streams.
    pub(crate) async fn connect_with(
        &self,
        credentials: Option<&Credentials>,
        window: Option<u32>,
    ) -> Result<http2::SendRequest<Outgoing>, String> {
        let socket = TcpStream::connect(self.address).await.map_err(|error| error.to_string())?;
        socket.set_nodelay(true).unwrap();
        let connector = TlsConnector::from(Arc::new(self.client(credentials)));
        let name = ServerName::try_from("localhost").unwrap();
        let secured = patiently(connector.connect(name, socket)).await.map_err(|error| error.to_string())?;
        let handshake = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window.unwrap_or(65_535))
            .initial_connection_window_size(window.unwrap_or(65_535).max(65_535))
            .handshake(TokioIo::new(secured));
        let (sender, connection) = patiently(handshake).await.map_err(|error| error.to_string())?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    fn client(&self, credentials: Option<&Credentials>) -> ClientConfig {
        use fsm_control::cert::Issuer as _;
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.tresor.trust_bundle().pem.as_bytes()) {
            roots.add(root.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match credentials {
            Some(credentials) => {
                let chain = CertificateDer::pem_slice_iter(credentials.issued.certificate_chain.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(credentials.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain.collect::<Result<_, _>>().unwrap(), key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        config
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Proxy {
    /// The next message; `None` when the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<ControlMessage> {
        patiently(async {
            loop {
                if let Some(frame) = Frame::first(&self.buffer).unwrap() {
                    let (message, length) = (frame.control_message().unwrap(), frame.len());
                    let _ = self.buffer.split_to(length);
                    if self.buffer.is_empty() {
                        self.buffer = BytesMut::new();
                    }
                    return Some(message);
                }
                let frame = self.body.frame().await?.ok()?;
                self.buffer.extend_from_slice(&frame.into_data().unwrap());
            }
        })
        .await
    }

    pub(crate) async fn send(&self, message: &ProxyMessage) {
        patiently(self.upward.send(message.encode().into())).await.unwrap();
    }

    pub(crate) async fn ack(&self, version: &str) {
        self.send(&ProxyMessage::Ack(Ack { version: version.to_owned(), problems: Vec::new() })).await;
    }

    /// Takes messages and acknowledges them until this version is in force.
    pub(crate) async fn reach(&mut self, version: &str) {
        loop {
            let reached = match self.next().await.expect("the stream goes on") {
                ControlMessage::Update(update) => update.version,
                ControlMessage::Delta(delta) => delta.version,
                ControlMessage::Current(current) => {
                    assert_eq!(current.version, version);
                    return;
                }
                other => panic!("{other:?}"),
            };
            self.ack(&reached).await;
            if reached == version {
                return;
            }
        }
    }
}

/// Waits for a future, but not for ever.
pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes much too long")
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        // What is waited for needs the processor more than this look at it does.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn pod(name: &str) -> PodKey {
    PodKey::new("bookstore", name)
}

fn uid(pod: &PodKey) -> String {
    format!("uid-of-{}", pod.name)
}

/// A document with some clusters, whose first endpoint is `first`.
pub(crate) fn document(clusters: usize, first: &str) -> Config {
    let endpoint = || Endpoint { weight: 100, ..Endpoint::default() };
    let cluster = |index: usize| {
        let mut endpoints: BTreeMap<_, _> =
            (0..5).map(|host| (format!("10.{}.{}.{host}:8080", index / 250, index % 250), endpoint())).collect();
        if index == 0 {
            endpoints.insert(first.to_owned(), endpoint());
        }
        (format!("bookstore/store-{index}|8080"), ClusterConfig { endpoints, ..ClusterConfig::default() })
    };
    let clusters_configs = (0..clusters).map(cluster).collect();
    Config { outbound: Some(Outbound { clusters_configs, ..Outbound::default() }), ..Config::default() }
}

pub(crate) fn publish(config: Config, before: Option<&Publication>) -> Arc<Publication> {
    let made = Publication::make(config, before, Instant::now(), SystemTime::now()).unwrap();
    Arc::new(made.expect("another document"))
}

/// What a client sends.
pub(crate) enum Outgoing {
    Whole(Option<Bytes>),
    Frames(mpsc::Receiver<Bytes>),
}

impl Outgoing {
    fn whole(bytes: Vec<u8>) -> Self {
        Self::Whole(Some(bytes.into()))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        let bytes = match &mut *self {
            Self::Whole(bytes) => bytes.take(),
            Self::Frames(frames) => std::task::ready!(frames.poll_recv(cx)),
        };
        Poll::Ready(bytes.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}
