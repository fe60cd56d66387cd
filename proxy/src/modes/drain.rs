//! `fsm-proxy drain`, `gkill`: drains the proxy and waits for its end.
//!
//! As a pre-stop hook it runs before the kubelet sends SIGTERM: the proxy turns not ready, finishes what it has begun
//! and ends. A proxy that is gone already is a success. Never kills: the kubelet does, after the grace period.

use super::{
    INTERVAL,
    exchange::{exchange, one_line},
};
use crate::options::DrainOptions;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use thiserror::Error;

/// The proxy did not end.
#[derive(Debug, Error)]
pub enum NotDrained {
    /// It did not take the order.
    #[error("the proxy at {admin} did not start to drain: {why}; it is ended by the signal that follows")]
    Refused {
        /// Its admin listener.
        admin: SocketAddr,
        /// What it answered.
        why: String,
    },
    /// It was still there at the end.
    #[error("the proxy at {admin} was still draining after {timeout} s; what it still serves is cut off by the signal that follows", timeout = .timeout.as_secs_f64())]
    Late {
        /// Its admin listener.
        admin: SocketAddr,
        /// How long was waited.
        timeout: Duration,
    },
}

/// Orders the drain and waits until nobody listens on the admin port any more. Returns how long that took.
///
/// # Errors
/// [`NotDrained`] when the proxy refuses, or is still there after the timeout.
pub fn run(options: &DrainOptions) -> Result<Duration, NotDrained> {
    let started = Instant::now();
    let admin = options.admin;
    let left = || options.timeout.saturating_sub(started.elapsed());
    let refused = |why| NotDrained::Refused { admin, why };
    match exchange(admin, "POST", "/drain", left()) {
        Ok((200..=299, _)) => {}
        Ok((status, body)) => {
            return Err(refused(format!("it answered {status} {}", one_line(&body))));
        }
        Err(error) if is_gone(&error) => return Ok(started.elapsed()),
        Err(error) => return Err(refused(error.to_string())),
    }
    while !left().is_zero() {
        match exchange(admin, "GET", "/ready", left()) {
            Err(error) if is_gone(&error) => return Ok(started.elapsed()),
            _ => std::thread::sleep(INTERVAL.min(left())),
        }
    }
    Err(NotDrained::Late { admin, timeout: options.timeout })
}

/// Nobody listens there: the process has ended.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

#[cfg(test)]
mod tests;
