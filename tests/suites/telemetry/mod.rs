//! What operators see: metrics that a real Prometheus scrapes, traces, access logs, live requests.

mod cardinality;
mod connections;
mod grpc;
mod prometheus;
mod records;
mod tracing;
