//! Flags and variables of fsm-control: one set for each of its roles.

mod bootstrap;
pub mod controller;
pub mod injector;
mod provider;
mod shared;
mod values;

pub use bootstrap::{BootstrapOptions, CleanupOptions, PreinstallOptions};
pub use controller::ControllerOptions;
pub use injector::InjectorOptions;
pub use provider::{ProviderError, ProviderKind, ProviderOptions};
pub use shared::{CertificateOptions, InjectionOptions, LogOptions, MeshOptions, OperationOptions, UpkeepOptions};
pub use values::{LogFormat, NativeSidecars, Tokens, WriteTo};

use clap::{Parser, Subcommand};
use std::ffi::OsString;

/// The control plane of the mesh, in several roles.
///
/// Without the name of a role it is the controller: "fsm-control --source …" and
/// "fsm-control controller --source …" are the same.
/// Every flag can also be given as a variable: --state-dir as FSM_CONTROL_STATE_DIR.
#[derive(Clone, Debug, Parser)]
#[command(name = "fsm-control", version, verbatim_doc_comment, propagate_version = true)]
pub struct Program {
    /// What this process is.
    #[command(subcommand)]
    pub role: Role,
}

/// What a process of fsm-control is.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Role {
    /// Follow the resources, give every proxy its certificate, and keep the documents of all proxies up to date (the role
    /// without a name)
    Controller(Box<ControllerOptions>),
    /// Put sidecars into new pods: serve the webhook that API servers ask, and keep its configuration in the cluster
    Injector(Box<InjectorOptions>),
    /// Install and upgrade the definitions of custom resources, and make the mesh's MeshConfig
    Bootstrap(BootstrapOptions),
    /// Check that a mesh can be installed, and end
    Preinstall(PreinstallOptions),
    /// Remove what the control plane made in the cluster, and end
    Cleanup(CleanupOptions),
}

impl Program {
    /// Reads the arguments of the process; what is wrong, and the help that was asked for, ends it.
    pub fn of_process() -> Self {
        Self::parse_from(with_role(std::env::args_os()))
    }
}

impl Role {
    /// What is logged.
    pub fn log(&self) -> &LogOptions {
        match self {
            Self::Controller(options) => &options.operation.log,
            Self::Injector(options) => &options.operation.log,
            Self::Bootstrap(options) => &options.operation.log,
            Self::Preinstall(options) => &options.log,
            Self::Cleanup(options) => &options.log,
        }
    }
}

/// Names the controller where no role is named. Flags of the program itself are left alone.
fn with_role(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let first = arguments.get(1).and_then(|first| first.to_str());
    let own = ["-h", "--help", "-V", "--version"];
    // Nothing at all may mean that everything is in variables.
    if first.is_none_or(|first| first.starts_with('-') && !own.contains(&first)) {
        arguments.insert(1.min(arguments.len()), "controller".into());
    }
    arguments
}

#[cfg(test)]
mod tests;
