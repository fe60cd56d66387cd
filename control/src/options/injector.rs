//! Flags of the injector.

use super::shared::{CertificateOptions, InjectionOptions, MeshOptions, OperationOptions, UpkeepOptions};
use super::values::duration;
use clap::Args;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Name of the Service whose certificate API servers want to see.
pub const SERVICE: &str = "fsm-injector";

/// Flags of the injector.
#[derive(Args, Clone, Debug)]
pub struct InjectorOptions {
    /// Serve the webhook here (HTTPS)
    #[arg(
        long, env = "FSM_CONTROL_LISTEN_WEBHOOK", value_name = "ADDRESS",
        default_value_t = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 9090)
    )]
    pub listen_webhook: SocketAddr,
    /// Name of the MutatingWebhookConfiguration that is kept in the cluster [default: fsm-webhook-<mesh name>]
    #[arg(long, env = "FSM_CONTROL_WEBHOOK_CONFIG_NAME", value_name = "NAME")]
    pub webhook_config_name: Option<String>,
    /// How long API servers wait for an answer, from 1s to 30s
    #[arg(long, env = "FSM_CONTROL_WEBHOOK_TIMEOUT", value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub webhook_timeout: Duration,
    /// API servers ask this address (https://HOST:PORT) and not the Service fsm-injector: for one that does not reach
    /// Services. --server-name must name the host; port 0 stands for the one that is listened on
    #[arg(long, env = "FSM_CONTROL_WEBHOOK_URL", value_name = "URL")]
    pub webhook_url: Option<String>,
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
