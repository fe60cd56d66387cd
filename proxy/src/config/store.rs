//! Puts documents in force: one door for every source.
//!
//! A document is read, compiled and swapped in as a whole; readers see the old snapshot or the new one, never a mixture.
//! Whatever goes wrong before the swap (no JSON, FSM's empty placeholder, a panic of the compiler) leaves the last good
//! snapshot in force and is kept for `/config_status`. Never blocks readers; never touches the network.

mod status;

pub use status::{Failure, Status};

use super::cache::Cache;
use super::compile::{Environment, compile, with_other_endpoints};
use super::snapshot::Snapshot;
use crate::telemetry::Telemetry;
use crate::tls::Identity;
use arc_swap::{ArcSwapOption, Guard};
use aws_lc_rs::digest::{SHA256, digest};
use fsm_api::config::{ChangeError, Config, Problem, ReadError, Severity, Touched};
use fsm_api::stream::Delta;
use parking_lot::Mutex;
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

/// Problems of one document that are logged one by one; the rest is summed up. `/config_status` has them all.
const LOGGED_PROBLEMS: usize = 50;

/// The configuration in force, and how it came about.
#[derive(Debug)]
pub struct Store {
    current: ArcSwapOption<Snapshot>,
    /// Were in force, and may still be read. Kept here so that no request ever has to free one: a big one takes milliseconds.
    retired: Mutex<Vec<Arc<Snapshot>>>,
    telemetry: Arc<Telemetry>,
    generation: watch::Sender<u64>,
    /// Held while a document is put in force: one at a time.
    applying: Mutex<InForce>,
    status: Mutex<Status>,
    cache: Option<Cache>,
    compiler: Compiler,
}

/// [`compile`], or a broken one in tests.
type Compiler = fn(Arc<Config>, Vec<Problem>, Option<&Snapshot>, Environment) -> Snapshot;

/// Where a document was taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// FSM's repository, by the URL of the document.
    Repo(String),
    /// fsm-control, by its address.
    Control(String),
    /// The cache of an earlier run.
    Cache(PathBuf),
}

/// What became of a document that was not rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is in force now.
    Changed {
        /// Number of documents put in force so far.
        generation: u64,
        /// Problems found in it.
        problems: usize,
    },
    /// It says the same as the one in force.
    Unchanged,
}

/// Why a document was not put in force; the last good one stays.
#[derive(Debug, Error)]
pub enum Rejected {
    /// FSM's base codebase holds `{}`, which shines through until a pod's own document is published.
    #[error(
        "{origin} is the empty placeholder that FSM serves until the pod's document is published; the previous \
         configuration stays in force"
    )]
    Placeholder {
        /// Where it was taken from.
        origin: Origin,
    },
    /// The bytes are no document.
    #[error("{origin}: {source}; the previous configuration stays in force")]
    Read {
        /// Where they were taken from.
        origin: Origin,
        /// What is wrong with them.
        source: ReadError,
    },
    /// A defect of the proxy.
    #[error(
        "{origin}: the proxy failed to compile the document ({message}); this is a defect, please report it; the \
         previous configuration stays in force"
    )]
    Panicked {
        /// Where the document was taken from.
        origin: Origin,
        /// The panic's message.
        message: String,
    },
}

/// Why a delta was not put in force; nothing has changed then.
#[derive(Debug, Error)]
pub enum DeltaRejected {
    /// It builds upon another document.
    #[error("the delta builds upon version {base:?}, but version {in_force:?} is in force; the whole document helps")]
    Base {
        /// What it builds upon.
        base: String,
        /// What is in force; empty: nothing.
        in_force: String,
    },
    /// The document in force is not the one that it was made for.
    #[error("{0}; the whole document helps")]
    Change(#[from] ChangeError),
    /// Something else came out than fsm-control has.
    #[error(
        "what the delta makes of version {base:?} is not version {version:?}: this proxy does not know some member that \
         fsm-control writes; the whole document helps"
    )]
    Digest {
        /// What it builds upon.
        base: String,
        /// What should have come out.
        version: String,
    },
    /// A defect of the proxy.
    #[error(transparent)]
    Rejected(#[from] Rejected),
}

/// A document that was read, but is not in force yet.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    bytes: &'a [u8],
    origin: Origin,
    config: Config,
    problems: Vec<Problem>,
}

/// What the next document is compared with.
#[derive(Debug, Default)]
struct InForce {
    config: Option<Arc<Config>>,
    /// Problems of reading it: two documents may differ only in parts that were skipped.
    problems: Vec<Problem>,
    environment: Environment,
}

impl Store {
    /// A store without configuration.
    pub fn new(telemetry: Arc<Telemetry>) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            retired: Mutex::default(),
            telemetry,
            generation: watch::Sender::new(0),
            applying: Mutex::default(),
            status: Mutex::default(),
            cache: None,
            compiler: compile,
        }
    }

    /// Compiles with these facts of the machine from now on.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.applying.get_mut().environment = environment;
        self
    }

    /// Keeps documents of the repository in `cache` from now on.
    #[must_use]
    pub fn with_cache(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// The configuration in force; `None` before the first document.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.current.load_full()
    }

    /// The same without counting a reference; not to be held across an await.
    pub fn load(&self) -> Guard<Option<Arc<Snapshot>>> {
        self.current.load()
    }

    /// Tells when a document was put in force: the number of documents so far.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Those that were in force and that nobody reads any more, to be freed where it delays nothing; and whether others are
    /// still read.
    pub fn take_retired(&self) -> (Vec<Arc<Snapshot>>, bool) {
        let mut retired = self.retired.lock();
        let (unread, read): (Vec<_>, Vec<_>) = retired.drain(..).partition(|snapshot| Arc::strong_count(snapshot) == 1);
        let more = !read.is_empty();
        *retired = read;
        (unread, more)
    }

    /// How the configuration in force came about, and what went wrong since.
    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// How long the configuration has been in force; `None` before the first document.
    pub fn age(&self) -> Option<Duration> {
        self.status.lock().applied.map(|applied| applied.elapsed())
    }

    /// Where the document in force was taken from, for people; empty before the first document.
    pub fn source(&self) -> String {
        self.status.lock().origin.clone().unwrap_or_default()
    }

    /// Why the latest document was refused or why there is none to be had; `None` while all is well.
    pub fn failure(&self) -> Option<String> {
        let status = self.status.lock();
        let failure = status.rejected.as_ref().or(status.source_failure.as_ref());
        failure.map(|failure| failure.message.clone())
    }

    /// Puts a document in force, plain or gzip. Takes as long as compiling takes and may write the cache: asynchronous
    /// callers run it on a blocking thread.
    ///
    /// # Errors
    /// [`Rejected`] when the bytes are no document; the last good one stays in force.
    pub fn apply(&self, bytes: &[u8], origin: &Origin) -> Result<Applied, Rejected> {
        match self.read(bytes, origin) {
            Ok(document) => self.put_in_force(document),
            Err(rejected) => Err(self.reject(rejected)),
        }
    }

    /// Puts the cached document of an earlier run in force, when there is one that fits.
    pub fn apply_cached(&self) -> Option<Applied> {
        let (bytes, path) = self.cache.as_ref()?.load()?;
        self.apply(&bytes, &Origin::Cache(path)).ok()
    }

    /// Puts a document in force that its source calls by `version`, whatever the document itself says.
    ///
    /// # Errors
    /// As [`Store::apply`].
    pub fn apply_version(&self, version: &str, bytes: &[u8], origin: &Origin) -> Result<Applied, Rejected> {
        match self.read(bytes, origin) {
            Ok(mut document) => {
                document.config.version = Some(version.to_owned());
                self.put_in_force(document)
            }
            Err(rejected) => Err(self.reject(rejected)),
        }
    }

    /// Puts what differs from the document in force in force. Where nothing but endpoints, and the hosts and ranges that
    /// lead to them, is touched, only those are compiled; else the document as a whole. Takes as long as that takes.
    ///
    /// # Errors
    /// [`DeltaRejected`]; nothing has changed then.
    pub fn apply_delta(&self, delta: &Delta, origin: &Origin) -> Result<Applied, DeltaRejected> {
        let mut in_force = self.applying.lock();
        let (Some(before), Some(previous)) = (in_force.config.clone(), self.snapshot()) else {
            return Err(DeltaRejected::Base { base: delta.base.clone(), in_force: String::new() });
        };
        if previous.version != delta.base {
            let (base, in_force) = (delta.base.clone(), previous.version.clone());
            return Err(DeltaRejected::Base { base, in_force });
        }
        let changed = catch_unwind(AssertUnwindSafe(|| changed(&before, delta)));
        let (config, touched) =
            changed.unwrap_or_else(|panic| Err(self.reject(self.panicked(origin, &*panic)).into()))?;
        let environment = in_force.environment.clone();
        let replaced =
            catch_unwind(AssertUnwindSafe(|| with_other_endpoints(&config, &touched, &previous, environment)));
        match replaced {
            Ok(Some(snapshot)) => {
                debug!(
                    "version {} is in force: {} clusters have other endpoints",
                    delta.version,
                    touched.endpoints.len()
                );
                in_force.config = Some(config);
                Ok(self.enter(Arc::new(snapshot), origin))
            }
            Ok(None) => {
                let problems = in_force.problems.clone();
                Ok(self.compile_and_enter(&mut in_force, config, problems, origin)?)
            }
            Err(panic) => Err(self.reject(self.panicked(origin, &*panic)).into()),
        }
    }

    /// Takes the certificate that fsm-control has issued: for documents to come, and for the one in force if it leaves its
    /// certificate to fsm-control. Renewing an identity in place does not need this.
    pub fn set_identity(&self, identity: &Arc<Identity>, origin: &Origin) {
        let mut in_force = self.applying.lock();
        in_force.environment.identity = Some(Arc::clone(identity));
        let Some(config) = in_force.config.clone() else { return };
        let known = self.snapshot().and_then(|snapshot| snapshot.identity.clone());
        let waiting = config.certificate.as_ref().is_some_and(|certificate| certificate.is_issued_by_control());
        if waiting && !known.is_some_and(|known| Arc::ptr_eq(&known, identity)) {
            let problems = in_force.problems.clone();
            // A failure is recorded, and there is nothing else that could be done about it.
            let _ = self.compile_and_enter(&mut in_force, config, problems, origin);
        }
    }

    /// Records that the source confirms the document in force.
    pub fn confirm(&self, origin: &Origin) {
        self.status.lock().confirm(origin);
    }

    /// Records that the source could not be read; logs it once for each new cause.
    pub fn source_failed(&self, message: &str) {
        self.telemetry.config_source_errors.increment();
        let new = Failure::note(&mut self.status.lock().source_failure, message);
        match new {
            true => warn!("{message}"),
            false => debug!("{message}"),
        }
    }

    /// Records that the source can be read.
    pub fn source_recovered(&self) {
        if self.status.lock().source_failure.take().is_some() {
            info!("the configuration source can be read again");
        }
    }

    /// Reads a document without any effect, so that a caller may try again before it reports a failure.
    pub(crate) fn read<'a>(&self, bytes: &'a [u8], origin: &Origin) -> Result<Document<'a>, Rejected> {
        let read = catch_unwind(|| Config::read(bytes)).map_err(|panic| self.panicked(origin, &*panic))?;
        let (config, problems) = read.map_err(|source| Rejected::Read { origin: origin.clone(), source })?;
        if matches!(origin, Origin::Repo(_)) && config.is_empty_placeholder() {
            return Err(Rejected::Placeholder { origin: origin.clone() });
        }
        Ok(Document { bytes, origin: origin.clone(), config, problems })
    }

    /// Puts a document in force.
    pub(crate) fn put_in_force(&self, document: Document<'_>) -> Result<Applied, Rejected> {
        let Document { bytes, origin, config, problems } = document;
        let mut in_force = self.applying.lock();
        if in_force.says(&config, &problems) {
            self.status.lock().confirm(&origin);
            return Ok(Applied::Unchanged);
        }
        let applied = self.compile_and_enter(&mut in_force, Arc::new(config), problems, &origin)?;
        if let (Origin::Repo(_), Some(cache)) = (&origin, &self.cache) {
            cache.save(bytes);
        }
        Ok(applied)
    }

    fn compile_and_enter(
        &self,
        in_force: &mut InForce,
        config: Arc<Config>,
        problems: Vec<Problem>,
        origin: &Origin,
    ) -> Result<Applied, Rejected> {
        let previous = self.snapshot();
        let compiled = catch_unwind(AssertUnwindSafe(|| {
            (self.compiler)(config.clone(), problems.clone(), previous.as_deref(), in_force.environment.clone())
        }));
        let snapshot = match compiled {
            Ok(snapshot) => Arc::new(snapshot),
            Err(panic) => return Err(self.reject(self.panicked(origin, &*panic))),
        };
        (in_force.config, in_force.problems) = (Some(config), problems);
        log_problems(&snapshot.problems, previous.as_deref());
        let applied = self.enter(Arc::clone(&snapshot), origin);
        info!(
            "configuration {} is in force: {origin}, version {}, {} clusters, {} problems",
            *self.generation.borrow(),
            if snapshot.version.is_empty() { "unknown" } else { &snapshot.version },
            snapshot.clusters.len(),
            snapshot.problems.len(),
        );
        Ok(applied)
    }

    /// Lets readers see a snapshot.
    fn enter(&self, snapshot: Arc<Snapshot>, origin: &Origin) -> Applied {
        let generation = *self.generation.borrow() + 1;
        let problems = snapshot.problems.len();
        self.status.lock().enter(origin, generation, &snapshot);
        self.retired.lock().extend(self.current.swap(Some(snapshot)));
        self.telemetry.config_applied.increment();
        self.generation.send_replace(generation);
        Applied::Changed { generation, problems }
    }

    /// Records a rejected document; logs it once for each new cause.
    pub(crate) fn reject(&self, rejected: Rejected) -> Rejected {
        self.telemetry.config_rejected.increment();
        let message = rejected.to_string();
        let new = Failure::note(&mut self.status.lock().rejected, &message);
        match (&rejected, new) {
            (Rejected::Panicked { .. }, _) => error!("{message}"),
            (_, true) => warn!("{message}"),
            (_, false) => debug!("{message}"),
        }
        rejected
    }

    /// The process's panic hook has logged and counted it.
    fn panicked(&self, origin: &Origin, panic: &(dyn Any + Send)) -> Rejected {
        let text = panic.downcast_ref::<&str>().copied();
        let message = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        Rejected::Panicked { origin: origin.clone(), message: message.to_owned() }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Repo(url) | Origin::Control(url) => write!(f, "{url}"),
            Origin::Cache(path) => write!(f, "cache {}", path.display()),
        }
    }
}

impl InForce {
    /// Whether a document says the same; its time stamp says nothing.
    fn says(&self, config: &Config, problems: &[Problem]) -> bool {
        let Some(current) = &self.config else {
            return false;
        };
        let stampless = |config: &Config| Config { ts: None, ..config.clone() };
        self.problems == problems && (**current == *config || stampless(current) == stampless(config))
    }
}

/// The document that a delta makes of another one, and what it touches.
fn changed(before: &Config, delta: &Delta) -> Result<(Arc<Config>, Touched), DeltaRejected> {
    let (mut config, mut touched) = (before.clone(), Touched::default());
    for change in &delta.changes {
        change.apply(&mut config, &mut touched)?;
    }
    let differs = || DeltaRejected::Digest { base: delta.base.clone(), version: delta.version.clone() };
    let text = config.stampless().map_err(|_| differs())?;
    let digest = digest(&SHA256, &text);
    let same = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).eq(pairs(&delta.digest));
    if !same {
        return Err(differs());
    }
    config.version = Some(delta.version.clone());
    Ok((Arc::new(config), touched))
}

/// A text in pieces of two characters.
fn pairs(text: &str) -> impl Iterator<Item = &str> {
    (0..text.len()).step_by(2).map(|at| text.get(at..at + 2).unwrap_or_default())
}

/// Logs the problems that the previous document did not have.
fn log_problems(problems: &[Problem], previous: Option<&Snapshot>) {
    let known = previous.map_or(&[][..], |snapshot| &snapshot.problems);
    let known: std::collections::HashSet<_> = known.iter().map(|problem| (&problem.path, &problem.message)).collect();
    let new = problems.iter().filter(|problem| !known.contains(&(&problem.path, &problem.message)));
    let mut count = 0_usize;
    for problem in new {
        count += 1;
        match problem.severity {
            _ if count > LOGGED_PROBLEMS => {}
            Severity::Error => warn!("configuration problem at {problem}"),
            Severity::Note => info!("remark on the configuration at {problem}"),
        }
    }
    if let Some(more) = count.checked_sub(LOGGED_PROBLEMS).filter(|more| *more > 0) {
        warn!("{more} more configuration problems are not logged");
    }
}

#[cfg(test)]
mod tests;
