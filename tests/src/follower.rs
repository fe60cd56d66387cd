//! The end of fsm-control's stream that a sidecar has, without a sidecar: the test decides what it says of what it is sent.
//!
//! It is the sidecar of a pod of a [`LocalMesh`], as far as fsm-control can tell: the pod's own token, a certificate that
//! was issued for it, the pod's name in its Hello. So it takes the place of the real one, which has to be kept from coming
//! back meanwhile. What no configuration of fsm-control's makes a real sidecar do is seen so: to refuse one.

use crate::{LocalMesh, within};
use bytes::Bytes;
use fsm_api::stream::frame::Frame;
use fsm_api::stream::{
    Ack, ControlMessage, Hello, IDENTITY_PATH, IdentityRequest, IdentityResponse, Nack, ProxyMessage, STREAM_PATH,
};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode, header};
use nix::sched::{CloneFlags, setns};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The name in fsm-control's certificate.
const SERVER: &str = "fsm-controller.fsm-system.svc";

/// An open stream of one pod.
pub struct Follower {
    upward: SendStream<Bytes>,
    downward: RecvStream,
    read: Vec<u8>,
    // The connection ends with it.
    _requests: SendRequest<Bytes>,
}

/// Where fsm-control of a mesh is, and what a pod has to show there.
struct Door {
    address: SocketAddr,
    /// Of the process, as the machine calls it.
    control: u64,
    roots: String,
    token: String,
    name: (String, String),
    uid: String,
}

impl Follower {
    /// Takes the place of a pod's sidecar that has this version of its configuration.
    ///
    /// # Panics
    /// When fsm-control does not let it.
    pub async fn take_place(mesh: &LocalMesh, namespace: &str, pod: &str, version: &str) -> Self {
        let door = Door::of(mesh, namespace, pod).await;
        let (key, issued) = door.identity().await;
        let hello = Hello {
            namespace: door.name.0.clone(),
            pod: door.name.1.clone(),
            uid: door.uid.clone(),
            proxy_version: env!("CARGO_PKG_VERSION").to_owned(),
            version: Some(version.to_owned()),
            deltas: true,
        };
        let mut requests = door.connect(Some((&issued.certificate_chain, &key))).await;
        let (answer, mut upward) = post(&mut requests, STREAM_PATH, None);
        let hello = ProxyMessage::Hello(hello).encode();
        upward.send_data(hello.into(), false).expect("the stream is open");
        let answer = within("fsm-control answers", answer).await.expect("an answer");
        let status = answer.status();
        let mut downward = answer.into_body();
        if status != StatusCode::OK {
            panic!("fsm-control refuses the stream of {}: {status}: {}", door.name.1, whole(&mut downward).await);
        }
        Self { upward, downward, read: Vec::new(), _requests: requests }
    }

    /// The version that is to be put in force next, however it is told. Announcements of roots are passed over.
    pub async fn next_version(&mut self) -> String {
        loop {
            match within("fsm-control says something", self.next()).await {
                ControlMessage::Update(update) => return update.version,
                ControlMessage::Delta(delta) => return delta.version,
                ControlMessage::Current(_) | ControlMessage::Trust(_) | ControlMessage::Unknown => {}
            }
        }
    }

    /// Says that a version is in force.
    pub fn acknowledge(&mut self, version: &str) {
        self.say(&ProxyMessage::Ack(Ack { version: version.to_owned(), problems: Vec::new() }));
    }

    /// Says that a version cannot be put in force.
    pub fn refuse(&mut self, version: &str, reason: &str) {
        let nack = Nack { version: version.to_owned(), reason: reason.to_owned(), wants_whole: false };
        self.say(&ProxyMessage::Nack(nack));
    }

    fn say(&mut self, message: &ProxyMessage) {
        self.upward.send_data(message.encode().into(), false).expect("the stream is open");
    }

    async fn next(&mut self) -> ControlMessage {
        loop {
            if let Some(frame) = Frame::first(&self.read).expect("a frame") {
                let (message, length) = (frame.control_message().expect("a message"), frame.len());
                self.read.drain(..length);
                return message;
            }
            let piece = self.downward.data().await.expect("the stream goes on").expect("and is whole");
            self.downward.flow_control().release_capacity(piece.len()).expect("what was received is released");
            self.read.extend_from_slice(&piece);
        }
    }
}

impl Door {
    async fn of(mesh: &LocalMesh, namespace: &str, pod: &str) -> Self {
        let state = mesh.path("state/fsm");
        let read = |path: &str| {
            let path = state.join(path);
            std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
        };
        let json = |path: &str| serde_json::from_str::<Value>(&read(path)).expect("JSON");
        let address = json("control/ready")["stream"].as_str().expect("an address").parse().expect("an address");
        let identity = format!("pods/{namespace}/{pod}/volumes/fsm-identity");
        let uid = format!("kubectl get pod -n {namespace} {pod} -o jsonpath='{{.metadata.uid}}'");
        Self {
            address,
            control: json("run.json")["control"]["pid"].as_u64().expect("a process"),
            roots: read(&format!("{identity}/ca.crt")),
            token: read(&format!("{identity}/token")),
            name: (namespace.to_owned(), pod.to_owned()),
            uid: mesh.shows(&uid).await.trim().to_owned(),
        }
    }

    /// A key, and what is issued for it.
    async fn identity(&self) -> (String, IdentityResponse) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut wanted = rcgen::CertificateParams::default();
        wanted.distinguished_name = rcgen::DistinguishedName::new();
        let csr = wanted.serialize_request(&key).and_then(|request| request.pem()).expect("a request");
        let body = serde_json::to_vec(&IdentityRequest { csr }).expect("JSON");
        let mut requests = self.connect(None).await;
        let (answer, mut upward) = post(&mut requests, IDENTITY_PATH, Some(&self.token));
        upward.send_data(body.into(), true).expect("the stream is open");
        let answer = within("fsm-control answers", answer).await.expect("an answer");
        let status = answer.status();
        let text = whole(&mut answer.into_body()).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        (key.serialize_pem(), serde_json::from_str(&text).expect("what was issued"))
    }

    async fn connect(&self, shown: Option<(&str, &str)>) -> SendRequest<Bytes> {
        let stream = self.socket().await;
        let name = ServerName::try_from(SERVER).expect("a name");
        let secured = TlsConnector::from(Arc::new(self.client(shown))).connect(name, stream);
        let secured = within("fsm-control's handshake", secured).await.expect("a handshake");
        let (requests, connection) = within("HTTP/2 begins", h2::client::handshake(secured)).await.expect("HTTP/2");
        tokio::spawn(async move { drop(connection.await) });
        within("a stream may be opened", requests.ready()).await.expect("HTTP/2 goes on")
    }

    /// A connection from the node that fsm-control runs on. The thread that enters the node's network ends with that.
    async fn socket(&self) -> TcpStream {
        let (control, address) = (self.control, self.address);
        let inside = move || {
            let network = File::open(format!("/proc/{control}/ns/net"))?;
            setns(network, CloneFlags::CLONE_NEWNET)?;
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = std::thread::spawn(inside).join().expect("no panic").expect("fsm-control is reached");
        TcpStream::from_std(stream).expect("a socket")
    }

    fn client(&self, shown: Option<(&str, &str)>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root.expect("a certificate")).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("the provider has it")
            .with_root_certificates(roots);
        let mut config = match shown {
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(|one| one.expect("a certificate"));
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(chain.collect(), key).expect("they fit")
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }
}

/// Begins a request.
fn post(
    requests: &mut SendRequest<Bytes>,
    path: &str,
    token: Option<&str>,
) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, format!("Bearer {}", token.trim()).parse().expect("a header"));
    }
    let mut request = Request::post(format!("https://{SERVER}{path}")).body(()).expect("a request");
    *request.headers_mut() = headers;
    requests.send_request(request, false).expect("a stream is opened")
}

/// A body as text.
async fn whole(body: &mut RecvStream) -> String {
    let mut text = Vec::new();
    while let Some(piece) = within("the answer goes on", body.data()).await {
        let piece = piece.expect("a whole answer");
        body.flow_control().release_capacity(piece.len()).expect("what was received is released");
        text.extend_from_slice(&piece);
    }
    String::from_utf8_lossy(&text).into_owned()
}
