//! Decisions as pure state machines: time and randomness are passed in, nothing here touches a socket.

pub mod breaker;
pub mod budget;
pub mod outlier;
pub mod rate;
pub mod retry;

#[cfg(test)]
pub(crate) mod seeds;
