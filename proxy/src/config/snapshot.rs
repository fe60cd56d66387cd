//! The compiled, immutable configuration.

use crate::limits;
use crate::policy::breaker::Breaker;
use crate::policy::rate::{Decision, RateLimiter};
use crate::route::ranges::Ranges;
use crate::route::split::Split;
use crate::route::table::{HostTable, Route};
use crate::telemetry::counters::Counter;
use crate::telemetry::observe::Observe;
use crate::telemetry::{self, Direction, Telemetry};
use crate::tls::{Identity, ServerTls};
use crate::upstream::cluster::Cluster;
use crate::upstream::connect::Transport;
use arcstr::ArcStr;
use fsm_api::config::{Certificate, Config, Problem};
use http::HeaderValue;
use rustc_hash::FxHashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Everything a decision needs, compiled from one document. Replaced as a whole, never changed.
#[derive(Debug)]
pub struct Snapshot {
    /// The document's `Version`, or empty.
    pub version: String,
    /// The document it was compiled from.
    pub document: Arc<Config>,
    /// What is wrong with the document, reading and compiling together.
    pub problems: Vec<Problem>,
    /// Every cluster, local (inbound) ones first, sorted by name.
    pub clusters: Vec<Arc<Cluster>>,
    /// Our certificate; `None` in a mesh without mTLS.
    pub identity: Option<Arc<Identity>>,
    /// Settings of the proxy as a whole.
    pub settings: Settings,
    /// What is to be told of single requests.
    pub observe: Arc<Observe>,
    /// What may enter; `None` keeps the inbound listener closed.
    pub inbound: Option<Arc<Inbound>>,
    /// What may be called.
    pub outbound: Arc<Outbound>,
    pub(super) carried: Arc<Carried>,
}

/// Settings of the proxy as a whole.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Value of the `serviceidentity` header of outbound requests.
    pub service_identity: Option<HeaderValue>,
    /// From a request to the head of its response.
    pub response_timeout: Duration,
    /// Unknown destinations are passed through.
    pub egress_passthrough: bool,
    /// An endpoint is chosen for every HTTP/1 request, not once for a downstream connection.
    pub http1_per_request: bool,
    /// An endpoint is chosen for every HTTP/2 request, not once for a downstream connection.
    pub http2_per_request: bool,
    /// Unknown hosts are served by the first service of the port.
    pub auto_default_route: bool,
    /// Responses tell which workload and pod answered.
    pub stats_headers: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            service_identity: None,
            response_timeout: limits::RESPONSE_TIMEOUT,
            egress_passthrough: false,
            http1_per_request: false,
            http2_per_request: true,
            auto_default_route: false,
            stats_headers: true,
        }
    }
}

/// What may enter the pod.
#[derive(Debug, Default)]
pub struct Inbound {
    /// By original destination port.
    pub ports: FxHashMap<u16, Arc<InboundPort>>,
    /// Addresses that may connect; `None` leaves it to the certificates.
    pub allowed: Option<Ranges<()>>,
    /// How mesh clients are received.
    pub mesh_tls: MeshTls,
}

/// How mesh clients are received.
#[derive(Debug, Default)]
pub enum MeshTls {
    /// In plaintext: the document has no certificate, mTLS is off in this mesh.
    #[default]
    Off,
    /// With mutual TLS.
    On {
        /// For ports that speak HTTP: agrees on `h2` or `http/1.1`.
        http: ServerTls,
        /// For all other ports, and clients of the mesh: agrees on `fsm-tcp` with our own sidecars.
        tcp: ServerTls,
        /// For all other ports, and clients outside the mesh: agrees on anything.
        tcp_outside: ServerTls,
        /// Mesh clients must be workloads: their certificate names a service account of our trust domain. So where
        /// fsm-control certifies them; of FSM's own controller also certificates without an identity are good.
        workloads_only: bool,
    },
    /// Not at all: the document's certificate is unusable, and there is no earlier one.
    Broken,
}

/// What a port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// HTTP/1 or HTTP/2, told by the first bytes.
    Http,
    /// HTTP/2 towards the application, whatever the client speaks.
    Grpc,
    /// Bytes.
    Tcp,
    /// TLS that is not ours to open; routed by its server name where the destination is a name.
    Tls,
}

/// One inbound port.
#[derive(Debug)]
pub struct InboundPort {
    /// What it carries.
    pub carries: Carries,
    /// Services by host (HTTP).
    pub hosts: HostTable,
    /// Where bytes go (TCP).
    pub tcp: Option<InboundTcp>,
    /// Clients outside the mesh that are let in.
    pub sources: Ranges<Source>,
    /// Limit of new connections.
    pub limit: Option<ConnectionLimit>,
}

/// Limit of new connections to a port.
#[derive(Debug)]
pub struct ConnectionLimit {
    limiter: Arc<RateLimiter>,
    counted_as: telemetry::ConnectionLimit,
    counter: OnceLock<Arc<Counter>>,
}

impl ConnectionLimit {
    /// A limit on `port`, the application's own.
    pub fn new(limiter: Arc<RateLimiter>, port: u16, protocol: String) -> Self {
        Self { limiter, counted_as: telemetry::ConnectionLimit { port, protocol }, counter: OnceLock::new() }
    }

    /// Whether one more connection may come in now; counts it if not.
    pub fn admits(&self, now: Instant, telemetry: &Telemetry) -> bool {
        if matches!(self.limiter.take(now), Decision::Allowed) {
            return true;
        }
        let counter = || telemetry.connection_limit(self.counted_as.clone());
        self.counter.get_or_init(counter).increment();
        false
    }
}

/// Where inbound TCP connections go.
#[derive(Debug)]
pub struct InboundTcp {
    /// Clusters by weight.
    pub split: Split,
    /// Permitted callers, sorted; `None` admits every mesh client.
    pub callers: Option<Box<[Box<str>]>>,
}

/// How clients of one source range are let in.
#[derive(Clone, Debug)]
pub enum Source {
    /// Without TLS.
    Plaintext,
    /// With TLS; `principals` are the certificate names that are let in, `None` any.
    Tls {
        /// Permitted certificate names.
        principals: Option<Arc<[ArcStr]>>,
    },
}

impl Inbound {
    /// Whether this address may connect at all.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| allowed.find(address).is_some())
    }
}

/// What the pod may call.
#[derive(Debug, Default)]
pub struct Outbound {
    /// By original destination port.
    pub ports: FxHashMap<u16, OutboundPort>,
    /// Where passed-through connections are counted.
    pub passthrough: Option<Arc<Cluster>>,
    /// How passed-through connections are made.
    pub passthrough_transport: Option<Arc<Transport>>,
}

/// One outbound port: entries by destination range, and entries for any destination (egress).
#[derive(Clone, Debug, Default)]
pub struct OutboundPort {
    /// Entries with destination ranges.
    pub ranged: Ranges<Arc<OutboundEntry>>,
    /// The egress entry for HTTP, if any.
    pub any_http: Option<Arc<OutboundEntry>>,
    /// The egress entry for TLS and TCP, if any.
    pub any_tcp: Option<Arc<OutboundEntry>>,
}

/// What may be called at one port and range.
#[derive(Debug)]
pub struct OutboundEntry {
    /// Its place among the elements of its port; of several that share an entry the first one's.
    pub element: usize,
    /// What it carries.
    pub carries: Carries,
    /// Services by host (HTTP).
    pub hosts: HostTable,
    /// Where bytes go (TCP).
    pub tcp: Option<OutboundTcp>,
}

/// Where outbound TCP connections go.
#[derive(Debug)]
pub struct OutboundTcp {
    /// Clusters by weight; `None` when there is only passing through.
    pub split: Option<Split>,
    /// How connections pass through to their original destination when there is no cluster; `None` refuses them.
    pub passthrough: Option<Arc<Transport>>,
}

/// State that the next compilation continues.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) transports: FxHashMap<TransportKey, Arc<Transport>>,
    pub(super) routes: FxHashMap<Box<str>, Arc<Route>>,
    pub(super) limiters: FxHashMap<String, Arc<RateLimiter>>,
    pub(super) breakers: FxHashMap<String, Arc<Breaker>>,
    /// How the endpoints of remote clusters are reached; clusters without a usable way are not here.
    pub(super) ways: FxHashMap<Box<str>, Arc<Transport>>,
}

/// What makes two transports the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TransportKey {
    pub(super) tls: TlsKey,
    pub(super) connect_timeout: Duration,
    /// The forward rule with everything it says, in words.
    pub(super) via: Option<String>,
}

/// What makes two TLS settings the same.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum TlsKey {
    /// Plaintext.
    None,
    /// Mesh mTLS with a server that presents one of these identities; any of the mesh if there are none.
    Mesh(Vec<String>),
    /// TLS origination with a certificate of its own.
    Origination {
        /// PEM: certificate chain.
        chain: String,
        /// PEM: private key.
        key: String,
        /// PEM: roots.
        roots: String,
    },
}

impl std::fmt::Debug for TlsKey {
    /// Never shows key material.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Mesh(identities) => f.debug_tuple("Mesh").field(identities).finish(),
            Self::Origination { .. } => f.write_str("Origination"),
        }
    }
}

impl TlsKey {
    pub(super) fn origination(certificate: &Certificate) -> Self {
        Self::Origination {
            chain: certificate.cert_chain.clone(),
            key: certificate.private_key.clone(),
            roots: certificate.issuing_ca.clone(),
        }
    }
}

impl Snapshot {
    /// The cluster of this name in this direction.
    pub fn cluster(&self, direction: Direction, name: &str) -> Option<&Arc<Cluster>> {
        // Local ones first, each part sorted by name.
        let remote = self.clusters.partition_point(|cluster| cluster.direction == Direction::Inbound);
        let (local, remote) = self.clusters.split_at(remote);
        let part = if direction == Direction::Inbound { local } else { remote };
        part.binary_search_by(|cluster| (*cluster.name).cmp(name)).ok().map(|index| &part[index])
    }
}
