//! Every sidecar in one line: version, configuration and its age, whether it has what control wants, certificate.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::Row;
use super::pages::{ConfigStatus, Proxy, Version};
use super::proxy::left;
use crate::output::age;
use crate::reach::PodName;

/// What a sidecar says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// Its configuration.
    pub config: ConfigStatus,
    /// Its version.
    pub version: Version,
}

/// One sidecar.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Namespace of its pod.
    pub namespace: String,
    /// Name of its pod.
    pub name: String,
    /// How it stands.
    pub state: State,
    /// What keeps it from being well; empty if nothing does.
    pub why: String,
    /// Version of fsm-proxy.
    pub version: Option<String>,
    /// Version of its configuration, as control calls it.
    pub config: Option<String>,
    /// The version that control wants it to have, if that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// How long its configuration has been in force, in seconds.
    pub age_seconds: Option<u64>,
    /// Seconds until its certificate is over; negative if it is.
    pub certificate_seconds_left: Option<i64>,
    /// Whose certificate.
    pub identity: Option<String>,
}

/// How a sidecar stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It has what control wants it to have.
    Synced,
    /// It has an older configuration, for now.
    Behind,
    /// It refused the configuration that control wants it to have.
    Refused,
    /// It has no stream to control: it goes on with what it has.
    Disconnected,
    /// It follows a file or FSM's repository; nothing is known of what it should have.
    Alone,
    /// It does not answer.
    Silent,
}

impl State {
    /// In one word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Synced => "Synced",
            Self::Behind => "Behind",
            Self::Refused => "Refused",
            Self::Disconnected => "Disconnected",
            Self::Alone => "Alone",
            Self::Silent => "Silent",
        }
    }
}

/// One sidecar, from what it says, from what control says of it, and from why it said nothing.
#[must_use]
pub fn status(pod: &PodName, said: Result<&Said, &str>, roster: Option<&Proxy>, now: Timestamp) -> Status {
    let config = said.ok().map(|said| &said.config);
    let link = config.and_then(|config| config.control.as_ref());
    let (state, why) = judge(said, roster);
    let acknowledged = roster.and_then(|entry| entry.version_acknowledged.clone());
    let has = link
        .and_then(|link| link.version.clone())
        .or(acknowledged)
        .or_else(|| config.map(|config| config.version.clone()).filter(|version| !version.is_empty()));
    let wanted = roster.and_then(|entry| entry.version_wanted.clone()).filter(|wanted| Some(wanted) != has.as_ref());
    let expires = link.and_then(|link| link.certificate.as_ref()).map(|certificate| certificate.expires.as_str());
    let expires = expires.or_else(|| roster.and_then(|entry| entry.certificate_expires.as_deref()));
    let expires = expires.and_then(|text| text.parse::<Timestamp>().ok());
    let version = said.ok().map(|said| said.version.version.clone());
    let version = version.or_else(|| roster.map(|entry| entry.proxy_version.clone())).filter(|text| !text.is_empty());
    let identity = roster.map(|entry| entry.identity.clone());
    let identity =
        identity.or_else(|| link.and_then(|link| link.certificate.as_ref()).map(|held| held.principal.clone()));
    Status {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        state,
        why,
        version,
        config: has,
        wanted,
        age_seconds: config.and_then(|config| config.age_seconds),
        certificate_seconds_left: expires.map(|expires| expires.as_second() - now.as_second()),
        identity,
    }
}

fn judge(said: Result<&Said, &str>, roster: Option<&Proxy>) -> (State, String) {
    if let Some(entry) = roster {
        if let Some(reason) = entry.refusal() {
            return (State::Refused, reason.to_owned());
        }
        if !entry.is_current() {
            return (State::Behind, "it has not acknowledged the newest configuration yet".to_owned());
        }
    }
    let config = match said {
        Ok(said) => &said.config,
        Err(why) => return (State::Silent, why.to_owned()),
    };
    let problems = match config.problems {
        0 => String::new(),
        1 => "1 problem in its configuration".to_owned(),
        count => format!("{count} problems in its configuration"),
    };
    let Some(link) = &config.control else {
        let failure = config.source_failure.as_ref().or(config.rejected.as_ref());
        return (State::Alone, failure.map_or(problems, |failure| failure.message.clone()));
    };
    if !link.connected {
        let why = link.last_failure.as_ref().map(|failure| failure.message.clone());
        return (State::Disconnected, why.unwrap_or_else(|| "it has no stream to fsm-control".to_owned()));
    }
    // Where fsm-control does not tell what it wants, the sidecar's own word counts.
    if let Some(rejected) = config.rejected.as_ref().filter(|_| roster.is_none()) {
        return (State::Refused, rejected.message.clone());
    }
    if let Some(failure) = &link.certificate_failure {
        return (State::Synced, format!("no new certificate: {}", failure.message));
    }
    if !config.not_ready.is_empty() {
        return (State::Synced, format!("not ready: {}", config.not_ready.join(", ")));
    }
    (State::Synced, problems)
}

impl Row for Status {
    const HEADINGS: &'static [&'static str] =
        &["NAMESPACE", "NAME", "STATE", "CONFIG", "AGE", "CERT", "VERSION", "+IDENTITY", "+WANTED", "WHY"];

    fn cells(&self) -> Vec<String> {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let age = self.age_seconds.map_or_else(|| "-".to_owned(), |age| age::human(Duration::from_secs(age)));
        vec![
            self.namespace.clone(),
            self.name.clone(),
            self.state.word().to_owned(),
            self.config.as_deref().map_or_else(|| "-".to_owned(), short),
            age,
            left(self.certificate_seconds_left),
            or_dash(&self.version),
            or_dash(&self.identity),
            self.wanted.as_deref().map_or_else(|| "-".to_owned(), short),
            self.why.clone(),
        ]
    }
}

/// The beginning of a version: enough to tell it from others.
fn short(version: &str) -> String {
    version.chars().take(8).collect()
}
