//! The roots of the mesh in every namespace of it: ConfigMap `fsm-trust-bundle`, key `ca.crt`, which injected pods mount
//! to know their control plane by.
//!
//! It is written by the fsm-control that leads, follows each change of roots, is written again when somebody spoils or
//! removes it, and goes when its namespace leaves the mesh. Before all namespaces are known, none is removed. A ConfigMap
//! of that name that was made by somebody else is left alone and reported; pods of its namespace do not start until it is
//! gone.

use super::Situation;
use super::keeper::pause;
use super::secret::Owner;
use crate::cert::Issuer;
use crate::inject::TRUST_BUNDLE;
use crate::leader::Leadership;
use crate::limits;
use crate::source::Event;
use crate::source::kubernetes::describe;
use crate::world::{Problem, Severity};
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// The key of the ConfigMap.
const KEY: &str = "ca.crt";

/// Origin of its problems.
const ORIGIN: &str = "fsm-control: trust bundles";

/// ConfigMaps that are written at once.
const AT_ONCE: usize = 8;

/// Keeps the ConfigMaps.
#[derive(Clone)]
pub struct BundleKeeper {
    /// To the API server.
    pub client: Client,
    /// Whose ConfigMaps it makes.
    pub owner: Owner,
    /// The control plane's own namespace, which has one too: gateways run there.
    pub fsm_namespace: String,
    /// Which namespaces there are.
    pub situation: watch::Receiver<Arc<Situation>>,
    /// Whose roots.
    pub issuer: Arc<dyn Issuer>,
    /// To the owner of the world, for problems.
    pub events: mpsc::Sender<Event>,
}

/// A ConfigMap of that name, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bundle {
    /// With these roots.
    Ours(String),
    /// Made by somebody else.
    Foreign,
}

/// What is to be done in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Write the roots.
    Put,
    /// Remove the ConfigMap.
    Remove,
}

/// What is to be done, and the namespaces where somebody else's is in the way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Deeds {
    pub(super) deeds: BTreeMap<String, Deed>,
    pub(super) in_the_way: BTreeSet<String>,
}

/// Compares what is there with what is to be there. `known`: these are all namespaces of the mesh.
pub(super) fn deeds(wanted: &BTreeSet<String>, known: bool, found: &BTreeMap<String, Bundle>, roots: &str) -> Deeds {
    let mut all = Deeds::default();
    for namespace in wanted {
        match found.get(namespace) {
            Some(Bundle::Ours(theirs)) if theirs == roots => {}
            Some(Bundle::Foreign) => drop(all.in_the_way.insert(namespace.clone())),
            Some(Bundle::Ours(_)) | None => drop(all.deeds.insert(namespace.clone(), Deed::Put)),
        }
    }
    let left = found.iter().filter(|(namespace, bundle)| !wanted.contains(*namespace) && **bundle != Bundle::Foreign);
    for (namespace, _) in left.filter(|_| known) {
        all.deeds.insert(namespace.clone(), Deed::Remove);
    }
    all
}

/// What happened last in a namespace where not all is well.
#[derive(Debug)]
struct Attempt {
    tries: u32,
    not_before: Instant,
    failure: Option<String>,
}

impl BundleKeeper {
    /// Keeps them whenever, and for as long as, this fsm-control leads; until `stop`.
    pub async fn run_while_leading(self, mut leadership: Leadership, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                leads = leadership.changed() => if !leads { continue },
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clone().keep() => return,
                _ = leadership.changed() => {}
            }
        }
    }

    /// Ends when there is nobody who would tell of changes.
    async fn keep(mut self) {
        let one = watcher::Config::default().fields(&format!("metadata.name={TRUST_BUNDLE}"));
        let maps = Api::<ConfigMap>::all(self.client.clone());
        let mut seen = pin!(watcher(maps, one).default_backoff());
        let mut roots = self.issuer.changes();
        let (mut found, mut listed, mut listing) = (BTreeMap::new(), false, BTreeMap::new());
        let mut attempts: BTreeMap<String, Attempt> = BTreeMap::new();
        let mut told = Vec::new();
        loop {
            let again = if listed {
                let situation = self.situation.borrow_and_update().clone();
                let pem = roots.borrow_and_update().pem.clone();
                self.do_due(&situation, &pem, &mut found, &mut attempts).await
            } else {
                None
            };
            let problems: Vec<Problem> = attempts.iter().filter_map(|(name, attempt)| attempt.problem(name)).collect();
            if problems != told {
                told.clone_from(&problems);
                if self.events.send(Event::Problems { origin: ORIGIN.into(), problems }).await.is_err() {
                    return;
                }
            }
            let again = again.unwrap_or_else(|| Instant::now() + limits::KEEPER_LOOK);
            tokio::select! {
                event = seen.try_next() => match event {
                    Ok(Some(event)) => note(&self.owner, event, &mut found, &mut listing, &mut listed),
                    Ok(None) => return,
                    Err(error) => {
                        debug!("ConfigMaps {TRUST_BUNDLE} cannot be followed: {}; it is tried again", describe(&error));
                    }
                },
                changed = self.situation.changed() => if changed.is_err() { return },
                changed = roots.changed() => if changed.is_err() { return },
                () = sleep_until(again) => {}
            }
        }
    }

    /// Does what may be done now; says when the rest may be.
    async fn do_due(
        &self,
        situation: &Situation,
        roots: &str,
        found: &mut BTreeMap<String, Bundle>,
        attempts: &mut BTreeMap<String, Attempt>,
    ) -> Option<Instant> {
        let mut wanted = situation.namespaces.clone().unwrap_or_default();
        wanted.insert(self.fsm_namespace.clone());
        let Deeds { deeds, in_the_way } = deeds(&wanted, situation.namespaces.is_some(), found, roots);
        let now = Instant::now();
        attempts.retain(|namespace, attempt| {
            if !deeds.contains_key(namespace) {
                (attempt.tries, attempt.failure) = (0, None);
            }
            deeds.contains_key(namespace) || attempt.not_before > now
        });
        for namespace in in_the_way {
            let failure =
                Some("there is one that was made by somebody else, which is left alone; remove it".to_owned());
            attempts.insert(namespace, Attempt { tries: 0, not_before: now, failure });
        }
        let waits =
            |namespace: &String| attempts.get(namespace).map(|attempt| attempt.not_before).filter(|at| *at > now);
        let again = deeds.keys().filter_map(waits).min();
        let due: Vec<_> = deeds.into_iter().filter(|(namespace, _)| waits(namespace).is_none()).collect();
        let outcomes = futures_util::stream::iter(due).map(|(namespace, deed)| async move {
            let outcome = timeout(limits::WRITE_TIMEOUT, self.act(&namespace, &deed, roots)).await;
            let late = || Err(format!("it was not done within {} s", limits::WRITE_TIMEOUT.as_secs()));
            (namespace, deed, outcome.unwrap_or_else(|_| late()))
        });
        let outcomes: Vec<_> = outcomes.buffer_unordered(AT_ONCE).collect().await;
        let mut soonest = again;
        for (namespace, deed, outcome) in outcomes {
            let tries = attempts.get(&namespace).map_or(0, |attempt| attempt.tries) + 1;
            let not_before = Instant::now() + pause(tries);
            let failure = match outcome {
                Ok(()) => {
                    // The watch says the same a moment later.
                    match deed {
                        Deed::Put => found.insert(namespace.clone(), Bundle::Ours(roots.to_owned())),
                        Deed::Remove => found.remove(&namespace),
                    };
                    None
                }
                Err(why) => {
                    soonest = soonest.into_iter().chain([not_before]).min();
                    Some(why)
                }
            };
            attempts.insert(namespace, Attempt { tries, not_before, failure });
        }
        soonest
    }

    async fn act(&self, namespace: &str, deed: &Deed, roots: &str) -> Result<(), String> {
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        let outcome = match deed {
            Deed::Put => self.put(&maps, namespace, roots).await,
            Deed::Remove => self.remove(&maps).await,
        };
        match outcome {
            Ok(true) => {
                info!(
                    "namespace {namespace}: {}",
                    match deed {
                        Deed::Put => "its pods find the present roots of the mesh in ConfigMap fsm-trust-bundle",
                        Deed::Remove => "removed ConfigMap fsm-trust-bundle, since it is not part of the mesh any more",
                    }
                );
                Ok(())
            }
            Ok(false) => Ok(()),
            // It is being removed, or gone; it will be told.
            Err(kube::Error::Api(status)) if status.code == 404 || status.message.contains("being terminated") => {
                Ok(())
            }
            Err(error) => Err(describe(&error)),
        }
    }

    /// Whether anything was written.
    async fn put(&self, maps: &Api<ConfigMap>, namespace: &str, roots: &str) -> Result<bool, kube::Error> {
        let data = BTreeMap::from([(KEY.to_owned(), roots.to_owned())]);
        let Some(found) = maps.get_opt(TRUST_BUNDLE).await? else {
            let metadata = ObjectMeta {
                name: Some(TRUST_BUNDLE.to_owned()),
                namespace: Some(namespace.to_owned()),
                labels: Some(self.owner.labels()),
                ..ObjectMeta::default()
            };
            let map = ConfigMap { metadata, data: Some(data), ..ConfigMap::default() };
            return maps.create(&PostParams::default(), &map).await.map(|_| true);
        };
        if !self.owner.made(&found.metadata) {
            return Ok(false);
        }
        let metadata = json!({ "resourceVersion": found.metadata.resource_version });
        let patch = Patch::Merge(json!({ "metadata": metadata, "data": data }));
        maps.patch(TRUST_BUNDLE, &PatchParams::default(), &patch).await.map(|_| true)
    }

    async fn remove(&self, maps: &Api<ConfigMap>) -> Result<bool, kube::Error> {
        let found = maps.get_opt(TRUST_BUNDLE).await?;
        let Some(found) = found.filter(|found| self.owner.made(&found.metadata)) else { return Ok(false) };
        let ObjectMeta { uid, resource_version, .. } = found.metadata;
        let parameters =
            DeleteParams { preconditions: Some(Preconditions { uid, resource_version }), ..DeleteParams::default() };
        maps.delete(TRUST_BUNDLE, &parameters).await.map(|_| true)
    }
}

/// Takes an event of the watch in.
fn note(
    owner: &Owner,
    event: watcher::Event<ConfigMap>,
    found: &mut BTreeMap<String, Bundle>,
    listing: &mut BTreeMap<String, Bundle>,
    listed: &mut bool,
) {
    let read = |map: ConfigMap| {
        let roots = map.data.unwrap_or_default().remove(KEY).unwrap_or_default();
        let bundle = if owner.made(&map.metadata) { Bundle::Ours(roots) } else { Bundle::Foreign };
        (map.metadata.namespace.unwrap_or_default(), bundle)
    };
    match event {
        watcher::Event::Init => listing.clear(),
        watcher::Event::InitApply(map) => listing.extend([read(map)]),
        watcher::Event::InitDone => {
            *found = std::mem::take(listing);
            *listed = true;
        }
        watcher::Event::Apply(map) => found.extend([read(map)]),
        watcher::Event::Delete(map) => drop(found.remove(&map.metadata.namespace.unwrap_or_default())),
    }
}

impl Attempt {
    fn problem(&self, namespace: &str) -> Option<Problem> {
        let why = self.failure.as_ref()?;
        Some(Problem {
            severity: Severity::Error,
            objects: vec![format!("ConfigMap {namespace}/{TRUST_BUNDLE}")],
            reason: "TrustBundleNotWritten",
            text: format!(
                "the roots of the mesh are not as they should be in namespace {namespace}: {why}; new pods there may not \
                 start, and it is tried again"
            ),
        })
    }
}

impl fmt::Debug for BundleKeeper {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BundleKeeper").field("owner", &self.owner).finish_non_exhaustive()
    }
}
