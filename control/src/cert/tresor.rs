//! The built-in authority. FSM calls it *tresor*.
//!
//! It keeps its roots in one private file, signs in process and rotates its roots ([`super::rotation`]) when asked to or
//! when they near their end. It is to be [ticked](Tresor::tick) now and then; it spawns nothing and has no clock but the
//! one it is given.

use super::root::{Root, RootError, RootKey, seconds};
use super::rotation::{ANNOUNCE, Busy, Facts, Phase, Step};
use super::storage::{Kept, KeptRoot, Storage, StorageError};
use super::{IssueError, IssueFuture, Issued, Issuer, LeafRequest, TrustBundle};
use parking_lot::Mutex;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

/// What the time is.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Settings of the built-in authority.
#[derive(Clone, Debug)]
pub struct TresorSettings {
    /// Where the roots are kept.
    pub state_dir: PathBuf,
    /// Key of roots that are made from now on.
    pub root_key: RootKey,
    /// How long a new root is trusted before it signs.
    pub announce: Duration,
}

impl TresorSettings {
    /// The usual settings.
    pub fn in_directory(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), root_key: RootKey::default(), announce: ANNOUNCE }
    }
}

/// The built-in authority.
pub struct Tresor {
    settings: TresorSettings,
    storage: Storage,
    clock: Clock,
    state: Mutex<State>,
    bundle: watch::Sender<Arc<TrustBundle>>,
}

/// Why the authority does not work.
#[derive(Debug, Error)]
pub enum TresorError {
    /// Its file.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// It is being rotated.
    #[error(transparent)]
    Busy(#[from] Busy),
}

/// How the roots stand, for people.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TresorStatus {
    /// `steady`, `announced` or `overlapping`.
    pub phase: &'static str,
    /// RFC 3339: when the phase ends; absent when it does not end by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The roots in use, the one that signs first.
    pub roots: Vec<RootStatus>,
}

/// One root, for people.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RootStatus {
    /// SHA-256 of the certificate, hexadecimal.
    pub fingerprint: String,
    /// RFC 3339.
    pub not_after: String,
    /// Whether certificates are signed with it.
    pub signs: bool,
}

struct State {
    kept: Kept,
    /// As `kept.roots`; those without a key are `None`.
    signer: Arc<Root>,
}

impl Tresor {
    /// Reads the roots of the state directory, or makes the first one.
    ///
    /// # Errors
    /// [`TresorError`], each of which should end the program: without its authority it is of no use.
    pub fn open(settings: TresorSettings, clock: Clock) -> Result<Self, TresorError> {
        let storage = Storage::in_directory(&settings.state_dir)?;
        let kept = match storage.read()? {
            Some(kept) => kept,
            None => Self::first(&settings, &storage, clock())?,
        };
        let signer = Arc::new(load_signer(&kept)?);
        let bundle = watch::Sender::new(Arc::new(bundle_of(&kept)));
        let tresor = Self { settings, storage, clock, state: Mutex::new(State { kept, signer }), bundle };
        tresor.tick()?;
        Ok(tresor)
    }

    fn first(settings: &TresorSettings, storage: &Storage, now: SystemTime) -> Result<Kept, TresorError> {
        let root = Root::make(settings.root_key, now)?;
        let kept = Kept { roots: vec![keep(&root)], phase: Phase::Steady, longest_validity: 0, since: seconds(now) };
        if storage.create(&kept)? {
            info!("made a certificate authority for the mesh and keep it in {}", storage.path().display());
            return Ok(kept);
        }
        let theirs = storage.read()?;
        Ok(theirs.unwrap_or(kept))
    }

    /// Begins to replace the root.
    ///
    /// # Errors
    /// [`TresorError::Busy`] while it is being replaced; others when the new root cannot be made or kept, and then
    /// everything stays as it was.
    pub fn rotate(&self) -> Result<(), TresorError> {
        let now = (self.clock)();
        let mut state = self.state.lock();
        let mut next = state.kept.clone();
        let facts = self.facts(&state);
        let step = next.phase.begin(now, &facts)?;
        self.take(&mut state, next, step, now)?;
        drop(state);
        self.tick()
    }

    /// Does what is due. To be called every few seconds.
    ///
    /// # Errors
    /// When a root cannot be made or kept; it is tried again with the next call.
    pub fn tick(&self) -> Result<(), TresorError> {
        let now = (self.clock)();
        let mut state = self.state.lock();
        loop {
            let mut next = state.kept.clone();
            let facts = self.facts(&state);
            let Some(step) = next.phase.advance(now, &facts) else { return Ok(()) };
            self.take(&mut state, next, step, now)?;
        }
    }

    /// How the roots stand.
    pub fn status(&self) -> TresorStatus {
        let state = self.state.lock();
        let (phase, until) = match state.kept.phase {
            Phase::Steady => ("steady", None),
            Phase::Announced { until } => ("announced", Some(until)),
            Phase::Overlapping { until } => ("overlapping", Some(until)),
        };
        let roots = state.kept.roots.iter().enumerate();
        TresorStatus {
            phase,
            until: until.map(rfc3339),
            roots: roots.map(|(index, root)| root_status(root, index == 0)).collect(),
        }
    }

    fn facts(&self, state: &State) -> Facts {
        Facts {
            announce: self.settings.announce,
            longest_validity: Duration::from_secs(state.kept.longest_validity),
            root_not_after: state.signer.not_after(),
        }
    }

    /// Does a step: on disk first, in memory then, and last of all everybody is told.
    fn take(&self, state: &mut State, mut next: Kept, step: Step, now: SystemTime) -> Result<(), TresorError> {
        match step {
            Step::Announce => next.roots.push(keep(&Root::make(self.settings.root_key, now)?)),
            Step::Switch => {
                next.roots.rotate_left(1);
                // Nothing is signed with the others any more: a stolen file shall not yield their keys.
                next.roots.iter_mut().skip(1).for_each(|root| root.key = None);
            }
            Step::Retire => next.roots.truncate(1),
        }
        next.touch(now);
        let signer = Arc::new(load_signer(&next)?);
        self.storage.replace(&next)?;
        *state = State { kept: next, signer };
        self.bundle.send_replace(Arc::new(bundle_of(&state.kept)));
        match step {
            Step::Announce => {
                info!("a new root of the mesh is announced; certificates are still signed with the old one")
            }
            Step::Switch => {
                info!("certificates are signed with the new root of the mesh; the old one is still trusted")
            }
            Step::Retire => info!("the old root of the mesh is not trusted any more"),
        }
        Ok(())
    }

    fn sign(&self, leaf: &LeafRequest) -> Result<Issued, IssueError> {
        let now = (self.clock)();
        let signer = {
            let mut state = self.state.lock();
            self.remember_validity(&mut state, leaf)?;
            state.signer.clone()
        };
        signer.sign(leaf, now)
    }

    /// The overlap of a rotation is as long as the longest certificate; it must not be forgotten by a restart.
    fn remember_validity(&self, state: &mut State, leaf: &LeafRequest) -> Result<(), IssueError> {
        let validity = leaf.validity.as_secs().saturating_add(1);
        if validity <= state.kept.longest_validity {
            return Ok(());
        }
        let mut next = state.kept.clone();
        next.longest_validity = validity;
        self.storage.replace(&next).map_err(|error| {
            warn!("{error}");
            IssueError::Unavailable { name: leaf.names.common_name.clone(), reason: error.to_string() }
        })?;
        state.kept = next;
        Ok(())
    }
}

impl Issuer for Tresor {
    fn issue(&self, leaf: LeafRequest) -> IssueFuture<'_> {
        Box::pin(async move { self.sign(&leaf) })
    }

    fn trust_bundle(&self) -> Arc<TrustBundle> {
        self.bundle.borrow().clone()
    }

    fn changes(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.bundle.subscribe()
    }
}

impl fmt::Debug for Tresor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tresor").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn keep(root: &Root) -> KeptRoot {
    KeptRoot { certificate: root.certificate_pem().to_owned(), key: Some(root.key_pem()) }
}

fn load_signer(kept: &Kept) -> Result<Root, RootError> {
    let first = kept.roots.first().ok_or_else(|| RootError::Read("there is none".to_owned()))?;
    let key = first.key.as_deref().ok_or_else(|| RootError::Read("it has no key".to_owned()))?;
    Root::load(&first.certificate, key)
}

fn bundle_of(kept: &Kept) -> TrustBundle {
    let mut pem = String::new();
    for root in &kept.roots {
        pem.push_str(root.certificate.trim_end());
        pem.push('\n');
    }
    TrustBundle { pem, since: kept.since() }
}

fn root_status(root: &KeptRoot, signs: bool) -> RootStatus {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let der = CertificateDer::from_pem_slice(root.certificate.as_bytes());
    let der = der.as_ref().map_or(&[][..], |der| der.as_ref());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let not_after = x509_parser::parse_x509_certificate(der)
        .map_or(0, |(_, certificate)| certificate.validity().not_after.timestamp());
    let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(not_after).unwrap_or_default());
    let fingerprint = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    RootStatus { fingerprint, not_after: rfc3339(not_after), signs }
}

/// A point in time as people and tools write it.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let seconds = i64::try_from(seconds(at)).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| at.to_string())
}
