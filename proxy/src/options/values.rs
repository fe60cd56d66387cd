//! The second stage: from a given text to a value, with a reason and a remedy when it is not one.

use super::{UsageError, raw::Given};
use crate::gateway::destination::Permit;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// How the data-plane threads share the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuntimeFlavor {
    /// One runtime over all threads; an idle thread takes work from a busy one.
    WorkStealing,
    /// One single-threaded runtime for each thread; the kernel spreads connections (SO_REUSEPORT).
    #[default]
    PerCore,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Disabled,
    /// What needs an operator; FSM's `fatal` too.
    Error,
    /// What may need one.
    Warn,
    /// Changes of state.
    #[default]
    Info,
    /// Every decision.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The same for the `tracing` crates.
    pub const fn filter(self) -> LevelFilter {
        match self {
            LogLevel::Disabled => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogLevel::Disabled => "disabled",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        })
    }
}

impl FromStr for LogLevel {
    type Err = &'static str;

    /// Reads FSM's and Pipy's spellings; topics behind a colon (`debug:http`) are Pipy's and have no counterpart here.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let level = text.split_once(':').map_or(text, |(level, _)| level);
        match level.to_ascii_lowercase().as_str() {
            "trace" => Ok(LogLevel::Trace),
            "debug" => Ok(LogLevel::Debug),
            "info" => Ok(LogLevel::Info),
            "warn" | "warning" => Ok(LogLevel::Warn),
            "error" | "fatal" | "panic" => Ok(LogLevel::Error),
            "disabled" | "off" => Ok(LogLevel::Disabled),
            _ => Err("trace, debug, info, warn, error or disabled"),
        }
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("text or json"),
        }
    }
}

impl FromStr for RuntimeFlavor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "work-stealing" => Ok(RuntimeFlavor::WorkStealing),
            "per-core" => Ok(RuntimeFlavor::PerCore),
            _ => Err("work-stealing or per-core"),
        }
    }
}

/// One of a few words; the default when nothing was given.
pub(super) fn keyword<T>(given: Option<&Given>) -> Result<T, UsageError>
where
    T: FromStr<Err = &'static str> + Default,
{
    let Some(given) = given else {
        return Ok(T::default());
    };
    given.text()?.parse().map_err(|words| given.refuse(format_args!("this word is not known; give {words}")))
}

/// `yes` or `no`; the default is no.
pub(super) fn switch(given: Option<&Given>) -> Result<bool, UsageError> {
    let Some(given) = given else { return Ok(false) };
    match given.text()? {
        "yes" | "true" | "1" => Ok(true),
        "no" | "false" | "0" => Ok(false),
        _ => Err(given.refuse(format_args!("this word is not known; give yes or no"))),
    }
}

/// Destinations of an egress gateway, separated by commas.
pub(super) fn permits(given: &[Given]) -> Result<Vec<Permit>, UsageError> {
    let permit = |(text, given): (&str, &Given)| text.parse().map_err(|error| given.refuse(format_args!("{error}")));
    pieces(given)?.into_iter().map(permit).collect()
}

/// A time: seconds, or a number with the unit `ms`, `s` or `m`.
pub(super) fn duration(given: Option<&Given>, default: Duration) -> Result<Duration, UsageError> {
    let Some(given) = given else {
        return Ok(default);
    };
    let text = given.text()?.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "ms" => Some(0.001),
        "" | "s" => Some(1.0),
        "m" => Some(60.0),
        _ => None,
    };
    digits
        .parse::<f64>()
        .ok()
        .zip(scale)
        .map(|(number, scale)| number * scale)
        .filter(|seconds| (0.0..=86_400.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| {
            given.refuse(format_args!(
                "this is not a time between 0 and one day; give seconds, or a number with the unit ms, s or m, as in 30s"
            ))
        })
}

/// A packet mark.
pub(super) fn mark(given: Option<&Given>) -> Result<Option<u32>, UsageError> {
    let Some(given) = given else { return Ok(None) };
    let text = given.text()?;
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(mark) if mark > 0 => Ok(Some(mark)),
        _ => {
            Err(given
                .refuse(format_args!("this is not a packet mark; give a number from 1 to 4294967295, decimal or 0x…")))
        }
    }
}

/// A number of threads.
pub(super) fn workers(given: Option<&Given>) -> Result<Option<NonZeroUsize>, UsageError> {
    let Some(given) = given else { return Ok(None) };
    match given.text()?.parse::<usize>().ok().filter(|number| *number <= 1024).and_then(NonZeroUsize::new) {
        Some(number) => Ok(Some(number)),
        None => Err(given.refuse(format_args!(
            "this is not a number of threads; give 1 to 1024, or leave it out for one thread for each CPU"
        ))),
    }
}

/// Addresses to listen on: `IP:PORT`, or `PORT` for that port of the default addresses, or `off`.
pub(super) fn listen(given: &[Given], ips: &[IpAddr], port: u16) -> Result<Vec<SocketAddr>, UsageError> {
    let all = |port| ips.iter().map(move |ip| SocketAddr::new(*ip, port));
    let mut addresses = Vec::new();
    for (text, given) in pieces(given)? {
        if let Ok(address) = text.parse::<SocketAddr>() {
            addresses.push(address);
        } else if let Ok(port) = text.parse::<u16>() {
            addresses.extend(all(port));
        } else {
            return Err(given.refuse(format_args!(
                "`{text}` is not an address to listen on; give IP:PORT (IPv6 in brackets, [::]:{port}), PORT, or off"
            )));
        }
    }
    if given.is_empty() {
        addresses.extend(all(port));
    }
    Ok(addresses)
}

/// IP addresses, or `off`.
pub(super) fn addresses(given: &[Given], default: &[IpAddr]) -> Result<Vec<IpAddr>, UsageError> {
    if given.is_empty() {
        return Ok(default.to_vec());
    }
    pieces(given)?
        .into_iter()
        .map(|(text, given)| {
            text.parse().map_err(|_| {
                given.refuse(format_args!("`{text}` is not an IP address; give one as in 0.0.0.0 or ::, or off"))
            })
        })
        .collect()
}

/// Pipy's `--admin-port`: `PORT`, `IP:PORT` or `:PORT`.
pub(super) fn admin_port(given: Option<&Given>, notes: &mut Vec<String>) -> Result<Option<u16>, UsageError> {
    let Some(given) = given else { return Ok(None) };
    let text = given.text()?;
    let (address, port) = text.rsplit_once(':').unwrap_or(("", text));
    let Some(port) = port.parse::<u16>().ok().filter(|port| *port > 0) else {
        return Err(given.refuse(format_args!("this is not a port; give a number from 1 to 65535, as in 6060")));
    };
    if !address.is_empty() {
        notes.push(format!(
            "{given}: the admin port is opened on loopback only; use --admin-listen for another address"
        ));
    }
    Ok(Some(port))
}

/// Splits at commas (variables hold lists); `off` stands for none and stands alone.
fn pieces(given: &[Given]) -> Result<Vec<(&str, &Given)>, UsageError> {
    let mut pieces = Vec::new();
    for given in given {
        pieces.extend(given.text()?.split(',').map(|piece| (piece.trim(), given)));
    }
    if let [("off", _)] = pieces[..] {
        pieces.clear();
    }
    Ok(pieces)
}
