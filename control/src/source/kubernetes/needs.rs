//! Which namespaces a mesh needs Services, their endpoints and Secrets of, and which of them are there. Pure, but for who is
//! told and who waits.
//!
//! Its own, and those that its policies name: the source of an IngressBackend is in a namespace of no mesh, and so may be the
//! Secret of an AccessCert. Of whatever kind a policy is, a namespace that it names is the value of a member `namespace`, or
//! stands before the `/` of a `service`. So kinds are not told apart here, and none can be forgotten. Only the IngressClass says
//! it in annotations. Policies of other meshes need nothing.
//!
//! Nothing is needed before everything that may say so has been listed: what is followed at the start is all that is needed.

use super::watching::Namespaces;
use crate::world::ingress_service;
use fsm_api::resources::Kind;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// The namespaces that policies name, by the namespace that the policies themselves are in (empty: none).
pub(super) type Named = BTreeMap<String, BTreeSet<String>>;

/// What is needed, and who waits to hear of it.
pub(super) struct Needed {
    needs: Mutex<Needs>,
    told: watch::Sender<Namespaces>,
    /// Of each kind that is followed in needed namespaces only: those that it is complete in (`None`: all).
    complete: watch::Sender<BTreeMap<Kind, Namespaces>>,
}

/// What is needed, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Kinds that have not been listed yet.
    awaited: BTreeSet<Kind>,
    mesh: Option<Arc<BTreeSet<String>>>,
    named: BTreeMap<Kind, Named>,
}

impl Needed {
    /// By the policies of these kinds; what is followed is of those kinds.
    pub(super) fn new(policies: BTreeSet<Kind>, followed: impl Iterator<Item = Kind>) -> Self {
        let complete = followed.map(|kind| (kind, Some(Arc::default()))).collect();
        Self {
            needs: Mutex::new(Needs::new(policies)),
            told: watch::Sender::new(None),
            complete: watch::Sender::new(complete),
        }
    }

    /// The namespaces; `None` until they are known.
    pub(super) fn subscribe(&self) -> watch::Receiver<Namespaces> {
        self.told.subscribe()
    }

    /// Takes in something new and tells what follows. The namespaces, if some are needed that were not before.
    pub(super) fn update(&self, change: impl FnOnce(&mut Needs)) -> Namespaces {
        let mut needs = self.needs.lock();
        change(&mut needs);
        let now = Arc::new(needs.namespaces()?);
        let mut more = false;
        self.told.send_if_modified(|known| {
            more = known.as_deref().is_some_and(|known| !now.is_subset(known));
            let new = known.as_ref() != Some(&now);
            *known = Some(now.clone());
            new
        });
        more.then_some(now)
    }

    /// Whether a kind that is waited for was not complete in just these until now.
    pub(super) fn is_news(&self, kind: &Kind, namespaces: &Namespaces) -> bool {
        self.complete.borrow().get(kind).is_some_and(|known| known != namespaces)
    }

    /// What a kind is complete in now.
    pub(super) fn set_complete(&self, kind: &Kind, namespaces: Namespaces) {
        self.complete.send_modify(|complete| {
            if let Some(known) = complete.get_mut(kind) {
                *known = namespaces;
            }
        });
    }

    /// Waits until everything of these namespaces is there, but not for ever: what cannot be listed must not keep back what
    /// can. Whether it is.
    pub(super) async fn wait_for(&self, namespaces: &BTreeSet<String>, at_most: Duration) -> bool {
        let has_all = |known: &Namespaces| known.as_ref().is_none_or(|known| namespaces.is_subset(known));
        let mut complete = self.complete.subscribe();
        let waited = timeout(at_most, complete.wait_for(|complete| complete.values().all(has_all))).await;
        matches!(waited, Ok(Ok(_)))
    }
}

impl Needs {
    pub(super) fn new(policies: BTreeSet<Kind>) -> Self {
        Self { awaited: policies, ..Self::default() }
    }

    /// The namespaces of the mesh, and the control plane's own.
    pub(super) fn set_mesh(&mut self, namespaces: Arc<BTreeSet<String>>) {
        self.mesh = Some(namespaces);
    }

    /// What the policies of a kind name besides what they named before.
    pub(super) fn add_named(&mut self, kind: &Kind, named: Named) {
        let known = self.named.entry(kind.clone()).or_default();
        for (namespace, mut more) in named {
            known.entry(namespace).or_default().append(&mut more);
        }
    }

    /// All that the policies of a kind name, in place of what they named before.
    pub(super) fn set_named(&mut self, kind: &Kind, named: Named) {
        self.awaited.remove(kind);
        self.named.insert(kind.clone(), named);
    }

    /// The namespaces that are needed; `None`: it is too early to tell.
    pub(super) fn namespaces(&self) -> Option<BTreeSet<String>> {
        let mesh = self.mesh.as_deref().filter(|_| self.awaited.is_empty())?;
        // Policies of no namespace concern everybody.
        let counts = |namespace: &str| namespace.is_empty() || mesh.contains(namespace);
        let named = self.named.values().flatten().filter(|(namespace, _)| counts(namespace));
        Some(mesh.iter().chain(named.flat_map(|(_, named)| named)).cloned().collect())
    }
}

/// The namespaces that a policy (or an IngressClass) names.
pub(super) fn named_by(kind: &Kind, policy: &Value) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    if *kind == Kind::IngressClass {
        let annotations = policy.pointer("/metadata/annotations");
        let read = |name: &str| annotations?.get(name)?.as_str();
        named.extend(ingress_service(read).map(|service| service.namespace));
        return named;
    }
    collect(policy.get("spec").unwrap_or(&Value::Null), &mut named);
    named
}

fn collect(value: &Value, named: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("namespace", Value::String(namespace)) if !namespace.is_empty() => {
                        named.insert(namespace.clone());
                    }
                    ("service", Value::String(service)) => {
                        named.extend(service.split_once('/').map(|(namespace, _)| namespace.to_owned()));
                    }
                    _ => collect(value, named),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, named)),
        _ => {}
    }
}
