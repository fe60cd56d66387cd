//! The first stage: flags and variables as they were given.

use super::{ADMIN_PORT, DrainOptions, Invocation, UsageError, WAIT_TIMEOUT, WaitOptions, values};
use crate::limits;
use clap::Parser;
use clap::error::ErrorKind;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// A value with the place it was given at, for messages.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// What was given.
    pub(super) value: OsString,
    /// On the command line; else in the environment.
    pub(super) typed: bool,
    /// `--flag`, `FSM_PROXY_VARIABLE` or empty for the positional argument.
    name: String,
}

impl Given {
    pub(super) fn flag(name: &str, value: impl Into<OsString>) -> Self {
        Self { value: value.into(), typed: true, name: name.into() }
    }

    /// The value as text.
    pub(super) fn text(&self) -> Result<&str, UsageError> {
        self.value.to_str().ok_or_else(|| self.refuse(format_args!("the value is not UTF-8 text")))
    }

    /// An error that names flag and value; `why` says the reason and the remedy.
    pub(super) fn refuse(&self, why: fmt::Arguments<'_>) -> UsageError {
        UsageError::new(format!("{self}: {why}"))
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.display();
        match (self.name.as_str(), self.typed) {
            ("", _) => write!(f, "{value}"),
            (name, true) => write!(f, "{name} {value}"),
            (name, false) => write!(f, "environment variable {name}={value}"),
        }
    }
}

/// Everything that can be given when the proxy is to serve.
#[derive(Debug, Default)]
pub(super) struct RawOptions {
    pub(super) config: Option<Given>,
    pub(super) repo: Option<Given>,
    pub(super) control: Option<Given>,
    pub(super) control_ca: Option<Given>,
    pub(super) control_token: Option<Given>,
    pub(super) control_name: Option<Given>,
    /// `POD_NAMESPACE`, `POD_NAME` and `POD_UID`.
    pub(super) pod: [Option<Given>; 3],
    pub(super) outbound_listen: Vec<Given>,
    pub(super) inbound_listen: Vec<Given>,
    pub(super) admin_listen: Vec<Given>,
    pub(super) admin_port: Option<Given>,
    pub(super) prometheus_listen: Vec<Given>,
    pub(super) probe_listen_address: Vec<Given>,
    pub(super) dns_listen: Vec<Given>,
    pub(super) gateway_listen: Vec<Given>,
    pub(super) gateway_mode: Option<Given>,
    pub(super) gateway_plaintext: Option<Given>,
    pub(super) gateway_allow: Vec<Given>,
    pub(super) upstream_mark: Option<Given>,
    pub(super) workers: Option<Given>,
    pub(super) runtime: Option<Given>,
    pub(super) cache_dir: Option<Given>,
    pub(super) log_level: Option<Given>,
    pub(super) log_format: Option<Given>,
    pub(super) drain_min: Option<Given>,
    pub(super) drain_max: Option<Given>,
}

/// What the first stage found.
pub(super) enum Read {
    Options(Box<RawOptions>),
    Print(String),
}

impl RawOptions {
    pub(super) fn read(arguments: Vec<OsString>, env: &impl Fn(&str) -> Option<OsString>) -> Result<Read, UsageError> {
        let flags: ServeFlags = match typed("fsm-proxy", arguments)? {
            Typed::Flags(flags) => flags,
            Typed::Print(text) => return Ok(Read::Print(text)),
        };
        let one = |flag: &str, value: Option<OsString>| one(flag, value, env);
        let many = |flag: &str, values: Vec<OsString>| many(flag, values, env);
        Ok(Read::Options(Box::new(Self {
            config: one("--config", flags.config),
            repo: one("", flags.repo),
            control: one("--control", flags.control),
            control_ca: one("--control-ca", flags.control_ca),
            control_token: one("--control-token", flags.control_token),
            control_name: one("--control-name", flags.control_name),
            pod: POD.map(|variable| from_env(variable, env)),
            outbound_listen: many("--outbound-listen", flags.outbound_listen),
            inbound_listen: many("--inbound-listen", flags.inbound_listen),
            admin_listen: many("--admin-listen", flags.admin_listen),
            admin_port: one("--admin-port", flags.admin_port),
            prometheus_listen: many("--prometheus-listen", flags.prometheus_listen),
            probe_listen_address: many("--probe-listen-address", flags.probe_listen_address),
            dns_listen: many("--dns-listen", flags.dns_listen),
            gateway_listen: many("--gateway-listen", flags.gateway_listen),
            gateway_mode: one("--gateway-mode", flags.gateway_mode),
            gateway_plaintext: one("--gateway-plaintext", flags.gateway_plaintext),
            gateway_allow: many("--gateway-allow", flags.gateway_allow),
            upstream_mark: one("--upstream-mark", flags.upstream_mark),
            workers: one("--workers", flags.workers),
            runtime: one("--runtime", flags.runtime),
            cache_dir: one("--cache-dir", flags.cache_dir),
            log_level: one("--log-level", flags.log_level),
            log_format: one("--log-format", flags.log_format),
            drain_min: one("--drain-min", flags.drain_min),
            drain_max: one("--drain-max", flags.drain_max),
        })))
    }
}

/// The variables that say whose proxy this is, as the injector sets them.
pub(super) const POD: [&str; 3] = ["POD_NAMESPACE", "POD_NAME", "POD_UID"];

/// Whether the arguments are Pipy's: one of them is the address of a repository.
pub(super) fn name_a_repository(arguments: &[OsString]) -> bool {
    let mut before = OsStr::new("");
    arguments.iter().any(|argument| {
        // fsm-control's address is a URL too.
        let found = is_url(argument) && before != "--control";
        before = argument;
        found
    })
}

/// Whether an argument is a URL.
pub(super) fn is_url(argument: &OsStr) -> bool {
    argument.to_str().is_some_and(|text| {
        let text = text.get(..8).unwrap_or(text).to_ascii_lowercase();
        text.starts_with("http://") || text.starts_with("https://")
    })
}

/// Reads the arguments of `wait`.
pub(super) fn wait(
    arguments: Vec<OsString>,
    env: &impl Fn(&str) -> Option<OsString>,
) -> Result<Invocation, UsageError> {
    let flags: WaitFlags = match typed("fsm-proxy wait", arguments)? {
        Typed::Flags(flags) => flags,
        Typed::Print(text) => return Ok(Invocation::Print(text)),
    };
    Ok(Invocation::WaitReady(WaitOptions {
        admin: admin(flags.admin, env)?,
        timeout: timeout("FSM_PROXY_WAIT_TIMEOUT", flags.timeout, WAIT_TIMEOUT, env)?,
    }))
}

/// Reads the arguments of `drain`.
pub(super) fn drain(
    arguments: Vec<OsString>,
    env: &impl Fn(&str) -> Option<OsString>,
) -> Result<Invocation, UsageError> {
    let flags: DrainFlags = match typed("fsm-proxy drain", arguments)? {
        Typed::Flags(flags) => flags,
        Typed::Print(text) => return Ok(Invocation::Print(text)),
    };
    // A proxy that is told to drain ends by itself at its own maximum; a moment more tells us that it did.
    let default = limits::DRAIN_MAX + Duration::from_secs(2);
    Ok(Invocation::Drain(DrainOptions {
        admin: admin(flags.admin, env)?,
        timeout: timeout("FSM_PROXY_DRAIN_TIMEOUT", flags.timeout, default, env)?,
    }))
}

fn admin(flag: Option<OsString>, env: &impl Fn(&str) -> Option<OsString>) -> Result<std::net::SocketAddr, UsageError> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let given: Vec<Given> = one("--admin", flag, env).into_iter().collect();
    match values::listen(&given, &loopback, ADMIN_PORT)?.first() {
        Some(address) => Ok(*address),
        None => Err(given[0].refuse(format_args!("an address is needed; give IP:PORT or PORT"))),
    }
}

fn timeout(
    variable: &str,
    flag: Option<OsString>,
    default: Duration,
    env: &impl Fn(&str) -> Option<OsString>,
) -> Result<Duration, UsageError> {
    let given = flag.map(|value| Given::flag("--timeout", value)).or_else(|| from_env(variable, env));
    values::duration(given.as_ref(), default)
}

enum Typed<T> {
    Flags(T),
    Print(String),
}

/// Lets clap read the arguments; its texts become ours.
fn typed<T: Parser>(name: &'static str, arguments: Vec<OsString>) -> Result<Typed<T>, UsageError> {
    let command = T::command().name(name).bin_name(name).no_binary_name(true);
    let outcome = command.try_get_matches_from(arguments).and_then(|matches| T::from_arg_matches(&matches));
    match outcome {
        Ok(flags) => Ok(Typed::Flags(flags)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Typed::Print(error.render().to_string().trim_end().to_owned()))
        }
        Err(error) => {
            let text = error.render().to_string();
            Err(UsageError::new(text.trim_start_matches("error: ").trim_end()))
        }
    }
}

fn one(flag: &str, value: Option<OsString>, env: &impl Fn(&str) -> Option<OsString>) -> Option<Given> {
    value.map(|value| Given::flag(flag, value)).or_else(|| from_env(&variable(flag), env))
}

fn many(flag: &str, values: Vec<OsString>, env: &impl Fn(&str) -> Option<OsString>) -> Vec<Given> {
    if values.is_empty() {
        return from_env(&variable(flag), env).into_iter().collect();
    }
    values.into_iter().map(|value| Given::flag(flag, value)).collect()
}

/// An empty variable counts as unset: manifests often set one to switch a default back on.
fn from_env(variable: &str, env: &impl Fn(&str) -> Option<OsString>) -> Option<Given> {
    let value = env(variable).filter(|value| !value.is_empty())?;
    Some(Given { value, typed: false, name: variable.into() })
}

fn variable(flag: &str) -> String {
    match flag {
        "" => "FSM_PROXY_REPO".into(),
        _ => format!("FSM_PROXY_{}", flag.trim_start_matches('-').replace('-', "_").to_ascii_uppercase()),
    }
}

/// The sidecar proxy of the mesh.
///
/// Give it one configuration source: --config FILE, --control URL, or the URL of FSM's repository.
/// Every flag can also be given as a variable: --drain-min as FSM_PROXY_DRAIN_MIN, the URL as FSM_PROXY_REPO.
/// `fsm-proxy wait` holds until the proxy is ready, `fsm-proxy drain` ends it gracefully; see their --help.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true, verbatim_doc_comment)]
pub(super) struct ServeFlags {
    /// FSM's repository: http://HOST:PORT/repo/…/ (Pipy's command line)
    #[arg(value_name = "URL")]
    repo: Option<OsString>,
    /// Configuration document (config.json or config.json.gz), followed when it changes
    #[arg(long, value_name = "FILE")]
    config: Option<OsString>,
    /// fsm-control, which issues the proxy's certificate and streams the configuration: https://HOST:PORT. Needs
    /// --control-ca, --control-token and the variables POD_NAMESPACE and POD_NAME (POD_UID too, where there is one)
    #[arg(long, value_name = "URL")]
    control: Option<OsString>,
    /// Roots (PEM) that fsm-control's certificate must chain to
    #[arg(long, value_name = "FILE")]
    control_ca: Option<OsString>,
    /// The pod's service-account token for fsm-control, read anew each time
    #[arg(long, value_name = "FILE")]
    control_token: Option<OsString>,
    /// Name that fsm-control's certificate must have [default: fsm-controller.fsm-system.svc]
    #[arg(long, value_name = "NAME")]
    control_name: Option<OsString>,
    /// Listen here for redirected traffic of the application [default: 0.0.0.0:15001 and [::]:15001]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    outbound_listen: Vec<OsString>,
    /// Listen here for redirected traffic to the application [default: 0.0.0.0:15003 and [::]:15003]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    inbound_listen: Vec<OsString>,
    /// Serve the admin endpoints here [default: 127.0.0.1:15000 and [::1]:15000]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    admin_listen: Vec<OsString>,
    /// Serve the admin endpoints on this loopback port too (Pipy's flag) [default: none]
    #[arg(long, value_name = "PORT")]
    admin_port: Option<OsString>,
    /// Serve Prometheus metrics here [default: 0.0.0.0:15010 and [::]:15010]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    prometheus_listen: Vec<OsString>,
    /// Answer probes on ports 15901 to 15904 of these IP addresses [default: 0.0.0.0 and ::]
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    probe_listen_address: Vec<OsString>,
    /// Answer the application's questions about names here, which fsm-init --dns-port sends [default: off]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    dns_listen: Vec<OsString>,
    /// Be an egress gateway here: sidecars ask for connections to the outside [default: none; port 1080]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    gateway_listen: Vec<OsString>,
    /// How sidecars ask the gateway: http2tunnel (CONNECT) or sock5 [default: http2tunnel]
    #[arg(long, value_name = "MODE")]
    gateway_mode: Option<OsString>,
    /// Whether addresses of the mesh may ask the gateway without TLS, as FSM's sidecars do: yes or no [default: no]
    #[arg(long, value_name = "YES|NO", num_args = 0..=1, default_missing_value = "yes")]
    gateway_plaintext: Option<OsString>,
    /// Connect the gateway's clients to nothing but this: HOST:PORT, *.HOST:PORT, CIDR:PORT; port * for all [default: any]
    #[arg(long, value_name = "DESTINATION", value_delimiter = ',')]
    gateway_allow: Vec<OsString>,
    /// Packet mark (SO_MARK) of every connection that the proxy opens, where redirection tells the proxy's own traffic by
    /// mark instead of by user: the same number as fsm-init's --proxy-mark. Needs CAP_NET_ADMIN [default: none]
    #[arg(long, value_name = "MARK")]
    upstream_mark: Option<OsString>,
    /// Data-plane threads [default: one for each CPU that affinity and cgroup quota allow]
    #[arg(long, value_name = "NUMBER")]
    workers: Option<OsString>,
    /// How threads share the work: work-stealing or per-core [default: per-core]
    #[arg(long, value_name = "KIND")]
    runtime: Option<OsString>,
    /// Keep what a restart needs (last good document, certificate) in this private directory [default: none]
    #[arg(long, value_name = "DIRECTORY")]
    cache_dir: Option<OsString>,
    /// Log level: trace, debug, info, warn, error or disabled [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<OsString>,
    /// Log format: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<OsString>,
    /// After SIGTERM, accept new connections for so long (seconds, or with unit ms, s, m) [default: 5s]
    #[arg(long, value_name = "TIME")]
    drain_min: Option<OsString>,
    /// After SIGTERM, cut off what still runs after so long (seconds, or with unit ms, s, m) [default: 25s]
    #[arg(long, value_name = "TIME")]
    drain_max: Option<OsString>,
}

/// Holds until the proxy of this pod is ready (post-start hook; also called wait-pipy).
///
/// Exits with 0 when it is, with 1 when it is not in time.
#[derive(Debug, Parser)]
#[command(version)]
struct WaitFlags {
    /// Admin listener of the proxy; also FSM_PROXY_ADMIN [default: 127.0.0.1:15000]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<OsString>,
    /// Give up after so long (seconds, or with unit ms, s, m); also FSM_PROXY_WAIT_TIMEOUT [default: 60s]
    #[arg(long, value_name = "TIME")]
    timeout: Option<OsString>,
}

/// Drains the proxy of this pod and waits for its end (pre-stop hook; also called gkill).
///
/// Exits with 0 when the proxy has ended, with 1 when it has not in time or does not obey.
#[derive(Debug, Parser)]
#[command(version)]
struct DrainFlags {
    /// Admin listener of the proxy; also FSM_PROXY_ADMIN [default: 127.0.0.1:15000]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<OsString>,
    /// Stop waiting after so long (seconds, or with unit ms, s, m); also FSM_PROXY_DRAIN_TIMEOUT [default: 27s]
    #[arg(long, value_name = "TIME")]
    timeout: Option<OsString>,
}
