//! A small universe of objects of every kind, which refer to each other by chance, and the reads that a document is made
//! from.

use super::super::{Group, Protocol, Settings, World};
use super::{key, object};
use fsm_api::resources::Object;
use serde_json::{Value, json};
use std::fmt::Write;

/// How many kinds [`thing`] makes.
pub(super) const KINDS: u8 = 24;

/// Small numbers out of one.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        let face = self.0 % sides;
        self.0 = (self.0 / sides).wrapping_add(face.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        self.0 ^= self.0 >> 29;
        face
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }

    fn flip(&mut self) -> bool {
        self.roll(2) == 0
    }
}

const NAMESPACES: [&str; 3] = ["a", "b", "fsm-system"];
const NAMES: [&str; 3] = ["s", "t", "u"];
const ACCOUNTS: [&str; 2] = ["x", "y"];

fn ip(dice: &mut Dice) -> String {
    format!("10.0.0.{}", 1 + dice.roll(6))
}

fn account(dice: &mut Dice) -> Value {
    json!({"kind": "ServiceAccount", "name": dice.pick(&ACCOUNTS), "namespace": dice.pick(&NAMESPACES)})
}

fn service_ref(dice: &mut Dice) -> Value {
    json!({"kind": "Service", "name": dice.pick(&NAMES), "namespace": dice.pick(&NAMESPACES)})
}

fn source(dice: &mut Dice) -> Value {
    match dice.roll(3) {
        0 => json!({"kind": "IPRange", "name": "10.9.0.0/16"}),
        _ => service_ref(dice),
    }
}

/// The object of a kind (below [`KINDS`]), by name and appearance.
pub(super) fn thing(kind: u8, name: u8, appearance: u64) -> Object {
    let namespace = NAMESPACES[usize::from(name) % 3];
    let name = NAMES[usize::from(name / 3) % 3];
    let dice = &mut Dice(appearance);
    let created = dice.flip().then(|| format!("2024-01-0{}T00:00:00Z", 1 + dice.roll(3)));
    let (api, kind, spec) = match kind {
        0 => return object(namespace_of(namespace, dice)),
        1 | 2 => return object(pod(namespace, name, dice)),
        3 => return object(service(namespace, name, dice)),
        4 | 5 => return object(slice(namespace, name, dice)),
        6 => return object(endpoints(namespace, name, dice)),
        7 => return object(secret(namespace, name, dice)),
        8 => return object(mesh_config(dice)),
        9 => return object(ingress_class(name, dice)),
        other => policy(other, dice),
    };
    let scope = if matches!(kind, "Plugin" | "Isolation") { None } else { Some(namespace) };
    object(json!({"apiVersion": api, "kind": kind,
        "metadata": {"name": name, "namespace": scope, "creationTimestamp": created}, "spec": spec}))
}

fn namespace_of(name: &str, dice: &mut Dice) -> Value {
    let monitored = if dice.roll(4) == 0 { "other" } else { "fsm" };
    let mut annotations = json!({});
    if dice.roll(4) == 0 {
        annotations["flomesh.io/service-exclusion-list"] = json!(dice.pick(&NAMES));
    }
    if dice.roll(3) == 0 {
        annotations["flomesh.io/traffic-warmup-enable"] = json!(dice.pick(&["true", "false"]));
    }
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
        "labels": {"flomesh.io/monitored-by": monitored, "team": dice.pick(&["1", "2"])}, "annotations": annotations}})
}

fn pod(namespace: &str, name: &str, dice: &mut Dice) -> Value {
    let mut labels = json!({"app": dice.pick(&NAMES)});
    if dice.roll(4) != 0 {
        labels["fsm-proxy-uuid"] = json!(format!("uuid-{name}"));
    }
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "uid": dice.pick(&["1", "2"])},
        "spec": {"serviceAccountName": dice.pick(&ACCOUNTS), "hostname": dice.pick(&[None, Some("h")]),
            "containers": [{"name": "app", "ports": [{"name": "web", "containerPort": dice.pick(&[8080, 9090])}]}]},
        "status": {"phase": dice.pick(&["Running", "Running", "Pending", "Succeeded"]),
            "podIP": if dice.roll(4) == 0 { None } else { Some(ip(dice)) },
            "conditions": [{"type": "Ready", "status": dice.pick(&["True", "False"])}]}})
}

fn service(namespace: &str, name: &str, dice: &mut Dice) -> Value {
    let mut annotations = json!({});
    if dice.roll(8) == 0 {
        annotations["flomesh.io/service-exclusion"] = json!("true");
    }
    let target: Value = match dice.roll(3) {
        0 => json!("web"),
        1 => json!(8080),
        _ => Value::Null,
    };
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {"clusterIP": if dice.roll(3) == 0 { "None".into() } else { format!("10.96.0.{}", 1 + dice.roll(9)) },
            "type": if dice.roll(8) == 0 { "ExternalName" } else { "ClusterIP" },
            "selector": {"app": dice.pick(&NAMES)},
            "ports": [{"name": dice.pick(&["http-web", "tcp-web"]), "port": dice.pick(&[80, 8080]), "targetPort": target}]}})
}

fn slice(namespace: &str, name: &str, dice: &mut Dice) -> Value {
    let mut endpoints = Vec::new();
    for _ in 0..dice.roll(3) {
        let pod = dice.pick(&[None, Some("s"), Some("t"), Some("u")]);
        endpoints.push(json!({"addresses": [ip(dice)], "hostname": dice.pick(&[None, None, Some("h"), Some("i")]),
            "conditions": {"ready": dice.flip(), "serving": dice.flip()},
            "targetRef": pod.map(|pod| json!({"kind": "Pod", "name": pod}))}));
    }
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": namespace, "labels": {"kubernetes.io/service-name": dice.pick(&NAMES)}},
        "endpoints": endpoints, "ports": [{"name": dice.pick(&["http-web", "tcp-web", ""]), "port": dice.pick(&[8080, 9090])}]})
}

fn endpoints(namespace: &str, name: &str, dice: &mut Dice) -> Value {
    json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name, "namespace": namespace},
        "subsets": [{"addresses": [{"ip": ip(dice)}], "notReadyAddresses": [{"ip": ip(dice)}], "ports": [{"port": 8080}]}]})
}

fn secret(namespace: &str, name: &str, dice: &mut Dice) -> Value {
    let field = dice.pick(&["ca.crt", "tls.crt", "other"]);
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace},
        "stringData": {field: dice.pick(&["one", "two"])}})
}

fn mesh_config(dice: &mut Dice) -> Value {
    json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshConfig",
        "metadata": {"name": dice.pick(&["fsm-mesh-config", "fsm-mesh-config", "other"]), "namespace": "fsm-system"},
        "spec": {"traffic": {"enablePermissiveTrafficPolicyMode": dice.roll(5) == 0},
            "sidecar": {"sidecarDisabledMTLS": dice.roll(4) == 0},
            "featureFlags": {"enablePluginPolicy": dice.roll(3) != 0, "enableTrafficWarmupPolicy": dice.flip()},
            "warmup": {"enable": dice.flip()}}})
}

fn ingress_class(name: &str, dice: &mut Dice) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": name, "annotations": {
        "meta.flomesh.io/ingress-pipy-svc": dice.pick(&NAMES), "meta.flomesh.io/fsm-namespace": dice.pick(&NAMESPACES)}}})
}

fn policy(kind: u8, dice: &mut Dice) -> (&'static str, &'static str, Value) {
    const POLICY: &str = "policy.flomesh.io/v1alpha1";
    const PLUGIN: &str = "plugin.flomesh.io/v1alpha1";
    const CLUSTERS: &str = "multicluster.flomesh.io/v1alpha1";
    let routes = |dice: &mut Dice| json!([{"kind": "HTTPRouteGroup", "name": dice.pick(&NAMES)}]);
    match kind {
        10 | 11 => {
            let rule = json!({"kind": dice.pick(&["HTTPRouteGroup", "TCPRoute"]), "name": dice.pick(&NAMES)});
            let spec =
                json!({"destination": account(dice), "sources": [account(dice), account(dice)], "rules": [rule]});
            ("access.smi-spec.io/v1alpha3", "TrafficTarget", spec)
        }
        12 => {
            let path = dice.pick(&["/one", "/two"]);
            ("specs.smi-spec.io/v1alpha4", "HTTPRouteGroup", json!({"matches": [{"name": "m", "pathRegex": path}]}))
        }
        13 => ("specs.smi-spec.io/v1alpha4", "TCPRoute", json!({"matches": {"ports": [dice.pick(&[80, 90])]}})),
        14 => {
            let matches = if dice.flip() { routes(dice) } else { json!([]) };
            let backends = json!([{"service": dice.pick(&NAMES), "weight": dice.roll(3)}, {"service": dice.pick(&NAMES), "weight": 1}]);
            let spec = json!({"service": dice.pick(&NAMES), "backends": backends, "matches": matches});
            ("split.smi-spec.io/v1alpha4", "TrafficSplit", spec)
        }
        15 => {
            let host = format!("{}.{}", dice.pick(&NAMES), dice.pick(&NAMESPACES));
            let most = dice.roll(5);
            let spec = json!({"host": host, "connectionSettings": {"tcp": {"maxConnections": most}}});
            (POLICY, "UpstreamTrafficSetting", spec)
        }
        16 => {
            let spec = json!({"source": account(dice), "destinations": [service_ref(dice)],
                "retryPolicy": {"retryOn": "5xx", "numRetries": dice.roll(3)}});
            (POLICY, "Retry", spec)
        }
        17 => {
            let mut source = account(dice);
            let secret = json!({"name": dice.pick(&NAMES), "namespace": dice.pick(&NAMESPACES)});
            source["mtls"] = json!({"issuer": "other", "cert": {"sn": 1, "expiration": "", "subjectAltNames": [], "secret": secret}});
            let matches = json!([{"kind": "HTTPRouteGroup", "name": dice.pick(&NAMES)},
                {"kind": "UpstreamTrafficSetting", "name": dice.pick(&NAMES)}]);
            let spec = json!({"sources": [source], "hosts": ["x.org"], "ports": [{"number": 80, "protocol": "http"}], "matches": matches});
            (POLICY, "Egress", spec)
        }
        18 => {
            let global = json!([{"service": dice.pick(&NAMES), "namespace": dice.pick(&NAMESPACES), "weight": 1}]);
            (POLICY, "EgressGateway", json!({"global": if dice.flip() { global } else { json!([]) }}))
        }
        19 => {
            let backend = json!({"name": dice.pick(&NAMES), "port": {"number": 8080, "protocol": "http"}});
            if dice.flip() {
                return (POLICY, "IngressBackend", json!({"backends": [backend], "sources": [source(dice)]}));
            }
            let backends = if dice.flip() { json!([backend]) } else { json!([]) };
            (POLICY, "AccessControl", json!({"backends": backends, "sources": [source(dice)]}))
        }
        20 => (POLICY, "Isolation", json!({"cidrs": [format!("{}/32", ip(dice))]})),
        21 => match dice.roll(3) {
            0 => (PLUGIN, "Plugin", json!({"pipyscript": dice.pick(&["one", "two"]), "priority": dice.roll(3)})),
            1 => {
                let selectors = json!({"podSelector": {"matchLabels": {"app": dice.pick(&NAMES)}},
                    "namespaceSelector": {"matchLabels": {"team": dice.pick(&["1", "2"])}}});
                let chains = json!([{"name": "inbound-http", "plugins": [dice.pick(&NAMES)]}]);
                (PLUGIN, "PluginChain", json!({"chains": chains, "selectors": selectors}))
            }
            _ => {
                let config = json!({"depth": dice.roll(3)});
                (
                    PLUGIN,
                    "PluginConfig",
                    json!({"plugin": dice.pick(&NAMES), "destinationRefs": [service_ref(dice)], "config": config}),
                )
            }
        },
        22 => {
            let endpoint = json!({"clusterKey": "default/default/default/c2",
                "target": {"host": "", "ip": ip(dice), "port": 80, "path": "/p"}});
            let account = dice.pick(&["", "*", "x", "y"]);
            let spec = json!({"ports": [{"port": dice.pick(&[80, 8080]), "endpoints": [endpoint]}], "serviceAccountName": account});
            (CLUSTERS, "ServiceImport", spec)
        }
        _ => match dice.roll(3) {
            0 => (
                CLUSTERS,
                "ServiceExport",
                json!({"rules": [{"portNumber": dice.pick(&[80, 8080]), "path": "/", "pathType": "Prefix"}]}),
            ),
            1 => (CLUSTERS, "GlobalTrafficPolicy", json!({"lbType": dice.pick(&["Locality", "ActiveActive"])})),
            _ => (POLICY, "TrafficWarmup", json!({"enable": dice.flip(), "minWeight": dice.roll(50)})),
        },
    }
}

/// Everything that a document of a group may be made from, as text.
pub(super) fn document(world: &World, group: &Group) -> String {
    let mut text = String::new();
    let out = &mut text;
    writeln!(out, "{:?} {group:?}", world.mesh()).unwrap();
    inbound(world, group, out);
    for service in world.callable_services(&group.account) {
        outbound(world, group, &service, out);
    }
    for retry in world.retries_of(&group.account) {
        writeln!(out, "retry {:?}", retry.spec).unwrap();
    }
    for egress in world.egress_of(&group.account) {
        writeln!(out, "egress {:?}", egress.spec).unwrap();
        let own = egress.metadata.namespace.as_deref().unwrap();
        for named in &egress.spec.matches {
            match named.kind.as_str() {
                "HTTPRouteGroup" => writeln!(out, "{:?}", world.route_group(own, &named.name).map(|group| &group.spec)),
                _ => writeln!(out, "{:?}", world.upstream_setting_named(own, &named.name).map(|setting| &setting.spec)),
            }
            .unwrap();
        }
        for secret in super::super::reference::egress_secrets(egress) {
            writeln!(out, "{:?}", world.tls_secret(&secret.namespace, &secret.name)).unwrap();
        }
    }
    if let Some(gateway) = world.egress_gateway() {
        for target in &gateway.spec.global {
            let service = key(&target.namespace, &target.service);
            writeln!(out, "gateway {:?} {:?}", target, world.service(&service)).unwrap();
            writeln!(out, "{:?}", world.addresses_of(&service)).unwrap();
        }
    }
    for chain in &group.chains {
        let chain = world.plugin_chain(chain).unwrap();
        writeln!(out, "chain {:?}", chain.spec).unwrap();
        for plugin in chain.spec.chains.iter().flat_map(|chain| &chain.plugins) {
            writeln!(out, "{:?}", world.plugin(plugin).map(|plugin| &plugin.spec)).unwrap();
        }
    }
    if !world.mesh().mtls {
        writeln!(out, "{:?}", world.proxy_addresses().collect::<Vec<_>>()).unwrap();
    }
    text
}

fn inbound(world: &World, group: &Group, out: &mut String) {
    for service in &group.services {
        for port in &world.service(service).unwrap().ports {
            writeln!(out, "in {service} {port:?} {:?}", group.local_port(port)).unwrap();
        }
        common(world, service, out);
        for split in world.splits_of_backend(service) {
            let root = world.split_root(split);
            writeln!(out, "apex {root} {:?} {:?}", split.spec, world.mesh_services_of(&root)).unwrap();
        }
        let mut let_in = |what: &str, sources: &[fsm_api::resources::policy::AccessSource], own: &str| {
            writeln!(out, "{what} {sources:?}").unwrap();
            for service in super::super::reference::source_services(sources, own) {
                writeln!(out, "{:?}", world.addresses_of(&service)).unwrap();
            }
        };
        for backend in world.ingress_backends_of(service) {
            let_in("ingress", &backend.spec.sources, backend.metadata.namespace.as_deref().unwrap());
        }
        for control in world.access_controls_of(service).into_iter().chain(world.access_controls_everywhere()) {
            let_in("control", &control.spec.sources, control.metadata.namespace.as_deref().unwrap());
        }
        if let Some(export) = world.service_export(service) {
            writeln!(out, "export {:?} {:?}", export.spec, world.ingress_controller_addresses()).unwrap();
        }
    }
    if !world.mesh().permissive {
        for target in world.targets_to(&group.account) {
            writeln!(out, "target {:?}", target.spec).unwrap();
            for rule in &target.spec.rules {
                let own = target.metadata.namespace.as_deref().unwrap();
                writeln!(out, "{:?}", world.route_group(own, &rule.name).map(|group| &group.spec)).unwrap();
                writeln!(out, "{:?}", world.tcp_route(own, &rule.name).map(|route| &route.spec)).unwrap();
            }
        }
    }
}

fn outbound(world: &World, group: &Group, service: &super::super::ServiceKey, out: &mut String) {
    common(world, service, out);
    cluster(world, group, service, out);
    for split in world.splits_of_root(service) {
        writeln!(out, "split {:?}", split.spec).unwrap();
        for named in &split.spec.matches {
            let own = split.metadata.namespace.as_deref().unwrap();
            writeln!(out, "{:?}", world.route_group(own, &named.name).map(|group| &group.spec)).unwrap();
        }
        for (backend, _) in world.split_backends(split) {
            cluster(world, group, &backend, out);
        }
    }
}

fn cluster(world: &World, group: &Group, service: &super::super::ServiceKey, out: &mut String) {
    writeln!(out, "cluster {service} {:?} {:?}", world.service(service), world.warm_up(service)).unwrap();
    writeln!(out, "{:?} {:?}", world.accounts_of(service), world.is_imported_for_anyone(service)).unwrap();
    writeln!(out, "{:?}", world.global_traffic_policy(service).map(|policy| &policy.spec)).unwrap();
    for port in world.mesh_services_of(service) {
        assert_ne!(port.protocol, Protocol::Grpc, "the universe has none");
        writeln!(out, "{port:?} {:?} {:?}", world.targets(port), world.remote_targets(port)).unwrap();
    }
    for target in world.targets_from(&group.account) {
        writeln!(out, "{:?}", target.spec).unwrap();
    }
}

fn common(world: &World, service: &super::super::ServiceKey, out: &mut String) {
    writeln!(out, "{:?}", world.upstream_setting(service).map(|setting| &setting.spec)).unwrap();
    for config in world.plugin_configs_of(service).into_iter().filter(|_| world.mesh().features.plugin_policy) {
        writeln!(out, "{:?}", config.spec).unwrap();
    }
}

/// Everything that the world answers, groups by content.
pub(super) fn everything(world: &World) -> String {
    let mut text = format!("{:?}\n", world.problems());
    for (id, group) in world.groups() {
        let members: Vec<_> = world.members(id).collect();
        writeln!(text, "{members:?}\n{}", document(world, group)).unwrap();
    }
    for service in world.services() {
        writeln!(text, "{:?} {:?}", service, world.endpoints(&service.key)).unwrap();
    }
    for port in world.mesh_services() {
        writeln!(text, "{port:?} {:?}", world.targets(port)).unwrap();
    }
    text
}

/// A world of nothing but namespaces, all in the mesh, where permissive mode is off.
pub(super) fn strict_world() -> World {
    let mut world = World::new(Settings::default());
    for namespace in NAMESPACES {
        super::put(&mut world, super::namespace(namespace));
    }
    super::put(&mut world, super::strict());
    world
}
