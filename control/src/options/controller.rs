//! Flags of the controller.

use super::shared::{CertificateOptions, InjectionOptions, MeshOptions, OperationOptions, UpkeepOptions};
use super::values::{Tokens, WriteTo};
use crate::cert::server::ServerNames;
use crate::source::Source;
use clap::Args;
use fsm_api::stream::DEFAULT_PORT;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Name of the Service whose certificate API servers want to see of the validator.
pub const VALIDATOR_SERVICE: &str = "fsm-validator";

/// Flags of the controller.
#[derive(Args, Clone, Debug)]
pub struct ControllerOptions {
    /// Where resources come from: kubernetes, the API server of the cluster or of KUBECONFIG; or dir:PATH, all *.yaml,
    /// *.yml and *.json files below PATH. Followed when they change
    #[arg(long, env = "FSM_CONTROL_SOURCE", value_name = "SOURCE")]
    pub source: Source,
    /// Who knows the tokens of pods: kubernetes:AUDIENCE, the API server, for tokens with this audience (kubernetes alone:
    /// with the API server's own); or dir:PATH, with one file <hex sha256 of the token>.json for each token
    #[arg(long, env = "FSM_CONTROL_TOKENS", value_name = "TOKENS")]
    pub tokens: Tokens,
    /// Serve proxies here (HTTP/2 over TLS)
    #[arg(
        long, env = "FSM_CONTROL_LISTEN_STREAM", value_name = "ADDRESS",
        default_value_t = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT)
    )]
    pub listen_stream: SocketAddr,
    /// Serve FSM's repository protocol here, for proxies that poll (plain HTTP; port 6060 in FSM) [default: off]
    #[arg(long, env = "FSM_CONTROL_LISTEN_REPO", value_name = "ADDRESS")]
    pub listen_repo: Option<SocketAddr>,
    /// Serve the injector's webhook here, too (HTTPS; port 9090 in FSM): API servers ask it about new pods. In a cluster this
    /// is the part of the role injector [default: off]
    #[arg(long, env = "FSM_CONTROL_LISTEN_WEBHOOK", value_name = "ADDRESS")]
    pub listen_webhook: Option<SocketAddr>,
    /// Serve the validator's webhook here (HTTPS; port 9093 in FSM): API servers ask it about changes of policies. With
    /// --source kubernetes its configuration is kept in the cluster [default: off]
    #[arg(long, env = "FSM_CONTROL_LISTEN_VALIDATOR", value_name = "ADDRESS")]
    pub listen_validator: Option<SocketAddr>,
    /// Name of the ValidatingWebhookConfiguration that is kept in the cluster [default: fsm-validator-mesh-<mesh name>]
    #[arg(long, env = "FSM_CONTROL_VALIDATOR_WEBHOOK_CONFIG", value_name = "NAME")]
    pub validator_webhook_config: Option<String>,
    /// API servers ask this address (https://HOST:PORT) and not the Service fsm-validator: for one that does not reach
    /// Services. --server-name must name the host; port 0 stands for the one that is listened on
    #[arg(long, env = "FSM_CONTROL_VALIDATOR_URL", value_name = "URL")]
    pub validator_url: Option<String>,
    /// Validate TrafficTargets, too
    #[arg(long, env = "FSM_CONTROL_VALIDATE_TRAFFIC_TARGET", num_args = 0..=1, default_missing_value = "true",
        default_value = "true", value_name = "BOOL", action = clap::ArgAction::Set)]
    pub validate_traffic_target: bool,
    /// Write the roots of the mesh to this file (PEM), and again whenever they change; pods are started with it
    #[arg(long, env = "FSM_CONTROL_WRITE_CA_BUNDLE", value_name = "FILE")]
    pub write_ca_bundle: Option<PathBuf>,
    /// Write objects that are made here, Secrets with certificates for clients outside the mesh and statuses of policies:
    /// kubernetes, to the API server; or into this directory, which must be the one of --source or below it, statuses
    /// beside it [default: no such certificates]
    #[arg(long, env = "FSM_CONTROL_WRITE_OBJECTS", value_name = "PLACE")]
    pub write_objects: Option<WriteTo>,
    /// Put a private key and certificate made here into the repository's documents, as FSM does. Whoever can read the
    /// repository can then act as any workload: only for proxies that cannot follow the stream
    #[arg(long, env = "FSM_CONTROL_REPO_PRIVATE_KEYS")]
    pub repo_private_keys: bool,
    /// Scripts that every code base of the repository inherits, main.js first: what a Pipy sidecar runs [default: none]
    #[arg(long, env = "FSM_CONTROL_REPO_BASE", value_name = "DIRECTORY")]
    pub repo_base: Option<PathBuf>,
    /// How webhook configurations and definitions are kept.
    #[command(flatten)]
    pub upkeep: UpkeepOptions,
    /// Which mesh.
    #[command(flatten)]
    pub mesh: MeshOptions,
    /// Who issues certificates.
    #[command(flatten)]
    pub certificates: CertificateOptions,
    /// What is injected.
    #[command(flatten)]
    pub injection: InjectionOptions,
    /// How it is operated.
    #[command(flatten)]
    pub operation: OperationOptions,
}

impl ControllerOptions {
    /// The names of the certificate that proxies see: those that they expect first.
    pub fn server_names(&self) -> ServerNames {
        let mut names = self.certificates.names_of("fsm-controller", &self.mesh.fsm_namespace);
        names.dns.push("localhost".to_owned());
        names.addresses.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        names
    }
}
