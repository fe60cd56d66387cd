//! MeshConfig: what its definition cannot say. Wrong types and closed sets are refused by the API server itself.
//!
//! FSM takes a value that it cannot use for another one, silently (`24h` for a validity that is no duration). Here it is
//! refused, because whoever wrote it meant something.

use super::Faults;
use crate::inject::is_quantity;
use fsm_api::resources::GoDuration;
use fsm_api::resources::mesh_config::{Certificate, LocalDnsProxy, MeshConfigSpec, Observability, Sidecar, Traffic};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ResourceRequirements;
use std::net::IpAddr;
use std::time::Duration;

/// FSM ignores shorter intervals.
const LEAST_RESYNC: Duration = Duration::from_secs(30);

/// Names of TLS versions, oldest first, after the one for "whatever there is".
const TLS: [&str; 5] = ["TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3"];

const LEVELS: [&str; 10] =
    ["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic", "critical", "disabled"];

pub(super) fn check(spec: &MeshConfigSpec, faults: &mut Faults) {
    if let Some(sidecar) = &spec.sidecar {
        check_sidecar(sidecar, faults);
    }
    if let Some(traffic) = &spec.traffic {
        check_traffic(traffic, faults);
    }
    if let Some(observability) = &spec.observability {
        check_observability(observability, faults);
    }
    if let Some(certificate) = &spec.certificate {
        check_certificate(certificate, faults);
    }
    if let Some(warmup) = &spec.warmup {
        let (least, most) = (warmup.min_weight, warmup.max_weight);
        if least > most {
            faults.add("spec.warmup.minWeight", format!("{least} is more than maxWeight, {most}"));
        }
    }
}

/// What is taken, and is better known.
pub(super) fn warnings(spec: &MeshConfigSpec, before: Option<&MeshConfigSpec>) -> Vec<String> {
    let mut warnings = Vec::new();
    let sidecar = spec.sidecar.as_ref();
    let interval = sidecar.and_then(|sidecar| sidecar.config_resync_interval.as_deref());
    if let Some(interval) = interval.and_then(|text| text.parse::<GoDuration>().ok()).map(Duration::from)
        && !interval.is_zero()
        && interval < LEAST_RESYNC
    {
        warnings
            .push(format!("spec.sidecar.configResyncInterval: {interval:?} is ignored; the least is {LEAST_RESYNC:?}"));
    }
    if sidecar.and_then(|sidecar| sidecar.sidecar_timeout).is_some_and(|timeout| timeout <= 0) {
        warnings.push("spec.sidecar.sidecarTimeout: 60 seconds count, because the value is not above 0".to_owned());
    }
    let image = sidecar.and_then(|sidecar| sidecar.sidecar_image.as_deref()).filter(|image| is_pipy(image));
    if let Some(image) = image {
        warnings.push(format!(
            "spec.sidecar.sidecarImage: {image:?} is called as Pipy's images are, and sidecars are started as fsm-proxy, which \
             those do not have; take an image of fsm-proxy, or none: then sidecars follow the chart's version"
        ));
    }
    let dns = sidecar.and_then(|sidecar| sidecar.local_dns_proxy.as_ref());
    warnings.extend(dns.into_iter().flat_map(dns_without_effect));
    if let Some(before) = before {
        let at_injection = |spec: &MeshConfigSpec| {
            let traffic = spec.traffic.clone().map(|traffic| {
                let ranges = (traffic.outbound_ip_range_exclusion_list, traffic.outbound_ip_range_inclusion_list);
                let ports = (traffic.outbound_port_exclusion_list, traffic.inbound_port_exclusion_list);
                (traffic.interception_mode, ranges, ports, traffic.network_interface_exclusion_list)
            });
            let sidecar = spec.sidecar.clone().map(|sidecar| {
                let names = sidecar.local_dns_proxy.and_then(|dns| dns.enable).unwrap_or(false);
                let init = (sidecar.init_resources, sidecar.enable_privileged_init_container);
                (sidecar.sidecar_image, sidecar.resources, init, sidecar.local_proxy_mode, names)
            });
            (traffic, sidecar)
        };
        if at_injection(before) != at_injection(spec) {
            warnings.push(
                "images, resources, rights and exclusions of sidecars come into pods when these are created: restart the pods of the \
                 mesh (kubectl rollout restart) for the change to reach them"
                    .to_owned(),
            );
        }
    }
    warnings
}

/// Whether an image has the name of those of FSM's former proxy: `flomesh/pipy:1.5.14`, `flomesh/pipy-nightly:…`.
fn is_pipy(image: &str) -> bool {
    let path = image.split(['@']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default().split(':').next().unwrap_or_default();
    name == "pipy" || name.starts_with("pipy-")
}

fn check_sidecar(sidecar: &Sidecar, faults: &mut Faults) {
    if let Some(level) = sidecar.log_level.as_deref().filter(|level| !level.is_empty() && !LEVELS.contains(level)) {
        faults.add("spec.sidecar.logLevel", format!("{level:?} is no level; write one of {}", LEVELS.join(", ")));
    }
    if let Some(most) = sidecar.max_data_plane_connections.filter(|most| *most < 0) {
        faults.add("spec.sidecar.maxDataPlaneConnections", format!("{most} is less than none; 0 means no limit"));
    }
    if let Some(interval) = &sidecar.config_resync_interval {
        duration("spec.sidecar.configResyncInterval", interval, true, faults);
    }
    let place = |name: Option<&str>| {
        name.filter(|name| !name.is_empty()).map(|name| TLS.iter().position(|known| *known == name))
    };
    let (least, most) =
        (place(sidecar.tls_min_protocol_version.as_deref()), place(sidecar.tls_max_protocol_version.as_deref()));
    for (field, found) in [("tlsMinProtocolVersion", least), ("tlsMaxProtocolVersion", most)] {
        if found == Some(None) {
            faults.add(format!("spec.sidecar.{field}"), format!("this is no version; write one of {}", TLS.join(", ")));
        }
    }
    if let (Some(Some(least)), Some(Some(most))) = (least, most)
        && least > most
        && most > 0
    {
        faults.add("spec.sidecar.tlsMinProtocolVersion", format!("{} is newer than {}", TLS[least], TLS[most]));
    }
    for (field, resources) in [
        ("resources", &sidecar.resources),
        ("initResources", &sidecar.init_resources),
        ("healthcheckResources", &sidecar.healthcheck_resources),
    ] {
        if let Some(resources) = resources {
            check_resources(&format!("spec.sidecar.{field}"), resources, faults);
        }
    }
    if let Some(dns) = &sidecar.local_dns_proxy {
        check_dns(dns, faults);
    }
}

fn check_resources(field: &str, resources: &ResourceRequirements, faults: &mut Faults) {
    for (list, quantities) in [("limits", &resources.limits), ("requests", &resources.requests)] {
        for (name, quantity) in quantities.iter().flatten().filter(|(_, quantity)| !is_quantity(&quantity.0)) {
            let text = format!("{:?} is no quantity; write one such as 100m, 0.5, 64Mi or 1Gi", quantity.0);
            faults.add(format!("{field}.{list}.{name}"), text);
        }
    }
}

/// What is read and does nothing, while the section is enabled.
fn dns_without_effect(dns: &LocalDnsProxy) -> Vec<String> {
    let mut warnings = Vec::new();
    if dns.enable != Some(true) {
        return warnings;
    }
    if let Some(wildcard) = dns.wildcard.as_ref().filter(|wildcard| wildcard.enable == Some(true)) {
        let addresses = wildcard.ips.iter().map(|address| &address.ipv4).chain(&wildcard.ipv4);
        let parsed: Vec<IpAddr> = addresses.filter_map(|address| address.parse().ok()).collect();
        if parsed.is_empty() || parsed.iter().any(IpAddr::is_loopback) {
            warnings.push(
                "spec.sidecar.localDNSProxy.wildcard.ips: connections to a loopback address (127.0.0.2 if none is given) stay in \
                 the pod; give one such as 240.0.0.1, which the sidecar gets and routes by name"
                    .to_owned(),
            );
        }
        if !wildcard.los.is_empty() {
            warnings.push("spec.sidecar.localDNSProxy.wildcard.los: has no effect".to_owned());
        }
    }
    if dns.searches_with_namespace.is_some() || dns.searches_with_trust_domain.is_some() {
        warnings.push(
            "spec.sidecar.localDNSProxy.searchesWith…: has no effect; pods keep the search list of the cluster"
                .to_owned(),
        );
    }
    warnings
}

fn check_dns(dns: &LocalDnsProxy, faults: &mut Faults) {
    let upstreams = [
        ("primaryUpstreamDNSServerIPAddr", &dns.primary_upstream_dns_server_ip_addr),
        ("secondaryUpstreamDNSServerIPAddr", &dns.secondary_upstream_dns_server_ip_addr),
    ];
    for (field, address) in upstreams {
        if let Some(address) = address.as_deref().filter(|text| !text.is_empty() && text.parse::<IpAddr>().is_err()) {
            faults.add(format!("spec.sidecar.localDNSProxy.{field}"), format!("{address:?} is no address"));
        }
    }
}

fn check_traffic(traffic: &Traffic, faults: &mut Faults) {
    for (field, ranges) in [
        ("outboundIPRangeExclusionList", &traffic.outbound_ip_range_exclusion_list),
        ("outboundIPRangeInclusionList", &traffic.outbound_ip_range_inclusion_list),
    ] {
        for (index, range) in ranges.iter().enumerate().filter(|(_, range)| range.parse::<IpNet>().is_err()) {
            let text = format!("{range:?} is no range of addresses; write one such as 10.0.0.0/8");
            faults.add(format!("spec.traffic.{field}[{index}]"), text);
        }
    }
    for (field, ports) in [
        ("outboundPortExclusionList", &traffic.outbound_port_exclusion_list),
        ("inboundPortExclusionList", &traffic.inbound_port_exclusion_list),
    ] {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| **port == 0) {
            faults.add(format!("spec.traffic.{field}[{index}]"), "0 is no port; write ports from 1 to 65535");
        }
    }
}

fn check_observability(observability: &Observability, faults: &mut Faults) {
    let mut share = |field: &str, text: Option<&String>| {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return };
        if !text.parse::<f64>().is_ok_and(|share| (0.0..=1.0).contains(&share)) {
            faults.add(field, format!("{text:?} is no share; write a number from 0 to 1, in quotes"));
        }
    };
    let tracing = observability.tracing.as_ref();
    share("spec.observability.tracing.sampledFraction", tracing.and_then(|tracing| tracing.sampled_fraction.as_ref()));
    let logging = observability.remote_logging.as_ref();
    share(
        "spec.observability.remoteLogging.sampledFraction",
        logging.and_then(|logging| logging.sampled_fraction.as_ref()),
    );
    let ports = [
        ("tracing", tracing.and_then(|tracing| tracing.port)),
        ("remoteLogging", logging.and_then(|logging| logging.port)),
    ];
    for (section, _) in ports.iter().filter(|(_, port)| *port == Some(0)) {
        faults.add(format!("spec.observability.{section}.port"), "0 is no port; write one from 1 to 65535");
    }
    let paths = [
        ("tracing", tracing.and_then(|tracing| tracing.endpoint.as_deref())),
        ("remoteLogging", logging.and_then(|logging| logging.endpoint.as_deref())),
    ];
    for (section, path) in paths {
        if let Some(path) = path.filter(|path| !path.is_empty() && !path.starts_with('/')) {
            let text = format!("{path:?} is no path; write one such as /api/v2/spans");
            faults.add(format!("spec.observability.{section}.endpoint"), text);
        }
    }
    if let Some(level) = logging.and_then(|logging| logging.level).filter(|level| !(0..=2).contains(level)) {
        faults.add("spec.observability.remoteLogging.level", format!("{level} is no level; write 0, 1 or 2"));
    }
}

fn check_certificate(certificate: &Certificate, faults: &mut Faults) {
    if let Some(validity) = &certificate.service_cert_validity_duration {
        duration("spec.certificate.serviceCertValidityDuration", validity, false, faults);
    }
    if let Some(bits) = certificate.cert_key_bit_size.filter(|bits| *bits != 0 && !(2048..=4096).contains(bits)) {
        faults.add(
            "spec.certificate.certKeyBitSize",
            format!("{bits} bits are not offered; write a number from 2048 to 4096"),
        );
    }
    if let Some(gateway) = &certificate.ingress_gateway {
        duration("spec.certificate.ingressGateway.validityDuration", &gateway.validity_duration, false, faults);
        if gateway.subject_alt_names.is_empty() {
            faults.add("spec.certificate.ingressGateway.subjectAltNames", "a certificate needs at least one name");
        }
    }
}

fn duration(field: &str, text: &str, none: bool, faults: &mut Faults) {
    match text.parse::<GoDuration>().map(Duration::from) {
        Ok(duration) if duration.is_zero() && !none => {
            faults.add(field, format!("{text:?} is no time at all; write for example 24h"))
        }
        Ok(_) => {}
        Err(_) if text.is_empty() => {}
        Err(_) => faults.add(field, format!("{text:?} is no duration; write for example 24h, 90m or 30s")),
    }
}
