//! A whole mesh on one machine, without Kubernetes.
//!
//! Its state directory ([`state`]) is what an API server is in a cluster: `fsm apply` writes objects there, fsm-control
//! follows them, the runner of pods ([`workload`]) reads what it has to run and writes Pods and EndpointSlices back. The
//! machine's side of it — namespaces, addresses, names, processes — is [`node`]. [`daemon`] keeps all of them going.
//! [`kubelet`] runs the same pods for a real API server.

pub mod daemon;
pub mod kubelet;
pub mod node;
pub mod state;
pub mod workload;
