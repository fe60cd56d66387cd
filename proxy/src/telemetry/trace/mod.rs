//! Distributed traces: which requests belong to one, and what is told to the next hop.
//!
//! [`context`] reads and writes headers, [`span`] decides.

pub mod context;
pub mod span;
