//! Builds every part of fsm-control in order, and ends them in order: one file for each role.
//!
//! On SIGTERM or SIGINT everything ends within [`limits::SHUTDOWN_GRACE`](crate::limits::SHUTDOWN_GRACE); proxies keep what
//! they have, and API servers ask another replica.

mod bootstrap;
mod controller;
mod injector;
mod once;
mod standing;
mod webhooks;

use crate::debug::Heap;
use crate::options::Role;
use std::sync::Arc;

/// Runs a role until it is told to end, or has done its work. `heap` is the program's allocator, for the debug server.
///
/// # Errors
/// Whatever keeps it from starting (ports, the state directory, files that cannot be written), and for roles that do one
/// thing and end: whatever kept them from doing it.
pub async fn run(role: Role, heap: Option<Arc<dyn Heap>>) -> anyhow::Result<()> {
    match role {
        Role::Controller(options) => controller::run(*options, heap).await,
        Role::Injector(options) => injector::run(*options).await,
        Role::Bootstrap(options) => bootstrap::run(options).await,
        Role::Preinstall(options) => once::preinstall(options).await,
        Role::Cleanup(options) => once::cleanup(options).await,
    }
}
