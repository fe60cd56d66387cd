//! Leads the application's probes to the proxy: the kubelet is no member of the mesh, so it could not ask the
//! application's own ports.
//!
//! The proxy answers on one port for each kind of probe and tells containers apart by headers (FSM's protocol). Probes
//! that run a command stay as they are; see `docs/admin.md` for what the proxy does with the others.

use k8s_openapi::api::core::v1::{Container, GRPCAction, HTTPGetAction, HTTPHeader, PodSpec, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

const PATH: &str = "/fsm-healthcheck";
const LIVENESS_PORT: i32 = 15901;
const READINESS_PORT: i32 = 15902;
const STARTUP_PORT: i32 = 15903;
const TCP_PORT: i32 = 15904;
const ORIGINAL_TCP_PORT: &str = "Original-Tcp-Port";
const ORIGINAL_GRPC_PORT: &str = "Original-Grpc-Port";
const ORIGINAL_GRPC_SERVICE: &str = "Original-Grpc-Service";
const ORIGINAL_HTTP_PORT: &str = "Original-Http-Port";
const ORIGINAL_HTTP_PATH: &str = "Original-Http-Path";

/// Which of the proxy's probe ports are used: (name, port).
pub(super) type Probed = Vec<(&'static str, i32)>;

/// Rewrites the probes of all containers. Of init containers, those that keep running have probes: they are led to the
/// proxy if that is there before them (native).
pub(super) fn rewrite(spec: &mut PodSpec, native: bool) -> Probed {
    let mut probed = Probed::new();
    let lasting = spec.init_containers.iter_mut().flatten().filter(|container| native && keeps_running(container));
    for container in spec.containers.iter_mut().chain(lasting) {
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

fn keeps_running(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Gives the port that the probe asks now; `None` when it stays as it is.
fn rewrite_probe(probe: &mut Probe, port: i32, named: &[(String, i32)]) -> Option<i32> {
    if let Some(socket) = probe.tcp_socket.take() {
        let original = number(&socket.port, named).unwrap_or(80);
        probe.http_get = Some(action(TCP_PORT, vec![header(ORIGINAL_TCP_PORT, original)]));
        return Some(TCP_PORT);
    }
    if let Some(asked) = probe.grpc.take() {
        if asked.mode.as_deref().is_some_and(|mode| mode.eq_ignore_ascii_case("TLS")) {
            // As with HTTPS: only whether somebody listens is asked.
            probe.http_get = Some(action(port, vec![header(ORIGINAL_TCP_PORT, asked.port)]));
            return Some(port);
        }
        let mut headers = vec![header(ORIGINAL_GRPC_PORT, asked.port)];
        if let Some(service) = asked.service.filter(|service| !service.is_empty()) {
            headers.push(HTTPHeader { name: ORIGINAL_GRPC_SERVICE.to_owned(), value: service });
        }
        probe.http_get = Some(action(port, headers));
        return Some(port);
    }
    let asked = probe.http_get.as_mut()?;
    let secure = asked.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let original = number(&asked.port, named).unwrap_or(if secure { 443 } else { 80 });
    // The application's certificate is none of the kubelet's business: only whether somebody listens is asked.
    let headers = if secure {
        vec![header(ORIGINAL_TCP_PORT, original)]
    } else {
        let path = asked.path.clone().unwrap_or_else(|| "/".to_owned());
        let mut headers = asked.http_headers.take().unwrap_or_default();
        headers.push(header(ORIGINAL_HTTP_PORT, original));
        headers.push(HTTPHeader { name: ORIGINAL_HTTP_PATH.to_owned(), value: path });
        headers
    };
    *asked = action(port, headers);
    Some(port)
}

/// Leads the probes back to where they came from; gives those whose path is a guess.
pub(super) fn restore(spec: &mut PodSpec) -> Vec<String> {
    let mut guessed = Vec::new();
    let lasting = spec.init_containers.iter_mut().flatten();
    for container in spec.containers.iter_mut().chain(lasting) {
        let kinds = [
            (&mut container.liveness_probe, "livenessProbe", LIVENESS_PORT),
            (&mut container.readiness_probe, "readinessProbe", READINESS_PORT),
            (&mut container.startup_probe, "startupProbe", STARTUP_PORT),
        ];
        for (probe, kind, port) in kinds {
            if let Some(probe) = probe
                && restore_probe(probe, port) == Some(Restored::Guessed)
            {
                guessed.push(format!("{kind} of container {}", container.name));
            }
        }
    }
    guessed
}

#[derive(PartialEq)]
enum Restored {
    Surely,
    Guessed,
}

/// `None`: it was never led to the proxy.
fn restore_probe(probe: &mut Probe, port: i32) -> Option<Restored> {
    let asked = probe.http_get.as_mut().filter(|asked| asked.path.as_deref() == Some(PATH))?;
    let IntOrString::Int(asked_port) = asked.port else { return None };
    let headers = asked.http_headers.as_deref().unwrap_or_default();
    // The last one: the application's own headers come first.
    let original = |name: &str| headers.iter().rfind(|header| header.name == name).map(|header| header.value.clone());
    let number = |name: &str| original(name).and_then(|port| port.parse().ok()).map(IntOrString::Int);
    if asked_port == TCP_PORT {
        let port = number(ORIGINAL_TCP_PORT)?;
        probe.http_get = None;
        probe.tcp_socket = Some(TCPSocketAction { port, ..TCPSocketAction::default() });
        return Some(Restored::Surely);
    }
    if asked_port != port {
        return None;
    }
    if let Some(IntOrString::Int(port)) = number(ORIGINAL_GRPC_PORT) {
        let service = original(ORIGINAL_GRPC_SERVICE);
        probe.http_get = None;
        probe.grpc = Some(GRPCAction { port, service, ..GRPCAction::default() });
        return Some(Restored::Surely);
    }
    if let (Some(port), Some(path)) = (number(ORIGINAL_HTTP_PORT), original(ORIGINAL_HTTP_PATH)) {
        let mut headers = asked.http_headers.take().unwrap_or_default();
        // Injection appended two.
        headers.truncate(headers.len().saturating_sub(2));
        *asked = HTTPGetAction {
            path: Some(path),
            port,
            http_headers: (!headers.is_empty()).then_some(headers),
            ..HTTPGetAction::default()
        };
        return Some(Restored::Surely);
    }
    let port = number(ORIGINAL_TCP_PORT)?;
    let https = Some("HTTPS".to_owned());
    *asked = HTTPGetAction { path: Some("/".to_owned()), port, scheme: https, ..HTTPGetAction::default() };
    Some(Restored::Guessed)
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
