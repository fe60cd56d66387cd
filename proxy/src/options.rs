//! The command line and the environment, turned into validated options once, at the edge.
//!
//! One binary has two surface forms. Ours is `fsm-proxy --config FILE`; Pipy's is what FSM's injector writes into every
//! sidecar container: `pipy --log-level=error --admin-port=6060 http://controller:6060/repo/…/`. Pipy's form is chosen
//! by the name `pipy` (of the program or as the first argument) or by an `http` URL; our own flags work there too.
//! Installed as `wait-pipy` or `gkill`, or called with `wait` or `drain`, the binary is the matching container hook.
//!
//! There are two stages: what was typed (strings of flags and of `FSM_PROXY_…` variables; a flag wins over its
//! variable), and what it means ([`Options`]). Fails with a [`UsageError`] that names the flag, its value, the reason
//! and the remedy. Never reads the process environment itself and never prints or exits: `main` does.

mod pipy;
mod raw;
mod values;

pub use values::{LogFormat, LogLevel, RuntimeFlavor};

use crate::config::source::{ControlOptions, Pod, RepoUrl, Source};
use crate::gateway::GatewayOptions;
use crate::limits;
use raw::{Given, RawOptions};
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// What the process is asked to do.
#[derive(Debug)]
pub enum Invocation {
    /// Run the proxy.
    Serve(Box<Options>),
    /// `wait`, or called as `wait-pipy`: hold until the proxy is ready.
    WaitReady(WaitOptions),
    /// `drain`, or called as `gkill`: drain the proxy and wait for its end.
    Drain(DrainOptions),
    /// `--help` or `--version`: print this text (without a line end) on standard output and exit with 0.
    Print(String),
}

/// Everything about the proxy process that is not in its configuration document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the configuration document comes from.
    pub source: Source,
    /// Listeners for redirected traffic of the application; 15001 on all addresses.
    pub outbound_listen: Vec<SocketAddr>,
    /// Listeners for redirected traffic to the application; 15003 on all addresses.
    pub inbound_listen: Vec<SocketAddr>,
    /// Admin listeners; 15000 on loopback.
    pub admin_listen: Vec<SocketAddr>,
    /// Pipy's `--admin-port`: one more admin port on loopback; `None` when not asked for.
    pub admin_port: Option<u16>,
    /// Prometheus listeners; 15010 on all addresses.
    pub prometheus_listen: Vec<SocketAddr>,
    /// Addresses of the probe ports 15901–15904; all addresses. Empty: no probe ports.
    pub probe_listen_address: Vec<IpAddr>,
    /// Where the application's questions about names are answered (UDP, on loopback); empty: nowhere.
    pub dns_listen: Vec<SocketAddr>,
    /// Egress gateway; `None`: this process is none.
    pub gateway: Option<GatewayOptions>,
    /// Packet mark of the proxy's own connections.
    pub upstream_mark: Option<u32>,
    /// Data-plane threads; `None`: see [`Options::worker_threads`].
    pub workers: Option<NonZeroUsize>,
    /// How the data-plane threads share the work.
    pub runtime: RuntimeFlavor,
    /// Directory that keeps the last good document (and the issued certificate) for restarts; `None`: nothing is kept.
    pub cache_dir: Option<PathBuf>,
    /// Log level at the start.
    pub log_level: LogLevel,
    /// Whether `log_level` stays: it was given by our own flag or variable, so `SidecarLogLevel` of the document does
    /// not change it. Never so in Pipy's form, where FSM's injector always writes a level.
    pub log_level_pinned: bool,
    /// Format of the log.
    pub log_format: LogFormat,
    /// After SIGTERM, how long new connections are still accepted.
    pub drain_min: Duration,
    /// After SIGTERM, when everything that still runs is cut off; at least `drain_min`.
    pub drain_max: Duration,
    /// Remarks about the command line that the operator should see in the log once it is set up.
    pub notes: Vec<String>,
}

/// What the post-start hook needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitOptions {
    /// Admin listener of the proxy.
    pub admin: SocketAddr,
    /// When to give up.
    pub timeout: Duration,
}

/// What the pre-stop hook needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainOptions {
    /// Admin listener of the proxy.
    pub admin: SocketAddr,
    /// When to stop waiting for the end of the proxy.
    pub timeout: Duration,
}

/// The command line cannot be used. Exit with [`UsageError::EXIT_CODE`] after printing it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// Exit code for wrong usage.
    pub const EXIT_CODE: u8 = 2;

    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Default port of the admin listeners.
const ADMIN_PORT: u16 = 15000;
/// Default port of an egress gateway: that of FSM's chart.
const GATEWAY_PORT: u16 = 1080;
/// Default port of the answers to questions about names: that of FSM 1.2.
const DNS_PORT: u16 = 5300;
/// Name in fsm-control's certificate: that of its Service.
const CONTROL_NAME: &str = "fsm-controller.fsm-system.svc";
/// How long `wait` holds by default.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

impl Options {
    /// Reads a command line. `argv` starts with the program's name; `env` looks a variable up.
    ///
    /// # Errors
    /// [`UsageError`] when a flag is unknown, a value is not usable, or no source is named.
    pub fn parse(
        argv: impl IntoIterator<Item = OsString>,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Invocation, UsageError> {
        let mut argv = argv.into_iter();
        let program = argv.next().unwrap_or_else(|| OsString::from("fsm-proxy"));
        let mut arguments: Vec<OsString> = argv.collect();
        let name = Path::new(&program).file_name().unwrap_or(OsStr::new("fsm-proxy"));
        let first = arguments.first().cloned().unwrap_or_default();
        if name == "wait-pipy" {
            return raw::wait(arguments, &env);
        }
        if name == "gkill" {
            return raw::drain(arguments, &env);
        }
        if first == "wait" {
            return raw::wait(arguments.split_off(1), &env);
        }
        if first == "drain" {
            return raw::drain(arguments.split_off(1), &env);
        }
        // An image whose entry point is fsm-proxy gets Pipy's name as first argument: FSM's container args start with it.
        let named_pipy = first == "pipy";
        if named_pipy {
            arguments.remove(0);
        }
        let pipy = named_pipy || name == "pipy" || raw::name_a_repository(&arguments);
        let translated = if pipy { pipy::translate(arguments)? } else { pipy::Translated::untouched(arguments) };
        match RawOptions::read(translated.arguments, &env)? {
            raw::Read::Print(text) => Ok(Invocation::Print(text)),
            raw::Read::Options(given) => {
                let options = Self::validate(*given, pipy, translated.threads, translated.notes)?;
                Ok(Invocation::Serve(Box::new(options)))
            }
        }
    }

    /// Number of data-plane threads: `workers`, or as many as the CPUs this process may use. The standard library takes
    /// the CPU affinity and the cgroup quota (`cpu.max`, rounded down, at least one) into account.
    pub fn worker_threads(&self) -> NonZeroUsize {
        self.workers.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }

    fn validate(
        raw: RawOptions,
        pipy: bool,
        threads: Option<Given>,
        mut notes: Vec<String>,
    ) -> Result<Self, UsageError> {
        let upstream_mark = values::mark(raw.upstream_mark.as_ref())?;
        let source = source(&raw, upstream_mark, &mut notes)?;
        let wildcard = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let admin_listen = values::listen(&raw.admin_listen, &loopback, ADMIN_PORT)?;
        if admin_listen.iter().any(|address| !address.ip().is_loopback()) {
            notes.push(
                "an admin listener is not on a loopback address: whoever reaches it can read the configuration and \
                 drain the proxy"
                    .into(),
            );
        }
        let drain_min = values::duration(raw.drain_min.as_ref(), limits::DRAIN_MIN)?;
        // A longer minimum than the default maximum is a wish for a longer maximum, unless that was given too.
        let drain_max = values::duration(raw.drain_max.as_ref(), limits::DRAIN_MAX.max(drain_min))?;
        if let Some(given) = raw.drain_max.as_ref().filter(|_| drain_max < drain_min) {
            return Err(given.refuse(format_args!(
                "the drain cannot end before new connections are turned away after {} s; give at least that much, or \
                 a smaller --drain-min",
                drain_min.as_secs_f64()
            )));
        }
        Ok(Self {
            source,
            outbound_listen: values::listen(&raw.outbound_listen, &wildcard, 15001)?,
            inbound_listen: values::listen(&raw.inbound_listen, &wildcard, 15003)?,
            admin_listen,
            admin_port: values::admin_port(raw.admin_port.as_ref(), &mut notes)?,
            prometheus_listen: values::listen(&raw.prometheus_listen, &wildcard, 15010)?,
            probe_listen_address: values::addresses(&raw.probe_listen_address, &wildcard)?,
            dns_listen: dns(&raw, &loopback)?,
            gateway: gateway(&raw, &wildcard)?,
            upstream_mark,
            workers: values::workers(raw.workers.as_ref().or(threads.as_ref()))?,
            runtime: values::keyword(raw.runtime.as_ref())?,
            cache_dir: raw.cache_dir.map(|given| PathBuf::from(given.value)),
            log_level_pinned: raw.log_level.is_some() && !pipy,
            log_level: values::keyword(raw.log_level.as_ref())?,
            log_format: values::keyword(raw.log_format.as_ref())?,
            drain_min,
            drain_max,
            notes,
        })
    }
}

/// Where names are answered, if an address for it was given. Whoever else could ask could have the pod ask others.
fn dns(raw: &RawOptions, loopback: &[IpAddr]) -> Result<Vec<SocketAddr>, UsageError> {
    let Some(given) = raw.dns_listen.first() else { return Ok(Vec::new()) };
    let listen = values::listen(&raw.dns_listen, loopback, DNS_PORT)?;
    match listen.iter().find(|address| !address.ip().is_loopback()) {
        Some(address) => Err(given.refuse(format_args!(
            "{address} is not on loopback, and names are answered to this pod only; give a PORT, or 127.0.0.1:PORT"
        ))),
        None => Ok(listen),
    }
}

/// The gateway, if an address for it was given.
fn gateway(raw: &RawOptions, addresses: &[IpAddr]) -> Result<Option<GatewayOptions>, UsageError> {
    if raw.gateway_listen.is_empty() {
        let stray = raw.gateway_mode.iter().chain(&raw.gateway_plaintext).chain(&raw.gateway_allow).next();
        return match stray {
            Some(given) => Err(given.refuse(format_args!("this process is no egress gateway; add --gateway-listen"))),
            None => Ok(None),
        };
    }
    let listen = values::listen(&raw.gateway_listen, addresses, GATEWAY_PORT)?;
    if listen.is_empty() {
        return Ok(None);
    }
    Ok(Some(GatewayOptions {
        listen,
        mode: values::keyword(raw.gateway_mode.as_ref())?,
        plaintext: values::switch(raw.gateway_plaintext.as_ref())?,
        permits: values::permits(&raw.gateway_allow)?,
    }))
}

fn source(raw: &RawOptions, mark: Option<u32>, notes: &mut Vec<String>) -> Result<Source, UsageError> {
    let given = [&raw.config, &raw.control, &raw.repo];
    // A typed source wins over another one's variable, as every flag wins over its variable.
    let typed = given.iter().any(|given| given.as_ref().is_some_and(|given| given.typed));
    let mut named = given.into_iter().flatten().filter(|given| given.typed == typed);
    let (first, second) = (named.next(), named.next());
    if let (Some(first), Some(second)) = (first, second) {
        return Err(second.refuse(format_args!(
            "another configuration source is named too ({first}) and the proxy follows one source only; leave one of them \
             out"
        )));
    }
    let is = |given: &Option<Given>| given.as_ref().is_some_and(|given| given.typed == typed);
    match (&raw.config, &raw.control, &raw.repo) {
        (Some(config), _, _) if is(&raw.config) => Ok(Source::File(PathBuf::from(config.value.clone()))),
        (_, Some(address), _) if is(&raw.control) => control(raw, address, mark),
        (_, _, Some(repo)) if is(&raw.repo) => repository(repo, notes),
        _ => Err(UsageError::new(
            "no configuration source is named; give a document with --config FILE, fsm-control with --control \
             https://HOST:PORT, or the URL of FSM's repository as http://HOST:PORT/repo/…/",
        )),
    }
}

fn repository(repo: &Given, notes: &mut Vec<String>) -> Result<Source, UsageError> {
    let text = repo.text()?;
    if !raw::is_url(&repo.value) {
        return Err(repo.refuse(format_args!(
            "this is not a URL, and fsm-proxy does not run Pipy scripts; give the repository as \
             http://HOST:PORT/repo/…/ or a document with --config FILE"
        )));
    }
    let url: RepoUrl = text.parse().map_err(|error| repo.refuse(format_args!("{error}")))?;
    if !text.ends_with('/') {
        notes.push(format!("the repository URL {text} should end with a slash; {url} is used"));
    }
    Ok(Source::Repo(url))
}

fn control(raw: &RawOptions, given: &Given, mark: Option<u32>) -> Result<Source, UsageError> {
    let address = given.text()?.parse().map_err(|error| given.refuse(format_args!("{error}")))?;
    let needed = |value: &Option<Given>, why: &str| match value {
        Some(value) => Ok(PathBuf::from(value.value.clone())),
        None => Err(given.refuse(format_args!("{why}"))),
    };
    let ca =
        needed(&raw.control_ca, "fsm-control must be verified; name the PEM file with its root: --control-ca FILE")?;
    let token = needed(
        &raw.control_token,
        "fsm-control must know who asks; name the file with the pod's service-account token: --control-token FILE",
    )?;
    let name = match &raw.control_name {
        Some(name) => name.text()?.to_owned(),
        None => CONTROL_NAME.to_owned(),
    };
    let [namespace, pod, uid] = &raw.pod;
    let text =
        |value: &Option<Given>| value.as_ref().map_or(Ok(String::new()), |value| value.text().map(str::to_owned));
    let pod = Pod { namespace: text(namespace)?, name: text(pod)?, uid: text(uid)? };
    if pod.namespace.is_empty() || pod.name.is_empty() {
        return Err(given.refuse(format_args!(
            "the pod whose proxy this is must be known; set the variables POD_NAMESPACE and POD_NAME (and POD_UID) from \
             the downward API"
        )));
    }
    Ok(Source::Control(Box::new(ControlOptions { address, ca, token, name, pod, mark })))
}

#[cfg(test)]
mod tests;
