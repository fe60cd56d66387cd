//! The harness of the black-box suites: real pods, real interception, real proxies.
//!
//! A [`Mesh`] is a bridge in a network namespace of its own; a [`Pod`] is another namespace on it, with its own
//! addresses and its own `/etc/hosts`. A [`Sidecar`] is `fsm-init` and `fsm-proxy` running in a pod. Applications and
//! clients are asynchronous tasks of the test itself, on sockets that were *created* inside a pod: a socket belongs to
//! the namespace it was created in for life, so no test ever changes its own namespace.
//!
//! Everything fails by panicking with a sentence that says what was expected, because all of it runs inside tests.
//! Nothing outlives a test, however it ends: namespaces exist as long as somebody holds them, and processes die
//! with the pod that started them. Nothing here listens outside those namespaces.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod api_server;
mod archive;
mod binaries;
mod certificates;
mod clients;
mod cluster;
mod commands;
mod deadline;
mod document;
mod fixtures;
mod follower;
mod fortio;
pub mod h2raw;
mod http1;
mod local;
mod namespace;
mod openbao;
pub mod pages;
mod pair;
mod pod;
mod process;
mod servers;
mod sidecar;
mod tls;
mod website;
mod wire;
#[cfg(test)]
mod workspace_rules;

pub use api_server::{ApiServer, Session, api_server, api_server_alone};
pub use archive::unpacked;
pub use binaries::{binary, tool};
pub use certificates::{Authority, KeyKind, Leaf, LeafRequest};
pub use clients::{Reply, RequestBody, Sender, empty, full, has_ended, http1, http2, next_data, piecewise, request};
pub use cluster::{Cluster, ClusterSession, HELM, cluster};
pub use commands::{Outcome, curl, execute};
pub use deadline::{DEADLINE, eventually, within};
pub use document::{Document, Service, hosts_of};
pub use fixtures::{Fixture, fixture};
pub use follower::Follower;
pub use fortio::{Fortio, Load};
pub use http1::{Framing, Malformed, Message};
pub use local::LocalMesh;
pub use openbao::OpenBao;
pub use pair::{BANNER, Pair, Scene};
pub use pod::{Mesh, Pod};
pub use process::Process;
pub use servers::{Application, Gateway, Recorder, Repository, Seen, TcpApplication};
pub use sidecar::{Control, Sidecar, SidecarOptions};
pub use tls::{TlsClient, TlsServer};
pub use website::{Answering, Asked, Clients, Website, answered, httpbin};
pub use wire::{End, Fault, Wire};
