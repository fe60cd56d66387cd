//! Service addresses: rules that give each new connection to one of a Service's endpoints.
//!
//! The nat table of the node's network is ours alone, so it is replaced as a whole in one transaction: at no moment
//! there are half the rules. Only new connections are looked up in it; those that exist keep their endpoint. What is
//! still for a Service address after that has no endpoint and is refused.

use std::collections::BTreeMap;
use std::env;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::NodeError;
use super::address::Plan;
use super::place::Place;
use super::rootless;

/// The transport protocol of a Service's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One port of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRule {
    /// The Service's address.
    pub vip: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Of which protocol.
    pub protocol: Protocol,
    /// Who takes its connections: ready pods, by address and target port. None: connections are refused.
    pub endpoints: Vec<SocketAddrV4>,
}

/// Seconds to wait for the lock of iptables.
const LOCK_WAIT: &str = "5";

/// The tool that works here, and the rules in force.
pub(super) struct Firewall {
    place: Place,
    plan: Plan,
    uplink: Option<SocketAddrV4>,
    tool: PathBuf,
    in_force: Mutex<String>,
}

impl Firewall {
    /// Finds a variant of iptables with which the kernel takes all the kinds of rule that are needed, and makes the
    /// rules for no Services.
    pub(super) fn find(place: Place, plan: Plan, uplink: Option<SocketAddrV4>) -> Result<Self, NodeError> {
        let endpoint = |port| SocketAddrV4::new(plan.node, port);
        let probe =
            ServiceRule { vip: plan.dns, port: 1, protocol: Protocol::Tcp, endpoints: vec![endpoint(1), endpoint(2)] };
        let probe = rules(&[probe], &plan, uplink);
        let nothing = rules(&[], &plan, uplink);
        let mut refusals = Vec::new();
        let mut variants = ["iptables-nft-restore", "iptables-restore", "iptables-legacy-restore"];
        if !rootless::is_on_the_machine() {
            // Without root, nft takes no more than net.core.wmem_max at a time (some 1,000 endpoints).
            variants.reverse();
        }
        for name in variants {
            let tool = program(name);
            match restore(&place, &tool, &probe).and_then(|()| restore(&place, &tool, &nothing)) {
                Ok(()) => return Ok(Self { place, plan, uplink, tool, in_force: Mutex::new(nothing) }),
                Err(NodeError::Tool { why, .. }) => refusals.push(format!("{name} {why}")),
                Err(why) => return Err(why),
            }
        }
        let why = format!("is needed for Service addresses; install iptables: {}", refusals.join("; "));
        Err(NodeError::Tool { tool: "iptables-restore".to_owned(), why })
    }

    pub(super) fn set(&self, services: &[ServiceRule]) -> Result<(), NodeError> {
        for one in services {
            if !self.plan.services.contains(&one.vip) || one.vip == self.plan.dns {
                let range = self.plan.services;
                let why = format!(
                    "{} cannot be a Service's address: it must be in {range} and not {}",
                    one.vip, self.plan.dns
                );
                return Err(NodeError::Address(why));
            }
        }
        let wanted = rules(services, &self.plan, self.uplink);
        let mut in_force = self.in_force.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *in_force != wanted {
            restore(&self.place, &self.tool, &wanted)?;
            *in_force = wanted;
        }
        Ok(())
    }
}

/// The whole input of `iptables-restore`. Pure; the order of services and endpoints does not matter.
fn rules(services: &[ServiceRule], plan: &Plan, uplink: Option<SocketAddrV4>) -> String {
    let mut merged: BTreeMap<(Ipv4Addr, Protocol, u16), Vec<SocketAddrV4>> = BTreeMap::new();
    for one in services {
        merged.entry((one.vip, one.protocol, one.port)).or_default().extend(&one.endpoints);
    }
    for endpoints in merged.values_mut() {
        endpoints.sort_unstable();
        endpoints.dedup();
    }
    merged.retain(|_, endpoints| !endpoints.is_empty());
    let mut text = String::new();
    nat(&mut text, &merged, plan, uplink);
    filter(&mut text, plan);
    text
}

fn nat(
    text: &mut String,
    services: &BTreeMap<(Ipv4Addr, Protocol, u16), Vec<SocketAddrV4>>,
    plan: &Plan,
    uplink: Option<SocketAddrV4>,
) {
    // Writing to a String cannot fail.
    let mut line = |arguments: fmt::Arguments<'_>| {
        let _ = writeln!(text, "{arguments}");
    };
    line(format_args!("*nat"));
    for chain in ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"] {
        line(format_args!(":{chain} ACCEPT [0:0]"));
    }
    line(format_args!(":FSM-SERVICES - [0:0]"));
    for number in 0..services.len() {
        line(format_args!(":FSM-SERVICE-{number} - [0:0]"));
    }
    line(format_args!("-A PREROUTING -d {} -j FSM-SERVICES", plan.services));
    line(format_args!("-A OUTPUT -d {} -j FSM-SERVICES", plan.services));
    let mut targets: Vec<Ipv4Addr> = Vec::new();
    for (number, ((vip, protocol, port), endpoints)) in services.iter().enumerate() {
        line(format_args!(
            "-A FSM-SERVICES -d {vip}/32 -p {protocol} -m {protocol} --dport {port} -j FSM-SERVICE-{number}"
        ));
        for (position, endpoint) in endpoints.iter().enumerate() {
            // Of those that come here, 1 in n is taken, then 1 in n-1 of the rest, and so on: equal shares.
            let share = match endpoints.len() - position {
                1 => String::new(),
                left => format!(" -m statistic --mode random --probability {:.10}", 1.0 / left as f64),
            };
            line(format_args!("-A FSM-SERVICE-{number} -p {protocol}{share} -j DNAT --to-destination {endpoint}"));
            targets.push(*endpoint.ip());
        }
    }
    targets.sort_unstable();
    targets.dedup();
    for target in targets {
        // A pod that is its own endpoint would drop a packet from itself.
        line(format_args!("-A POSTROUTING -s {target}/32 -d {target}/32 -j SNAT --to-source {}", plan.node));
    }
    if let Some(uplink) = uplink {
        line(format_args!(":FSM-UPLINK - [0:0]"));
        line(format_args!("-A PREROUTING -p tcp -j FSM-UPLINK"));
        for inside in [plan.pods, plan.services] {
            line(format_args!("-A FSM-UPLINK -d {inside} -j RETURN"));
        }
        line(format_args!("-A FSM-UPLINK -p tcp -j DNAT --to-destination {uplink}"));
    }
    line(format_args!("COMMIT"));
}

fn filter(text: &mut String, plan: &Plan) {
    let services = plan.services;
    // The node's own route to Services is by loopback, where TCP does not heed messages of ICMP.
    let _ = write!(
        text,
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A FORWARD -d {services} -j REJECT --reject-with icmp-port-unreachable\n\
         -A OUTPUT -d {dns}/32 -j ACCEPT\n\
         -A OUTPUT -d {services} -p tcp -j REJECT --reject-with tcp-reset\n\
         -A OUTPUT -d {services} -j REJECT --reject-with icmp-port-unreachable\n\
         COMMIT\n",
        dns = plan.dns,
    );
}

fn restore(place: &Place, tool: &PathBuf, rules: &str) -> Result<(), NodeError> {
    let failed = |why: String| NodeError::Tool { tool: tool.display().to_string(), why };
    place.run(|| {
        let mut command = Command::new(tool);
        command.args(["-w", LOCK_WAIT]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // The usual lock file may belong to another user, and concerns another network anyhow.
        command.env("XTABLES_LOCKFILE", "/proc/self/ns/net");
        let mut child = command.spawn().map_err(|why| failed(format!("does not run: {why}")))?;
        if let Some(mut input) = child.stdin.take() {
            // If it ends early, what it says is more useful than a broken pipe.
            let _ = input.write_all(rules.as_bytes());
        }
        let output = child.wait_with_output().map_err(|why| failed(why.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint: Vec<&str> = complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let remedy = match complaint.iter().any(|line| line.contains("Message too long")) {
            true => "; these are too many for this kernel's setting net.core.wmem_max: raise it, or install the legacy variant of iptables",
            false => "",
        };
        Err(failed(format!("refused the rules: {}{remedy}", complaint.join("; "))))
    })?
}

/// Where a program is; its plain name if it is nowhere. The `PATH` of users often lacks sbin.
pub(super) fn program(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut candidates = env::split_paths(&path).chain(usual).map(|directory| directory.join(name));
    candidates.find(|candidate| candidate.is_file()).unwrap_or_else(|| PathBuf::from(name))
}

#[cfg(test)]
mod tests;
