//! Who is connected, and how far each proxy is: for `/proxies`, metrics and the cap on connections.

use super::PodKey;
use crate::cert::Identity;
use crate::cert::tresor::rfc3339;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Instant, SystemTime};
use tokio_util::sync::CancellationToken;

/// Everybody who follows by stream, and who was last seen at the repository.
#[derive(Debug, Default)]
pub struct Roster {
    proxies: Mutex<BTreeMap<PodKey, Arc<Proxy>>>,
    next: AtomicU64,
}

/// One connected proxy.
#[derive(Debug)]
pub struct Proxy {
    id: u64,
    pod: PodKey,
    identity: Identity,
    proxy_version: String,
    connected: SystemTime,
    arrived: Instant,
    certificate_expires: SystemTime,
    progress: Mutex<Progress>,
    /// Cancelled when a newer connection of the same pod takes over.
    pub(super) superseded: CancellationToken,
}

#[derive(Debug, Default)]
struct Progress {
    wanted: Option<Arc<str>>,
    /// Since when the proxy has not had the version it is to have.
    behind_since: Option<Instant>,
    acknowledged: Option<Arc<str>>,
    problems: Vec<String>,
    last_nack: Option<NackReport>,
}

/// One proxy as `/proxies` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyReport {
    /// `namespace/name`.
    pub pod: String,
    /// `<sa>.<ns>`, from its certificate.
    pub identity: String,
    /// The newest version of its document.
    pub version_wanted: Option<Arc<str>>,
    /// The version in force at the proxy, as far as it said.
    pub version_acknowledged: Option<Arc<str>>,
    /// RFC 3339.
    pub connected_since: String,
    /// RFC 3339: end of the certificate that it connected with.
    pub certificate_expires: String,
    /// Version of fsm-proxy.
    pub proxy_version: String,
    /// What the proxy found in the version in force without refusing it.
    pub problems: Vec<String>,
    /// The newest version that it refused.
    pub last_nack: Option<NackReport>,
}

/// A refusal.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NackReport {
    /// What was refused.
    pub version: String,
    /// Why, in the proxy's words.
    pub reason: String,
    /// RFC 3339.
    pub at: String,
}

/// How far the proxies are as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Convergence {
    /// Connected.
    pub connected: usize,
    /// Without the newest version.
    pub behind: usize,
    /// Seconds for which the one that waits longest has waited.
    pub oldest_behind_seconds: f64,
}

/// Who a new connection is.
pub(super) struct Arrival {
    pub(super) pod: PodKey,
    pub(super) identity: Identity,
    pub(super) proxy_version: String,
    pub(super) version: Option<String>,
    pub(super) certificate_expires: SystemTime,
}

/// A place in the roster; leaves it when dropped.
pub(super) struct Attendance {
    roster: Arc<Roster>,
    proxy: Arc<Proxy>,
}

impl Roster {
    /// How many proxies are connected.
    pub fn len(&self) -> usize {
        self.proxies.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everybody, by pod.
    pub fn reports(&self) -> Vec<ProxyReport> {
        let proxies: Vec<_> = self.proxies.lock().values().cloned().collect();
        proxies.iter().map(|proxy| proxy.report()).collect()
    }

    /// How far they are as a whole.
    pub fn convergence(&self) -> Convergence {
        let proxies: Vec<_> = self.proxies.lock().values().cloned().collect();
        let mut convergence = Convergence { connected: proxies.len(), ..Convergence::default() };
        for since in proxies.iter().filter_map(|proxy| proxy.progress.lock().behind_since) {
            convergence.behind += 1;
            convergence.oldest_behind_seconds = convergence.oldest_behind_seconds.max(since.elapsed().as_secs_f64());
        }
        convergence
    }

    /// A proxy has connected. An older connection of the same pod is told to end: its proxy has given it up, and the
    /// news of that may be minutes away.
    pub(super) fn arrive(self: &Arc<Self>, arrival: Arrival, now: SystemTime) -> Attendance {
        let proxy = Arc::new(Proxy {
            id: self.next.fetch_add(1, Relaxed),
            identity: arrival.identity,
            proxy_version: arrival.proxy_version,
            connected: now,
            arrived: Instant::now(),
            certificate_expires: arrival.certificate_expires,
            progress: Mutex::new(Progress { acknowledged: arrival.version.map(Into::into), ..Progress::default() }),
            superseded: CancellationToken::new(),
            pod: arrival.pod,
        });
        if let Some(older) = self.proxies.lock().insert(proxy.pod.clone(), proxy.clone()) {
            older.superseded.cancel();
        }
        Attendance { roster: self.clone(), proxy }
    }
}

impl Attendance {
    pub(super) fn superseded(&self) -> &CancellationToken {
        &self.proxy.superseded
    }

    /// This is what the proxy is to have.
    pub(super) fn wanted(&self, version: &Arc<str>, caused: Instant) {
        let mut progress = self.proxy.progress.lock();
        let has_it = progress.acknowledged.as_ref() == Some(version);
        progress.behind_since = (!has_it).then(|| progress.behind_since.unwrap_or(caused.max(self.proxy.arrived)));
        progress.wanted = Some(version.clone());
    }

    /// This is what it has.
    pub(super) fn acknowledged(&self, version: &Arc<str>, problems: Vec<String>) {
        let mut progress = self.proxy.progress.lock();
        if progress.wanted.as_ref() == Some(version) {
            progress.behind_since = None;
        }
        progress.acknowledged = Some(version.clone());
        progress.problems = problems;
    }

    /// This is what it does not want.
    pub(super) fn refused(&self, version: String, reason: String, now: SystemTime) {
        self.proxy.progress.lock().last_nack = Some(NackReport { version, reason, at: rfc3339(now) });
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut proxies = self.roster.proxies.lock();
        if proxies.get(&self.proxy.pod).is_some_and(|there| there.id == self.proxy.id) {
            proxies.remove(&self.proxy.pod);
        }
    }
}

impl Proxy {
    fn report(&self) -> ProxyReport {
        let progress = self.progress.lock();
        ProxyReport {
            pod: self.pod.to_string(),
            identity: self.identity.to_string(),
            version_wanted: progress.wanted.clone(),
            version_acknowledged: progress.acknowledged.clone(),
            connected_since: rfc3339(self.connected),
            certificate_expires: rfc3339(self.certificate_expires),
            proxy_version: self.proxy_version.clone(),
            problems: progress.problems.clone(),
            last_nack: progress.last_nack.clone(),
        }
    }
}
