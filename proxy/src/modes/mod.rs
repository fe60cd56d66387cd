//! Container hooks as modes of the same binary: FSM's pod template calls `/usr/local/bin/wait-pipy` after the sidecar
//! started and `/usr/local/bin/gkill` before it stops; our image installs this binary under both names.
//!
//! They talk to the proxy's admin listener over loopback with blocking calls, each within a deadline, and need no
//! runtime. They print one line on what happened and leave the exit code to `main`.

pub mod drain;
mod exchange;
#[cfg(test)]
mod scripted;
pub mod wait;

use std::time::Duration;

/// How often the proxy is asked again.
const INTERVAL: Duration = Duration::from_millis(100);
