//! The process that keeps a local mesh going: its node, fsm-control, and the pods.

mod containers;
pub mod wire;

pub use containers::Containers;
