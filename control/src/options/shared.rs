//! Flags that several roles have.

use super::provider::ProviderOptions;
use super::values::{LogFormat, NativeSidecars, duration};
use crate::cert::root::RootKey;
use crate::cert::server::ServerNames;
use crate::inject;
use clap::Args;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Which mesh this is.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Mesh")]
pub struct MeshOptions {
    /// Name of the mesh: namespaces labelled flomesh.io/monitored-by: NAME are in it
    #[arg(long, env = "FSM_CONTROL_MESH_NAME", value_name = "NAME", default_value = "fsm")]
    pub mesh_name: String,
    /// Namespace of the control plane, where its MeshConfig is
    #[arg(long, env = "FSM_CONTROL_FSM_NAMESPACE", value_name = "NAMESPACE", default_value = "fsm-system")]
    pub fsm_namespace: String,
    /// Name of the MeshConfig that counts
    #[arg(long, env = "FSM_CONTROL_FSM_CONFIG_NAME", value_name = "NAME", default_value = "fsm-mesh-config")]
    pub fsm_config_name: String,
    /// Trust domain: the end of all principals
    #[arg(long, env = "FSM_CONTROL_TRUST_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub trust_domain: String,
    /// Name of this pod: who holds the Lease of the one replica that writes
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "fsm-control")]
    pub pod_name: String,
}

/// Who issues certificates.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Certificates")]
pub struct CertificateOptions {
    /// Who issues certificates.
    #[command(flatten)]
    pub provider: ProviderOptions,
    /// Let MeshRootCertificates of --fsm-namespace say who signs, and change it when another one is made
    #[arg(long, env = "FSM_CONTROL_ENABLE_MESH_ROOT_CERTIFICATE", num_args = 0..=1, default_missing_value = "true",
        default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set)]
    pub enable_mesh_root_certificate: bool,
    /// Private directory for the certificate authority, of this process's own. Losing it means a new authority that no
    /// running pod trusts [default: in a cluster, the Secret of --ca-bundle-secret-name]
    #[arg(long, env = "FSM_CONTROL_STATE_DIR", value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,
    /// Secret in --fsm-namespace with the roots of the mesh, which all processes of the control plane share; made by the
    /// first of them, or by an FSM of before
    #[arg(long, env = "FSM_CONTROL_CA_BUNDLE_SECRET_NAME", value_name = "NAME", default_value = "fsm-ca-bundle")]
    pub ca_bundle_secret_name: String,
    /// Further names (DNS or IP) in the certificates of this program's own ports, beside those of its Services
    #[arg(long, env = "FSM_CONTROL_SERVER_NAME", value_name = "NAME", value_delimiter = ',')]
    pub server_name: Vec<String>,
    /// Key of roots that are made from now on: ecdsa-p256 or rsa-2048
    #[arg(long, env = "FSM_CONTROL_CA_KEY", value_name = "KIND", default_value = "ecdsa-p256")]
    pub ca_key: RootKey,
    /// How long a new root is trusted before it signs (for example 10m)
    #[arg(long, env = "FSM_CONTROL_CA_ANNOUNCE", value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub ca_announce: Duration,
}

/// How operators see this program.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Operation")]
pub struct OperationOptions {
    /// Serve operators, probes and scrapers here. Whoever does not come from this machine (kubectl port-forward does) gets
    /// health, version and metrics only
    #[arg(
        long, env = "FSM_CONTROL_LISTEN_ADMIN", value_name = "ADDRESS",
        default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9091)
    )]
    pub listen_admin: SocketAddr,
    /// When everything runs, write this file: JSON with the addresses that are listened on
    #[arg(long, env = "FSM_CONTROL_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// What is logged.
    #[command(flatten)]
    pub log: LogOptions,
}

/// What is logged, to the standard error.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Operation")]
pub struct LogOptions {
    /// Log level: trace, debug, info, warn, error, or a filter such as info,fsm_control::push=debug
    #[arg(long, env = "FSM_CONTROL_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// Log format: text or json
    #[arg(long, env = "FSM_CONTROL_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// What is injected.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Injection")]
pub struct InjectionOptions {
    /// Image of injected sidecars where neither MeshConfig nor an annotation names one
    #[arg(long, env = "FSM_CONTROL_SIDECAR_IMAGE", value_name = "IMAGE", default_value = inject::DEFAULT_IMAGE)]
    pub sidecar_image: String,
    /// Image of injected init containers
    #[arg(long, env = "FSM_CONTROL_INIT_IMAGE", value_name = "IMAGE", default_value = inject::DEFAULT_IMAGE)]
    pub init_image: String,
    /// imagePullPolicy of injected containers
    #[arg(long, env = "FSM_CONTROL_IMAGE_PULL_POLICY", value_name = "POLICY", default_value = "IfNotPresent",
        value_parser = ["Always", "IfNotPresent", "Never"])]
    pub image_pull_policy: String,
    /// Inject native sidecars (init containers with restartPolicy: Always): auto, where the API server is of Kubernetes 1.29
    /// or newer; true; or false, FSM's layout
    #[arg(long, env = "FSM_CONTROL_NATIVE_SIDECARS", value_name = "WHEN", default_value = "auto",
        num_args = 0..=1, default_missing_value = "true")]
    pub native_sidecars: NativeSidecars,
    /// Audience of the tokens that injected sidecars show; the one of --tokens [default: the API server's own]
    #[arg(
        long,
        env = "FSM_CONTROL_TOKEN_AUDIENCE",
        value_name = "AUDIENCE",
        default_value = "",
        hide_default_value = true
    )]
    pub token_audience: String,
}

/// How a role keeps what it needs in the cluster.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Upkeep")]
pub struct UpkeepOptions {
    /// Restore what this role keeps in the cluster when somebody else changes or deletes it
    #[arg(long, env = "FSM_CONTROL_ENABLE_RECONCILER", num_args = 0..=1, default_missing_value = "true",
        default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set)]
    pub enable_reconciler: bool,
}

impl CertificateOptions {
    /// The names of a port's certificate: those of its Service, then those that were asked for.
    pub fn names_of(&self, service: &str, namespace: &str) -> ServerNames {
        let mut names = ServerNames {
            dns: vec![
                format!("{service}.{namespace}.svc"),
                format!("{service}.{namespace}.svc.cluster.local"),
                format!("{service}.{namespace}"),
            ],
            addresses: Vec::new(),
        };
        for name in &self.server_name {
            match name.parse() {
                Ok(address) => names.addresses.push(address),
                Err(_) => names.dns.push(name.clone()),
            }
        }
        names
    }
}

impl InjectionOptions {
    /// What the injector is told; whether sidecars are native may depend on the API server.
    pub fn settings(&self, mesh: &MeshOptions) -> inject::Settings {
        inject::Settings {
            mesh: mesh.mesh_name.clone(),
            fsm_namespace: mesh.fsm_namespace.clone(),
            sidecar_image: self.sidecar_image.clone(),
            init_image: self.init_image.clone(),
            pull_policy: self.image_pull_policy.clone(),
            native_sidecars: self.native_sidecars == NativeSidecars::Always,
            token_audience: self.token_audience.clone(),
        }
    }
}
