//! The kubelet's API, as far as an API server passes people on to it: logs, exec, port-forward.
//!
//! TLS with a certificate of its own making (API servers look at it only when told to), and only for whom the cluster
//! knows: the client's certificate must be of the cluster's authority, and the API server is asked (SubjectAccessReview)
//! whether its owner may use `nodes/proxy`, as a kubelet with webhook authorization does. Streams are WebSockets; SPDY,
//! which kubectl used before 1.31 for exec and port-forward, is refused with the reason.

mod ages;
mod channel;
mod exec;
mod forward;
mod logs;

use crate::local::daemon::Containers;
use crate::local::node::Node;
use crate::local::state::State;
use ages::Ages;
use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client, Config};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// How long the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the API server may take to say whether somebody may.
const REVIEW: Duration = Duration::from_secs(10);
/// Pause after an accept has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// What answers need.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) node: Node,
    pub(super) containers: Containers,
    pub(super) state: State,
    pub(super) client: Client,
    /// Of the node.
    pub(super) name: String,
    /// Of logs.
    ages: Ages,
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;
type Reply = Response<Body>;

/// Whoever has shown a certificate of the cluster.
struct User {
    name: String,
    groups: Vec<String>,
}

/// Which container is meant.
struct Target {
    namespace: String,
    pod: String,
    container: String,
}

/// Serves on the node's address, as long as the process lives.
pub(super) fn start(service: Service, port: u16, config: &Config) -> Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(&service, config)?));
    service.ages.watch(&service.state);
    let listener = service.node.listen(SocketAddr::new(IpAddr::V4(service.node.address()), port))?;
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            tokio::spawn(connection(service.clone(), acceptor.clone(), stream));
        }
    });
    Ok(())
}

fn tls(service: &Service, config: &Config) -> Result<ServerConfig> {
    let authorities = config.root_cert.as_deref().unwrap_or_default();
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(CertificateDer::from(authority.clone())).context("the kubeconfig's authority is no certificate")?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
    let verifier = verifier.context("the kubeconfig names no authority, so nobody's certificate could be checked")?;
    let key = rcgen::KeyPair::generate()?;
    let names = vec![service.name.clone(), service.node.address().to_string()];
    let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|why| anyhow!("a key that was just made: {why}"))?;
    let chain = vec![certificate.der().clone()];
    let mut tls = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    // HTTP/2 has no upgrades of this kind.
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

async fn connection(service: Service, acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let Some(user) = certificate.and_then(|certificate| User::of(certificate)) else { return };
    let user = Arc::new(user);
    let answering = service_fn(move |request| {
        let (service, user) = (service.clone(), Arc::clone(&user));
        async move { Ok::<Reply, Infallible>(service.answer(&user, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answering);
    let _ = connection.with_upgrades().await;
}

impl Service {
    pub(super) fn new(node: Node, containers: Containers, state: State, client: Client, name: String) -> Self {
        Self { node, containers, state, client, name, ages: Ages::default() }
    }

    async fn answer(&self, user: &User, request: Request<Incoming>) -> Reply {
        let path: Vec<String> = request.uri().path().trim_matches('/').split('/').map(str::to_owned).collect();
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let is_name =
            |name: &&str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
        if !words.iter().skip(1).all(is_name) {
            return text(StatusCode::BAD_REQUEST, "these are no names of objects\n");
        }
        if words == ["healthz"] {
            return text(StatusCode::OK, "ok");
        }
        if let Err(reply) = self.authorize(user, request.method()).await {
            return reply;
        }
        let target = |namespace: &str, pod: &str, container: &str| Target {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.to_owned(),
        };
        match words[..] {
            ["containerLogs", namespace, pod, container] => {
                logs::answer(self, &target(namespace, pod, container), &request)
            }
            // With the pod's uid in between, as kubelets take it too.
            ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
                exec::answer(self, target(namespace, pod, container), request)
            }
            ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
                forward::answer(self, target(namespace, pod, ""), request)
            }
            _ => text(StatusCode::NOT_FOUND, "this node serves containerLogs, exec and portForward\n"),
        }
    }

    async fn authorize(&self, user: &User, method: &http::Method) -> Result<(), Reply> {
        let verb = if method == http::Method::POST { "create" } else { "get" };
        let attributes = ResourceAttributes {
            resource: Some("nodes".to_owned()),
            subresource: Some("proxy".to_owned()),
            name: Some(self.name.clone()),
            verb: Some(verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                groups: Some(user.groups.clone()),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let parameters = PostParams::default();
        match tokio::time::timeout(REVIEW, reviews.create(&parameters, &review)).await {
            Ok(Ok(answer)) if answer.status.as_ref().is_some_and(|status| status.allowed) => Ok(()),
            Ok(Ok(_)) => {
                let why = format!("{} may not {verb} nodes/proxy of {}\n", user.name, self.name);
                Err(text(StatusCode::FORBIDDEN, why))
            }
            Ok(Err(error)) => {
                Err(text(StatusCode::SERVICE_UNAVAILABLE, format!("who you are is not known: {error}\n")))
            }
            Err(_) => Err(text(StatusCode::SERVICE_UNAVAILABLE, "the API server does not say whether you may\n")),
        }
    }
}

impl User {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let name = read.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups = read.subject().iter_organization().filter_map(|group| group.as_str().ok().map(str::to_owned));
        Some(Self { name, groups: groups.chain(["system:authenticated".to_owned()]).collect() })
    }
}

/// A parameter of the query, decoded; all values of it.
fn parameters(request: &Request<Incoming>, name: &str) -> Vec<String> {
    let query = request.uri().query().unwrap_or_default();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let of_name = pairs.filter(|(key, _)| *key == name);
    of_name.map(|(_, value)| decoded(value)).collect()
}

fn is_set(request: &Request<Incoming>, name: &str) -> bool {
    parameters(request, name).iter().any(|value| value == "true" || value == "1")
}

/// As forms are encoded: `+` is a blank.
fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

fn text(status: StatusCode, text: impl Into<String>) -> Reply {
    let body = Full::new(Bytes::from(text.into())).map_err(|never| match never {}).boxed_unsync();
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply
}
