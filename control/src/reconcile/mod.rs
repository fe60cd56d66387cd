//! What a role keeps in the cluster: its webhook configuration, or the definitions of custom resources.
//!
//! An [`Upkeep`] brings what it keeps into the wanted state; a [`Keeper`] says when: at the start, when the wanted state is
//! another one (another root of the mesh), and, where reconciling is on, whenever somebody changed or deleted what is kept.
//! Only the replica that leads writes. What fails is tried again with growing pauses, and somebody who keeps changing it
//! back meets growing pauses too, so that two programs that want different things do not fight with all their strength.

mod cluster;
mod overlay;
mod wake;

pub use cluster::{Cluster, ClusterError, Place, resource, resource_of};
pub use overlay::{Step, as_kept, covers, step};
pub use wake::{wake_on_changes, wake_on_roots};

use crate::leader::Leadership;
use crate::limits;
use crate::source::kubernetes::Retry;
use crate::telemetry::{Kind, Telemetry};
use std::fmt;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Label of objects that are restored when somebody changes or deletes them.
pub const RECONCILE_LABEL: &str = "flomesh.io/reconcile";

/// Whoever brings something in the cluster into the wanted state.
pub trait Upkeep: Send + 'static {
    /// What goes wrong.
    type Error: fmt::Display + Send;

    /// The kind that is kept, for the metric.
    fn kind(&self) -> &'static str;

    /// Looks at what is there and writes what differs. How many objects were written.
    fn bring(&mut self) -> impl Future<Output = Result<usize, Self::Error>> + Send;
}

/// Keeps something for as long as the program runs.
#[derive(Debug)]
pub struct Keeper<U> {
    upkeep: U,
    wake: Arc<Notify>,
    leadership: Leadership,
    telemetry: Arc<Telemetry>,
    kept: watch::Sender<bool>,
}

impl<U: Upkeep> Keeper<U> {
    /// Somebody who keeps it when it [runs](Self::run), and whether it was brought into the wanted state once. Whoever
    /// knows a reason to look again notifies `wake`.
    pub fn new(
        upkeep: U,
        wake: Arc<Notify>,
        leadership: Leadership,
        telemetry: Arc<Telemetry>,
    ) -> (Self, watch::Receiver<bool>) {
        let (kept, is_kept) = watch::channel(false);
        (Self { upkeep, wake, leadership, telemetry, kept }, is_kept)
    }

    /// Keeps it until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&mut self) {
        let mut failures = Retry::new(limits::UPKEEP_PAUSE, limits::UPKEEP_LONGEST_PAUSE);
        let mut repairs = Retry::new(limits::UPKEEP_PAUSE, limits::UPKEEP_LONGEST_PAUSE);
        let mut repaired = None::<Instant>;
        let mut first = true;
        loop {
            self.until_leading().await;
            match self.upkeep.bring().await {
                Ok(written) => {
                    failures.reset();
                    self.kept.send_replace(true);
                    if written > 0 && !std::mem::replace(&mut first, false) {
                        let kind = self.upkeep.kind();
                        info!("{kind} restored or renewed in the cluster: {written}");
                        self.telemetry.reconciliations.get_or_create(&Kind { kind }).add_many(written as u64);
                        if repaired.is_none_or(|before| before.elapsed() > limits::UPKEEP_PEACE) {
                            repairs.reset();
                        }
                        repaired = Some(Instant::now());
                        sleep(repairs.next()).await;
                    }
                    self.wake.notified().await;
                }
                Err(error) => {
                    warn!("{error}; trying again");
                    sleep(failures.next()).await;
                }
            }
        }
    }

    /// Where another replica leads for longer than taking over takes, that one keeps it: a new replica of an upgrade must
    /// not wait for the end of the old one, which waits for the new one.
    async fn until_leading(&mut self) {
        while !self.leadership.leads() {
            tokio::select! {
                _ = self.leadership.changed() => {}
                () = sleep(limits::UPKEEP_STANDBY) => {
                    self.kept.send_replace(true);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
