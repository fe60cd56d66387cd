//! `fsm-proxy wait`, `wait-pipy`: holds until the proxy is ready.
//!
//! As a post-start hook of a sidecar that is the pod's first container it keeps the kubelet from starting the
//! application before the application has a network. Fails when the proxy is not ready in time, saying why not.

use super::{
    INTERVAL,
    exchange::{exchange, one_line},
};
use crate::options::WaitOptions;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use thiserror::Error;

/// The proxy was not ready in time.
#[derive(Debug, Error)]
#[error("the proxy at {admin} was not ready within {timeout} s: {last}; its log and /config_status say why", timeout = .timeout.as_secs_f64())]
pub struct NotReady {
    admin: SocketAddr,
    timeout: Duration,
    /// What the last attempt saw.
    last: String,
}

/// Asks for `/ready` until it is answered with 200. Returns how long that took.
///
/// # Errors
/// [`NotReady`] when it is not within the timeout.
pub fn run(options: &WaitOptions) -> Result<Duration, NotReady> {
    let started = Instant::now();
    let mut last = "it was not asked".to_owned();
    let mut answered = false;
    loop {
        let left = options.timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(NotReady { admin: options.admin, timeout: options.timeout, last });
        }
        match exchange(options.admin, "GET", "/ready", left) {
            Ok((200, _)) => return Ok(started.elapsed()),
            Ok((status, body)) => {
                last = format!("it answered {status} {}", one_line(&body));
                answered = true;
            }
            // That our own time is up tells less than the answer before.
            Err(error) if is_timeout(&error) && answered => {}
            Err(error) => last = error.to_string(),
        }
        std::thread::sleep(INTERVAL.min(left));
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests;
