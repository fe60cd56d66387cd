//! What users write and what the control plane tells the proxies.
//!
//! Pure types: nothing here opens a file, a socket or a clock, so every other crate may use it.
//!
//! * [`config`]: the sidecar document (`config.json`) that a proxy runs on.

pub mod config;
