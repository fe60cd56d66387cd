//! Links, addresses and routes, by way of `ip -batch` (package iproute2): one run for each namespace concerned.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use super::address::Plan;
use super::place::Place;
use super::{GATEWAY, NodeError};

/// The node's end of every link. It may be the same on all: each link has two ends only.
const NODE_MAC: &str = "02:f5:6d:00:00:01";

/// What a program that is not found may be missing from.
const HINT: &str = "does not run: install iproute2";

/// Loopback, the node's addresses, and routing.
pub(super) fn set_up_node(place: &Place, plan: &Plan) -> Result<(), NodeError> {
    let commands = [
        "link set lo up".to_owned(),
        format!("addr add {}/32 dev lo", plan.node),
        format!("addr add {}/32 dev lo", plan.dns),
        // The node's own connections to Services need some route before the rules give them their destination.
        format!("route add {} dev lo src {}", plan.services, plan.node),
        // A pod that is gone: "no route to host", at once.
        format!("route add unreachable {}", plan.pods),
    ];
    place.run(|| {
        set("net/ipv4/ip_forward", "1")?;
        // The kernel uses the strictest of `all` and the link: here no pod can use another's address.
        set("net/ipv4/conf/all/rp_filter", "1")?;
        set("net/ipv4/conf/default/rp_filter", "1")?;
        batch(&commands)
    })?
}

/// A link from the pod to the node, with fixed neighbours at both ends.
pub(super) fn set_up_pod(
    node: &Place,
    pod: &Place,
    network_file: &str,
    link: &str,
    address: Ipv4Addr,
) -> Result<(), NodeError> {
    let [a, b, c, d] = address.octets();
    let mac = format!("02:f5:{a:02x}:{b:02x}:{c:02x}:{d:02x}");
    let outside = [
        format!("link add name {link} address {NODE_MAC} type veth peer name eth0 address {mac} netns {network_file}"),
        format!("link set dev {link} up"),
        format!("neigh add {address} lladdr {mac} dev {link} nud permanent"),
        format!("route add {address}/32 dev {link}"),
    ];
    node.run(|| batch(&outside))??;
    let inside = [
        "link set dev lo up".to_owned(),
        format!("addr add {address}/32 dev eth0"),
        "link set dev eth0 up".to_owned(),
        format!("neigh add {GATEWAY} lladdr {NODE_MAC} dev eth0 nud permanent"),
        format!("route add {GATEWAY}/32 dev eth0 scope link"),
        format!("route add default via {GATEWAY} dev eth0 src {address}"),
    ];
    pod.run(|| {
        // As container runtimes do: port 80 needs no privilege in a network of one's own.
        set("net/ipv4/ip_unprivileged_port_start", "0")?;
        batch(&inside)
    })?
}

pub(super) fn remove_link(node: &Place, link: &str) -> Result<(), NodeError> {
    let commands = [format!("link delete dev {link}")];
    node.run(|| batch(&commands))?
}

/// Settings below `/proc/sys/net` are those of the thread's network.
fn set(setting: &str, value: &str) -> Result<(), NodeError> {
    let path = format!("/proc/sys/{setting}");
    fs::write(&path, value).map_err(NodeError::file("set", path.as_ref()))
}

fn batch(commands: &[String]) -> Result<(), NodeError> {
    let failed = |why: String| NodeError::Tool { tool: "ip".to_owned(), why };
    let mut child = Command::new(super::services::program("ip"))
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| failed(format!("{HINT} ({why})")))?;
    if let Some(mut input) = child.stdin.take() {
        // If it ends early, what it says is more useful than a broken pipe.
        let _ = input.write_all((commands.join("\n") + "\n").as_bytes());
    }
    let output = child.wait_with_output().map_err(|why| failed(why.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let number = complaint.rsplit(':').next().and_then(|number| number.trim().parse::<usize>().ok());
    let command = number.and_then(|number| commands.get(number.wrapping_sub(1)));
    let complaint = complaint.lines().next().unwrap_or("it says nothing");
    Err(failed(match command {
        Some(command) => format!("refused `{command}`: {complaint}"),
        None => format!("failed: {complaint}"),
    }))
}
