//! Whom we connect to: clusters, endpoints, balancing, pools and connecting.

pub mod cluster;
