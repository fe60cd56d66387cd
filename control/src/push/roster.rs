//! Who is connected, and how far each proxy is: for `/proxies`, metrics and the cap on connections.

use super::{PodKey, Tenant};
use crate::cert::Identity;
use crate::cert::tresor::rfc3339;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};
use tokio_util::sync::CancellationToken;

/// A proxy that polls reports every five seconds.
const FORGET_POLLERS: Duration = Duration::from_secs(60);

/// Everybody who follows by stream, and who was last seen at the repository.
#[derive(Debug, Default)]
pub struct Roster {
    proxies: Mutex<BTreeMap<PodKey, Arc<Proxy>>>,
    pollers: Mutex<BTreeMap<PodKey, Poller>>,
    next: AtomicU64,
}

/// A proxy that asks the repository.
#[derive(Debug)]
struct Poller {
    identity: Identity,
    version: String,
    since: SystemTime,
    seen: SystemTime,
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
    certificate_expires: Option<SystemTime>,
    problems: Vec<String>,
    last_nack: Option<NackReport>,
}

/// One proxy as `/proxies` shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyReport {
    /// `namespace/name`.
    pub pod: String,
    /// `stream` or `repository`.
    pub follows: &'static str,
    /// `<sa>.<ns>`, from its certificate.
    pub identity: String,
    /// The newest version of its document.
    pub version_wanted: Option<Arc<str>>,
    /// The version in force at the proxy, as far as it said.
    pub version_acknowledged: Option<Arc<str>>,
    /// RFC 3339.
    pub connected_since: String,
    /// RFC 3339: end of its newest certificate; absent for the repository.
    pub certificate_expires: Option<String>,
    /// Version of fsm-proxy; empty when it does not say.
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
        let pollers = self.pollers.lock();
        let pollers = pollers.iter().map(|(pod, poller)| poller.report(pod));
        let mut reports: Vec<_> = proxies.iter().map(|proxy| proxy.report()).chain(pollers).collect();
        reports.sort_by(|one, other| one.pod.cmp(&other.pod));
        reports
    }

    /// A pod was given another certificate; the stream that it may have open was opened with an older one.
    pub(super) fn certified(&self, pod: &PodKey, identity: &Identity, expires: SystemTime) {
        let proxies = self.proxies.lock();
        if let Some(proxy) = proxies.get(pod).filter(|proxy| proxy.identity == *identity) {
            proxy.progress.lock().certificate_expires = Some(expires);
        }
    }

    /// A proxy has reported to the repository. Those that have not for a minute are forgotten.
    pub(super) fn polled(&self, pod: &PodKey, tenant: &Tenant, version: String, now: SystemTime) {
        let mut pollers = self.pollers.lock();
        pollers.retain(|_, poller| now.duration_since(poller.seen).unwrap_or_default() < FORGET_POLLERS);
        let since = pollers.get(pod).map_or(now, |poller| poller.since);
        let version = version.chars().filter(char::is_ascii_graphic).take(64).collect();
        let poller = Poller { identity: tenant.identity.clone(), version, since, seen: now };
        pollers.insert(pod.clone(), poller);
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
    /// news of that may be minutes away. `None`: so many as may be there are (`cap`; 0: any number may).
    pub(super) fn arrive(self: &Arc<Self>, arrival: Arrival, cap: usize, now: SystemTime) -> Option<Attendance> {
        let proxy = Arc::new(Proxy {
            id: self.next.fetch_add(1, Relaxed),
            identity: arrival.identity,
            proxy_version: arrival.proxy_version,
            connected: now,
            arrived: Instant::now(),
            progress: Mutex::new(Progress {
                acknowledged: arrival.version.map(Into::into),
                certificate_expires: Some(arrival.certificate_expires),
                ..Progress::default()
            }),
            superseded: CancellationToken::new(),
            pod: arrival.pod,
        });
        let mut proxies = self.proxies.lock();
        // A pod that is in already takes its own place over.
        if cap != 0 && proxies.len() >= cap && !proxies.contains_key(&proxy.pod) {
            return None;
        }
        if let Some(older) = proxies.insert(proxy.pod.clone(), proxy.clone()) {
            older.superseded.cancel();
        }
        drop(proxies);
        Some(Attendance { roster: self.clone(), proxy })
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

impl Poller {
    fn report(&self, pod: &PodKey) -> ProxyReport {
        ProxyReport {
            pod: pod.to_string(),
            follows: "repository",
            identity: self.identity.to_string(),
            version_wanted: None,
            version_acknowledged: Some(self.version.as_str().into()),
            connected_since: rfc3339(self.since),
            certificate_expires: None,
            proxy_version: String::new(),
            problems: Vec::new(),
            last_nack: None,
        }
    }
}

impl Proxy {
    fn report(&self) -> ProxyReport {
        let progress = self.progress.lock();
        ProxyReport {
            pod: self.pod.to_string(),
            follows: "stream",
            identity: self.identity.to_string(),
            version_wanted: progress.wanted.clone(),
            version_acknowledged: progress.acknowledged.clone(),
            connected_since: rfc3339(self.connected),
            certificate_expires: progress.certificate_expires.map(rfc3339),
            proxy_version: self.proxy_version.clone(),
            problems: progress.problems.clone(),
            last_nack: progress.last_nack.clone(),
        }
    }
}
