//! All black-box suites, in one program because linking is what a cold build spends its time on.
//!
//! They need root (pods are network namespaces) and the built programs (`make build`). Without root each test says
//! `SKIPPED` on standard error; with `CI=true` it fails instead.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod balancing;
mod certificates;
mod chart;
mod config;
mod conformance;
mod demos;
mod e2e;
mod egress;
mod harness;
mod images;
mod kubernetes;
mod local;
mod resilience;
mod security;
mod telemetry;
