//! Ports 15901–15904: the kubelet's probes, carried to the application.
//!
//! The injector points the kubelet here because the application's own ports speak mTLS. A request names its target in
//! headers (`Original-Http-Port` and `Original-Http-Path`, `Original-Tcp-Port`, or `Original-Grpc-Port` and
//! `Original-Grpc-Service`), which is how several containers of a pod share one port. The target must be one that the configuration names: otherwise anyone who reaches the pod
//! could knock on every local port. A request without these headers means the first probe of its kind (FSM's rule).
//!
//! The application is asked on loopback without a bound source address: redirection leaves the proxy's own traffic on
//! loopback alone, and the application sees what it would see from a local client.

mod grpc;

use super::reply::{Ask, Reply, reply, text, wrong_method};
use super::server;
use crate::config::store::Store;
use crate::reason::Reason;
use crate::telemetry::Telemetry;
use crate::telemetry::counters::Counter;
use bytes::Bytes;
use fsm_api::config::{Config, InboundTrafficMatch, Probe};
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// The only path that the injector writes.
const PATH: &str = "/fsm-healthcheck";

const HTTP_PORT: &str = "original-http-port";
const HTTP_PATH: &str = "original-http-path";
const TCP_PORT: &str = "original-tcp-port";
const GRPC_PORT: &str = "original-grpc-port";
const GRPC_SERVICE: &str = "original-grpc-service";

/// Kubernetes' default for `timeoutSeconds`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest `timeoutSeconds` that is honoured.
const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// Bytes of the application's answer that are passed back: the kubelet shows so many in its event.
const MAX_ANSWER_BYTES: usize = 10 << 10;

/// Which probe a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// Port 15901.
    Liveness,
    /// Port 15902.
    Readiness,
    /// Port 15903.
    Startup,
    /// Port 15904: TCP probes of every kind; the companion `fsm-healthcheck` in FSM.
    Tcp,
}

impl ProbeKind {
    /// Every kind.
    pub const ALL: [ProbeKind; 4] = [ProbeKind::Liveness, ProbeKind::Readiness, ProbeKind::Startup, ProbeKind::Tcp];

    /// The port that the injector points the kubelet to.
    pub const fn port(self) -> u16 {
        match self {
            ProbeKind::Liveness => 15901,
            ProbeKind::Readiness => 15902,
            ProbeKind::Startup => 15903,
            ProbeKind::Tcp => 15904,
        }
    }

    /// Whether the configuration points a probe to this port, so that it must be open.
    pub fn is_wanted(self, document: &Config) -> bool {
        every_probe(document).filter_map(|probe| probe.http_get.as_ref()).any(|get| get.port == self.port())
    }

    fn failures(self, telemetry: &Telemetry) -> &Counter {
        let failures = &telemetry.probe_failures;
        match self {
            ProbeKind::Liveness => &failures.liveness,
            ProbeKind::Readiness => &failures.readiness,
            ProbeKind::Startup => &failures.startup,
            ProbeKind::Tcp => &failures.tcp,
        }
    }

    fn probes(self, document: &Config) -> &[Probe] {
        let probes = &document.spec.probes;
        match self {
            ProbeKind::Liveness => &probes.liveness_probes,
            ProbeKind::Readiness => &probes.readiness_probes,
            ProbeKind::Startup => &probes.startup_probes,
            ProbeKind::Tcp => &[],
        }
    }
}

/// Answers on one probe port until `stop` is cancelled.
pub async fn serve_probes(
    listener: TcpListener,
    kind: ProbeKind,
    store: Arc<Store>,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
) {
    let handler = move |ask: Ask| {
        let (store, telemetry) = (Arc::clone(&store), Arc::clone(&telemetry));
        async move {
            let reply = answer(&ask, kind, &store).await;
            if reply.status().as_u16() >= 400 {
                kind.failures(&telemetry).increment();
            }
            reply
        }
    };
    server::serve_connections(listener, handler, MAX_TIMEOUT, stop).await;
}

async fn answer(ask: &Ask, kind: ProbeKind, store: &Store) -> Reply {
    if ask.uri().path() != PATH {
        return text(StatusCode::NOT_FOUND, format!("only {PATH} is served here\n"));
    }
    if let Some(refusal) = wrong_method(ask.method(), &["GET"]) {
        return refusal;
    }
    let Some(snapshot) = store.snapshot() else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the proxy has no configuration yet\n");
    };
    let (target, patience) = match find_target(kind, ask.headers(), &snapshot.document) {
        Ok(found) => found,
        Err((status, why)) => return text(status, format!("{why}\n")),
    };
    match target {
        Target::Tcp(port) => check_port(port, patience).await,
        Target::Http { port, path } => match tokio::time::timeout(patience, ask_application(ask, port, &path)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(failure)) => failed(failure, port),
            Err(_) => failed(Failure::Late, port),
        },
        Target::Grpc { port, service } => match tokio::time::timeout(patience, ask_grpc(port, &service)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(failure)) => failed(failure, port),
            Err(_) => failed(Failure::Late, port),
        },
    }
}

/// What a probe looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Http { port: u16, path: String },
    Tcp(u16),
    Grpc { port: u16, service: String },
}

type Refusal = (StatusCode, &'static str);

/// The target that the request means, and how long the kubelet waits for it.
fn find_target(kind: ProbeKind, headers: &HeaderMap, document: &Config) -> Result<(Target, Duration), Refusal> {
    const UNKNOWN: Refusal = (StatusCode::FORBIDDEN, "the configuration names no such probe");
    let Some(asked) = named_target(|name| single(headers, name))? else {
        return match kind.probes(document).first() {
            Some(first) => first_target(first, document).map(|target| (target, patience(first))),
            None if kind == ProbeKind::Tcp => Err((StatusCode::BAD_REQUEST, "the header Original-Tcp-Port is missing")),
            None => Err((StatusCode::NOT_FOUND, "the configuration names no probe of this kind")),
        };
    };
    if let Target::Tcp(port) = asked {
        let probe = every_probe(document).find(|probe| probe_target(probe).as_ref() == Some(&asked));
        let is_inbound = inbound_matches(document).any(|inbound| inbound.port == port);
        return match probe {
            Some(probe) => Ok((asked, patience(probe))),
            None if kind == ProbeKind::Tcp && is_inbound => Ok((asked, DEFAULT_TIMEOUT)),
            None => Err(UNKNOWN),
        };
    }
    let probe = kind.probes(document).iter().find(|probe| probe_target(probe).as_ref() == Some(&asked));
    probe.map(|probe| (asked, patience(probe))).ok_or(UNKNOWN)
}

/// The target of the first probe, which may lack the headers when the document is older than its injector.
fn first_target(probe: &Probe, document: &Config) -> Result<Target, Refusal> {
    const NOWHERE: Refusal = (StatusCode::NOT_FOUND, "the probe names no target and no inbound port speaks HTTP");
    if let Some(target) = probe_target(probe) {
        return Ok(target);
    }
    let get = probe.http_get.as_ref().ok_or(NOWHERE)?;
    let speaks_http = |inbound: &&InboundTrafficMatch| matches!(inbound.protocol.as_str(), "http" | "grpc");
    let is_open = |inbound: &&InboundTrafficMatch| inbound.source_ip_ranges.is_empty();
    let mut candidates = inbound_matches(document).filter(speaks_http);
    let inbound = candidates.clone().find(is_open).or_else(|| candidates.next()).ok_or(NOWHERE)?;
    Ok(Target::Http { port: inbound.port, path: get.path.clone() })
}

/// Reads the headers. `Ok(None)`: none of them is there.
fn named_target<'a>(header: impl Fn(&str) -> Result<Option<&'a str>, Refusal>) -> Result<Option<Target>, Refusal> {
    const BAD_PORT: Refusal = (StatusCode::BAD_REQUEST, "the port in the headers is not a number from 1 to 65535");
    let port = |text: &str| text.parse().ok().filter(|port: &u16| *port != 0).ok_or(BAD_PORT);
    if let Some(text) = header(HTTP_PORT)? {
        let path = header(HTTP_PATH)?.filter(|path| !path.is_empty()).unwrap_or("/");
        return Ok(Some(Target::Http { port: port(text)?, path: path.to_owned() }));
    }
    if let Some(text) = header(GRPC_PORT)? {
        let service = header(GRPC_SERVICE)?.unwrap_or_default().to_owned();
        return Ok(Some(Target::Grpc { port: port(text)?, service }));
    }
    header(TCP_PORT)?.map(|text| port(text).map(Target::Tcp)).transpose()
}

/// The target that the injector wrote into a probe.
fn probe_target(probe: &Probe) -> Option<Target> {
    let headers = &probe.http_get.as_ref()?.http_headers;
    let header = |name: &str| {
        let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        Ok(found.map(|header| header.value.as_str()))
    };
    named_target(header).ok().flatten()
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let (first, more) = (values.next(), values.next());
    let value = first.map(HeaderValue::to_str).transpose();
    match (value, more) {
        (Ok(value), None) => Ok(value),
        _ => Err((StatusCode::BAD_REQUEST, "a header that names the target is repeated or unreadable")),
    }
}

fn every_probe(document: &Config) -> impl Iterator<Item = &Probe> {
    let probes = &document.spec.probes;
    probes.liveness_probes.iter().chain(&probes.readiness_probes).chain(&probes.startup_probes)
}

fn inbound_matches(document: &Config) -> impl Iterator<Item = &InboundTrafficMatch> + Clone {
    document.inbound.iter().flat_map(|inbound| inbound.traffic_matches.values())
}

fn patience(probe: &Probe) -> Duration {
    probe.timeout_seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs).clamp(DEFAULT_TIMEOUT, MAX_TIMEOUT)
}

#[derive(Debug)]
enum Failure {
    Connect(std::io::Error),
    Http(hyper::Error),
    BadTarget(http::Error),
    Late,
}

/// Opens a connection to the application, on IPv4 and else on IPv6, as `localhost` would.
async fn connect(port: u16) -> std::io::Result<TcpStream> {
    const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match TcpStream::connect(SocketAddr::new(ADDRESSES[0], port)).await {
        Ok(stream) => Ok(stream),
        Err(error) => TcpStream::connect(SocketAddr::new(ADDRESSES[1], port)).await.map_err(|_| error),
    }
}

/// 200 or 404, as FSM's `fsm-healthcheck` answers.
async fn check_port(port: u16, patience: Duration) -> Reply {
    match tokio::time::timeout(patience, connect(port)).await {
        Ok(Ok(_)) => text(StatusCode::OK, "OK\n"),
        Ok(Err(error)) => text(StatusCode::NOT_FOUND, format!("cannot connect to local port {port}: {error}\n")),
        Err(_) => text(StatusCode::NOT_FOUND, format!("local port {port} did not accept a connection in time\n")),
    }
}

async fn ask_grpc(port: u16, service: &str) -> Result<Reply, Failure> {
    let stream = connect(port).await.map_err(Failure::Connect)?;
    grpc::check(stream, port, service).await
}

async fn ask_application(ask: &Ask, port: u16, path: &str) -> Result<Reply, Failure> {
    let request = application_request(ask, port, path).map_err(Failure::BadTarget)?;
    let stream = connect(port).await.map_err(Failure::Connect)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Failure::Http)?;
    let mut connection = std::pin::pin!(connection);
    let exchange = async { passed_back(sender.send_request(request).await.map_err(Failure::Http)?).await };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        reply = exchange.as_mut() => reply,
        // The connection may end as soon as the whole answer has been read from it.
        ended = connection.as_mut() => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(Failure::Http(error)),
        },
    }
}

/// The kubelet's request as the application would have got it without a mesh.
fn application_request(ask: &Ask, port: u16, path: &str) -> Result<Request<Empty<Bytes>>, http::Error> {
    let rooted = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request = Request::get(Uri::try_from(rooted)?).body(Empty::new())?;
    for (name, value) in ask.headers() {
        if !is_of_this_hop(name) {
            request.headers_mut().append(name, value.clone());
        }
    }
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    // The kubelet wrote the pod's address and our port; a `Host` of the probe's own is left alone.
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let host = match host.and_then(|host| host.rsplit_once(':')) {
        Some((host, "15901" | "15902" | "15903")) => format!("{host}:{port}"),
        _ => host.map_or_else(|| format!("localhost:{port}"), str::to_owned),
    };
    request.headers_mut().insert(HOST, HeaderValue::try_from(host)?);
    Ok(request)
}

/// Headers that concern the connection to us, or name the target.
fn is_of_this_hop(name: &HeaderName) -> bool {
    const NAMES: [&str; 10] = [
        HTTP_PORT,
        HTTP_PATH,
        TCP_PORT,
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
    ];
    NAMES.contains(&name.as_str())
}

/// Status, content type and the beginning of the body. `Location` is left out on purpose: the kubelet would follow a
/// redirect to *this* port and find nothing, while a redirect without a target counts as success, as it does for
/// redirects to other hosts.
async fn passed_back(response: Response<Incoming>) -> Result<Reply, Failure> {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while bytes.len() < MAX_ANSWER_BYTES {
        let Some(frame) = body.frame().await else {
            break;
        };
        if let Some(data) = frame.map_err(Failure::Http)?.data_ref() {
            bytes.extend_from_slice(&data[..data.len().min(MAX_ANSWER_BYTES - bytes.len())]);
        }
    }
    let mut reply = reply(head.status, "text/plain", bytes);
    if let Some(content_type) = head.headers.get(CONTENT_TYPE) {
        reply.headers_mut().insert(CONTENT_TYPE, content_type.clone());
    }
    Ok(reply)
}

fn failed(failure: Failure, port: u16) -> Reply {
    let (reason, why) = match failure {
        Failure::Connect(error) => (Reason::UpstreamRefused, format!("cannot connect: {error}")),
        Failure::Http(error) => (Reason::UpstreamProtocol, format!("no HTTP answer: {error}")),
        Failure::BadTarget(error) => (Reason::BadPath, format!("the probe's path is unusable: {error}")),
        Failure::Late => (Reason::UpstreamTimeout, "no answer within the probe's timeout".to_owned()),
    };
    let mut reply = text(reason.status(), format!("local port {port}: {why}\n"));
    reply.headers_mut().insert("x-fsm-reason", HeaderValue::from_static(reason.code()));
    reply
}

#[cfg(test)]
mod tests;
