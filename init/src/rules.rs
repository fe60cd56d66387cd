//! The redirection rules as data, computed purely from [`Options`].
//!
//! The rules are FSM's (`pkg/injector/iptables.go`), row by row, for IPv4, and the same for IPv6,
//! which FSM leaves uncaptured. Only the `nat` table and only TCP are concerned: UDP, ICMP and
//! everything else passes untouched, but for the application's questions about names where the
//! sidecar answers them (MeshConfig `sidecar.localDNSProxy`).
//!
//! One row of FSM's is left out on purpose: `FSM_PROXY_OUT_REDIRECT … dport 15000 ACCEPT`. It
//! stands behind an unconditional redirect, so it has never matched. Moving it up to "fix" it would
//! let an application reach port 15000 of any host outside the mesh; and the proxy's own admin port
//! needs no exception, since connections over loopback are never captured.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;

use crate::options::{InterfaceName, Ipv6Choice, Options, ProxySelector};

/// Ports of the sidecar that others reach directly: metrics, then the probes (liveness, readiness,
/// startup, TCP). Every other port of the pod, the admin port 15000 included, is captured.
pub const INBOUND_BYPASS_PORTS: [u16; 5] = [15010, 15901, 15902, 15903, 15904];

/// `multiport` takes at most this many ports; the kernel refuses a longer list.
const MULTIPORT_LIMIT: usize = 15;

/// The rules of both families. `v6` is `None` when IPv6 is switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleSet {
    /// Rules for `iptables`, in the order in which they are executed as commands.
    pub v4: Vec<Rule>,
    /// Rules for `ip6tables`, likewise.
    pub v6: Option<Vec<Rule>>,
}

/// One rule: how and where it is added, what it matches, what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Added at the end or at the head of its chain.
    pub operation: Operation,
    /// The chain it belongs to.
    pub chain: Chain,
    /// All must hold; empty matches everything.
    pub matches: Vec<Match>,
    /// What happens to a packet that matches.
    pub target: Target,
}

/// How a rule is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// At the end.
    Append,
    /// At the head, before what was added so far.
    Insert,
}

/// The chains in use: two of the kernel's, four of ours under FSM's names, and one more of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// The kernel's, for packets coming in.
    Prerouting,
    /// The kernel's, for packets made here.
    Output,
    /// Decides about inbound connections.
    Inbound,
    /// Sends to the inbound port.
    InRedirect,
    /// Decides about outbound connections.
    Outbound,
    /// Sends to the outbound port.
    OutRedirect,
    /// Decides about questions about names.
    Names,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// The packet is TCP.
    Tcp,
    /// A question about a name: UDP to port 53.
    Question,
    /// TCP to this port.
    DestinationPort(u16),
    /// TCP to one of these ports; at most 15.
    DestinationPorts(Vec<NonZeroU16>),
    /// Destination in the range.
    Destination(IpNet),
    /// Destination not in the range.
    NotDestination(IpNet),
    /// Came in through this interface.
    InputInterface(InterfaceName),
    /// Leaves through this interface.
    OutputInterface(InterfaceName),
    /// Leaves through loopback.
    OutputLoopback,
    /// Sent by the proxy.
    FromProxy(ProxySelector),
    /// Not sent by the proxy.
    NotFromProxy(ProxySelector),
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Leave the chain: the packet is not captured.
    Return,
    /// Continue in another chain.
    Jump(Chain),
    /// Send to this port of the local machine.
    Redirect(NonZeroU16),
    /// Rewrite the destination address, keep the port.
    DestinationNat(IpAddr),
}

/// The address family a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4, `iptables`.
    V4,
    /// IPv6, `ip6tables`.
    V6,
}

impl RuleSet {
    /// The rules for these options. Same options, same rules.
    pub fn compute(options: &Options) -> Self {
        Self {
            v4: family_rules(options, Family::V4),
            v6: (options.ipv6 != Ipv6Choice::Off).then(|| family_rules(options, Family::V6)),
        }
    }
}

impl Chain {
    /// The chains that belong to us.
    pub const OURS: [Chain; 5] = [Chain::Inbound, Chain::InRedirect, Chain::Outbound, Chain::OutRedirect, Chain::Names];

    /// The name in the kernel; those of our chains are FSM's, but for [`Chain::Names`].
    pub const fn name(self) -> &'static str {
        match self {
            Chain::Prerouting => "PREROUTING",
            Chain::Output => "OUTPUT",
            Chain::Inbound => "FSM_PROXY_INBOUND",
            Chain::InRedirect => "FSM_PROXY_IN_REDIRECT",
            Chain::Outbound => "FSM_PROXY_OUTBOUND",
            Chain::OutRedirect => "FSM_PROXY_OUT_REDIRECT",
            Chain::Names => "FSM_PROXY_NAMES",
        }
    }

    /// Whether the chain exists without us, so that we may only add to it.
    pub const fn is_builtin(self) -> bool {
        matches!(self, Chain::Prerouting | Chain::Output)
    }
}

impl Family {
    /// The loopback address as a range of one. FSM compares with this one address, not with all of
    /// 127.0.0.0/8: the proxy reaches the application from 127.0.0.6 to 127.0.0.1.
    pub fn loopback(self) -> IpNet {
        IpNet::from(match self {
            Family::V4 => IpAddr::from([127, 0, 0, 1]),
            Family::V6 => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        })
    }

    fn contains(self, net: &IpNet) -> bool {
        matches!((self, net), (Family::V4, IpNet::V4(_)) | (Family::V6, IpNet::V6(_)))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

impl Rule {
    /// Conditions and target, in the order and spelling of `iptables-save`, so that a saved rule
    /// can be compared with one of ours as text.
    pub fn specification(&self) -> String {
        let words: Vec<String> =
            self.matches.iter().map(ToString::to_string).chain([self.target.to_string()]).collect();
        words.join(" ")
    }
}

impl fmt::Display for Rule {
    /// One line for `iptables-restore`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = match self.operation {
            Operation::Append => "-A",
            Operation::Insert => "-I",
        };
        write!(f, "{operation} {} {}", self.chain.name(), self.specification())
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Match::Tcp => f.write_str("-p tcp"),
            Match::Question => f.write_str("-p udp -m udp --dport 53"),
            Match::DestinationPort(port) => write!(f, "-p tcp -m tcp --dport {port}"),
            Match::DestinationPorts(ports) => {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                write!(f, "-p tcp -m multiport --dports {}", ports.join(","))
            }
            Match::Destination(net) => write!(f, "-d {net}"),
            Match::NotDestination(net) => write!(f, "! -d {net}"),
            Match::InputInterface(name) => write!(f, "-i {name}"),
            Match::OutputInterface(name) => write!(f, "-o {name}"),
            Match::OutputLoopback => f.write_str("-o lo"),
            Match::FromProxy(ProxySelector::Uid(uid)) => write!(f, "-m owner --uid-owner {uid}"),
            Match::FromProxy(ProxySelector::Mark(mark)) => write!(f, "-m mark --mark {mark}"),
            Match::NotFromProxy(ProxySelector::Uid(uid)) => {
                write!(f, "-m owner ! --uid-owner {uid}")
            }
            Match::NotFromProxy(ProxySelector::Mark(mark)) => write!(f, "-m mark ! --mark {mark}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Return => f.write_str("-j RETURN"),
            Target::Jump(chain) => write!(f, "-j {}", chain.name()),
            Target::Redirect(port) => write!(f, "-j REDIRECT --to-ports {port}"),
            Target::DestinationNat(address) => write!(f, "-j DNAT --to-destination {address}"),
        }
    }
}

fn family_rules(options: &Options, family: Family) -> Vec<Rule> {
    let mut rules = inbound_rules(options);
    rules.extend(outbound_rules(options, family));
    rules.extend(exclusion_rules(options, family));
    rules.extend(options.dns_port.into_iter().flat_map(|port| name_rules(options, port)));
    rules
}

/// The application's questions about names go to the proxy, on loopback; the proxy's own go where they are sent. (FSM 1.2
/// sends those to one address only, which it writes into the pod's resolv.conf.)
fn name_rules(options: &Options, port: NonZeroU16) -> [Rule; 3] {
    [
        append(Chain::Names, [Match::FromProxy(options.proxy)], Target::Return),
        append(Chain::Names, [Match::Question], Target::Redirect(port)),
        append(Chain::Output, [Match::Question], Target::Jump(Chain::Names)),
    ]
}

/// FSM's rows 1 to 10.
fn inbound_rules(options: &Options) -> Vec<Rule> {
    let mut rules = vec![
        append(Chain::InRedirect, [Match::Tcp], Target::Redirect(options.inbound_port)),
        append(Chain::Prerouting, [Match::Tcp], Target::Jump(Chain::Inbound)),
    ];
    rules.extend(
        INBOUND_BYPASS_PORTS.map(|port| append(Chain::Inbound, [Match::DestinationPort(port)], Target::Return)),
    );
    rules.push(append(Chain::Inbound, [Match::Tcp], Target::Jump(Chain::InRedirect)));
    rules.extend(
        options
            .exclude_interfaces
            .iter()
            .map(|name| insert(Chain::Inbound, [Match::InputInterface(name.clone())], Target::Return)),
    );
    rules.extend(
        port_lists(&options.inbound_exclude_ports)
            .map(|ports| insert(Chain::Inbound, [Match::DestinationPorts(ports)], Target::Return)),
    );
    rules
}

/// FSM's rows 11 to 18; row 12 is left out, see the head of this file.
fn outbound_rules(options: &Options, family: Family) -> Vec<Rule> {
    let (proxy, loopback) = (options.proxy, family.loopback());
    let mut rules = vec![
        append(Chain::OutRedirect, [Match::Tcp], Target::Redirect(options.outbound_port)),
        append(Chain::Output, [Match::Tcp], Target::Jump(Chain::Outbound)),
        // The application called its own Service and the proxy picked this very pod: the connection
        // goes over loopback to the pod's address and must pass the inbound side like any other.
        append(
            Chain::Outbound,
            [Match::NotDestination(loopback), Match::OutputLoopback, Match::FromProxy(proxy)],
            Target::Jump(Chain::InRedirect),
        ),
        // The application talks to itself.
        append(Chain::Outbound, [Match::OutputLoopback, Match::NotFromProxy(proxy)], Target::Return),
        // What the proxy sends is not sent to the proxy again.
        append(Chain::Outbound, [Match::FromProxy(proxy)], Target::Return),
        append(Chain::Outbound, [Match::Destination(loopback)], Target::Return),
    ];
    let pod_address = match family {
        Family::V4 => options.pod.v4.map(IpAddr::V4),
        Family::V6 => options.pod.v6.map(IpAddr::V6),
    };
    // Inserted: it must come before the jump to our chain, which lets loopback pass unchanged.
    rules.extend(pod_address.map(|address| {
        insert(
            Chain::Output,
            [Match::Destination(loopback), Match::OutputLoopback, Match::Tcp, Match::FromProxy(proxy)],
            Target::DestinationNat(address),
        )
    }));
    rules
}

/// FSM's rows 19 to 22.
fn exclusion_rules(options: &Options, family: Family) -> Vec<Rule> {
    let of_family =
        |nets: &[IpNet]| -> Vec<IpNet> { nets.iter().copied().filter(|net| family.contains(net)).collect() };
    let mut rules = Vec::new();
    rules.extend(
        options
            .exclude_interfaces
            .iter()
            .map(|name| append(Chain::Outbound, [Match::OutputInterface(name.clone())], Target::Return)),
    );
    rules.extend(
        of_family(&options.outbound_exclude)
            .into_iter()
            .map(|net| append(Chain::Outbound, [Match::Destination(net)], Target::Return)),
    );
    rules.extend(
        port_lists(&options.outbound_exclude_ports)
            .map(|ports| append(Chain::Outbound, [Match::DestinationPorts(ports)], Target::Return)),
    );
    if options.outbound_include.is_empty() {
        rules.push(append(Chain::Outbound, [], Target::Jump(Chain::OutRedirect)));
    } else {
        // "Only these ranges" holds for both families: a list without IPv6 captures no IPv6.
        rules.extend(
            of_family(&options.outbound_include)
                .into_iter()
                .map(|net| append(Chain::Outbound, [Match::Destination(net)], Target::Jump(Chain::OutRedirect))),
        );
        rules.push(append(Chain::Outbound, [], Target::Return));
    }
    rules
}

fn port_lists(ports: &[NonZeroU16]) -> impl Iterator<Item = Vec<NonZeroU16>> {
    ports.chunks(MULTIPORT_LIMIT).map(<[NonZeroU16]>::to_vec)
}

fn append<const N: usize>(chain: Chain, matches: [Match; N], target: Target) -> Rule {
    Rule { operation: Operation::Append, chain, matches: matches.into(), target }
}

fn insert<const N: usize>(chain: Chain, matches: [Match; N], target: Target) -> Rule {
    Rule { operation: Operation::Insert, chain, matches: matches.into(), target }
}

#[cfg(test)]
mod tests;
