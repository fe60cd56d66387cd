//! What this program was built from.

/// Version of the proxy.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit that the proxy was built from, if the build said so (environment variable `FSM_GIT_COMMIT`).
pub const GIT_COMMIT: Option<&str> = option_env!("FSM_GIT_COMMIT");

/// Compiler that the proxy was built with, if the build said so (environment variable `FSM_RUSTC_VERSION`).
pub const RUSTC: Option<&str> = option_env!("FSM_RUSTC_VERSION");
