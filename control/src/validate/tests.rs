#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod outside;

use super::{Judgement, Proposal, judge};
use crate::world::{Settings, World};
use fsm_api::resources::{Kind, Object, manifest};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A mesh with the namespace `shop`, where `web` and `api` are, and `plain` outside of it.
const UNIVERSE: &str = r"
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {flomesh.io/monitored-by: fsm}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: plain}}
---
apiVersion: v1
kind: Service
metadata: {namespace: shop, name: web}
spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{port: 80, targetPort: 8080, appProtocol: http}]}
---
apiVersion: v1
kind: Service
metadata: {namespace: plain, name: outside}
spec: {clusterIP: 10.0.0.2, selector: {app: outside}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: policy.flomesh.io/v1alpha1
kind: IngressBackend
metadata: {namespace: shop, name: first, creationTimestamp: '2026-01-01T00:00:00Z'}
spec:
  backends: [{name: web, port: {number: 8080, protocol: http}}]
  sources: [{kind: IPRange, name: 10.0.0.0/8}]
---
apiVersion: policy.flomesh.io/v1alpha1
kind: EgressGateway
metadata: {namespace: shop, name: gate, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {global: [{service: out, namespace: shop}]}
---
apiVersion: policy.flomesh.io/v1alpha1
kind: UpstreamTrafficSetting
metadata: {namespace: shop, name: old, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {host: web.shop.svc.cluster.local}
";

fn objects(yaml: &str) -> Vec<Object> {
    let (objects, problems) = manifest::read(yaml, "test.yaml");
    assert!(problems.is_empty(), "{problems:?}");
    objects.into_iter().map(|located| located.value).collect()
}

fn object(yaml: &str) -> Object {
    let [object] = objects(yaml).try_into().unwrap();
    object
}

fn world(more: &str) -> World {
    let mut world = World::new(Settings::default());
    for object in objects(UNIVERSE).into_iter().chain(objects(more)) {
        world.apply(object);
    }
    world
}

fn judged(world: &World, yaml: &str, before: Option<&str>) -> Judgement {
    let proposal = Proposal { object: object(yaml), before: before.map(object) };
    judge(world, &proposal, Timestamp::now())
}

fn policy(kind: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: policy.flomesh.io/v1alpha1, kind: {kind}, metadata: {{namespace: shop, name: new}}, spec: {spec}}}"
    )
}

/// Each of these is refused for one reason, whose field and text are these.
#[test]
fn what_can_only_be_a_mistake_is_refused_with_its_field_and_a_remedy() {
    let smi = |group: &str, kind: &str, spec: &str| {
        format!("{{apiVersion: {group}, kind: {kind}, metadata: {{namespace: shop, name: new}}, spec: {spec}}}")
    };
    let target = |spec: &str| smi("access.smi-spec.io/v1alpha3", "TrafficTarget", spec);
    let cluster = |spec: &str| {
        format!(
            "{{apiVersion: multicluster.flomesh.io/v1alpha1, kind: Cluster, metadata: {{name: new}}, spec: {spec}}}"
        )
    };
    let backend = |backends: &str, sources: &str| {
        policy("IngressBackend", &format!("{{backends: [{backends}], sources: [{sources}]}}"))
    };
    let range = "{kind: IPRange, name: 10.0.0.0/8}";
    let one = "{name: api, port: {number: 80, protocol: http}}";
    let cases = [
        (
            target("{destination: {kind: ServiceAccount, name: web, namespace: plain}, rules: [], sources: []}"),
            "spec.destination.namespace",
            "create the TrafficTarget in namespace \"plain\"",
        ),
        (
            smi("split.smi-spec.io/v1alpha4", "TrafficSplit", "{service: web, backends: [{service: web, weight: 1}, {service: web, weight: 2}]}"),
            "spec.backends[1].service",
            "named twice",
        ),
        (backend(&format!("{one}, {one}"), range), "spec.backends[1]", "Duplicate backends detected with service name: api and port: 80"),
        (backend("{name: web, port: {number: 8080, protocol: http}}", range), "spec.backends[0]", "IngressBackend shop/first already says"),
        (
            backend("{name: api, port: {number: 80, protocol: ftp}}", range),
            "spec.backends[0].port.protocol",
            "Expected 'port.protocol' to be 'http', 'https' or 'grpc'",
        ),
        (
            backend("{name: api, port: {number: 80, protocol: https}, tls: {skipClientCertValidation: false}}", range),
            "spec.backends[0].port.protocol",
            "needs a source of kind AuthenticatedPrincipal",
        ),
        (backend(one, "{kind: Service, name: a}"), "spec.sources[0].namespace", "not specified"),
        (backend(one, "{kind: AuthenticatedPrincipal, name: ''}"), "spec.sources[0].name", "not specified"),
        (backend(one, "{kind: IPRange, name: 10.0.0.1}"), "spec.sources[0].name", "Expected CIDR notation 'a.b.c.d/x'"),
        (backend(one, "{kind: Pod, name: a}"), "spec.sources[0].kind", "Must be one of: Service, AuthenticatedPrincipal, IPRange"),
        (
            policy("AccessControl", &format!("{{backends: [{one}, {one}], sources: [{range}]}}")),
            "spec.backends[1]",
            "Duplicate backends detected",
        ),
        (
            policy("AccessCert", "{subjectAltNames: [a.example.com], secret: {name: a, namespace: shop}}"),
            "kind",
            "FSM is prohibited to issue certificates for external services",
        ),
        (policy("Isolation", "{cidrs: [10.0.0.1]}").replace("namespace: shop, ", ""), "spec.cidrs[0]", "Expected CIDR notation"),
        (
            policy("Egress", "{sources: [], ports: [], matches: [{apiGroup: v1, kind: HTTPRouteGroup, name: a}]}"),
            "spec.matches[0].apiGroup",
            "Expected 'matches.apiGroup' to be one of specs.smi-spec.io/v1alpha4, policy.flomesh.io/v1alpha1",
        ),
        (
            policy("Egress", "{sources: [], ports: [], matches: [{kind: HTTPRouteGroup, name: a}]}"),
            "spec.matches[0].apiGroup",
            "got: \"\"",
        ),
        (
            policy("Egress", "{sources: [], ports: [], matches: [{apiGroup: specs.smi-spec.io/v1alpha4, kind: TCPRoute, name: a}]}"),
            "spec.matches[0].kind",
            "to be 'HTTPRouteGroup', got: \"TCPRoute\"",
        ),
        (
            policy("Egress", "{sources: [], ports: [], matches: [{apiGroup: policy.flomesh.io/v1alpha1, kind: UpstreamTrafficSetting, name: a}, {apiGroup: policy.flomesh.io/v1alpha1, kind: UpstreamTrafficSetting, name: b}]}"),
            "spec.matches",
            "Cannot have more than 1 UpstreamTrafficSetting match",
        ),
        (policy("EgressGateway", "{global: [{service: a, namespace: shop}]}"), "spec.global", "EgressGateway shop/gate already has global gateways"),
        (
            policy("UpstreamTrafficSetting", "{host: a, rateLimit: {local: {http: {requests: 1, unit: second, responseStatusCode: 209}}}}"),
            "spec.rateLimit.local.http.responseStatusCode",
            "209 is no status",
        ),
        (
            policy("UpstreamTrafficSetting", "{host: a, httpRoutes: [{path: /a, rateLimit: {local: {requests: 1, unit: second, responseStatusCode: 999}}}]}"),
            "spec.httpRoutes[0].rateLimit.local.responseStatusCode",
            "999 is no status",
        ),
        (
            "{apiVersion: plugin.flomesh.io/v1alpha1, kind: Plugin, metadata: {name: new}, spec: {pipyscript: x}}".to_owned(),
            "kind",
            "FSM is prohibited to apply plugin policy",
        ),
        (cluster("{fsmNamespace: a, fsmMeshConfigName: b, kubeconfig: x, gatewayHost: 127.0.0.1}"), "spec.gatewayHost", "is not an address by which another cluster can be reached"),
        (cluster("{fsmNamespace: a, fsmMeshConfigName: b, kubeconfig: x, gatewayHost: a_/b}"), "spec.gatewayHost", "neither an address nor a name"),
        (cluster("{fsmNamespace: a, fsmMeshConfigName: b, gatewayHost: 10.0.0.1}"), "spec.kubeconfig", "must be set"),
        (
            "{apiVersion: multicluster.flomesh.io/v1alpha1, kind: GlobalTrafficPolicy, metadata: {namespace: shop, name: new}, spec: {lbType: FailOver}}".to_owned(),
            "spec.targets",
            "cannot be empty",
        ),
    ];
    let world = world("");
    for (yaml, field, says) in &cases {
        let judgement = judged(&world, yaml, None);
        let [fault] = judgement.faults.as_slice() else { panic!("{yaml}: {judgement:?}") };
        assert_eq!(fault.field, *field, "{yaml}: {fault}");
        assert!(fault.text.contains(says), "{yaml}: {fault}");
    }
}

#[test]
fn a_mesh_config_with_values_that_fsm_would_replace_silently_is_refused() {
    let config = |spec: &str| {
        format!(
            "{{apiVersion: config.flomesh.io/v1alpha3, kind: MeshConfig, metadata: {{namespace: fsm-system, name: fsm-mesh-config}}, spec: {spec}}}"
        )
    };
    let world = world("");
    for (spec, field, says) in [
        ("{sidecar: {logLevel: loud}}", "spec.sidecar.logLevel", "write one of trace, debug"),
        ("{sidecar: {maxDataPlaneConnections: -1}}", "spec.sidecar.maxDataPlaneConnections", "0 means no limit"),
        ("{sidecar: {configResyncInterval: often}}", "spec.sidecar.configResyncInterval", "24h, 90m or 30s"),
        ("{sidecar: {tlsMinProtocolVersion: TLSv9}}", "spec.sidecar.tlsMinProtocolVersion", "TLSv1_3"),
        (
            "{sidecar: {tlsMinProtocolVersion: TLSv1_3, tlsMaxProtocolVersion: TLSv1_2}}",
            "spec.sidecar.tlsMinProtocolVersion",
            "newer",
        ),
        ("{sidecar: {resources: {limits: {cpu: much}}}}", "spec.sidecar.resources.limits.cpu", "100m"),
        (
            "{traffic: {outboundIPRangeExclusionList: [10.0.0.0/40]}}",
            "spec.traffic.outboundIPRangeExclusionList[0]",
            "10.0.0.0/8",
        ),
        ("{traffic: {outboundPortExclusionList: [0]}}", "spec.traffic.outboundPortExclusionList[0]", "1 to 65535"),
        ("{observability: {tracing: {sampledFraction: '2'}}}", "spec.observability.tracing.sampledFraction", "0 to 1"),
        ("{observability: {tracing: {endpoint: api}}}", "spec.observability.tracing.endpoint", "/api/v2/spans"),
        ("{observability: {remoteLogging: {level: 3}}}", "spec.observability.remoteLogging.level", "0, 1 or 2"),
        ("{certificate: {serviceCertValidityDuration: 1 day}}", "spec.certificate.serviceCertValidityDuration", "24h"),
        (
            "{certificate: {serviceCertValidityDuration: 0s}}",
            "spec.certificate.serviceCertValidityDuration",
            "no time at all",
        ),
        ("{certificate: {certKeyBitSize: 1024}}", "spec.certificate.certKeyBitSize", "2048 to 4096"),
    ] {
        let judgement = judged(&world, &config(spec), None);
        let [fault] = judgement.faults.as_slice() else { panic!("{spec}: {judgement:?}") };
        assert_eq!(fault.field, field, "{spec}: {fault}");
        assert!(fault.text.contains(says), "{spec}: {fault}");
    }
    let good = config("{sidecar: {configResyncInterval: 10s, sidecarTimeout: 0}, traffic: {enableEgress: true}}");
    let judgement = judged(&world, &good, None);
    assert!(judgement.faults.is_empty(), "{judgement:?}");
    assert!(judgement.warnings[0].contains("10s is ignored"), "{judgement:?}");
    assert!(judgement.warnings[1].contains("60 seconds count"), "{judgement:?}");
    let excluded = config("{traffic: {outboundPortExclusionList: [80]}}");
    let judgement = judged(&world, &excluded, Some(&config("{traffic: {enableEgress: true}}")));
    assert!(judgement.warnings[0].contains("restart the pods"), "{judgement:?}");
    let privileged = config("{sidecar: {enablePrivilegedInitContainer: true}}");
    let judgement = judged(&world, &privileged, Some(&config("{sidecar: {logLevel: error}}")));
    assert!(judgement.warnings[0].contains("restart the pods"), "{judgement:?}");
    for (image, is_told) in [
        ("flomesh/pipy:latest", true),
        ("registry.example.org:5000/flomesh/pipy-nightly@sha256:00", true),
        ("registry.example.org/pipy/fsm-proxy:1", false),
    ] {
        let judgement = judged(&world, &config(&format!("{{sidecar: {{sidecarImage: '{image}'}}}}")), None);
        assert!(judgement.faults.is_empty(), "{judgement:?}");
        let told = judgement.warnings.iter().any(|warning| warning.contains("sidecars are started as fsm-proxy"));
        assert_eq!(told, is_told, "{image}: {judgement:?}");
    }
}

#[test]
fn what_was_wrong_before_does_not_keep_a_change_out() {
    let world = world("");
    let before = policy(
        "UpstreamTrafficSetting",
        "{host: a, rateLimit: {local: {http: {requests: 1, unit: second, responseStatusCode: 209}}}}",
    );
    let after = before.replace("requests: 1", "requests: 2");
    let judgement = judged(&world, &after, Some(&before));
    assert!(judgement.faults.is_empty(), "{judgement:?}");
    assert!(judgement.warnings[0].contains("209 is no status") && judgement.warnings[0].contains("it was so before"));
    let worse = after.replace("209", "210");
    assert_eq!(judged(&world, &worse, Some(&before)).faults.len(), 1);
}

#[test]
fn what_will_not_do_what_was_meant_is_taken_with_warnings_that_name_both_objects() {
    let world = world("");
    for (yaml, says) in [
        (
            "{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {namespace: shop, name: new}, spec: {service: web, backends: [{service: gone, weight: 1}]}}",
            [
                "TrafficSplit shop/new: backend shop/gone gets no traffic because the service does not exist",
                "(UnknownBackend)",
            ],
        ),
        (
            "{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {namespace: shop, name: new}, spec: {service: web, backends: [{service: plain/outside, weight: 1}]}}",
            ["backend plain/outside gets no traffic because the service is not in the mesh", "fsm namespace add plain"],
        ),
        (
            "{apiVersion: access.smi-spec.io/v1alpha3, kind: TrafficTarget, metadata: {namespace: shop, name: new}, spec: {destination: {kind: ServiceAccount, name: web, namespace: shop}, sources: [{kind: ServiceAccount, name: a, namespace: shop}], rules: [{kind: HTTPRouteGroup, name: gone}]}}",
            [
                "TrafficTarget shop/new: rule \"gone\" lets nothing in because there is no such HTTPRouteGroup",
                "HTTPRouteGroup shop/gone",
            ],
        ),
        (
            &policy(
                "Retry",
                "{source: {kind: ServiceAccount, name: a, namespace: shop}, destinations: [{kind: Service, name: web, namespace: shop}], retryPolicy: {retryOn: 5xx}}",
            ),
            ["Retry shop/new: has no effect because featureFlags.enableRetryPolicy", "set it to true"],
        ),
        (
            &policy("UpstreamTrafficSetting", "{host: web.shop.svc.cluster.local}"),
            ["UpstreamTrafficSetting shop/old", "(HostConflict)"],
        ),
        (
            &policy(
                "Egress",
                "{sources: [{kind: ServiceAccount, name: a, namespace: shop}], hosts: [a.example.com], ports: [{number: 80, protocol: http}], matches: [{apiGroup: specs.smi-spec.io/v1alpha4, kind: HTTPRouteGroup, name: gone}]}",
            ),
            [
                "Egress shop/new: its match \"gone\" lets nothing out because there is no HTTPRouteGroup shop/gone",
                "create it",
            ],
        ),
    ] {
        let judgement = judged(&world, yaml, None);
        assert!(judgement.faults.is_empty(), "{yaml}: {judgement:?}");
        let told = judgement.warnings.iter().any(|warning| says.iter().all(|says| warning.contains(says)));
        assert!(told, "{says:?}: {:#?}", judgement.warnings);
    }
}

#[test]
fn what_is_well_is_taken_without_a_word_and_the_world_stays_as_it_was() {
    let world = world("");
    let before = format!("{:?}", world.problems());
    let good = "{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {namespace: shop, name: new}, spec: {service: web, backends: [{service: web, weight: 1}]}}";
    assert_eq!(judged(&world, good, None), Judgement::default());
    assert_eq!(format!("{:?}", world.problems()), before);
}

/// Services and Secrets are followed where the mesh needs them; `elsewhere` it does not yet.
#[test]
fn what_is_not_followed_is_not_missing() {
    let mut world =
        world("{apiVersion: v1, kind: Namespace, metadata: {name: new, labels: {flomesh.io/monitored-by: fsm}}}");
    let backends = "[{name: api, port: {number: 8080, protocol: http}}]";
    let ingress = policy(
        "IngressBackend",
        &format!("{{backends: {backends}, sources: [{{kind: Service, namespace: elsewhere, name: gate}}]}}"),
    );
    let gateway = policy("EgressGateway", "{global: [{service: out, namespace: elsewhere}]}").replace("new", "gate");
    let egress = policy(
        "Egress",
        "{hosts: [a.example.org], ports: [{number: 443, protocol: https}], sources: [{kind: ServiceAccount, name: a, \
         namespace: shop, mtls: {issuer: other, cert: {sn: 1, expiration: x, subjectAltNames: [], secret: {namespace: elsewhere, name: s}}}}]}",
    );
    let split = "{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {namespace: new, name: new},
        spec: {service: new, backends: [{service: new-v1, weight: 1}]}}";
    let absent = [
        (ingress.as_str(), "endpoints not found for service elsewhere/gate"),
        (&gateway, "gateway elsewhere/out does not exist"),
        (&egress, "there is no Secret elsewhere/s"),
        (split, "service new/new does not exist"),
    ];
    for (policy, missing) in absent {
        let warnings = judged(&world, policy, None).warnings;
        assert!(warnings.iter().any(|warning| warning.contains(missing)), "{missing}: {warnings:?}");
    }
    let follow = |world: &mut World, namespaces: &[&str]| {
        let namespaces: Arc<BTreeSet<String>> = Arc::new(namespaces.iter().map(|name| (*name).to_owned()).collect());
        for kind in [Kind::Service, Kind::EndpointSlice, Kind::Secret] {
            world.set_complete(kind, Some(namespaces.clone()));
        }
    };
    follow(&mut world, &["shop", "fsm-system"]);
    for (policy, missing) in absent {
        let warnings = judged(&world, policy, None).warnings;
        let says = |warning: &String| missing.split(' ').any(|word| word.contains('/') && warning.contains(word));
        assert!(!warnings.iter().any(says), "{missing}: {warnings:?}");
    }
    follow(&mut world, &["shop", "fsm-system", "new", "elsewhere"]);
    for (policy, missing) in absent {
        let warnings = judged(&world, policy, None).warnings;
        assert!(warnings.iter().any(|warning| warning.contains(missing)), "{missing}: {warnings:?}");
    }
    // What is certain is said at once.
    follow(&mut world, &["shop", "fsm-system"]);
    let split = "{apiVersion: split.smi-spec.io/v1alpha4, kind: TrafficSplit, metadata: {namespace: shop, name: new},
        spec: {service: web, backends: [{service: elsewhere/web, weight: 1}]}}";
    let warnings = judged(&world, split, None).warnings;
    assert!(warnings.iter().any(|warning| warning.contains("`fsm namespace add elsewhere`")), "{warnings:?}");
}
