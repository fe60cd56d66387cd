//! An fsm-control in this process: real TLS, real HTTP/2, the real messages, and whatever a test wants it to do wrong.

use crate::tls::fixtures::{Authority, Leaf, dns};
use crate::tls::{Alpn, ClientCertificate, Identity, ServerTls};
use bytes::{Bytes, BytesMut};
use fsm_api::stream::frame::Frame;
use fsm_api::stream::{
    ControlMessage, Hello, IDENTITY_PATH, IdentityNames, IdentityRequest, IdentityResponse, ProxyMessage, STREAM_PATH,
    Update,
};
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

pub(super) const NAME: &str = "fsm-controller.fsm-system.svc";
pub(super) const TOKEN: &str = "good-token";

/// No test waits so long unless it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A running fsm-control; ends when dropped.
pub(super) struct Double {
    pub(super) address: SocketAddr,
    pub(super) behaviour: Arc<Mutex<Behaviour>>,
    streams: mpsc::UnboundedReceiver<Opened>,
    requests: mpsc::UnboundedReceiver<()>,
    running: JoinHandle<()>,
}

/// What it does.
pub(super) struct Behaviour {
    /// Issues certificates.
    pub(super) authority: Arc<Authority>,
    /// What it says about roots; that of `authority` alone if empty.
    pub(super) bundle: String,
    pub(super) account: &'static str,
    pub(super) renew_after_seconds: u64,
    /// Seconds of validity.
    pub(super) valid: i64,
    /// Answers requests for certificates so instead.
    pub(super) instead: Option<(StatusCode, Bytes)>,
    /// Answers requests for the stream so instead.
    pub(super) stream_instead: Option<StatusCode>,
    /// Wants these names in requests.
    pub(super) wants: Option<IdentityNames>,
    /// Requests for certificates so far.
    pub(super) issued: usize,
    /// The names in the latest of them.
    pub(super) claimed: Vec<String>,
}

/// One stream.
pub(super) struct Opened {
    pub(super) hello: Hello,
    /// The client, by its certificate.
    pub(super) service: String,
    messages: mpsc::UnboundedSender<Bytes>,
    pub(super) answers: mpsc::UnboundedReceiver<ProxyMessage>,
}

impl Opened {
    pub(super) fn send(&self, message: &ControlMessage) {
        self.send_bytes(message.encode());
    }

    pub(super) fn send_bytes(&self, bytes: impl Into<Bytes>) {
        // The proxy may have hung up already.
        let _ = self.messages.send(bytes.into());
    }

    pub(super) async fn answer(&mut self) -> ProxyMessage {
        tokio::time::timeout(PATIENCE, self.answers.recv()).await.expect("an answer in time").expect("an answer")
    }

    /// Sends a document and waits for the answer.
    pub(super) async fn publish(&mut self, version: &str, document: &Value) -> ProxyMessage {
        self.send(&update(version, document));
        self.answer().await
    }
}

pub(super) fn update(version: &str, document: &Value) -> ControlMessage {
    let document = serde_json::value::to_raw_value(document).unwrap();
    ControlMessage::Update(Update { version: version.into(), document })
}

impl Double {
    pub(super) async fn start(authority: &Arc<Authority>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), authority, NAME).await
    }

    pub(super) async fn start_at(address: SocketAddr, authority: &Arc<Authority>, name: &str) -> Self {
        let mut leaf = Leaf::named(None);
        leaf.names = vec![dns(name)];
        let identity = Identity::from_config(&authority.issue(&leaf), "").unwrap();
        let tls = ServerTls::new(&identity, ClientCertificate::Optional, Alpn::H2_ONLY).unwrap();
        let behaviour = Arc::new(Mutex::new(Behaviour {
            authority: Arc::clone(authority),
            bundle: String::new(),
            account: "web.shop",
            renew_after_seconds: 3600,
            valid: 86_400,
            instead: None,
            stream_instead: None,
            wants: None,
            issued: 0,
            claimed: Vec::new(),
        }));
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(16).unwrap();
        socket.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (opened, streams) = mpsc::unbounded_channel();
        let (asked, requests) = mpsc::unbounded_channel();
        let running = tokio::spawn(serve(listener, tls, Arc::clone(&behaviour), opened, asked));
        Self { address, behaviour, streams, requests, running }
    }

    /// Ends it and everything of it; its address is free then.
    pub(super) async fn end(mut self) {
        self.running.abort();
        assert!((&mut self.running).await.unwrap_err().is_cancelled());
    }

    /// The next stream that the proxy opens.
    pub(super) async fn stream(&mut self) -> Opened {
        tokio::time::timeout(PATIENCE, self.streams.recv()).await.expect("a stream in time").expect("a stream")
    }

    /// Waits for a request for a certificate.
    pub(super) async fn asked(&mut self) {
        tokio::time::timeout(PATIENCE, self.requests.recv()).await.expect("a request in time").expect("a request");
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.running.abort();
    }
}

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn serve(
    listener: TcpListener,
    tls: ServerTls,
    behaviour: Arc<Mutex<Behaviour>>,
    opened: mpsc::UnboundedSender<Opened>,
    asked: mpsc::UnboundedSender<()>,
) {
    // Dropped with this future: every connection ends then.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, tls.clone(), Arc::clone(&behaviour), opened.clone(), asked.clone()));
    }
}

async fn connection(
    stream: TcpStream,
    tls: ServerTls,
    behaviour: Arc<Mutex<Behaviour>>,
    opened: mpsc::UnboundedSender<Opened>,
    asked: mpsc::UnboundedSender<()>,
) {
    let Ok(accepted) = tls.accept(stream, PATIENCE).await else { return };
    let service = accepted.peer.and_then(|peer| peer.service).map(|service| service.to_string());
    let handler = service_fn(move |request: Request<Incoming>| {
        let (behaviour, opened, asked) = (Arc::clone(&behaviour), opened.clone(), asked.clone());
        let service = service.clone();
        async move {
            Ok::<Reply, Infallible>(match (request.uri().path(), service) {
                (IDENTITY_PATH, _) => {
                    let reply = issue(request, &behaviour).await;
                    let _ = asked.send(());
                    reply
                }
                (STREAM_PATH, Some(service)) => open(request, &behaviour, service, &opened).await,
                (STREAM_PATH, None) => reply(StatusCode::UNAUTHORIZED, "no certificate"),
                _ => reply(StatusCode::NOT_FOUND, "no such thing"),
            })
        }
    });
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(accepted.stream), handler).await;
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()).boxed_unsync());
    *reply.status_mut() = status;
    reply
}

async fn issue(request: Request<Incoming>, behaviour: &Mutex<Behaviour>) -> Reply {
    let bearer = request.headers().get(header::AUTHORIZATION).cloned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let request: IdentityRequest = serde_json::from_slice(&body).unwrap();
    let mut behaviour = behaviour.lock();
    behaviour.issued += 1;
    if let Some((status, body)) = &behaviour.instead {
        return reply(*status, body.clone());
    }
    if bearer.is_none_or(|bearer| bearer.as_bytes() != format!("Bearer {TOKEN}").as_bytes()) {
        return reply(StatusCode::UNAUTHORIZED, "the token is not known");
    }
    behaviour.claimed = names_in(&request.csr);
    if let Some(names) = behaviour.wants.clone().filter(|_| behaviour.claimed.is_empty()) {
        return reply(StatusCode::PRECONDITION_REQUIRED, serde_json::to_vec(&names).unwrap());
    }
    let mut leaf = Leaf::fsm(behaviour.account, &[]);
    leaf.not_after = time::OffsetDateTime::now_utc() + time::Duration::seconds(behaviour.valid);
    let response = IdentityResponse {
        certificate_chain: behaviour.authority.sign(&request.csr, &leaf),
        trust_bundle: format!("{}{}", behaviour.authority.pem(), behaviour.bundle),
        renew_after_seconds: behaviour.renew_after_seconds,
    };
    reply(StatusCode::OK, serde_json::to_vec(&response).unwrap())
}

/// All names in a request: common name, DNS names, URIs.
fn names_in(csr: &str) -> Vec<String> {
    use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject};
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::extensions::{GeneralName, ParsedExtension};
    use x509_parser::prelude::FromDer;
    let der = CertificateSigningRequestDer::from_pem_slice(csr.as_bytes()).unwrap();
    let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
    let subject = &request.certification_request_info.subject;
    let mut names: Vec<String> = subject.iter_common_name().map(|name| name.as_str().unwrap().to_owned()).collect();
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(alternative) = extension else { continue };
        names.extend(alternative.general_names.iter().map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => (*name).to_owned(),
            other => other.to_string(),
        }));
    }
    names
}

async fn open(
    request: Request<Incoming>,
    behaviour: &Mutex<Behaviour>,
    service: String,
    opened: &mpsc::UnboundedSender<Opened>,
) -> Reply {
    if let Some(status) = behaviour.lock().stream_instead {
        return reply(status, "not today");
    }
    let (messages, to_send) = mpsc::unbounded_channel::<Bytes>();
    let (answered, answers) = mpsc::unbounded_channel();
    let mut body = request.into_body();
    let opened = opened.clone();
    tokio::spawn(async move {
        let (mut buffer, mut handed_over) = (BytesMut::new(), Some((messages, answers)));
        while let Some(Ok(frame)) = body.frame().await {
            buffer.extend_from_slice(frame.data_ref().unwrap());
            while let Some(frame) = Frame::first(&buffer).unwrap() {
                let (message, length) = (frame.proxy_message().unwrap(), frame.len());
                let _ = buffer.split_to(length);
                match (message, handed_over.take()) {
                    (ProxyMessage::Hello(hello), Some((messages, answers))) => {
                        let service = service.clone();
                        let _ = opened.send(Opened { hello, service, messages, answers });
                    }
                    (message, None) => {
                        let _ = answered.send(message);
                    }
                    (message, Some(_)) => panic!("the first message is {message:?}"),
                }
            }
        }
    });
    Response::new(Messages(to_send).boxed_unsync())
}

/// What the test sends; the stream ends when the test drops its [`Opened`].
struct Messages(mpsc::UnboundedReceiver<Bytes>);

impl Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|next| next.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}
