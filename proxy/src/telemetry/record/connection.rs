//! What is written down of one connection that carries no HTTP, or that is refused before it carries anything.
//!
//! It is filled along the connection's way and handed to the access log once, when the connection ends. HTTP connections have
//! none: their requests have [records](super::Record).

use super::Ends;
use crate::reason::Reason;
use crate::tcp::{Moved, RelayEnd, Side};
use crate::telemetry::observe::Observe;
use crate::telemetry::{Direction, Telemetry};
use crate::tls::Peer;
use crate::upstream::cluster::Cluster;
use crate::upstream::connect::Target;
use arcstr::ArcStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// What is known of a connection while it lives.
#[derive(Debug)]
pub struct ConnectionRecord {
    /// Both ends of the client's connection.
    pub ends: Ends,
    /// Bytes both ways.
    pub moved: Moved,
    cluster: Option<Arc<str>>,
    target: Option<Target>,
    server: Option<ArcStr>,
    mtls: bool,
    end: Option<End>,
}

/// How a connection ended that was carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides closed it in order.
    Closed,
    /// Nothing moved for too long.
    Idle,
    /// The client broke off.
    Client,
    /// The server broke off.
    Server,
}

impl End {
    /// The word in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// One connection and what became of it.
#[derive(Debug)]
pub struct ConnectionDraft {
    /// Which way it went.
    pub direction: Direction,
    /// When it was accepted, by the wall clock.
    pub started: SystemTime,
    /// How long it lived.
    pub duration: Duration,
    /// The settings that want to know.
    pub observe: Arc<Observe>,
    /// Both ends of the client's connection.
    pub ends: Ends,
    /// The cluster that was chosen.
    pub cluster: Option<Arc<str>>,
    /// Whom it was connected to.
    pub target: Option<Target>,
    /// Who the server is according to its certificate.
    pub server: Option<ArcStr>,
    /// Whether the client came over mTLS (inbound), the server was reached over it (outbound).
    pub mtls: bool,
    /// Bytes from the client that the server got.
    pub sent: u64,
    /// Bytes from the server that the client got.
    pub received: u64,
    /// How it ended, if it was carried to its end.
    pub end: Option<End>,
    /// Why the proxy refused it, or ended it.
    pub reason: Option<Reason>,
    /// The same in words, for operators.
    pub detail: String,
}

impl ConnectionRecord {
    /// A connection of this client.
    pub fn new(ends: Ends) -> Box<Self> {
        let moved = Moved::default();
        Box::new(Self { ends, moved, cluster: None, target: None, server: None, mtls: false, end: None })
    }

    /// Where the connection goes.
    pub fn routed(&mut self, cluster: &Cluster) {
        self.cluster = Some(Arc::clone(&cluster.name));
    }

    /// Who was reached: `server` is what its certificate says, if it showed one.
    pub fn connected(&mut self, target: &Target, server: Option<&Peer>) {
        self.target = Some(target.clone());
        self.server = server.and_then(|peer| peer.principal.clone());
        self.mtls = server.is_some();
    }

    /// How it ended.
    pub fn relayed(&mut self, end: &RelayEnd) {
        self.end = Some(match end {
            RelayEnd::Finished => End::Closed,
            RelayEnd::Idle => End::Idle,
            RelayEnd::Failed { side: Side::Downstream, .. } => End::Client,
            RelayEnd::Failed { side: Side::Upstream, .. } => End::Server,
        });
    }
}

/// A connection has ended; `refusal` says why the proxy ended it, if it did.
pub struct Ended<'a> {
    /// Which way it went.
    pub direction: Direction,
    /// When it was accepted.
    pub started: Instant,
    /// Reason, and the same in words.
    pub refusal: Option<(Reason, &'a str)>,
}

/// Hands a connection that has ended to those who want to know.
pub fn hand_out(telemetry: &Telemetry, observe: &Arc<Observe>, record: ConnectionRecord, ended: &Ended<'_>) {
    let Some(log) = &observe.access_log else { return };
    let failed = ended.refusal.is_some() || record.end != Some(End::Closed);
    if (log.errors_only && !failed) || !log.is_chosen() {
        return;
    }
    let duration = ended.started.elapsed();
    let now = SystemTime::now();
    let (sent, received) = record.moved.totals();
    let mtls = match ended.direction {
        Direction::Inbound => record.ends.mtls,
        Direction::Outbound => record.mtls,
    };
    let ConnectionRecord { ends, cluster, target, server, end, .. } = record;
    telemetry.observers.access_log.offer_connection(ConnectionDraft {
        direction: ended.direction,
        started: now.checked_sub(duration).unwrap_or(now),
        duration,
        observe: Arc::clone(observe),
        ends,
        cluster,
        target,
        server,
        mtls,
        sent,
        received,
        end,
        reason: ended.refusal.map(|(reason, _)| reason),
        detail: ended.refusal.map(|(_, detail)| detail.to_owned()).unwrap_or_default(),
    });
}
