//! HTTP on both sides: server settings, bodies, canonical targets, header hygiene, upgrades and local replies.

pub mod body;
pub mod forward;
pub mod forwarded;
pub mod grpc;
pub mod reply;
pub mod sanitize;
pub mod server;
pub mod target;
pub mod upgrade;
