//! Decisions as pure state machines: time and randomness are passed in, nothing here touches a socket.

pub mod breaker;
pub mod rate;

#[cfg(test)]
mod seeds;
pub mod budget;
pub mod outlier;
pub mod retry;
