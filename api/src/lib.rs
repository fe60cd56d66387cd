//! What users write and what the control plane tells the proxies.
//!
//! Pure types: nothing here opens a file, a socket or a clock, so every other crate may use it.
//!
//! * [`config`]: the sidecar document (`config.json`) that a proxy runs on;
//! * [`stream`]: the messages by which fsm-control keeps a proxy's document up to date;
//! * `resources` (feature `resources`): what users write, typed, with schemas.

pub mod config;
#[cfg(feature = "resources")]
pub mod resources;
pub mod stream;
