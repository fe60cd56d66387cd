//! A server outside of the mesh, or an application with answers of the test's own: HTTP/1.1 and HTTP/2, in plaintext or
//! over TLS.

use crate::{Leaf, Pod};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio_rustls::TlsAcceptor;

/// What was asked of a website.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Host, from the header or the authority.
    pub host: String,
    /// Who connected.
    pub remote: SocketAddr,
    /// Names in the client's certificate: DER of the leaf, if the client had one.
    pub certificate: Option<Vec<u8>>,
}

/// Makes answers: status and body.
pub type Answering = Pin<Box<dyn Future<Output = (u16, String)> + Send>>;

type Answers = Arc<dyn Fn(Asked) -> Answering + Send + Sync>;

/// Whose certificates a website asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Anybody, without a certificate.
    Anyone,
    /// Only clients with a certificate of the website's own authority.
    OfItsAuthority,
}

/// The server. It ends with the test's runtime.
#[derive(Clone)]
pub struct Website {
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Website {
    /// Serves plaintext.
    pub fn start(pod: &Pod, at: &str, answer: impl Fn(Asked) -> Answering + Send + Sync + 'static) -> Self {
        Self::serve(pod, at, None, Arc::new(answer))
    }

    /// Serves TLS with ALPN.
    pub fn start_tls(
        pod: &Pod,
        at: &str,
        leaf: &Leaf,
        clients: Clients,
        answer: impl Fn(Asked) -> Answering + Send + Sync + 'static,
    ) -> Self {
        Self::serve(pod, at, Some(acceptor(leaf, clients)), Arc::new(answer))
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    fn serve(pod: &Pod, at: &str, tls: Option<TlsAcceptor>, answer: Answers) -> Self {
        let website = Self { asked: Arc::default() };
        let listener = pod.listen(at.parse().expect("an address with a port"));
        let asked = Arc::clone(&website.asked);
        tokio::spawn(async move {
            while let Ok((stream, remote)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (tls, asked, answer) = (tls.clone(), Arc::clone(&asked), Arc::clone(&answer));
                tokio::spawn(async move {
                    let Some(tls) = tls else {
                        return connection(TokioIo::new(stream), remote, None, asked, answer).await;
                    };
                    if let Ok(stream) = tls.accept(stream).await {
                        let peer = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                        let peer = peer.map(|leaf| leaf.as_ref().to_vec());
                        connection(TokioIo::new(stream), remote, peer, asked, answer).await;
                    }
                });
            }
        });
        website
    }
}

/// An answer that is ready.
pub fn answered(status: u16, body: impl Into<String>) -> Answering {
    let body = body.into();
    Box::pin(async move { (status, body) })
}

/// The paths of httpbin that the demos use: `/status/N` answers N without a body, anything else 200 with JSON.
pub fn httpbin(asked: Asked) -> Answering {
    match asked.target.strip_prefix("/status/").and_then(|code| code.parse().ok()) {
        Some(status) => answered(status, ""),
        None => answered(200, format!("{{\"url\": \"{}{}\"}}\n", asked.host, asked.target)),
    }
}

async fn connection<S>(
    stream: S,
    remote: SocketAddr,
    certificate: Option<Vec<u8>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Answers,
) where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let header = request.headers().get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        let now = Asked {
            method: request.method().to_string(),
            target: request.uri().path_and_query().map_or("", |path| path.as_str()).to_owned(),
            host: header.or_else(|| Some(request.uri().authority()?.to_string())).unwrap_or_default(),
            remote,
            certificate: certificate.clone(),
        };
        asked.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(now.clone());
        let head = request.method() == Method::HEAD;
        let answer = answer(now);
        async move {
            let (status, body) = answer.await;
            // hyper leaves the body of an answer to HEAD out of HTTP/1 only.
            let length = body.len();
            let mut response = Response::new(Full::new(Bytes::from(if head { String::new() } else { body })));
            response.headers_mut().insert(CONTENT_LENGTH, length.into());
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            Ok::<_, Infallible>(response)
        }
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await;
}

fn acceptor(leaf: &Leaf, clients: Clients) -> TlsAcceptor {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has them");
    let builder = match clients {
        Clients::Anyone => builder.with_no_client_auth(),
        Clients::OfItsAuthority => {
            let mut roots = RootCertStore::empty();
            let authority = CertificateDer::from_pem_slice(leaf.authority.as_bytes()).expect("PEM of the harness");
            roots.add(authority).expect("an authority's certificate");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("one root is enough"))
        }
    };
    let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).expect("PEM of the harness");
    let mut config =
        builder.with_single_cert(chain.expect("PEM of the harness"), key).expect("the leaf's key fits its certificate");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
