//! Whom we connect to: clusters, endpoints, balancing, pools and connecting.

pub mod affinity;
pub mod balance;
pub mod cluster;
pub mod connect;
pub mod endpoint;
pub mod error;
pub mod gate;
pub mod gateway;
pub mod pool;
pub mod resolve;
