//! The workloads of the one-machine mesh: from Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs and Pods to
//! processes that run, and back to Pods with a status and EndpointSlices.
//!
//! Everything that decides is pure: `Cluster` is told what is wanted (objects), what has happened ([`Report`]s) and
//! what time it is, and answers with [`Action`]s for a [`Runtime`] and objects to publish. It does no I/O, so that
//! whole lives of a cluster are simulated with seeds. `run` is the loop of the daemon around it.
//!
//! What is left out on purpose: scheduling (there is one node), resources and quotas, CronJobs, persistent volumes
//! (a claim is an empty directory), service account tokens for the Kubernetes API.

pub mod runtime;

pub use runtime::{Action, Check, ContainerId, Exit, PodId, Process, Report, Runtime, Stop, User};
