//! Leads the application's probes to the proxy: the kubelet is no member of the mesh, so it could not ask the
//! application's own ports.
//!
//! The proxy answers on one port for each kind of probe and tells containers apart by headers (FSM's protocol). Probes
//! that run a command or speak gRPC stay as they are; see `docs/admin.md` for what the proxy does with the others.

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, HTTPHeader, PodSpec, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

const PATH: &str = "/fsm-healthcheck";
const LIVENESS_PORT: i32 = 15901;
const READINESS_PORT: i32 = 15902;
const STARTUP_PORT: i32 = 15903;
const TCP_PORT: i32 = 15904;

/// Which of the proxy's probe ports are used: (name, port).
pub(super) type Probed = Vec<(&'static str, i32)>;

/// Rewrites the probes of all containers.
pub(super) fn rewrite(spec: &mut PodSpec) -> Probed {
    let mut probed = Probed::new();
    for container in &mut spec.containers {
        let named = named_ports(container);
        let kinds = [
            (&mut container.liveness_probe, "liveness-port", LIVENESS_PORT),
            (&mut container.readiness_probe, "readiness-port", READINESS_PORT),
            (&mut container.startup_probe, "startup-port", STARTUP_PORT),
        ];
        for (probe, name, port) in kinds {
            let Some(probe) = probe else { continue };
            let used = rewrite_probe(probe, port, &named)
                .map(|port| if port == TCP_PORT { ("health-port", port) } else { (name, port) });
            if let Some(used) = used
                && !probed.contains(&used)
            {
                probed.push(used);
            }
        }
    }
    probed
}

/// Gives the port that the probe asks now; `None` when it stays as it is.
fn rewrite_probe(probe: &mut Probe, port: i32, named: &[(String, i32)]) -> Option<i32> {
    if let Some(socket) = probe.tcp_socket.take() {
        let original = number(&socket.port, named).unwrap_or(80);
        probe.http_get = Some(action(TCP_PORT, vec![header("Original-Tcp-Port", original)]));
        return Some(TCP_PORT);
    }
    let asked = probe.http_get.as_mut()?;
    let secure = asked.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let original = number(&asked.port, named).unwrap_or(if secure { 443 } else { 80 });
    // The application's certificate is none of the kubelet's business: only whether somebody listens is asked.
    let headers = if secure {
        vec![header("Original-Tcp-Port", original)]
    } else {
        let path = asked.path.clone().unwrap_or_else(|| "/".to_owned());
        let mut headers = asked.http_headers.take().unwrap_or_default();
        headers.push(header("Original-Http-Port", original));
        headers.push(HTTPHeader { name: "Original-Http-Path".to_owned(), value: path });
        headers
    };
    *asked = action(port, headers);
    Some(port)
}

fn action(port: i32, headers: Vec<HTTPHeader>) -> HTTPGetAction {
    HTTPGetAction {
        path: Some(PATH.to_owned()),
        port: IntOrString::Int(port),
        scheme: Some("HTTP".to_owned()),
        http_headers: Some(headers),
        ..HTTPGetAction::default()
    }
}

fn header(name: &str, value: i32) -> HTTPHeader {
    HTTPHeader { name: name.to_owned(), value: value.to_string() }
}

fn named_ports(container: &Container) -> Vec<(String, i32)> {
    let ports = container.ports.iter().flatten();
    ports.filter_map(|port| Some((port.name.clone()?, port.container_port))).collect()
}

fn number(port: &IntOrString, named: &[(String, i32)]) -> Option<i32> {
    match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            named.iter().find(|(known, _)| known == name).map(|(_, number)| *number).or_else(|| name.parse().ok())
        }
    }
}
