//! The workloads of the one-machine mesh: from Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and Pods to
//! processes that run, and back to Pods with a status and EndpointSlices.
//!
//! Everything that decides is pure: [`Cluster`] is told what is wanted (objects), what has happened ([`Report`]s) and
//! what time it is, and answers with [`Action`]s for a [`Runtime`] and objects to publish. It does no I/O, so that
//! whole lives of a cluster are simulated with seeds. [`run()`] is the loop around it, [`on_node`] the real runtime.
//!
//! ```text
//! objects --> cluster (owners --> sets: which pods) --> pod: its life (probe, restart) --> Action --> runtime
//!                 ^                                          |  process, images, inject
//!                 +-------------- Report --------------------+
//! ```
//!
//! What is left out on purpose: scheduling (there is one node), resources and quotas, CronJobs, persistent volumes
//! (a claim is an empty directory). For a real API server [`super::kubelet`] uses the same lives and the same runtime.

pub mod cluster;
pub mod endpoints;
pub mod follow;
pub mod images;
pub mod inject;
pub mod names;
pub mod network;
pub mod objects;
pub mod on_node;
pub mod pod;
pub mod probe;
pub mod process;
pub mod restart;
pub mod run;
pub mod runtime;
pub mod sets;
pub mod tools;
pub mod volumes;

pub use cluster::{Cluster, ClusterOptions, Publication};
pub use run::{RunError, RunOptions, run};
pub use runtime::{Action, Check, ContainerId, Exit, Mount, MountSource, PodId, Process, Report, Runtime, Stop, User};
