//! The data plane: everything `fsm-proxy` is made of, in the order in which a byte meets the code.
//!
//! [`listen`] accepts a connection and learns where it was going, [`detect`] tells its protocol, [`tls`] proves who
//! sent it, [`inbound`] and [`outbound`] carry it through the chain of steps, [`route`] and [`policy`] decide,
//! [`upstream`] does; [`gateway`] is where traffic leaves the mesh, [`dns`] answers the
//! application's questions about names. [`config`] supplies the immutable snapshot that every decision is made from; [`telemetry`] and
//! [`admin`] tell what happened.

pub mod admin;
pub mod app;
pub mod config;
pub mod detect;
pub mod dns;
pub mod gateway;
pub mod http;
pub mod inbound;
pub mod limits;
pub mod listen;
pub mod modes;
pub mod options;
pub mod outbound;
pub mod policy;
pub mod reason;
pub mod route;
pub mod runtime;
pub mod shared;
pub mod tcp;
pub mod telemetry;
pub mod tls;
pub mod upstream;
