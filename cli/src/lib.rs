//! The operator's command line, and the mesh on one machine.

pub mod local;
pub mod programs;
