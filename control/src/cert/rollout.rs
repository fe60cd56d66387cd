//! Who signs, as MeshRootCertificates of the control plane's namespace say: their providers are opened, one signs, others
//! are trusted, and the states move on as [`super::changeover`] decides. Every process acts by the states that are
//! written; the one that leads writes them, and replaces the root of a built-in authority that signs when it is due.
//!
//! An object that cannot be used (another trust domain, a provider that does not open) gets the state `error` and changes
//! nothing: whoever signed before goes on. The provider of an object that is in use is not changed by editing it, which
//! would leave certificates without trust; another object is to be made.

mod written;

use super::authority::{Provider, ProviderFailure, Signer};
use super::changeover::{self, Change, Move, Pace, Root, State};
use super::custody::not_in_step;
use super::told::Told;
use super::tresor::Clock;
use super::{Exchange, Issuer, Tresor};
use crate::leader::Leadership;
use crate::limits;
use crate::source::Event;
use crate::source::kubernetes::describe;
use crate::world::{Problem, Severity};
use fsm_api::resources::root_certificate::{CertificateProvider, MeshRootCertificate};
use futures_util::TryStreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use written::{Written, longest_validity, root_of};

/// Origin of its problems.
const ORIGIN: &str = "fsm-control: root certificates";

/// The validity of workloads' certificates, where nobody said more.
const USUAL_VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// Makes a provider of what an object says; the error says what is wrong with it.
pub type MakeProvider = Arc<dyn Fn(&CertificateProvider) -> Result<Provider, String> + Send + Sync>;

/// How MeshRootCertificates are carried out.
#[derive(Clone)]
pub struct RolloutSettings {
    /// To the API server.
    pub client: Client,
    /// Namespace of the control plane.
    pub namespace: String,
    /// `--trust-domain`, which objects must have.
    pub trust_domain: String,
    /// A new one is trusted so long before it signs.
    pub announce: Duration,
    /// From an object to a provider.
    pub provider: MakeProvider,
}

/// MeshRootCertificates, carried out.
pub struct Rollout {
    settings: RolloutSettings,
    written: Written,
    clock: Clock,
    exchange: Arc<Exchange>,
    signing: watch::Sender<Signing>,
    open: BTreeMap<String, Open>,
    /// Objects that cannot be used, with the reason.
    broken: BTreeMap<String, String>,
    /// Why roots of the built-in authority are not what they should be.
    behind: Option<Problem>,
    events: Option<mpsc::Sender<Event>>,
}

/// An object whose provider is in use.
struct Open {
    provider: CertificateProvider,
    issuer: Arc<dyn Issuer>,
    tresor: Option<Arc<Tresor>>,
    kind: &'static str,
    stop: CancellationToken,
    /// Until somebody tends it.
    signer: Option<Signer>,
}

/// Who signs at the moment, for operators.
#[derive(Clone, Debug)]
pub struct Signing {
    /// Name of the MeshRootCertificate.
    pub name: String,
    /// FSM's name of its provider.
    pub kind: &'static str,
    /// The built-in authority, where it is the one.
    pub tresor: Option<Arc<Tresor>>,
    /// The change from one object to another that is under way.
    pub change: Option<Change>,
    /// Those whose roots are trusted, it among them.
    pub trusted: Vec<Trusted>,
}

/// An object whose roots are trusted, for operators.
#[derive(Clone, Debug)]
pub struct Trusted {
    /// Name of the MeshRootCertificate.
    pub name: String,
    /// FSM's name of its provider.
    pub kind: &'static str,
    /// Knows its roots.
    pub issuer: Arc<dyn Issuer>,
}

/// Why nobody signs.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// The API server.
    #[error("MeshRootCertificates of namespace {namespace} cannot be read: {reason}")]
    ApiServer {
        /// Where.
        namespace: String,
        /// Why.
        reason: String,
    },
    /// There is none.
    #[error(
        "there is no usable MeshRootCertificate in namespace {namespace}{reason}; fsm-control bootstrap makes the first one \
         with --enable-mesh-root-certificate, or create one"
    )]
    Nobody {
        /// Where.
        namespace: String,
        /// What is wrong with those that are there.
        reason: String,
    },
    /// It does not open.
    #[error("MeshRootCertificate {name}: {source}")]
    Provider {
        /// Which.
        name: String,
        /// Why.
        source: ProviderFailure,
    },
}

impl Rollout {
    /// Opens the provider that signs, and those that are trusted besides. The first object is waited for, but not for ever.
    ///
    /// # Errors
    /// [`RolloutError`].
    pub async fn open(settings: RolloutSettings, clock: Clock) -> Result<Self, RolloutError> {
        let objects: Api<MeshRootCertificate> = Api::namespaced(settings.client.clone(), &settings.namespace);
        let until = Instant::now() + limits::AUTHORITY_PATIENCE;
        let (first, others) = loop {
            match Self::in_use(&settings, &objects).await {
                Ok(found) => break found,
                Err(error) if Instant::now() >= until => return Err(error),
                Err(error) => warn!("{error}; it is tried again"),
            }
            sleep(limits::AUTHORITY_RETRY).await;
        };
        let signer = Signer::open(first.provider, clock.clone()).await;
        let signer = signer.map_err(|source| RolloutError::Provider { name: first.name.clone(), source })?;
        let own = Open::new(first.spec, signer);
        let exchange = Arc::new(Exchange::new(own.issuer.clone()));
        let (name, kind, tresor) = (first.name.clone(), own.kind, own.tresor.clone());
        let mut issuers = vec![own.issuer.clone()];
        let mut open = BTreeMap::from([(first.name, own)]);
        for Chosen { name, spec, provider } in others {
            // Whoever starts in the middle of a change must not forget whose certificates are about.
            match Signer::open_at_once(&provider, &clock).await {
                Ok(signer) => {
                    let other = Open::new(spec, signer);
                    issuers.push(other.issuer.clone());
                    open.insert(name, other);
                }
                Err(error) => warn!("MeshRootCertificate {name} is not trusted yet: {error}; it is tried again"),
            }
        }
        exchange.set(issuers, clock());
        let signing = Signing { name, kind, tresor, change: None, trusted: trusted(&open) };
        let (written, signing) = (Written::new(objects), watch::Sender::new(signing));
        let (broken, behind, events) = (BTreeMap::new(), None, None);
        Ok(Self { settings, written, clock, exchange, signing, open, broken, behind, events })
    }

    /// The object that signs, and the others that are trusted.
    async fn in_use(
        settings: &RolloutSettings,
        objects: &Api<MeshRootCertificate>,
    ) -> Result<(Chosen, Vec<Chosen>), RolloutError> {
        let namespace = settings.namespace.clone();
        let listed = timeout(limits::WRITE_TIMEOUT, objects.list(&Default::default())).await;
        let listed = listed.map_err(|_| "no answer".to_owned()).and_then(|all| all.map_err(|error| describe(&error)));
        let all = listed.map_err(|reason| RolloutError::ApiServer { namespace: namespace.clone(), reason })?.items;
        let (mut roots, mut providers, mut reasons) = (Vec::new(), BTreeMap::new(), String::new());
        for object in all {
            match settings.read(&object) {
                Ok(provider) => {
                    roots.push(root_of(&object));
                    let (name, spec) = (object.name_any(), object.spec.provider);
                    providers.insert(name.clone(), Chosen { name, spec, provider });
                }
                Err(why) => reasons = format!("{reasons} ({}: {why})", object.name_any()),
            }
        }
        // Where nobody signs yet: as whoever leads will decide.
        let moves = changeover::moves(&roots, SystemTime::UNIX_EPOCH, settings.pace(Duration::ZERO));
        let name = changeover::signer(&roots).map(|root| root.name.clone());
        let name = name.or_else(|| moves.first().map(|first| first.name.clone()));
        let first = name.and_then(|name| providers.remove(&name));
        let first = first.ok_or(RolloutError::Nobody { namespace, reason: reasons })?;
        let trusted = changeover::trusted(&roots);
        Ok((first, trusted.iter().filter_map(|root| providers.remove(&root.name)).collect()))
    }

    /// All that are trusted, as one issuer.
    pub fn issuer(&self) -> Arc<Exchange> {
        self.exchange.clone()
    }

    /// Who signs.
    pub fn signing(&self) -> watch::Receiver<Signing> {
        self.signing.subscribe()
    }

    /// Carries out what objects say until `stop`.
    pub async fn tend(
        mut self,
        mut leadership: Leadership,
        events: Option<mpsc::Sender<Event>>,
        stop: CancellationToken,
    ) {
        let mut told = Told::new(ORIGIN, events.clone());
        self.events = events;
        for (name, open) in &mut self.open {
            open.tend(name, self.events.clone());
        }
        let mut seen = pin!(watcher(self.written.objects(), watcher::Config::default()).default_backoff());
        let (mut known, mut listing, mut listed) = (BTreeMap::new(), BTreeMap::new(), false);
        loop {
            if listed {
                self.carry_out(&known).await;
                self.remember_validity(&known).await;
                if leadership.leads() {
                    self.move_on(&known).await;
                    self.replace_roots().await;
                }
            }
            self.exchange.refresh((self.clock)());
            told.tell(self.broken.iter().map(problem).chain(self.behind.clone()).collect()).await;
            tokio::select! {
                () = stop.cancelled() => break,
                event = seen.try_next() => match event {
                    Ok(Some(watcher::Event::Init)) => listing = BTreeMap::new(),
                    Ok(Some(watcher::Event::InitApply(object))) => drop(listing.insert(object.name_any(), object)),
                    Ok(Some(watcher::Event::InitDone)) => (known, listed) = (std::mem::take(&mut listing), true),
                    Ok(Some(watcher::Event::Apply(object))) => drop(known.insert(object.name_any(), object)),
                    Ok(Some(watcher::Event::Delete(object))) => drop(known.remove(&object.name_any())),
                    Ok(None) => break,
                    Err(error) => warn!("MeshRootCertificates cannot be followed: {}; it is tried again", describe(&error)),
                },
                _ = leadership.changed() => {}
                () = sleep(limits::AUTHORITY_TICK) => {}
            }
        }
        self.open.values().for_each(|open| open.stop.cancel());
    }

    /// Opens what is to be trusted, and lets the one sign that is to.
    async fn carry_out(&mut self, known: &BTreeMap<String, MeshRootCertificate>) {
        self.broken.retain(|name, _| known.contains_key(name));
        let usable: Vec<Root> = known.values().map(root_of).filter(|root| root.state != State::Error).collect();
        let mut issuers: Vec<Arc<dyn Issuer>> = Vec::new();
        let mut in_use: Vec<String> = Vec::new();
        for root in changeover::trusted(&usable) {
            let Some(object) = known.get(&root.name) else { continue };
            if let Err(why) = self.ensure_open(object).await {
                self.broken.insert(root.name.clone(), why);
            }
            if let Some(open) = self.open.get(&root.name) {
                issuers.push(open.issuer.clone());
                in_use.push(root.name.clone());
            }
        }
        if issuers.is_empty() {
            // Nobody is active yet, or all objects are gone: whoever signs goes on.
            return;
        }
        self.exchange.set(issuers, (self.clock)());
        if let Some((name, open)) = in_use.first().and_then(|name| self.open.get_key_value(name)) {
            let (name, kind, tresor) = (name.clone(), open.kind, open.tresor.clone());
            let (change, trusted) = (changeover::change(&usable), trusted(&self.open));
            self.signing.send_replace(Signing { name, kind, tresor, change, trusted });
        }
        self.open.retain(|name, open| {
            let used = in_use.contains(name);
            if !used {
                open.stop.cancel();
                info!("MeshRootCertificate {name}: its provider ({}) is not trusted any more", open.kind);
            }
            used
        });
    }

    async fn ensure_open(&mut self, object: &MeshRootCertificate) -> Result<(), String> {
        let name = object.name_any();
        if let Some(open) = self.open.get(&name) {
            if open.provider == object.spec.provider {
                self.broken.remove(&name);
                return Ok(());
            }
            return Err(
                "its provider was changed while it is in use, which has no effect until fsm-control starts again and \
                 then leaves certificates without trust; put back what it was, and make another MeshRootCertificate"
                    .to_owned(),
            );
        }
        let provider = self.settings.read(object)?;
        let signer = Signer::open_at_once(&provider, &self.clock).await.map_err(|error| error.to_string())?;
        let mut open = Open::new(object.spec.provider.clone(), signer);
        open.tend(&name, self.events.clone());
        info!("MeshRootCertificate {name}: its provider ({}) is trusted", open.kind);
        self.broken.remove(&name);
        self.open.insert(name, open);
        Ok(())
    }

    /// Writes the states that follow.
    async fn move_on(&mut self, known: &BTreeMap<String, MeshRootCertificate>) {
        let mut usable = Vec::new();
        for (name, object) in known {
            match self.settings.read(object) {
                Ok(_) => usable.push(root_of(object)),
                Err(why) => {
                    self.broken.insert(name.clone(), why);
                    if root_of(object).state == State::New {
                        self.written.state(&Move { name: name.clone(), state: State::Error, until: None }).await;
                    }
                }
            }
        }
        let longest = known.values().map(longest_validity).max().unwrap_or_default();
        let pace = self.settings.pace(longest.max(self.exchange.longest_validity()));
        for next in self.moves(known, usable, pace).await {
            // Nobody is told to sign whose roots are not trusted here yet.
            let unheard = next.state == State::IssuingRollout && !self.open.contains_key(&next.name);
            if unheard || !self.written.state(&next).await {
                return;
            }
            info!("MeshRootCertificate {} is {} now", next.name, next.state.as_str());
        }
    }

    /// What follows. An object whose provider does not open is passed over until it does: its announcement would end
    /// before anybody had heard of its roots.
    async fn moves(
        &mut self,
        known: &BTreeMap<String, MeshRootCertificate>,
        mut usable: Vec<Root>,
        pace: Pace,
    ) -> Vec<Move> {
        loop {
            let moves = changeover::moves(&usable, (self.clock)(), pace);
            let announced = moves.iter().find(|next| next.state == State::ValidatingRollout);
            let Some((name, object)) = announced.and_then(|next| known.get_key_value(&next.name)) else { return moves };
            let opened = match self.settings.read(object) {
                Ok(provider) => Signer::open_at_once(&provider, &self.clock).await.map_err(|error| error.to_string()),
                Err(why) => Err(why),
            };
            let Err(why) = opened else {
                self.broken.remove(name);
                return moves;
            };
            self.broken.insert(name.clone(), why);
            usable.retain(|root| root.name != *name);
        }
    }

    /// How long the overlap of a change has to be must not be forgotten by a restart.
    async fn remember_validity(&self, known: &BTreeMap<String, MeshRootCertificate>) {
        let longest = self.exchange.longest_validity();
        let Some(signer) = known.get(&self.signing.borrow().name) else { return };
        if longest > longest_validity(signer).max(USUAL_VALIDITY) {
            self.written.longest_validity(&signer.name_any(), longest).await;
        }
    }

    /// Does what is due about the roots of the one that signs, if they are the mesh's own.
    async fn replace_roots(&mut self) {
        let tresor = self.signing.borrow().tresor.clone();
        let outcome = match tresor {
            Some(tresor) => tresor.tick().await,
            None => Ok(()),
        };
        self.behind = outcome.err().as_ref().map(not_in_step);
    }
}

/// An object and its provider.
struct Chosen {
    name: String,
    spec: CertificateProvider,
    provider: Provider,
}

fn trusted(open: &BTreeMap<String, Open>) -> Vec<Trusted> {
    let one =
        |(name, open): (&String, &Open)| Trusted { name: name.clone(), kind: open.kind, issuer: open.issuer.clone() };
    open.iter().map(one).collect()
}

impl Open {
    fn new(provider: CertificateProvider, signer: Signer) -> Self {
        Self {
            provider,
            issuer: signer.issuer(),
            tresor: signer.tresor(),
            kind: signer.kind(),
            stop: CancellationToken::new(),
            signer: Some(signer),
        }
    }

    fn tend(&mut self, name: &str, events: Option<mpsc::Sender<Event>>) {
        if let Some(signer) = self.signer.take() {
            let told = Told::new(&format!("fsm-control: MeshRootCertificate {name}"), events);
            tokio::spawn(signer.tend_as_one(told, self.stop.clone()));
        }
    }
}

impl RolloutSettings {
    fn read(&self, object: &MeshRootCertificate) -> Result<Provider, String> {
        if object.spec.trust_domain != self.trust_domain {
            return Err(format!(
                "its trustDomain is {}, and this mesh has --trust-domain {}; identities would not be the same",
                object.spec.trust_domain, self.trust_domain
            ));
        }
        (self.provider)(&object.spec.provider)
    }

    fn pace(&self, longest: Duration) -> Pace {
        Pace { announce: self.announce, longest_validity: longest.max(USUAL_VALIDITY) }
    }
}

fn problem((name, why): (&String, &String)) -> Problem {
    Problem {
        severity: Severity::Error,
        objects: vec![format!("MeshRootCertificate {name}")],
        reason: "RootCertificateUnusable",
        text: format!("{why}; whoever signed before goes on"),
    }
}

impl fmt::Debug for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rollout").field("open", &self.open.keys()).finish_non_exhaustive()
    }
}
