//! What the owner of the world knows beside it: which Secrets there are, and which policies.

use super::Situation;
use super::secret::{Found, Owner};
use super::status::{self, POLICY_KINDS};
use super::wish::Wanted;
use crate::cert::server::ServerNames;
use crate::source::Event;
use crate::world::{NamespacedName, Problem};
use fsm_api::resources::policy::{AccessCert, PolicyStatus};
use fsm_api::resources::{Kind, Object, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// Secrets and policies, by what the source says.
#[derive(Debug)]
pub struct Ledger {
    owner: Owner,
    own_names: ServerNames,
    /// `None`: made by somebody else.
    secrets: BTreeMap<NamespacedName, Option<Arc<Found>>>,
    access_certs: BTreeMap<NamespacedName, Arc<AccessCert>>,
    /// What each policy itself says that became of it.
    policies: BTreeMap<ObjectKey, Option<PolicyStatus>>,
    sees_all_namespaces: bool,
    keeper: Option<watch::Sender<Arc<Situation>>>,
}

impl Ledger {
    /// An empty ledger. `own_names` are those of the control plane, which no policy may ask for. Without somebody who
    /// `keeps` objects no certificate is granted.
    pub fn new(owner: Owner, own_names: ServerNames, keeper: Option<watch::Sender<Arc<Situation>>>) -> Self {
        Self {
            owner,
            own_names,
            secrets: BTreeMap::new(),
            access_certs: BTreeMap::new(),
            policies: BTreeMap::new(),
            sees_all_namespaces: true,
            keeper,
        }
    }

    /// The same with a source that tells of the namespaces of meshes only: others may exist without being known here.
    #[must_use]
    pub fn without_other_namespaces(self) -> Self {
        Self { sees_all_namespaces: false, ..self }
    }

    /// Takes in what the source says.
    pub fn note(&mut self, event: &Event) {
        match event {
            Event::Applied(object) => self.put(&object.value),
            Event::Removed(key) => self.remove(key),
            Event::Synced | Event::Complete { .. } | Event::Problems { .. } => {}
        }
    }

    /// Tells the keeper how things stand; it hears of it only when something changed. `problems` are all that there are,
    /// and `complete` says whether the source could read everything.
    pub fn tell(&self, wanted: Wanted, problems: &BTreeSet<Problem>, complete: bool) {
        let Some(keeper) = &self.keeper else { return };
        let situation = self.situation(wanted, problems, complete);
        keeper.send_if_modified(|known| {
            let news = **known != situation;
            if news {
                *known = Arc::new(situation);
            }
            news
        });
    }

    /// How things stand.
    pub(super) fn situation(&self, wanted: Wanted, problems: &BTreeSet<Problem>, complete: bool) -> Situation {
        let Wanted { wishes, suspended, namespaces, of_others, .. } = wanted;
        let ours = |(name, found): (&NamespacedName, &Option<Arc<Found>>)| Some((name.clone(), found.clone()?));
        let secrets: BTreeMap<NamespacedName, Arc<Found>> = self.secrets.iter().filter_map(ours).collect();
        let ours = self.policies().filter(|policy| !of_others.contains(policy));
        let statuses = status::of(ours, problems).into_iter();
        let mut statuses: BTreeMap<ObjectKey, _> = statuses.map(|(key, status)| (key, Some(status))).collect();
        // Another mesh says what becomes of its policies; two that both did would fight.
        statuses.extend(of_others.into_iter().map(|policy| (policy, None)));
        // A certificate that is granted is not committed before it is there.
        for wish in wishes.values().filter(|wish| !secrets.get(&wish.secret).is_some_and(|found| found.serves(wish))) {
            let status = statuses.get_mut(&wish.owner);
            if let Some(status) = status.filter(|status| is_committed(status)) {
                *status = None;
            }
        }
        let said = self.policies.iter().filter_map(|(policy, said)| Some((policy.clone(), said.clone()?))).collect();
        Situation { wishes, suspended, secrets, namespaces: Some(namespaces), statuses, said, complete }
    }

    /// Whether anybody keeps objects.
    pub(super) fn is_writing(&self) -> bool {
        self.keeper.is_some()
    }

    /// Whether a namespace that is not known does not exist.
    pub(super) fn sees_all_namespaces(&self) -> bool {
        self.sees_all_namespaces
    }

    /// All policies that have a status, in the mesh or not.
    pub(super) fn policies(&self) -> impl Iterator<Item = &ObjectKey> {
        self.policies.keys()
    }

    pub(super) fn own_names(&self) -> &ServerNames {
        &self.own_names
    }

    /// Whether there is such a Secret, made by somebody else.
    pub(super) fn is_foreign(&self, secret: &NamespacedName) -> bool {
        self.secrets.get(secret).is_some_and(Option::is_none)
    }

    /// All of them, in the mesh or not.
    pub(super) fn access_certs(&self) -> impl Iterator<Item = &AccessCert> {
        self.access_certs.values().map(Arc::as_ref)
    }

    fn put(&mut self, object: &Object) {
        let key = object.key();
        let name = NamespacedName::new(&key.namespace, &key.name);
        match object {
            Object::Secret(secret) => {
                let ours = self.owner.made(&secret.metadata);
                self.secrets.insert(name, ours.then(|| Arc::new(Found::read(secret))));
            }
            Object::AccessCert(policy) => drop(self.access_certs.insert(name, policy.clone())),
            _ => {}
        }
        if POLICY_KINDS.contains(&key.kind) {
            self.policies.insert(key, status::said(object));
        }
    }

    fn remove(&mut self, key: &ObjectKey) {
        let name = NamespacedName::new(&key.namespace, &key.name);
        match key.kind {
            Kind::Secret => drop(self.secrets.remove(&name)),
            Kind::AccessCert => drop(self.access_certs.remove(&name)),
            _ => {}
        }
        self.policies.remove(key);
    }
}

fn is_committed(status: &Option<PolicyStatus>) -> bool {
    status.as_ref().and_then(|status| status.current_status.as_deref()) == Some(status::COMMITTED)
}
