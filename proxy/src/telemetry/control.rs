//! How it stands with fsm-control: for `control` in `/config_status` and for the metrics.
//!
//! Written by the stream source, a few times in a minute at most; read when somebody asks.

use super::counters::Counter;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use std::time::SystemTime;

/// The link to fsm-control.
#[derive(Debug)]
pub struct ControlLink {
    state: Mutex<ControlStatus>,
    /// Streams that were opened after the first one.
    pub reconnects: Counter,
    /// Certificates that were put in force after the first one.
    pub renewals: Counter,
    /// Requests for a certificate that failed.
    pub renewal_failures: Counter,
}

/// The link as shown to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ControlStatus {
    /// Address of fsm-control.
    pub address: String,
    /// Whether the stream stands.
    pub connected: bool,
    /// Since when it stands or does not (RFC 3339, UTC).
    pub since: String,
    /// Streams opened so far.
    pub streams: u64,
    /// Version of the document in force, as fsm-control calls it; `null` before the first one.
    pub version: Option<String>,
    /// Why the last stream ended or could not be opened.
    pub last_failure: Option<Mishap>,
    /// Our certificate; `null` before the first one.
    pub certificate: Option<CertificateStatus>,
    /// Why the last request for a certificate failed, while no later one succeeded.
    pub certificate_failure: Option<Mishap>,
}

/// Our certificate as shown to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// `<service account>.<namespace>.<trust domain>`.
    pub principal: String,
    /// When it expires (RFC 3339, UTC).
    pub expires: String,
    /// When the next one will be asked for (RFC 3339, UTC).
    pub renewal: String,
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mishap {
    /// What, why, and what to do.
    pub message: String,
    /// When (RFC 3339, UTC).
    pub at: String,
}

impl ControlLink {
    /// The link to the fsm-control at `address`, not yet open.
    pub fn new(address: String) -> Self {
        let state = ControlStatus {
            address,
            connected: false,
            since: shown(SystemTime::now()),
            streams: 0,
            version: None,
            last_failure: None,
            certificate: None,
            certificate_failure: None,
        };
        Self {
            state: Mutex::new(state),
            reconnects: Counter::default(),
            renewals: Counter::default(),
            renewal_failures: Counter::default(),
        }
    }

    /// The link at this moment.
    pub fn status(&self) -> ControlStatus {
        self.state.lock().clone()
    }

    /// Whether the stream stands.
    pub fn is_connected(&self) -> bool {
        self.state.lock().connected
    }

    /// The stream stands.
    pub fn connected(&self) {
        let mut state = self.state.lock();
        if state.streams > 0 {
            self.reconnects.increment();
        }
        state.streams += 1;
        state.connected = true;
        state.since = shown(SystemTime::now());
    }

    /// The stream has ended or could not be opened.
    pub fn failed(&self, message: String) {
        let mut state = self.state.lock();
        let now = shown(SystemTime::now());
        if std::mem::take(&mut state.connected) {
            state.since.clone_from(&now);
        }
        state.last_failure = Some(Mishap { message, at: now });
    }

    /// A version is in force.
    pub fn in_force(&self, version: &str) {
        self.state.lock().version = Some(version.to_owned());
    }

    /// A certificate is in force.
    pub fn certified(&self, principal: &str, expires: SystemTime, renewal: SystemTime) {
        let mut state = self.state.lock();
        state.certificate_failure = None;
        state.certificate = Some(CertificateStatus {
            principal: principal.to_owned(),
            expires: shown(expires),
            renewal: shown(renewal),
        });
    }

    /// A certificate could not be had; the next one is asked for at `renewal`. Answers whether this is another cause than
    /// the last one.
    pub fn not_certified(&self, message: String, renewal: SystemTime) -> bool {
        self.renewal_failures.increment();
        let mut state = self.state.lock();
        let news = state.certificate_failure.as_ref().is_none_or(|before| before.message != message);
        if let Some(certificate) = &mut state.certificate {
            certificate.renewal = shown(renewal);
        }
        state.certificate_failure = Some(Mishap { message, at: shown(SystemTime::now()) });
        news
    }
}

fn shown(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
