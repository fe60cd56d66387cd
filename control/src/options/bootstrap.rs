//! Flags of the roles that prepare a cluster and clean it up.

use super::shared::{LogOptions, MeshOptions, OperationOptions, UpkeepOptions};
use clap::Args;

/// Flags of the bootstrap.
#[derive(Args, Clone, Debug)]
pub struct BootstrapOptions {
    /// Make the MeshRootCertificate, too, from ConfigMap preset-mesh-root-certificate
    #[arg(long, env = "FSM_CONTROL_ENABLE_MESH_ROOT_CERTIFICATE", num_args = 0..=1, default_missing_value = "true",
        default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set)]
    pub enable_mesh_root_certificate: bool,
    /// How webhook configurations and definitions are kept.
    #[command(flatten)]
    pub upkeep: UpkeepOptions,
    /// Which mesh.
    #[command(flatten)]
    pub mesh: MeshOptions,
    /// How it is operated.
    #[command(flatten)]
    pub operation: OperationOptions,
}

/// Flags of the checks before an installation.
#[derive(Args, Clone, Debug)]
pub struct PreinstallOptions {
    /// The new mesh is to be the only one of the cluster
    #[arg(long, env = "FSM_CONTROL_ENFORCE_SINGLE_MESH", num_args = 0..=1, default_missing_value = "true",
        default_value = "false", value_name = "BOOL", action = clap::ArgAction::Set)]
    pub enforce_single_mesh: bool,
    /// Namespace that the control plane is to be installed into
    #[arg(
        long,
        env = "FSM_CONTROL_FSM_NAMESPACE",
        visible_alias = "namespace",
        value_name = "NAMESPACE",
        default_value = "fsm-system"
    )]
    pub fsm_namespace: String,
    /// What is logged.
    #[command(flatten)]
    pub log: LogOptions,
}

/// Flags of the cleanup.
#[derive(Args, Clone, Debug)]
pub struct CleanupOptions {
    /// Name of the Secret with the certificate authority of the mesh, which is removed with it
    #[arg(long, env = "FSM_CONTROL_CA_BUNDLE_SECRET_NAME", value_name = "NAME", default_value = "fsm-ca-bundle")]
    pub ca_bundle_secret_name: String,
    /// Which mesh.
    #[command(flatten)]
    pub mesh: MeshOptions,
    /// What is logged.
    #[command(flatten)]
    pub log: LogOptions,
}
