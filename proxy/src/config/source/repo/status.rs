//! The status report that Pipy posts to its repository, so that the repository's tools list this proxy too.

use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Makes the reports of one process.
#[derive(Debug)]
pub(super) struct Reporter {
    uuid: String,
    name: String,
    ip: String,
    since: u128,
}

/// Pipy's wire form; times are milliseconds since 1970.
#[derive(Serialize)]
#[cfg_attr(test, derive(serde::Deserialize, Debug))]
pub(super) struct Report {
    pub(super) timestamp: u64,
    pub(super) since: u64,
    pub(super) uuid: String,
    pub(super) name: String,
    pub(super) ip: String,
    /// Version of the codebase that runs; empty before the first.
    pub(super) version: String,
    /// Pipy's scripts; there are none.
    pub(super) modules: BTreeMap<String, String>,
    /// Log topics that can be asked for; there are none.
    pub(super) logs: Vec<String>,
}

impl Reporter {
    /// Takes name and address from the variables that FSM's injector sets.
    pub(super) fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            // The kernel makes version-4 UUIDs; without /proc there is no repository to report to either.
            uuid: std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default().trim().to_owned(),
            name: variable("POD_NAME").or_else(|| variable("HOSTNAME")).unwrap_or_default(),
            ip: variable("POD_IP").unwrap_or_default(),
            since: now().as_millis(),
        }
    }

    /// The report at this moment.
    pub(super) fn report(&self, version: &str) -> Bytes {
        let milliseconds = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
        let report = Report {
            timestamp: milliseconds(now().as_millis()),
            since: milliseconds(self.since),
            uuid: self.uuid.clone(),
            name: self.name.clone(),
            ip: self.ip.clone(),
            version: version.trim_matches('"').to_owned(),
            modules: BTreeMap::new(),
            logs: Vec::new(),
        };
        serde_json::to_vec(&report).unwrap_or_default().into()
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
