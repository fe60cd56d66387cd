//! What keeps requests together at one endpoint: the key that hashing and sessions go by.

use super::balance::{Algorithm, SESSION_CAPACITY, SessionTable, WarmUp, key_of};
use fsm_api::config::LoadBalancing;
use http::{HeaderMap, HeaderName, header};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a cluster chooses (`LoadBalancing`).
#[derive(Clone, Debug, Default)]
pub struct Balancing {
    /// How an endpoint is chosen among equals.
    pub algorithm: Algorithm,
    /// How new endpoints are warmed up.
    pub warm_up: Option<WarmUp>,
    /// What hashing and sessions go by.
    pub hash_on: HashOn,
    /// Sessions, with their seconds of life.
    pub sessions: Option<(Duration, Arc<SessionTable>)>,
}

/// The part of a request that stands for its sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashOn {
    /// The address of the client's side of the connection: the application's own pod, outbound.
    #[default]
    SourceIp,
    /// The value of a header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
}

impl Balancing {
    /// Reads the document's settings; continues `previous`'s sessions if they live as long. What cannot be used is named
    /// and takes its default.
    pub fn from_config(config: &LoadBalancing, previous: Option<&Self>) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let algorithm = config.algorithm.as_deref().unwrap_or_default().parse().unwrap_or_else(|error| {
            problems.push(format!("{error}; `round-robin` is used"));
            Algorithm::default()
        });
        let hash_on = config.hash_on.as_deref().map_or(Ok(HashOn::SourceIp), HashOn::parse).unwrap_or_else(|error| {
            problems.push(format!("{error}; `source-ip` is used"));
            HashOn::SourceIp
        });
        let life = config.session_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let sessions = life.filter(|life| !life.is_zero()).map(|life| {
            let kept = previous.and_then(|previous| previous.sessions.as_ref()).filter(|(known, _)| *known == life);
            kept.cloned().unwrap_or_else(|| (life, Arc::new(SessionTable::new(SESSION_CAPACITY, life, Instant::now()))))
        });
        let warm_up = config.warm_up.as_ref().and_then(|warm_up| {
            let window = Duration::try_from_secs_f64(warm_up.window?).ok().filter(|window| !window.is_zero())?;
            Some(WarmUp::new(window, warm_up.aggression.unwrap_or(1.0), warm_up.least.unwrap_or(0.1)))
        });
        (Self { algorithm, warm_up, hash_on, sessions }, problems)
    }

    /// The key of a request, where anything asks for one.
    pub fn key(&self, headers: &HeaderMap, source: IpAddr) -> Option<u64> {
        let wanted = self.algorithm == Algorithm::Hash || self.sessions.is_some();
        wanted.then(|| self.hash_on.key(headers, source)).flatten()
    }
}

impl HashOn {
    fn parse(text: &str) -> Result<Self, String> {
        let unusable =
            || format!("`{text}` is nothing to go by; write `source-ip`, `header:<name>` or `cookie:<name>`");
        match text.split_once(':') {
            None if text.eq_ignore_ascii_case("source-ip") => Ok(Self::SourceIp),
            Some(("header", name)) => HeaderName::from_bytes(name.as_bytes()).map(Self::Header).map_err(|_| unusable()),
            Some(("cookie", name)) if !name.is_empty() => Ok(Self::Cookie(name.to_owned())),
            _ => Err(unusable()),
        }
    }

    fn key(&self, headers: &HeaderMap, source: IpAddr) -> Option<u64> {
        match self {
            Self::SourceIp => Some(match source {
                IpAddr::V4(address) => key_of(&address.octets()),
                IpAddr::V6(address) => key_of(&address.octets()),
            }),
            Self::Header(name) => headers.get(name).map(|value| key_of(value.as_bytes())),
            Self::Cookie(name) => cookie(headers, name).map(key_of),
        }
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let (known, value) = pair.trim_ascii().split_at_checked(name.len())?;
        (known == name.as_bytes()).then(|| value.strip_prefix(b"=")).flatten()
    });
    values.next()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn balancing(config: &LoadBalancing) -> (Balancing, Vec<String>) {
        Balancing::from_config(config, None)
    }

    #[test]
    fn a_key_is_taken_only_where_it_is_used() {
        let (plain, problems) = balancing(&LoadBalancing::default());
        assert!(problems.is_empty());
        assert_eq!(plain.key(&HeaderMap::new(), "10.0.0.1".parse().unwrap()), None);
        let hash = LoadBalancing { algorithm: Some("hash".into()), ..LoadBalancing::default() };
        assert!(balancing(&hash).0.key(&HeaderMap::new(), "10.0.0.1".parse().unwrap()).is_some());
    }

    #[test]
    fn headers_and_cookies_stand_for_the_sender() {
        let source = "10.0.0.1".parse().unwrap();
        let config = |hash_on: &str| LoadBalancing {
            algorithm: Some("hash".into()),
            hash_on: Some(hash_on.into()),
            ..LoadBalancing::default()
        };
        let mut headers = HeaderMap::new();
        headers.append("x-user", "ada".parse().unwrap());
        headers.append(header::COOKIE, "theme=dark; sid=42".parse().unwrap());
        headers.append(header::COOKIE, "sid2=7".parse().unwrap());
        let key = |hash_on: &str| balancing(&config(hash_on)).0.key(&headers, source);
        assert_eq!(key("header:X-User"), Some(key_of(b"ada")));
        assert_eq!(key("cookie:sid"), Some(key_of(b"42")));
        assert_eq!(key("cookie:sid2"), Some(key_of(b"7")));
        assert_eq!(key("cookie:si"), None, "a name is compared whole");
        assert_eq!(key("header:x-other"), None);
    }

    #[test]
    fn unusable_settings_are_named_and_sessions_continue() {
        let config = LoadBalancing {
            algorithm: Some("magic".into()),
            hash_on: Some("moon".into()),
            session_seconds: Some(60.0),
            ..LoadBalancing::default()
        };
        let (first, problems) = balancing(&config);
        assert_eq!(problems.len(), 2, "{problems:?}");
        let (second, _) = Balancing::from_config(&config, Some(&first));
        let table = |balancing: &Balancing| Arc::clone(&balancing.sessions.as_ref().unwrap().1);
        assert!(Arc::ptr_eq(&table(&first), &table(&second)));
        let other = LoadBalancing { session_seconds: Some(61.0), ..config };
        assert!(!Arc::ptr_eq(&table(&first), &table(&Balancing::from_config(&other, Some(&first)).0)));
    }
}
