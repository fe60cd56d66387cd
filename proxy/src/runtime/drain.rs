//! Ending without disturbing anybody: Running → Draining → Closing.
//!
//! *Draining* still accepts, but tells clients not to come back on this connection (`connection: close`, GOAWAY), so
//! that those who have not heard of the pod's end yet are served. *Closing* stops accepting inbound and closes idle
//! connections. What is left at the end of `drain.max` is cut off by the process's exit.

use tokio::sync::watch;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Normal service.
    Running,
    /// Accepting, but asking clients to leave.
    Draining,
    /// Not accepting; idle connections are closed.
    Closing,
}

/// The end's announcer.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
}

/// Hears of the end; one for each connection.
#[derive(Clone, Debug)]
pub struct DrainWatch {
    phase: watch::Receiver<Phase>,
}

impl Drain {
    /// Starts in [`Phase::Running`].
    pub fn new() -> Self {
        Self { phase: watch::Sender::new(Phase::Running) }
    }

    /// Goes on to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let later = phase > *current;
            *current = phase.max(*current);
            later
        });
    }

    /// A new listener.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch { phase: self.phase.subscribe() }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl DrainWatch {
    /// The current phase.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the end has come as far as `phase`.
    pub async fn reached(&mut self, phase: Phase) {
        // The announcer lives as long as the process; should it be gone, the end has certainly come.
        let _ = self.phase.wait_for(|current| *current >= phase).await;
    }
}
