//! Reading `Spec`. Nothing here permits anything but `Traffic.EnableEgress`, which is off unless it is readably on.

use super::super::{
    AccessLog, DnsServers, FeatureFlags, HttpGetProbe, HttpHeader, LocalDnsProxy, Metrics, Observability, Probe,
    Probes, RemoteLogging, Spec, Tracing, Traffic,
};
use super::INFORMATION;
use super::cursor::{Bearable, Loss, Node, Unreadable};

const OFF: Loss = Loss::error("it is off");

pub(super) fn read_spec(node: &Node<'_>) -> Spec {
    const SPEC: Loss = Loss::error("every setting of the proxy takes its default");
    const IDENTITY: Loss = Loss::error("the pod has no identity to call with");
    const LEVEL: Loss = Loss::note("the log level is not changed");
    const TIMEOUT: Loss = Loss::error("the proxy's own limits apply");

    let Some(spec) = node.object(SPEC).value() else {
        return Spec::default();
    };
    Spec {
        service_identity: spec.member("ServiceIdentity").text(IDENTITY).or_default(),
        sidecar_log_level: spec.member("SidecarLogLevel").text(LEVEL).or_default(),
        // Rounded up: a part of a second must not become 0, which means "no timeout of its own".
        sidecar_timeout: spec.member("SidecarTimeout").seconds(TIMEOUT).or_default().ceil() as u64,
        traffic: read_traffic(&spec.member("Traffic")),
        feature_flags: read_feature_flags(&spec.member("FeatureFlags")),
        probes: read_probes(&spec.member("Probes")),
        cluster_set: spec
            .member("ClusterSet")
            .map(INFORMATION, |_, property| property.text(INFORMATION).value())
            .or_default(),
        observability: read_observability(&spec.member("Observability")),
        local_dns_proxy: read_local_dns_proxy(&spec.member("LocalDNSProxy")),
    }
}

fn read_traffic(node: &Node<'_>) -> Traffic {
    let Some(traffic) = node.object(OFF).value() else {
        return Traffic::default();
    };
    let flag = |name| traffic.member(name).flag(OFF).or_default();
    Traffic {
        enable_egress: flag("EnableEgress"),
        http1_per_request_load_balancing: flag("HTTP1PerRequestLoadBalancing"),
        http2_per_request_load_balancing: flag("HTTP2PerRequestLoadBalancing"),
    }
}

fn read_feature_flags(node: &Node<'_>) -> FeatureFlags {
    let Some(flags) = node.object(OFF).value() else {
        return FeatureFlags::default();
    };
    let flag = |name| flags.member(name).flag(OFF).or_default();
    FeatureFlags {
        enable_sidecar_active_health_checks: flag("EnableSidecarActiveHealthChecks"),
        enable_auto_default_route: flag("EnableAutoDefaultRoute"),
        hide_stats_headers: flag("HideStatsHeaders"),
    }
}

fn read_probes(node: &Node<'_>) -> Probes {
    const NO_PROBES: Loss = Loss::error("no probe of this kind is answered for the application");
    let Some(probes) = node.object(NO_PROBES).value() else {
        return Probes::default();
    };
    let list = |name| probes.member(name).list(NO_PROBES, |probe| Some(read_probe(&probe))).or_default();
    Probes {
        readiness_probes: list("ReadinessProbes"),
        liveness_probes: list("LivenessProbes"),
        startup_probes: list("StartupProbes"),
    }
}

/// An unreadable probe keeps its place, without an action: the places stand for the pod's containers.
fn read_probe(node: &Node<'_>) -> Probe {
    const PROBE: Loss = Loss::error("the probe has no action");
    const TIMING: Loss = Loss::note("the kubelet keeps the time, so nothing changes");
    let Some(probe) = node.object(PROBE).value() else {
        return Probe::default();
    };
    let timing = |name| probe.member(name).count(TIMING).value().map(u64::from);
    Probe {
        http_get: read_http_get(&probe.member("httpGet"), PROBE).unwrap_or_default(),
        initial_delay_seconds: timing("initialDelaySeconds"),
        timeout_seconds: timing("timeoutSeconds"),
        period_seconds: timing("periodSeconds"),
        success_threshold: timing("successThreshold"),
        failure_threshold: timing("failureThreshold"),
    }
}

fn read_http_get(node: &Node<'_>, loss: Loss) -> Result<Option<HttpGetProbe>, Unreadable> {
    let Some(action) = node.object(loss)? else {
        return Ok(None);
    };
    let port = action.member("port");
    let mut readable = true;
    let http_headers = action
        .member("httpHeaders")
        .list(loss, |header| {
            let header = read_header(&header, loss);
            readable &= header.is_ok();
            header.ok()
        })?
        .unwrap_or_default();
    if !readable {
        return Err(Unreadable);
    }
    Ok(Some(HttpGetProbe {
        path: action.member("path").text(loss)?.unwrap_or_default(),
        port: port.required(port.port(loss), loss)?,
        scheme: action.member("scheme").text(loss)?.unwrap_or_default(),
        http_headers,
    }))
}

fn read_header(node: &Node<'_>, loss: Loss) -> Result<HttpHeader, Unreadable> {
    let (name, value) = (node.member("name"), node.member("value"));
    node.required(node.object(loss), loss)?;
    Ok(HttpHeader { name: name.required(name.text(loss), loss)?, value: value.text(loss)?.unwrap_or_default() })
}

fn read_observability(node: &Node<'_>) -> Observability {
    const NONE: Loss = Loss::error("neither traces nor remote access logs are sent");
    const TRACING: Loss = Loss::error("no traces are sent");
    const LOGGING: Loss = Loss::error("no remote access log is sent");
    const ACCESS_LOG: Loss = Loss::error("no access log is written");
    const METRICS: Loss = Loss::note("the usual metrics are shown");
    let Some(observability) = node.object(NONE).value() else {
        return Observability::default();
    };
    Observability {
        tracing: read_tracing(&observability.member("tracing"), TRACING).unwrap_or_default(),
        remote_logging: read_remote_logging(&observability.member("remoteLogging"), LOGGING).unwrap_or_default(),
        access_log: read_access_log(&observability.member("accessLog"), ACCESS_LOG).unwrap_or_default(),
        metrics: read_metrics(&observability.member("metrics"), METRICS).unwrap_or_default(),
    }
}

fn read_tracing(node: &Node<'_>, loss: Loss) -> Result<Option<Tracing>, Unreadable> {
    let Some(tracing) = node.object(loss)? else {
        return Ok(None);
    };
    let address = tracing.member("address");
    Ok(Some(Tracing {
        protocol: tracing.member("protocol").text(loss)?.unwrap_or_default(),
        address: address.required(address.text(loss), loss)?,
        endpoint: tracing.member("endpoint").text(loss)?.unwrap_or_default(),
        sampled_fraction: tracing.member("sampledFraction").fraction(loss)?,
    }))
}

fn read_remote_logging(node: &Node<'_>, loss: Loss) -> Result<Option<RemoteLogging>, Unreadable> {
    let Some(logging) = node.object(loss)? else {
        return Ok(None);
    };
    let address = logging.member("address");
    Ok(Some(RemoteLogging {
        level: logging.member("level").count(loss)?.unwrap_or_default().into(),
        address: address.required(address.text(loss), loss)?,
        endpoint: logging.member("endpoint").text(loss)?.unwrap_or_default(),
        authorization: logging.member("authorization").text(loss)?.unwrap_or_default(),
        sampled_fraction: logging.member("sampledFraction").fraction(loss)?,
    }))
}

fn read_access_log(node: &Node<'_>, loss: Loss) -> Result<Option<AccessLog>, Unreadable> {
    let Some(log) = node.object(loss)? else {
        return Ok(None);
    };
    Ok(Some(AccessLog {
        path: log.member("path").text(loss)?.unwrap_or_default(),
        format: log.member("format").text(loss)?.unwrap_or_default(),
        template: log.member("template").text(loss)?.unwrap_or_default(),
        errors_only: log.member("errorsOnly").flag(loss)?.unwrap_or_default(),
        sampled_fraction: log.member("sampledFraction").fraction(loss)?,
    }))
}

fn read_metrics(node: &Node<'_>, loss: Loss) -> Result<Option<Metrics>, Unreadable> {
    let Some(metrics) = node.object(loss)? else {
        return Ok(None);
    };
    Ok(Some(Metrics {
        buckets: metrics.member("buckets").text(loss)?.unwrap_or_default(),
        pod_labels: metrics.member("podLabels").flag(loss)?.unwrap_or_default(),
    }))
}

fn read_local_dns_proxy(node: &Node<'_>) -> Option<LocalDnsProxy> {
    const RESOLVERS: Loss = Loss::error("the pod's own resolvers are used");
    let proxy = node.object(RESOLVERS).value()?;
    let servers = proxy.member("UpstreamDNSServers");
    let server = |name| servers.member(name).text(RESOLVERS).or_default();
    Some(LocalDnsProxy {
        upstream_dns_servers: servers
            .object(RESOLVERS)
            .value()
            .map(|_| DnsServers { primary: server("Primary"), secondary: server("Secondary") }),
    })
}
