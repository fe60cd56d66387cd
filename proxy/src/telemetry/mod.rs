//! What happened: counters of the hot path, their names for Prometheus, and the log.

pub mod access_log;
pub mod build;
pub mod certificates;
pub mod control;
pub mod counters;
pub mod export;
pub mod families;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod grpc;
pub mod log;
pub mod noted;
pub mod observe;
pub mod process;
pub mod record;
pub mod signals;
pub mod stats_text;
pub mod tap;
pub mod trace;
pub mod workload;

use crate::limits;
use crate::reason::Reason;
use crate::upstream::gateway::Mode;
use control::ControlLink;
use counters::{ClusterCounters, Counter, Gauge};
use observe::Observers;
use parking_lot::Mutex;
use signals::PeerName;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Which way traffic flows through the pod's proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards our application.
    Inbound,
    /// From our application.
    Outbound,
}

impl Direction {
    /// Both directions, in the order of [`Telemetry`]'s arrays.
    pub const ALL: [Direction; 2] = [Direction::Inbound, Direction::Outbound];

    /// `inbound` or `outbound`.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::Inbound => "inbound",
            Direction::Outbound => "outbound",
        }
    }
}

/// Counters of the proxy as a whole; what belongs to a cluster is in [`counters::ClusterCounters`].
#[derive(Debug)]
pub struct Telemetry {
    /// When the process started.
    pub started: Instant,
    directions: [DirectionCounters; 2],
    /// Documents put in force.
    pub config_applied: Counter,
    /// Documents that were no documents at all and left the last good one in force.
    pub config_rejected: Counter,
    /// Polls or reads of the configuration source that failed.
    pub config_source_errors: Counter,
    /// Panics of supervised tasks.
    pub panics: Counter,
    /// Failed probes of the application.
    pub probe_failures: ProbeFailures,
    /// What the egress gateway counts, where this process is one.
    pub gateway: OnceLock<(Mode, Arc<ClusterCounters>)>,
    /// How it stands with fsm-control, where the configuration comes from it.
    pub control: OnceLock<Arc<ControlLink>>,
    /// Those who want to know of single requests.
    pub observers: Observers,
    connection_limits: Mutex<BTreeMap<ConnectionLimit, Arc<Counter>>>,
}

/// Failed probes of the application, by the port that the kubelet asked on.
#[derive(Debug, Default)]
pub struct ProbeFailures {
    /// Port 15901.
    pub liveness: Counter,
    /// Port 15902.
    pub readiness: Counter,
    /// Port 15903.
    pub startup: Counter,
    /// Port 15904: TCP probes of every kind.
    pub tcp: Counter,
}

impl ProbeFailures {
    /// Name and counter of each kind.
    pub fn each(&self) -> [(&'static str, &Counter); 4] {
        [("liveness", &self.liveness), ("readiness", &self.readiness), ("startup", &self.startup), ("tcp", &self.tcp)]
    }
}

/// A port whose new connections are limited (`RateLimit` of an inbound traffic match).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionLimit {
    /// The application's port (`Port` of the match).
    pub port: u16,
    /// `Protocol` of the match, as the document spells it.
    pub protocol: String,
}

/// Counters of one direction.
#[derive(Debug)]
pub struct DirectionCounters {
    /// Open downstream connections.
    pub connections_active: Gauge,
    /// Downstream connections accepted so far.
    pub connections_opened: Counter,
    /// Finished TLS handshakes with clients.
    pub handshakes: Counter,
    /// Protocol detections that ran into the deadline.
    pub detect_timeouts: Counter,
    /// Requests by whether they are traced.
    pub traced: Decisions,
    /// Requests by whether they are sent to the remote log.
    pub logged: Decisions,
    refusals: [Counter; Reason::ALL.len()],
    named_refusals: Mutex<BTreeMap<(PeerName, u8), u64>>,
}

/// Outcomes of a decision.
#[derive(Debug, Default)]
pub struct Decisions {
    /// It was taken.
    pub yes: Counter,
    /// It was not.
    pub no: Counter,
}

impl Decisions {
    /// Counts one.
    pub fn count(&self, yes: bool) {
        if yes { self.yes.increment() } else { self.no.increment() }
    }
}

impl Telemetry {
    /// Counters at zero.
    pub fn new() -> Self {
        let direction = || DirectionCounters {
            connections_active: Gauge::default(),
            connections_opened: Counter::default(),
            handshakes: Counter::default(),
            detect_timeouts: Counter::default(),
            traced: Decisions::default(),
            logged: Decisions::default(),
            refusals: std::array::from_fn(|_| Counter::default()),
            named_refusals: Mutex::default(),
        };
        Self {
            started: Instant::now(),
            directions: [direction(), direction()],
            config_applied: Counter::default(),
            config_rejected: Counter::default(),
            config_source_errors: Counter::default(),
            panics: Counter::default(),
            probe_failures: ProbeFailures::default(),
            gateway: OnceLock::new(),
            control: OnceLock::new(),
            observers: Observers::default(),
            connection_limits: Mutex::default(),
        }
    }

    /// The counters of one direction.
    pub fn direction(&self, direction: Direction) -> &DirectionCounters {
        &self.directions[direction as usize]
    }

    /// The counter of connections refused by the limit of one inbound port. It outlives configuration updates.
    ///
    /// Takes a lock: call it when the limit is compiled, never for each connection.
    pub fn connection_limit(&self, limit: ConnectionLimit) -> Arc<Counter> {
        Arc::clone(self.connection_limits.lock().entry(limit).or_default())
    }

    /// Every connection limit so far and how many connections it refused.
    pub fn connection_limits(&self) -> Vec<(ConnectionLimit, u64)> {
        let limits = self.connection_limits.lock();
        limits.iter().map(|(limit, refused)| (limit.clone(), refused.get())).collect()
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

/// An open downstream connection; counted until it is dropped, also by a panic.
#[derive(Debug)]
pub struct OpenConnection<'a>(&'a DirectionCounters);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.connections_active.decrement();
    }
}

impl DirectionCounters {
    /// Counts one more connection.
    pub fn connection(&self) -> OpenConnection<'_> {
        self.connections_opened.increment();
        self.connections_active.increment();
        OpenConnection(self)
    }

    /// Counts a refusal, of a request or of a connection.
    pub fn refused(&self, reason: Reason) {
        self.refusals[reason as usize].increment();
    }

    /// Counts a refusal for its client, as far as its certificate names it.
    pub fn refused_to(&self, peer: &PeerName, reason: Reason) {
        self.refused(reason);
        let mut named = self.named_refusals.lock();
        let key = (peer.clone(), reason as u8);
        let full = named.len() >= limits::REFUSAL_EDGES && !named.contains_key(&key);
        let key = if full { (PeerName::others(), reason as u8) } else { key };
        *named.entry(key).or_default() += 1;
    }

    /// Refusals by client and reason; what is missing there was refused to clients without a name.
    pub fn refusals_by_peer(&self) -> Vec<(PeerName, Reason, u64)> {
        let named = self.named_refusals.lock();
        let reason = |number: u8| Reason::ALL.get(usize::from(number)).copied();
        let known = named.iter().filter_map(|((peer, number), count)| Some((peer.clone(), reason(*number)?, *count)));
        let mut found: Vec<_> = known.collect();
        drop(named);
        for reason in Reason::ALL {
            let named: u64 = found.iter().filter(|(_, of, _)| of == reason).map(|(_, _, count)| count).sum();
            let nameless = self.refusals(*reason).saturating_sub(named);
            if nameless > 0 {
                found.push((PeerName::default(), *reason, nameless));
            }
        }
        found
    }

    /// How often the proxy refused for this reason.
    pub fn refusals(&self, reason: Reason) -> u64 {
        self.refusals[reason as usize].get()
    }
}
