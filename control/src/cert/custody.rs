//! The built-in authority while the program runs: opened where its roots are, kept in step with the other processes that
//! share them, and led through a change of roots by the one that leads.

use super::storage::{StorageError, cluster::SecretStorage};
use super::told::Told;
use super::tresor::{Clock, TresorError, TresorSettings};
use super::{SecretPlace, Tresor};
use crate::leader::Leadership;
use crate::limits;
use crate::world::{Problem, Severity};
use futures_util::StreamExt;
use kube::Client;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Where the roots are.
#[derive(Clone)]
pub enum Place {
    /// In a directory of this process's own.
    Directory(PathBuf),
    /// In a Secret that all processes of the control plane share.
    Secret(Client, SecretPlace),
}

/// The authority, and how it is kept in step.
pub struct Custody {
    tresor: Arc<Tresor>,
    watched: Option<SecretStorage>,
}

impl Custody {
    /// Opens the authority. An API server that is away is waited for, but not for ever.
    ///
    /// # Errors
    /// [`TresorError`].
    pub async fn open(place: Place, settings: TresorSettings, clock: Clock) -> Result<Self, TresorError> {
        let (client, place) = match place {
            Place::Directory(directory) => {
                let tresor = Arc::new(Tresor::open(&directory, settings, clock)?);
                return Ok(Self { tresor, watched: None });
            }
            Place::Secret(client, place) => (client, place),
        };
        let until = Instant::now() + limits::AUTHORITY_PATIENCE;
        loop {
            let opened = Tresor::open_secret(client.clone(), place.clone(), settings.clone(), clock.clone()).await;
            match opened {
                Ok(tresor) => {
                    let watched = Some(SecretStorage::new(client, place));
                    return Ok(Self { tresor: Arc::new(tresor), watched });
                }
                Err(error) if is_passing(&error) && Instant::now() < until => {
                    warn!("{error}; it is tried again");
                    sleep(limits::AUTHORITY_RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The authority.
    pub fn tresor(&self) -> Arc<Tresor> {
        self.tresor.clone()
    }

    /// Follows what others do to the roots, and does what is due while this process leads; until `stop`. What keeps it
    /// from that is told as a problem.
    pub(super) async fn tend(self, mut leadership: Leadership, mut told: Told, stop: CancellationToken) {
        let mut changes = pin!(match &self.watched {
            Some(secret) => secret.changes().left_stream(),
            None => futures_util::stream::pending().right_stream(),
        });
        let mut followed = Instant::now();
        loop {
            let mut outcome = Ok(());
            if followed.elapsed() >= limits::AUTHORITY_LOOK {
                followed = Instant::now();
                outcome = self.tresor.follow().await;
            }
            if outcome.is_ok() && leadership.leads() {
                outcome = self.tresor.tick().await;
            }
            told.tell(outcome.err().iter().map(not_in_step).collect()).await;
            let due = sleep(limits::AUTHORITY_TICK);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(()) = changes.next() => {
                    // With the next turn, at once.
                    followed = Instant::now().checked_sub(limits::AUTHORITY_LOOK).unwrap_or(followed);
                }
                _ = leadership.changed() => {}
                () = due => {}
            }
        }
        told.tell(Vec::new()).await;
    }
}

/// Whether it may be over in a minute: the API server is away, or the rights are on their way.
fn is_passing(error: &TresorError) -> bool {
    use StorageError::{ApiServer, Contended, Forbidden};
    matches!(error, TresorError::Storage(ApiServer { .. } | Contended { .. } | Forbidden { .. }))
}

/// The roots are not what others have.
pub(super) fn not_in_step(error: &TresorError) -> Problem {
    Problem {
        severity: Severity::Error,
        objects: vec!["certificate authority of the mesh".to_owned()],
        reason: "AuthorityNotInStep",
        text: format!(
            "{error}. Certificates are issued with the roots that were read last; a change of roots does not go on. It \
             is tried again every {} s",
            Duration::as_secs(&limits::AUTHORITY_TICK)
        ),
    }
}
