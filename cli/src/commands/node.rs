//! `fsm node`: a node of a real cluster on this machine, for tests ([`crate::local::kubelet`]).

use crate::local::kubelet::{self, Options};
use anyhow::Result;
use clap::Args;
use ipnet::Ipv4Net;
use std::path::PathBuf;

/// Runs pods of an API server until it is told to end.
#[derive(Debug, Args)]
pub(super) struct Node {
    /// By which the API server is reached; its user must be allowed what a scheduler and a kubelet may
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Name of the Node
    #[arg(long, value_name = "NAME", default_value = "fsm-node")]
    node_name: String,
    /// Directory for its files
    #[arg(long = "node-dir", value_name = "DIR", default_value = "/run/fsm-node")]
    directory: PathBuf,
    /// Addresses of Services, as kube-apiserver --service-cluster-ip-range has them
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/16")]
    service_cidr: Ipv4Net,
    /// Make connections into the node for the API server, which asks for them on this Unix socket (HTTP CONNECT)
    #[arg(long, value_name = "PATH")]
    egress_socket: Option<PathBuf>,
    /// Write the node's address here when it is there
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// No way out of the machine for pods
    #[arg(long)]
    isolated: bool,
}

impl Node {
    pub(super) fn run(self) -> Result<()> {
        kubelet::main(&Options {
            kubeconfig: self.kubeconfig,
            name: self.node_name,
            state_dir: self.directory,
            service_cidr: self.service_cidr,
            egress_socket: self.egress_socket,
            ready_file: self.ready_file,
            uplink: !self.isolated,
        })
    }
}
