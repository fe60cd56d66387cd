//! What happened: counters of the hot path, their names for Prometheus, and the log.

pub mod counters;
