//! What probes and hooks look at, from the words of a container: addresses, ports by number or name, programs. Pure.
//!
//! A probe that names nothing, or a port that the container does not have, is an error that says what there is.

use super::super::probe::{ProbeKind, Schedule};
use super::super::runtime::{Check, Process};
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// When, and how often.
pub(super) fn schedule(kind: ProbeKind, probe: &Probe) -> Schedule {
    let at_least_one = |value: Option<i32>, default: u32| {
        value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
    };
    let seconds = |value: Option<i32>, default: u32| Duration::from_secs(at_least_one(value, default).into());
    let delay = probe.initial_delay_seconds.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
    Schedule {
        initial_delay: Duration::from_secs(delay),
        period: seconds(probe.period_seconds, 10),
        timeout: seconds(probe.timeout_seconds, 1),
        success_threshold: if kind == ProbeKind::Readiness { at_least_one(probe.success_threshold, 1) } else { 1 },
        failure_threshold: at_least_one(probe.failure_threshold, 3),
    }
}

/// What a probe looks at.
pub(super) fn check(
    probe: &Probe,
    container: &Container,
    addresses: &[IpAddr],
    process: Option<&Process>,
) -> Result<Check, String> {
    let pod = addresses.first().copied().ok_or("the pod has no address")?;
    if let Some(get) = &probe.http_get {
        return http_check(get, container, pod);
    }
    if let Some(socket) = &probe.tcp_socket {
        let host = host(socket.host.as_deref(), pod)?;
        return Ok(Check::Tcp { address: SocketAddr::new(host, port(&socket.port, container)?) });
    }
    if let Some(action) = &probe.exec {
        return Ok(exec(action, process));
    }
    if let Some(grpc) = &probe.grpc {
        // Whether the port accepts is all that is looked at; the health service is not asked.
        let port = u16::try_from(grpc.port).map_err(|_| format!("the probe's port {} is not a port", grpc.port))?;
        return Ok(Check::Tcp { address: SocketAddr::new(pod, port) });
    }
    Err("the probe names nothing to look at; give it httpGet, tcpSocket, exec or grpc".into())
}

/// A program in the container. If it is the container's own, it is where that was found, which may not be on the `PATH`.
pub(super) fn exec(action: &ExecAction, process: Option<&Process>) -> Check {
    let mut command = action.command.clone().unwrap_or_default();
    let process = process.cloned().unwrap_or_default();
    if let (Some(program), Some(own)) = (command.first_mut(), process.command.first())
        && Path::new(own).file_name().is_some_and(|name| name == program.as_str())
    {
        program.clone_from(own);
    }
    Check::Exec(Box::new(Process { command, ..process }))
}

pub(super) fn http_check(get: &HTTPGetAction, container: &Container, pod: IpAddr) -> Result<Check, String> {
    let port = port(&get.port, container)?;
    let headers = get.http_headers.iter().flatten().map(|header| (header.name.clone(), header.value.clone()));
    let path = get.path.as_deref().unwrap_or("/");
    Ok(Check::Http {
        address: SocketAddr::new(host(get.host.as_deref(), pod)?, port),
        path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
        headers: headers.collect(),
        tls: get.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
    })
}

fn host(written: Option<&str>, pod: IpAddr) -> Result<IpAddr, String> {
    match written {
        None | Some("") => Ok(pod),
        Some("localhost") => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Some(text) => text.parse().map_err(|_| format!("the probe's host {text:?} is not an IP address")),
    }
}

fn port(written: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match written {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let ports = container.ports.iter().flatten();
            let named = ports.clone().find(|port| port.name.as_deref() == Some(name));
            match named {
                Some(port) => port.container_port,
                None => name.parse().map_err(|_| {
                    let names: Vec<&str> = ports.filter_map(|port| port.name.as_deref()).collect();
                    format!("the container has no port named {name:?}; it has {names:?}")
                })?,
            }
        }
    };
    u16::try_from(number).ok().filter(|port| *port != 0).ok_or_else(|| format!("{number} is not a port"))
}
