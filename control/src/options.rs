//! Flags and variables of fsm-control.

mod provider;

pub use provider::{ProviderError, ProviderKind, ProviderOptions};

use crate::cert::root::RootKey;
use crate::cert::rotation::ANNOUNCE;
use crate::inject;
use crate::source::Source;
use clap::Parser;
use fsm_api::stream::DEFAULT_PORT;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// The control plane of the mesh.
///
/// It follows the resources of --source, gives every proxy its certificate, and keeps the documents of all proxies up to
/// date. Every flag can also be given as a variable: --state-dir as FSM_CONTROL_STATE_DIR.
#[derive(Clone, Debug, Parser)]
#[command(name = "fsm-control", version, verbatim_doc_comment)]
pub struct Options {
    /// Where resources come from: kubernetes, the API server of the cluster or of KUBECONFIG; or dir:PATH, all *.yaml,
    /// *.yml and *.json files below PATH. Followed when they change
    #[arg(long, env = "FSM_CONTROL_SOURCE", value_name = "SOURCE")]
    pub source: Source,
    /// Private directory for the certificate authority, of this process's own. Losing it means a new authority that no
    /// running pod trusts [default: with --source kubernetes, the Secret of --ca-bundle-secret-name]
    #[arg(long, env = "FSM_CONTROL_STATE_DIR", value_name = "DIRECTORY")]
    pub state_dir: Option<PathBuf>,
    /// Secret in --fsm-namespace with the roots of the mesh, which all processes of the control plane share; made by the
    /// first of them, or by an FSM of before
    #[arg(long, env = "FSM_CONTROL_CA_BUNDLE_SECRET_NAME", value_name = "NAME", default_value = "fsm-ca-bundle")]
    pub ca_bundle_secret_name: String,
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
    /// Serve operators, probes and scrapers here
    #[arg(
        long, env = "FSM_CONTROL_LISTEN_ADMIN", value_name = "ADDRESS",
        default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9091)
    )]
    pub listen_admin: SocketAddr,
    /// Serve the injector's webhook here (HTTPS; port 9090 in FSM): API servers ask it about new pods [default: off]
    #[arg(long, env = "FSM_CONTROL_LISTEN_WEBHOOK", value_name = "ADDRESS")]
    pub listen_webhook: Option<SocketAddr>,
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
    /// Inject native sidecars (init containers with restartPolicy: Always); needs Kubernetes 1.29
    #[arg(long, env = "FSM_CONTROL_NATIVE_SIDECARS")]
    pub native_sidecars: bool,
    /// Audience of the tokens that injected sidecars show; the one of --tokens [default: the API server's own]
    #[arg(
        long,
        env = "FSM_CONTROL_TOKEN_AUDIENCE",
        value_name = "AUDIENCE",
        default_value = "",
        hide_default_value = true
    )]
    pub token_audience: String,
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
    /// Who issues certificates.
    #[command(flatten)]
    pub provider: ProviderOptions,
    /// Further names (DNS or IP) in the certificate that proxies see, beside fsm-controller.<fsm-namespace>.svc and localhost
    #[arg(long, env = "FSM_CONTROL_SERVER_NAME", value_name = "NAME", value_delimiter = ',')]
    pub server_name: Vec<String>,
    /// Write the roots of the mesh to this file (PEM), and again whenever they change; pods are started with it
    #[arg(long, env = "FSM_CONTROL_WRITE_CA_BUNDLE", value_name = "FILE")]
    pub write_ca_bundle: Option<PathBuf>,
    /// Key of roots that are made from now on: ecdsa-p256 or rsa-2048
    #[arg(long, env = "FSM_CONTROL_CA_KEY", value_name = "KIND", default_value = "ecdsa-p256")]
    pub ca_key: RootKey,
    /// Write objects that are made here, Secrets with certificates for clients outside the mesh and statuses of policies:
    /// kubernetes, to the API server; or into this directory, which must be the one of --source or below it, statuses
    /// beside it [default: no such certificates]
    #[arg(long, env = "FSM_CONTROL_WRITE_OBJECTS", value_name = "PLACE")]
    pub write_objects: Option<WriteTo>,
    /// Name of this pod: who holds the Lease of the one replica that writes
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = "fsm-control")]
    pub pod_name: String,
    /// How long a new root is trusted before it signs (for example 10m)
    #[arg(long, env = "FSM_CONTROL_CA_ANNOUNCE", value_name = "TIME", default_value = "10m", value_parser = duration)]
    pub ca_announce: Duration,
    /// Put a private key and certificate made here into the repository's documents, as FSM does. Whoever can read the
    /// repository can then act as any workload: only for proxies that cannot follow the stream
    #[arg(long, env = "FSM_CONTROL_REPO_PRIVATE_KEYS")]
    pub repo_private_keys: bool,
    /// Scripts that every code base of the repository inherits, main.js first: what a Pipy sidecar runs [default: none]
    #[arg(long, env = "FSM_CONTROL_REPO_BASE", value_name = "DIRECTORY")]
    pub repo_base: Option<PathBuf>,
    /// When the first documents are published, write this file: JSON with the addresses that are listened on
    #[arg(long, env = "FSM_CONTROL_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Log level: trace, debug, info, warn, error, or a filter such as info,fsm_control::push=debug
    #[arg(long, env = "FSM_CONTROL_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// Log format: text or json
    #[arg(long, env = "FSM_CONTROL_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// Who knows tokens, as a flag names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// A directory of token files.
    Directory(PathBuf),
    /// The API server.
    Kubernetes {
        /// What the tokens must be for; `None`: for the API server itself.
        audience: Option<String>,
    },
}

/// Where objects are written, as a flag names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteTo {
    /// To the API server that is the source, by one of all replicas.
    Kubernetes,
    /// Into a directory.
    Directory(PathBuf),
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl FromStr for Tokens {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Directory(path.into())),
            Some(("kubernetes", audience)) if !audience.is_empty() => {
                Ok(Self::Kubernetes { audience: Some(audience.to_owned()) })
            }
            None if text == "kubernetes" => Ok(Self::Kubernetes { audience: None }),
            _ => {
                Err(format!("{text:?} does not say who knows tokens; give kubernetes:AUDIENCE, kubernetes or dir:PATH"))
            }
        }
    }
}

impl FromStr for WriteTo {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "kubernetes" { Self::Kubernetes } else { Self::Directory(text.into()) })
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is no format of logs; use text or json")),
        }
    }
}

impl Options {
    /// The names of control's own certificate: those that proxies expect first.
    pub fn server_names(&self) -> crate::cert::server::ServerNames {
        let namespace = &self.fsm_namespace;
        let mut names = crate::cert::server::ServerNames {
            dns: vec![
                format!("fsm-controller.{namespace}.svc"),
                format!("fsm-controller.{namespace}.svc.cluster.local"),
                format!("fsm-controller.{namespace}"),
                "localhost".to_owned(),
            ],
            addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
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

impl Options {
    /// The names of the webhook's certificate: those of FSM's Service for it.
    pub fn webhook_names(&self) -> crate::cert::server::ServerNames {
        let namespace = &self.fsm_namespace;
        let mut names = crate::cert::server::ServerNames {
            dns: vec![
                format!("fsm-injector.{namespace}.svc"),
                format!("fsm-injector.{namespace}.svc.cluster.local"),
                format!("fsm-injector.{namespace}"),
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

    /// What the injector is told.
    pub fn injection(&self) -> inject::Settings {
        inject::Settings {
            mesh: self.mesh_name.clone(),
            fsm_namespace: self.fsm_namespace.clone(),
            sidecar_image: self.sidecar_image.clone(),
            init_image: self.init_image.clone(),
            pull_policy: self.image_pull_policy.clone(),
            native_sidecars: self.native_sidecars,
            token_audience: self.token_audience.clone(),
        }
    }
}

/// `90s`, `10m`, `1h30m`.
fn duration(text: &str) -> Result<Duration, String> {
    let refused =
        || format!("{text:?} is no time; give for example 90s or 10m (the usual is {} s)", ANNOUNCE.as_secs());
    let parsed: jiff::SignedDuration = text.parse().map_err(|_| refused())?;
    Duration::try_from(parsed).map_err(|_| refused())
}

#[cfg(test)]
mod tests;
