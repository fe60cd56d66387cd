//! Whoever signs the mesh's certificates while the program runs: the built-in authority, Vault or cert-manager, opened
//! with patience, tended, and changed for another one without a failed connection.
//!
//! A change has the same phases as a change of roots ([`super::rotation`]): the roots of the new signer are trusted before
//! it signs, and those of the old one until nothing that it signed is valid any more.

use super::cert_manager::{CertManager, CertManagerError, CertManagerSettings};
use super::custody::{Custody, Place};
use super::rollout::{Rollout, Signing};
use super::told::Told;
use super::tresor::{Clock, Tresor, TresorError, TresorSettings};
use super::vault::{Vault, VaultError, VaultSettings};
use super::{Exchange, Issuer};
use crate::leader::Leadership;
use crate::limits;
use crate::source::Event;
use crate::world::{Problem, Severity};
use kube::Client;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Origin of the problems of the one authority.
const ORIGIN: &str = "fsm-control: certificate authority";

/// Who signs, and all that it needs to know.
#[derive(Clone)]
pub enum Provider {
    /// fsm-control itself.
    Tresor(Place, TresorSettings),
    /// A Vault.
    Vault(VaultSettings),
    /// cert-manager.
    CertManager(Client, CertManagerSettings),
}

/// Why there is nobody to sign.
#[derive(Debug, Error)]
pub enum ProviderFailure {
    /// The built-in authority.
    #[error(transparent)]
    Tresor(#[from] TresorError),
    /// Vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// cert-manager.
    #[error(transparent)]
    CertManager(#[from] CertManagerError),
}

/// A signer that is open.
pub enum Signer {
    /// fsm-control itself.
    Tresor(Box<Custody>),
    /// A Vault.
    Vault(Arc<Vault>),
    /// cert-manager.
    CertManager(Arc<CertManager>),
    /// What MeshRootCertificates say.
    Rollout(Box<Rollout>),
}

impl Signer {
    /// Opens a signer. One that is away is waited for, but not for ever.
    ///
    /// # Errors
    /// [`ProviderFailure`].
    pub async fn open(provider: Provider, clock: Clock) -> Result<Self, ProviderFailure> {
        let until = Instant::now() + limits::AUTHORITY_PATIENCE;
        loop {
            let error = match Self::open_once(&provider, &clock).await {
                Ok(signer) => return Ok(signer),
                Err(error) => error,
            };
            if !error.is_passing() || Instant::now() >= until {
                return Err(error);
            }
            warn!("{error}; it is tried again");
            sleep(limits::AUTHORITY_RETRY).await;
        }
    }

    /// The same without patience.
    pub(super) async fn open_at_once(provider: &Provider, clock: &Clock) -> Result<Self, ProviderFailure> {
        Self::open_once(provider, clock).await
    }

    async fn open_once(provider: &Provider, clock: &Clock) -> Result<Self, ProviderFailure> {
        Ok(match provider.clone() {
            Provider::Tresor(place, settings) => {
                Self::Tresor(Box::new(Custody::open(place, settings, clock.clone()).await?))
            }
            Provider::Vault(settings) => Self::Vault(Arc::new(Vault::open(settings, clock.clone()).await?)),
            Provider::CertManager(client, settings) => {
                Self::CertManager(Arc::new(CertManager::open(client, settings, clock.clone()).await?))
            }
        })
    }

    /// Who signs.
    pub fn issuer(&self) -> Arc<dyn Issuer> {
        match self {
            Self::Tresor(custody) => custody.tresor(),
            Self::Vault(vault) => vault.clone(),
            Self::CertManager(manager) => manager.clone(),
            Self::Rollout(rollout) => rollout.issuer(),
        }
    }

    /// The built-in authority, where it is the one.
    pub fn tresor(&self) -> Option<Arc<Tresor>> {
        match self {
            Self::Tresor(custody) => Some(custody.tresor()),
            _ => None,
        }
    }

    /// Who signs, and all that are trusted, where MeshRootCertificates say it.
    pub fn signing(&self) -> Option<(watch::Receiver<Signing>, Arc<Exchange>)> {
        match self {
            Self::Rollout(rollout) => Some((rollout.signing(), rollout.issuer())),
            _ => None,
        }
    }

    /// FSM's name of the provider.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tresor(_) => "tresor",
            Self::Vault(_) => "vault",
            Self::CertManager(_) => "cert-manager",
            Self::Rollout(_) => "MeshRootCertificate",
        }
    }

    /// Does its upkeep as one of several until `stop`. Roots of the built-in authority are followed and not changed: that
    /// is the business of whoever knows which of the several signs.
    pub(super) fn tend_as_one(self, told: Told, stop: CancellationToken) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(self.tend_telling(Leadership::never(), told, stop))
    }

    /// Does its upkeep until `stop`; what keeps it from that is told as a problem.
    pub async fn tend(self, leadership: Leadership, events: Option<mpsc::Sender<Event>>, stop: CancellationToken) {
        match self {
            Self::Rollout(rollout) => rollout.tend(leadership, events, stop).await,
            one => one.tend_telling(leadership, Told::new(ORIGIN, events), stop).await,
        }
    }

    async fn tend_telling(self, leadership: Leadership, told: Told, stop: CancellationToken) {
        match self {
            Self::Tresor(custody) => custody.tend(leadership, told, stop).await,
            // It is several itself, and never one of several.
            Self::Rollout(_) => {}
            Self::Vault(vault) => {
                let look = || {
                    let vault = vault.clone();
                    async move { vault.tend().await.map_err(ProviderFailure::from) }
                };
                look_now_and_then(look, || vault.next_look(), told, stop).await;
            }
            Self::CertManager(manager) => {
                let look = || {
                    let manager = manager.clone();
                    async move { manager.look().await.map_err(ProviderFailure::from) }
                };
                look_now_and_then(look, || limits::CERT_MANAGER_LOOK, told, stop).await;
            }
        }
    }
}

impl ProviderFailure {
    /// Whether it may be over in a minute.
    fn is_passing(&self) -> bool {
        match self {
            // Custody has been patient itself.
            Self::Tresor(_) => false,
            Self::Vault(error) => error.is_passing(),
            Self::CertManager(error) => error.is_passing(),
        }
    }
}

/// Looks after an authority outside; soon again when it does not answer.
async fn look_now_and_then<F>(
    look: impl Fn() -> F,
    pace: impl Fn() -> Duration,
    mut told: Told,
    stop: CancellationToken,
) where
    F: Future<Output = Result<(), ProviderFailure>>,
{
    let mut wait = pace();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = sleep(wait) => {}
        }
        let outcome = tokio::select! {
            () = stop.cancelled() => break,
            outcome = look() => outcome,
        };
        wait = if outcome.is_ok() { pace() } else { pace().clamp(limits::AUTHORITY_TICK, limits::KEEPER_LOOK) };
        told.tell(outcome.err().iter().map(problem).collect()).await;
    }
    told.tell(Vec::new()).await;
}

fn problem(error: &ProviderFailure) -> Problem {
    Problem {
        severity: Severity::Error,
        objects: vec!["certificate authority of the mesh".to_owned()],
        reason: "AuthorityAway",
        text: format!(
            "{error}. Proxies go on with the certificates that they have, and ask again; new pods have none until this is \
             over"
        ),
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.kind())
    }
}
