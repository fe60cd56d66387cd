//! Who signs, as MeshRootCertificates of the control plane's namespace say: their providers are opened, one signs, others
//! are trusted, and the states move on as [`super::changeover`] decides. Every process acts by the states that are
//! written; the one that leads writes them.
//!
//! An object that cannot be used (another trust domain, a provider that does not open) gets the state `error` and changes
//! nothing: whoever signed before goes on. The provider of an object that is in use is not changed by editing it, which
//! would leave certificates without trust; another object is to be made.

use super::authority::{Provider, ProviderFailure, Signer};
use super::changeover::{self, Move, Pace, Root, State};
use super::tresor::Clock;
use super::{Exchange, Issuer};
use crate::leader::Leadership;
use crate::limits;
use crate::source::Event;
use crate::source::kubernetes::describe;
use crate::world::{Problem, Severity};
use fsm_api::resources::root_certificate::{CertificateProvider, MeshRootCertificate};
use futures_util::TryStreamExt;
use kube::api::{Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Until when a state lasts; whoever leads next must know.
const UNTIL: &str = "flomesh.io/state-until";

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
    objects: Api<MeshRootCertificate>,
    clock: Clock,
    exchange: Arc<Exchange>,
    open: BTreeMap<String, Open>,
    /// Objects that cannot be used, with the reason.
    broken: BTreeMap<String, String>,
}

/// An object whose provider is in use.
struct Open {
    provider: CertificateProvider,
    issuer: Arc<dyn Issuer>,
    kind: &'static str,
    stop: CancellationToken,
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
    /// Opens the provider that signs. The first object is waited for, but not for ever.
    ///
    /// # Errors
    /// [`RolloutError`].
    pub async fn open(settings: RolloutSettings, clock: Clock) -> Result<Self, RolloutError> {
        let objects: Api<MeshRootCertificate> = Api::namespaced(settings.client.clone(), &settings.namespace);
        let until = Instant::now() + limits::AUTHORITY_PATIENCE;
        loop {
            let error = match Self::signer(&settings, &objects).await {
                Ok((name, wanted, provider)) => {
                    let signer = Signer::open(provider, clock.clone()).await;
                    let signer = signer.map_err(|source| RolloutError::Provider { name: name.clone(), source })?;
                    let (issuer, kind) = (signer.issuer(), signer.kind());
                    let exchange = Arc::new(Exchange::new(issuer.clone()));
                    let stop = CancellationToken::new();
                    tokio::spawn(signer.tend_alone(stop.clone()));
                    let open = BTreeMap::from([(name, Open { provider: wanted, issuer, kind, stop })]);
                    return Ok(Self { settings, objects, clock, exchange, open, broken: BTreeMap::new() });
                }
                Err(error) => error,
            };
            if Instant::now() >= until {
                return Err(error);
            }
            warn!("{error}; it is tried again");
            sleep(limits::AUTHORITY_RETRY).await;
        }
    }

    async fn signer(
        settings: &RolloutSettings,
        objects: &Api<MeshRootCertificate>,
    ) -> Result<(String, CertificateProvider, Provider), RolloutError> {
        let namespace = settings.namespace.clone();
        let listed = timeout(limits::WRITE_TIMEOUT, objects.list(&Default::default())).await;
        let listed = listed.map_err(|_| "no answer".to_owned()).and_then(|all| all.map_err(|error| describe(&error)));
        let all = listed.map_err(|reason| RolloutError::ApiServer { namespace: namespace.clone(), reason })?.items;
        let (mut roots, mut reasons) = (Vec::new(), String::new());
        for object in &all {
            match settings.read(object) {
                Ok(_) => roots.push(root_of(object)),
                Err(why) => reasons = format!("{reasons} ({}: {why})", object.name_any()),
            }
        }
        // Nobody signs yet: as whoever leads will decide.
        let moves = changeover::moves(&roots, SystemTime::UNIX_EPOCH, settings.pace(Duration::ZERO));
        let name = changeover::signer(&roots).map(|root| root.name.clone());
        let name = name.or_else(|| moves.first().map(|first| first.name.clone()));
        let object = all.iter().find(|object| Some(object.name_any()) == name);
        let Some(object) = object else { return Err(RolloutError::Nobody { namespace, reason: reasons }) };
        match settings.read(object) {
            Ok(provider) => Ok((object.name_any(), object.spec.provider.clone(), provider)),
            Err(reason) => Err(RolloutError::Nobody { namespace, reason }),
        }
    }

    /// All that are trusted, as one issuer.
    pub fn issuer(&self) -> Arc<Exchange> {
        self.exchange.clone()
    }

    /// Carries out what objects say until `stop`.
    pub async fn tend(
        mut self,
        mut leadership: Leadership,
        events: Option<mpsc::Sender<Event>>,
        stop: CancellationToken,
    ) {
        let mut seen = pin!(watcher(self.objects.clone(), watcher::Config::default()).default_backoff());
        let (mut known, mut listing, mut listed) = (BTreeMap::new(), BTreeMap::new(), false);
        let mut told = Vec::new();
        loop {
            if listed {
                self.carry_out(&known).await;
                if leadership.leads() {
                    self.move_on(&known).await;
                }
            }
            self.exchange.refresh((self.clock)());
            let problems: Vec<Problem> = self.broken.iter().map(problem).collect();
            if problems != told {
                problems.iter().for_each(|problem| warn!("{problem}"));
                told.clone_from(&problems);
                if let Some(events) = &events {
                    // Nobody listens any more when the program ends.
                    let _ = events.send(Event::Problems { origin: ORIGIN.into(), problems }).await;
                }
            }
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
        let mut in_use = Vec::new();
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
        let (issuer, kind, stop) = (signer.issuer(), signer.kind(), CancellationToken::new());
        tokio::spawn(signer.tend_alone(stop.clone()));
        info!("MeshRootCertificate {name}: its provider ({kind}) is trusted");
        self.open.insert(name.clone(), Open { provider: object.spec.provider.clone(), issuer, kind, stop });
        self.broken.remove(&name);
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
                        self.write(&Move { name: name.clone(), state: State::Error, until: None }).await;
                    }
                }
            }
        }
        let pace = self.settings.pace(self.exchange.longest_validity());
        for next in changeover::moves(&usable, (self.clock)(), pace) {
            // Nobody is told to sign whose roots are not trusted here yet.
            let unheard = next.state == State::IssuingRollout && !self.open.contains_key(&next.name);
            if unheard || !self.write(&next).await {
                return;
            }
            info!("MeshRootCertificate {} is {} now", next.name, next.state.as_str());
        }
    }

    /// Whether it was written.
    async fn write(&mut self, next: &Move) -> bool {
        let until = next.until.map(super::tresor::rfc3339);
        let status = json!({ "state": next.state.as_str() });
        let whole = json!({ "metadata": { "annotations": { UNTIL: until } }, "status": status });
        let only = json!({ "status": status });
        let parameters = PatchParams::default();
        let writing = async {
            let written = self.objects.patch(&next.name, &parameters, &Patch::Merge(&whole)).await?;
            if written.status.is_none_or(|status| status.state != next.state.as_str()) {
                // There is a sub-resource, then, and the object's own field was passed over.
                self.objects.patch_status(&next.name, &parameters, &Patch::Merge(&only)).await?;
            }
            Ok::<(), kube::Error>(())
        };
        let why = match timeout(limits::WRITE_TIMEOUT, writing).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => describe(&error),
            Err(_) => "the API server does not answer".to_owned(),
        };
        warn!("the state of MeshRootCertificate {} cannot be written: {why}; it is tried again", next.name);
        false
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

fn root_of(object: &MeshRootCertificate) -> Root {
    let time = |text: &String| text.parse::<jiff::Timestamp>().ok().map(SystemTime::from);
    let created = object.metadata.creation_timestamp.as_ref().map(|created| SystemTime::from(created.0));
    Root {
        name: object.name_any(),
        created: created.unwrap_or(SystemTime::UNIX_EPOCH),
        state: object.status.as_ref().map_or(State::New, |status| State::read(&status.state)),
        until: object.annotations().get(UNTIL).and_then(time),
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
