//! The mesh on one machine: pods as network namespaces, the real sidecar and control plane in between.

pub mod workload;
