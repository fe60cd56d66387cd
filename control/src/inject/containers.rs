//! The containers and volumes that a pod of the mesh gets.

use super::annotations::Choices;
use super::probes::Probed;
use super::{MeshConfigSpec, PROXY_UUID_LABEL, Settings};
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapProjection, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource,
    ExecAction, KeyToPath, Lifecycle, LifecycleHandler, ObjectFieldSelector, PodSpec, Probe, ProjectedVolumeSource,
    SeccompProfile, SecurityContext, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Name of the sidecar's container.
pub(super) const SIDECAR: &str = "sidecar";
/// Name of the init container.
pub(super) const INIT: &str = "fsm-init";
/// Names of the volumes.
pub(super) const VOLUMES: [&str; 2] = [IDENTITY_VOLUME, STATE_VOLUME];

/// The proxy's credentials towards the control plane: a token and the roots.
const IDENTITY_VOLUME: &str = "fsm-identity";
const IDENTITY_PATH: &str = "/var/run/fsm/identity";
/// What a restarted proxy begins with. In memory: it holds the proxy's key.
const STATE_VOLUME: &str = "fsm-state";
const STATE_PATH: &str = "/var/run/fsm/state";

/// FSM's user id of the proxy; redirection leaves its traffic alone.
const PROXY_UID: i64 = 1500;
/// The kubelet renews the token at four fifths of this, or daily.
const TOKEN_SECONDS: i64 = 24 * 3600;
/// fsm-control's port for proxies.
const CONTROL_PORT: u16 = fsm_api::stream::DEFAULT_PORT;
/// Where the sidecar answers the application's questions about names, on loopback.
const NAMES_PORT: u16 = 5300;
/// The ConfigMap with the mesh's roots, which the control plane keeps in every namespace of the mesh.
pub(crate) const TRUST_BUNDLE: &str = "fsm-trust-bundle";

/// Adds everything.
pub(super) fn add(
    spec: &mut PodSpec,
    metadata: &ObjectMeta,
    choices: &Choices,
    probed: &Probed,
    settings: &Settings,
    _mesh: &MeshConfigSpec,
) {
    spec.volumes.get_or_insert_default().extend([identity_volume(settings), state_volume()]);
    let init = init_container(choices, settings);
    let mut sidecar = sidecar(spec, metadata, choices, probed, settings);
    let init_containers = spec.init_containers.get_or_insert_default();
    if settings.native_sidecars {
        // Redirection, then the proxy, then the application's own init containers: those are in the mesh too, and a Job
        // ends although its sidecar does not.
        sidecar.restart_policy = Some("Always".to_owned());
        sidecar.startup_probe = Some(ready_probe());
        init_containers.splice(0..0, [init, sidecar]);
        return;
    }
    // FSM's layout: the application's init containers run before there is redirection, and without the proxy.
    init_containers.push(init);
    if choices.hold_application {
        // The kubelet starts containers one after another and waits for each one's hook.
        spec.containers.insert(0, sidecar);
    } else {
        spec.containers.push(sidecar);
    }
}

fn init_container(choices: &Choices, settings: &Settings) -> Container {
    let mut arguments = Vec::new();
    let lists = [
        ("--inbound-exclude-port", &choices.inbound_excluded_ports),
        ("--outbound-exclude-port", &choices.outbound_excluded_ports),
        ("--outbound-exclude-cidr", &choices.outbound_excluded_ranges),
        ("--outbound-include-cidr", &choices.outbound_included_ranges),
        ("--exclude-interface", &choices.excluded_interfaces),
    ];
    for (flag, values) in lists {
        if !values.is_empty() {
            arguments.push(format!("{flag}={}", values.join(",")));
        }
    }
    if choices.pod_ip_mode {
        arguments.push("--pod-ip=$(POD_IPS)".to_owned());
    }
    if choices.local_names {
        arguments.push(format!("--dns-port={NAMES_PORT}"));
    }
    Container {
        name: INIT.to_owned(),
        image: Some(choices.init_image.clone()),
        image_pull_policy: Some(settings.pull_policy.clone()),
        command: Some(vec!["fsm-init".to_owned()]),
        args: (!arguments.is_empty()).then_some(arguments),
        env: Some(vec![field("POD_IP", "status.podIP"), field("POD_IPS", "status.podIPs")]),
        resources: choices.init_resources.clone(),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(choices.privileged_init),
            // fsm-init runs iptables, which wants NET_RAW to tell matches apart on some kernels.
            capabilities: Some(Capabilities {
                add: Some(vec!["NET_ADMIN".to_owned(), "NET_RAW".to_owned()]),
                drop: Some(vec!["ALL".to_owned()]),
            }),
            privileged: Some(choices.privileged_init),
            read_only_root_filesystem: Some(false),
            run_as_group: Some(0),
            run_as_non_root: Some(false),
            run_as_user: Some(0),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn sidecar(
    spec: &PodSpec,
    metadata: &ObjectMeta,
    choices: &Choices,
    probed: &Probed,
    settings: &Settings,
) -> Container {
    let service = format!("fsm-controller.{}.svc", settings.fsm_namespace);
    let mut arguments = vec![
        format!("--control=https://{service}:{CONTROL_PORT}"),
        format!("--control-name={service}"),
        format!("--control-ca={IDENTITY_PATH}/ca.crt"),
        format!("--control-token={IDENTITY_PATH}/token"),
        format!("--cache-dir={STATE_PATH}/cache"),
        format!("--log-level={}", choices.log_level),
    ];
    if choices.local_names {
        arguments.push(format!("--dns-listen={NAMES_PORT}"));
    }
    let (kind, name) = controller_of(metadata);
    let account = spec.service_account_name.clone().filter(|name| !name.is_empty());
    let account = account.unwrap_or_else(|| "default".to_owned());
    let environment = vec![
        variable("MESH_NAME", &settings.mesh),
        field("POD_UID", "metadata.uid"),
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_IP", "status.podIP"),
        variable("SERVICE_ACCOUNT", &account),
        variable("POD_CONTROLLER_KIND", &kind),
        variable("POD_CONTROLLER_NAME", &name),
        field("FSM_PROXY_UUID", &format!("metadata.labels['{PROXY_UUID_LABEL}']")),
    ];
    let mut ports = vec![port("proxy-admin", 15000), port("proxy-inbound", 15003), port("proxy-metrics", 15010)];
    ports.extend(probed.iter().map(|(name, number)| port(name, *number)));
    let hold = choices.hold_application && !settings.native_sidecars;
    let lifecycle = Lifecycle {
        post_start: hold.then(|| run(&["wait"])),
        pre_stop: choices.graceful_exit.then(|| run(&["drain"])),
        ..Lifecycle::default()
    };
    Container {
        name: SIDECAR.to_owned(),
        image: Some(choices.sidecar_image.clone()),
        image_pull_policy: Some(settings.pull_policy.clone()),
        command: Some(vec!["fsm-proxy".to_owned()]),
        args: Some(arguments),
        env: Some(environment),
        ports: Some(ports),
        resources: choices.sidecar_resources.clone(),
        lifecycle: (lifecycle != Lifecycle::default()).then_some(lifecycle),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
            read_only_root_filesystem: Some(true),
            run_as_group: Some(PROXY_UID),
            run_as_non_root: Some(true),
            run_as_user: Some(PROXY_UID),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            VolumeMount {
                name: IDENTITY_VOLUME.to_owned(),
                mount_path: IDENTITY_PATH.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
            VolumeMount { name: STATE_VOLUME.to_owned(), mount_path: STATE_PATH.to_owned(), ..VolumeMount::default() },
        ]),
        ..Container::default()
    }
}

fn run(arguments: &[&str]) -> LifecycleHandler {
    LifecycleHandler { exec: Some(ExecAction { command: Some(command(arguments)) }), ..LifecycleHandler::default() }
}

fn ready_probe() -> Probe {
    Probe {
        exec: Some(ExecAction { command: Some(command(&["wait", "--timeout=1s"])) }),
        period_seconds: Some(1),
        timeout_seconds: Some(3),
        failure_threshold: Some(600),
        ..Probe::default()
    }
}

fn command(arguments: &[&str]) -> Vec<String> {
    std::iter::once("fsm-proxy").chain(arguments.iter().copied()).map(str::to_owned).collect()
}

fn identity_volume(settings: &Settings) -> Volume {
    let audience = Some(settings.token_audience.clone()).filter(|audience| !audience.is_empty());
    let token = ServiceAccountTokenProjection {
        audience,
        expiration_seconds: Some(TOKEN_SECONDS),
        path: "token".to_owned(),
        ..ServiceAccountTokenProjection::default()
    };
    let bundle = ConfigMapProjection {
        name: TRUST_BUNDLE.to_owned(),
        items: Some(vec![KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), ..KeyToPath::default() }]),
        ..ConfigMapProjection::default()
    };
    Volume {
        name: IDENTITY_VOLUME.to_owned(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(0o444),
            sources: Some(vec![
                VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
                VolumeProjection { config_map: Some(bundle), ..VolumeProjection::default() },
            ]),
            ..ProjectedVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn state_volume() -> Volume {
    Volume {
        name: STATE_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { medium: Some("Memory".to_owned()), ..EmptyDirVolumeSource::default() }),
        ..Volume::default()
    }
}

/// Kind and name of what keeps the pod: a ReplicaSet stands for the Deployment that it was made by.
fn controller_of(metadata: &ObjectMeta) -> (String, String) {
    let owners = metadata.owner_references.iter().flatten();
    let Some(owner) = owners.clone().find(|owner| owner.controller == Some(true)).or_else(|| owners.clone().next())
    else {
        return (String::new(), String::new());
    };
    match owner.name.rsplit_once('-') {
        Some((deployment, _)) if owner.kind == "ReplicaSet" => ("Deployment".to_owned(), deployment.to_owned()),
        _ => (owner.kind.clone(), owner.name.clone()),
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.to_owned()), ..EnvVar::default() }
}

fn field(name: &str, path: &str) -> EnvVar {
    let source = EnvVarSource {
        field_ref: Some(ObjectFieldSelector { field_path: path.to_owned(), ..ObjectFieldSelector::default() }),
        ..EnvVarSource::default()
    };
    EnvVar { name: name.to_owned(), value_from: Some(source), ..EnvVar::default() }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort { name: Some(name.to_owned()), container_port: number, ..ContainerPort::default() }
}
