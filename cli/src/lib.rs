//! The operator's command line, and the mesh on one machine.
//!
//! * [`cluster`]: a cluster, and how to get at it.
//! * [`commands`]: what `fsm` understands, one file a command.
//! * [`output`]: how it answers: tables, JSON, YAML, ages.
//! * [`local`]: a whole mesh on one machine: its state directory, its daemon, its node and its pods.
//! * [`reach`]: how commands get at a mesh's objects and admin pages, wherever it runs.
//! * [`views`]: what commands that look at a mesh show: rows from admin pages and objects.
//! * [`programs`]: the small programs that stand in for images of the examples.

pub mod cluster;
pub mod commands;
pub mod local;
pub mod output;
pub mod programs;
pub mod reach;
pub mod views;
