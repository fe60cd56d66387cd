//! Command line and environment as written, before validation.
//!
//! Everything is text, so that an empty environment variable (common in pod templates) counts as
//! absent and every mistake gets a reason code of ours instead of the parser's. Validation is
//! `Options::try_from(flags)`.

use clap::Parser;

/// What is written on the command line or in the environment, unchecked.
///
/// A flag wins over its environment variable. Lists may be repeated or separated by commas; empty
/// items are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Parser)]
#[command(
    name = "fsm-init",
    version,
    about = "Redirects a pod's TCP traffic into its sidecar",
    long_about = "Redirects the TCP traffic of the current network namespace into the sidecar: outbound \
        connections to --outbound-port, inbound connections to --inbound-port. Running it again is harmless; \
        --clean removes what it did. Either everything is applied, for IPv4 and IPv6, or nothing.",
    after_help = EXIT_CODES
)]
pub struct Flags {
    /// Destination range left alone, e.g. 10.96.0.0/12 or fd00::/8 (list)
    #[arg(long, value_name = "CIDR", value_delimiter = ',', env = "FSM_INIT_OUTBOUND_EXCLUDE_CIDR")]
    pub outbound_exclude_cidr: Vec<String>,
    /// Capture outbound connections to these ranges only; exclusions still apply first (list)
    #[arg(long, value_name = "CIDR", value_delimiter = ',', env = "FSM_INIT_OUTBOUND_INCLUDE_CIDR")]
    pub outbound_include_cidr: Vec<String>,
    /// Destination port left alone on outbound connections (list)
    #[arg(long, value_name = "PORT", value_delimiter = ',', env = "FSM_INIT_OUTBOUND_EXCLUDE_PORT")]
    pub outbound_exclude_port: Vec<String>,
    /// Port of this pod whose inbound connections are left alone (list)
    #[arg(long, value_name = "PORT", value_delimiter = ',', env = "FSM_INIT_INBOUND_EXCLUDE_PORT")]
    pub inbound_exclude_port: Vec<String>,
    /// Network interface left alone in both directions; a final + matches any suffix (list)
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "FSM_INIT_EXCLUDE_INTERFACE")]
    pub exclude_interface: Vec<String>,
    /// PodIP mode: the proxy's connections to loopback reach the application on this address of the pod (at most one IPv4 and one IPv6; list)
    #[arg(long, value_name = "IP", value_delimiter = ',', env = "FSM_INIT_POD_IP")]
    pub pod_ip: Vec<String>,
    /// User id whose traffic is the proxy's own [default: 1500]
    #[arg(long, value_name = "UID", env = "FSM_INIT_PROXY_UID")]
    pub proxy_uid: Option<String>,
    /// Recognise the proxy's own traffic by packet mark instead of user id, e.g. 0x539 or 0x500/0xff00
    #[arg(long, value_name = "MARK[/MASK]", env = "FSM_INIT_PROXY_MARK")]
    pub proxy_mark: Option<String>,
    /// Port where the proxy accepts inbound connections [default: 15003]
    #[arg(long, value_name = "PORT", env = "FSM_INIT_INBOUND_PORT")]
    pub inbound_port: Option<String>,
    /// Port where the proxy accepts outbound connections [default: 15001]
    #[arg(long, value_name = "PORT", env = "FSM_INIT_OUTBOUND_PORT")]
    pub outbound_port: Option<String>,
    /// Redirect the application's questions about names (UDP to port 53) to this port of the proxy on loopback
    #[arg(long, value_name = "PORT", env = "FSM_INIT_DNS_PORT")]
    pub dns_port: Option<String>,
    /// iptables variant: auto, nft or legacy; auto prefers the one already in use [default: auto]
    #[arg(long, value_name = "auto|nft|legacy", env = "FSM_INIT_BACKEND")]
    pub backend: Option<String>,
    /// Capture IPv6: on, off, or auto, which tolerates that there is no IPv6 to capture [default: auto]
    #[arg(long, value_name = "auto|on|off", env = "FSM_INIT_IPV6")]
    pub ipv6: Option<String>,
    /// Seconds to wait for another program that holds the firewall lock, 1 to 600 [default: 30]
    #[arg(long, value_name = "SECONDS", env = "FSM_INIT_TIMEOUT")]
    pub timeout: Option<String>,
    /// Print what would be given to each restore command and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove everything fsm-init applied, and nothing else
    #[arg(long)]
    pub clean: bool,
}

pub(crate) const EXIT_CODES: &str = "\
Exit codes, with the reason codes printed to standard error:
  0  done
  2  invalid flags             init.invalid-cidr, -port, -interface, -pod-ip, -uid, -mark, -choice, -timeout; init.conflict
  3  iptables is missing       init.no-iptables
  4  privileges are missing    init.permission
  5  kernel support missing    init.kernel-support, init.ipv6-unavailable
  6  lock or command too slow  init.timeout
  7  transaction refused       init.refused (nothing was changed)
  8  could not be undone       init.half-applied
  9  a tool or file failed     init.tool

Each list and value may also come from the environment as FSM_INIT_ and the flag's name, e.g. FSM_INIT_PROXY_UID.";
