//! The built-in authority. FSM calls it *tresor*.
//!
//! It keeps its roots in one private file or in one Secret ([`super::storage`]), signs in process and rotates its roots
//! ([`super::rotation`]) when asked to or when they near their end. Several processes may share the Secret: each signs,
//! each [follows](Tresor::follow) what the others did, and one of them, which leads, is to [tick](Tresor::tick) it now and
//! then. It spawns nothing and has no clock but the one it is given.

use super::root::{Root, RootError, RootKey, seconds};
use super::rotation::{ANNOUNCE, Busy, Facts, Phase, Step};
use super::storage::cluster::{SecretPlace, SecretStorage};
use super::storage::directory::FileStorage;
use super::storage::{Kept, KeptRoot, Storage, StorageError, Stored};
use super::{IssueError, IssueFuture, Issued, Issuer, LeafRequest, TrustBundle};
use parking_lot::Mutex;
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

/// What the time is.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A change is tried so often, when other processes change the same thing at the same time.
const TRIES: usize = 5;

/// Settings of the built-in authority.
#[derive(Clone, Debug)]
pub struct TresorSettings {
    /// Key of roots that are made from now on.
    pub root_key: RootKey,
    /// How long a new root is trusted before it signs.
    pub announce: Duration,
}

impl Default for TresorSettings {
    fn default() -> Self {
        Self { root_key: RootKey::default(), announce: ANNOUNCE }
    }
}

/// The built-in authority.
pub struct Tresor {
    settings: TresorSettings,
    storage: Storage,
    clock: Clock,
    /// What is looked up later is newer: an answer that was overtaken by another one is not taken in.
    look_ups: AtomicU64,
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
    stored: Stored,
    signer: Arc<Root>,
    /// Number of the look-up that this comes from.
    look_up: u64,
}

impl Tresor {
    /// Reads the roots of a state directory, or makes the first one. The directory is this process's own.
    ///
    /// # Errors
    /// [`TresorError`], each of which should end the program: without its authority it is of no use.
    pub fn open(directory: &Path, settings: TresorSettings, clock: Clock) -> Result<Self, TresorError> {
        let file = FileStorage::in_directory(directory)?;
        let stored = match file.read()? {
            Some(stored) => stored,
            None => {
                let kept = first(&settings, clock())?;
                match file.create(&kept)? {
                    Some(stored) => {
                        info!("made a certificate authority for the mesh and keep it in {}", file.path().display());
                        stored
                    }
                    None => file.read()?.ok_or_else(|| RootError::Read("it is gone again".to_owned()))?,
                }
            }
        };
        Self::with(Storage::File(file), stored, settings, clock)
    }

    /// Reads the roots of a Secret, or makes the first one and the Secret.
    ///
    /// # Errors
    /// [`TresorError`]. An API server that is away is worth another try.
    pub async fn open_secret(
        client: kube::Client,
        place: SecretPlace,
        settings: TresorSettings,
        clock: Clock,
    ) -> Result<Self, TresorError> {
        let storage = Storage::Secret(Box::new(SecretStorage::new(client, place)));
        for _ in 0..TRIES {
            if let Some(stored) = storage.read().await? {
                return Self::with(storage, stored, settings, clock);
            }
            if let Some(stored) = storage.create(&first(&settings, clock())?).await? {
                info!("made a certificate authority for the mesh and keep it in {}", storage.place());
                return Self::with(storage, stored, settings, clock);
            }
        }
        Err(StorageError::Contended { place: storage.place(), tries: TRIES }.into())
    }

    fn with(storage: Storage, stored: Stored, settings: TresorSettings, clock: Clock) -> Result<Self, TresorError> {
        let signer = Arc::new(load_signer(&stored.kept)?);
        let bundle = watch::Sender::new(Arc::new(bundle_of(&stored.kept)));
        let state = Mutex::new(State { stored, signer, look_up: 0 });
        Ok(Self { settings, storage, clock, look_ups: AtomicU64::new(1), state, bundle })
    }

    /// Begins to replace the root.
    ///
    /// # Errors
    /// [`TresorError::Busy`] while it is being replaced; others when the new root cannot be made or kept, and then
    /// everything stays as it was.
    pub async fn rotate(&self) -> Result<(), TresorError> {
        self.change(|kept, facts, now| {
            let mut next = kept.clone();
            let step = next.phase.begin(now, facts)?;
            Ok(Some((next, step)))
        })
        .await?;
        self.tick().await
    }

    /// Does what is due. To be called every few seconds, by one process of all that share the roots.
    ///
    /// # Errors
    /// When a root cannot be made or kept; it is tried again with the next call.
    pub async fn tick(&self) -> Result<(), TresorError> {
        let due = |kept: &Kept, facts: &Facts, now: SystemTime| {
            let mut next = kept.clone();
            let step = match next.phase {
                // Somebody put another root in the place of the one that signed.
                Phase::Steady if next.roots.len() > 1 => Some(next.phase.overlap(now, facts)),
                _ => next.phase.advance(now, facts),
            };
            Ok(step.map(|step| (next, step)))
        };
        while self.change(due).await? {}
        Ok(())
    }

    /// Takes in what other processes did. Where nobody else has the roots this does nothing.
    ///
    /// # Errors
    /// When what is kept cannot be read; what was read before stays in force.
    pub async fn follow(&self) -> Result<(), TresorError> {
        if !self.storage.is_shared() {
            return Ok(());
        }
        let look_up = self.look_up();
        match self.storage.read().await? {
            Some(stored) => self.adopt(stored, look_up),
            None => self.restore(look_up).await,
        }
    }

    /// Somebody removed what all certificates of the mesh hang on: while one process runs, it is not lost.
    async fn restore(&self, look_up: u64) -> Result<(), TresorError> {
        let kept = self.state.lock().stored.kept.clone();
        let Some(stored) = self.storage.create(&kept).await? else { return Ok(()) };
        warn!("{} was removed and is made again with the same roots", self.storage.place());
        self.adopt(stored, look_up)
    }

    /// Changes what is kept: on disk or in the cluster first, in memory then, and last of all everybody is told. Says
    /// whether there was anything to change.
    async fn change(
        &self,
        decide: impl Fn(&Kept, &Facts, SystemTime) -> Result<Option<(Kept, Step)>, Busy>,
    ) -> Result<bool, TresorError> {
        for _ in 0..TRIES {
            let now = (self.clock)();
            let (stored, facts) = {
                let state = self.state.lock();
                (state.stored.clone(), self.facts(&state))
            };
            let Some((mut next, step)) = decide(&stored.kept, &facts, now)? else { return Ok(false) };
            self.carry_out(step, &mut next, now)?;
            let look_up = self.look_up();
            if let Some(stored) = self.storage.replace(&next, &stored.version).await? {
                self.adopt(stored, look_up)?;
                info!("{}", step.told());
                return Ok(true);
            }
            self.follow().await?;
        }
        Err(StorageError::Contended { place: self.storage.place(), tries: TRIES }.into())
    }

    fn carry_out(&self, step: Step, next: &mut Kept, now: SystemTime) -> Result<(), RootError> {
        match step {
            Step::Announce => next.roots.push(keep(&Root::make(self.settings.root_key, now)?)),
            Step::Switch => {
                next.roots.rotate_left(1);
                // Nothing is signed with the others any more: a stolen file shall not yield their keys.
                next.roots.iter_mut().skip(1).for_each(|root| root.key = None);
            }
            Step::Overlap => {}
            Step::Retire => next.roots.truncate(1),
        }
        next.touch(now);
        Ok(())
    }

    fn look_up(&self) -> u64 {
        self.look_ups.fetch_add(1, Relaxed)
    }

    fn adopt(&self, stored: Stored, look_up: u64) -> Result<(), TresorError> {
        let signer = Arc::new(load_signer(&stored.kept)?);
        let mut state = self.state.lock();
        if look_up < state.look_up {
            return Ok(());
        }
        let bundle = Arc::new(bundle_of(&stored.kept));
        *state = State { stored, signer, look_up };
        self.bundle.send_if_modified(|known| {
            let news = **known != *bundle;
            if news {
                *known = bundle;
            }
            news
        });
        Ok(())
    }

    /// How the roots stand.
    pub fn status(&self) -> TresorStatus {
        let state = self.state.lock();
        let (phase, until) = match state.stored.kept.phase {
            Phase::Steady => ("steady", None),
            Phase::Announced { until } => ("announced", Some(until)),
            Phase::Overlapping { until } => ("overlapping", Some(until)),
        };
        let roots = state.stored.kept.roots.iter().enumerate();
        TresorStatus {
            phase,
            until: until.map(rfc3339),
            roots: roots.map(|(index, root)| root_status(root, index == 0)).collect(),
        }
    }

    fn facts(&self, state: &State) -> Facts {
        Facts {
            announce: self.settings.announce,
            longest_validity: Duration::from_secs(state.stored.kept.longest_validity),
            root_not_after: state.signer.not_after(),
        }
    }

    async fn sign(&self, leaf: &LeafRequest) -> Result<Issued, IssueError> {
        self.remember_validity(leaf.validity).await.map_err(|error| {
            warn!("{error}");
            IssueError::Unavailable { name: leaf.names.common_name.clone(), reason: error.to_string() }
        })?;
        let signer = self.state.lock().signer.clone();
        signer.sign(leaf, (self.clock)())
    }

    /// The overlap of a rotation is as long as the longest certificate; it must not be forgotten by a restart.
    async fn remember_validity(&self, validity: Duration) -> Result<(), TresorError> {
        let validity = validity.as_secs().saturating_add(1);
        for _ in 0..TRIES {
            let stored = self.state.lock().stored.clone();
            if validity <= stored.kept.longest_validity {
                return Ok(());
            }
            let next = Kept { longest_validity: validity, ..stored.kept };
            let look_up = self.look_up();
            match self.storage.replace(&next, &stored.version).await? {
                Some(stored) => return self.adopt(stored, look_up),
                None => self.follow().await?,
            }
        }
        Err(StorageError::Contended { place: self.storage.place(), tries: TRIES }.into())
    }
}

impl Issuer for Tresor {
    fn issue(&self, leaf: LeafRequest) -> IssueFuture<'_> {
        Box::pin(async move { self.sign(&leaf).await })
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
        f.debug_struct("Tresor").field("storage", &self.storage).finish_non_exhaustive()
    }
}

fn first(settings: &TresorSettings, now: SystemTime) -> Result<Kept, RootError> {
    let root = Root::make(settings.root_key, now)?;
    Ok(Kept { roots: vec![keep(&root)], phase: Phase::Steady, longest_validity: 0, since: seconds(now) })
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
    describe_root(der.as_ref().map_or(&[][..], |der| der.as_ref()), signs)
}

fn describe_root(der: &[u8], signs: bool) -> RootStatus {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let not_after = x509_parser::parse_x509_certificate(der)
        .map_or(0, |(_, certificate)| certificate.validity().not_after.timestamp());
    let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(not_after).unwrap_or_default());
    let fingerprint = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    RootStatus { fingerprint, not_after: rfc3339(not_after), signs }
}

/// The roots of a bundle, for people; the first one signs.
pub(crate) fn roots_of(pem: &str) -> Vec<RootStatus> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let ders = CertificateDer::pem_slice_iter(pem.as_bytes()).flatten();
    ders.enumerate().map(|(index, der)| describe_root(&der, index == 0)).collect()
}

/// A point in time as people and tools write it.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let seconds = i64::try_from(seconds(at)).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| at.to_string())
}
