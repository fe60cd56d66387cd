//! Which namespaces a mesh needs Services, their endpoints and Secrets of. Pure, but for who is told.
//!
//! Its own, and those that its policies name: the source of an IngressBackend is in a namespace of no mesh, and so may be the
//! Secret of an AccessCert. Of whatever kind a policy is, a namespace that it names is the value of a member `namespace`, or
//! stands before the `/` of a `service`. So kinds are not told apart here, and none can be forgotten. Policies of other meshes
//! need nothing.
//!
//! Nothing is needed before everything that may say so has been listed: what is followed at the start is all that is needed.

use super::watching::Namespaces;
use fsm_api::resources::Kind;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// The namespaces that policies name, by the namespace that the policies themselves are in (empty: none).
pub(super) type Named = BTreeMap<String, BTreeSet<String>>;

/// What is needed, and who waits to hear of it.
pub(super) struct Needed {
    needs: Mutex<Needs>,
    told: watch::Sender<Namespaces>,
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
    /// By the policies of these kinds.
    pub(super) fn new(policies: BTreeSet<Kind>) -> Self {
        Self { needs: Mutex::new(Needs::new(policies)), told: watch::Sender::new(None) }
    }

    /// The namespaces; `None` until they are known.
    pub(super) fn subscribe(&self) -> watch::Receiver<Namespaces> {
        self.told.subscribe()
    }

    /// Takes in something new and tells what follows, if anything.
    pub(super) fn update(&self, change: impl FnOnce(&mut Needs)) {
        let mut needs = self.needs.lock();
        change(&mut needs);
        let Some(now) = needs.namespaces() else { return };
        self.told.send_if_modified(|known| {
            let new = known.as_deref() != Some(&now);
            if new {
                *known = Some(Arc::new(now));
            }
            new
        });
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

/// The namespaces that a policy names.
pub(super) fn named_by(policy: &Value) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
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
