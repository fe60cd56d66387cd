//! What a change may concern, and the groups that follow from it.
//!
//! A change is looked at twice, before and after it: a group whose document came from the old state is found in the old
//! state, one whose document comes from the new state in the new. So each step only has to know what *is*.

use super::World;
use super::group::GroupId;
use super::index::Term;
use super::model::{Account, ServiceKey};
use std::collections::BTreeSet;

/// What a change may concern.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Every group.
    pub(super) all: bool,
    /// Groups of these accounts.
    pub(super) accounts: BTreeSet<Account>,
    /// Groups that serve these services.
    pub(super) serving: BTreeSet<ServiceKey>,
    /// Groups that serve or may call these services, or let clients from their endpoints in.
    pub(super) about: BTreeSet<ServiceKey>,
}

impl Scope {
    pub(super) fn nothing() -> Self {
        Self::default()
    }

    pub(super) fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    pub(super) fn all_if(all: bool) -> Self {
        Self { all, ..Self::default() }
    }

    pub(super) fn accounts(accounts: impl IntoIterator<Item = Account>) -> Self {
        Self { accounts: accounts.into_iter().collect(), ..Self::default() }
    }

    pub(super) fn about(services: impl IntoIterator<Item = ServiceKey>) -> Self {
        Self { about: services.into_iter().collect(), ..Self::default() }
    }

    pub(super) fn serving(services: impl IntoIterator<Item = ServiceKey>) -> Self {
        Self { serving: services.into_iter().collect(), ..Self::default() }
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.all |= other.all;
        self.accounts.extend(other.accounts);
        self.serving.extend(other.serving);
        self.about.extend(other.about);
        self
    }
}

impl World {
    /// The groups that a scope concerns as things are now.
    pub(super) fn resolve(&self, scope: &Scope) -> BTreeSet<GroupId> {
        let mut found = Scope { about: BTreeSet::new(), ..scope.clone() };
        for service in self.connected_by_splits(&scope.about) {
            if found.all {
                break;
            }
            self.add_callers(&service, &mut found);
            self.add_those_who_let_in(&service, &mut found);
            found.serving.insert(service);
        }
        if found.all {
            return self.groups.ids().collect();
        }
        let mut groups = BTreeSet::new();
        for account in &found.accounts {
            groups.extend(self.groups.of_account(account));
        }
        for service in &found.serving {
            groups.extend(self.groups.serving(service));
        }
        groups
    }

    /// These services and all that traffic splits connect with them, however far: whoever calls or serves one of them has
    /// a document in which the others may appear.
    fn connected_by_splits(&self, services: &BTreeSet<ServiceKey>) -> BTreeSet<ServiceKey> {
        let mut connected = services.clone();
        let mut waiting: Vec<ServiceKey> = services.iter().cloned().collect();
        while let Some(service) = waiting.pop() {
            let splits = (self.index.get(&Term::SplitRoot(service.clone())))
                .chain(self.index.get(&Term::SplitBackend(service)))
                .filter_map(|name| self.objects.splits.get(name));
            for split in splits {
                for next in super::reference::split_services(split) {
                    if connected.insert(next.clone()) {
                        waiting.push(next);
                    }
                }
            }
        }
        connected
    }

    fn add_callers(&self, service: &ServiceKey, found: &mut Scope) {
        if self.mesh.permissive || self.is_imported_for_anyone(service) {
            found.all = true;
            return;
        }
        for account in self.accounts_of(service) {
            for target in self.targets_to(&account) {
                found.accounts.extend(super::reference::target_sources(target));
            }
        }
    }

    /// Services whose endpoints are the clients of others: of an ingress, of an exported service, of everybody's way out.
    fn add_those_who_let_in(&self, service: &ServiceKey, found: &mut Scope) {
        found.all |= self.index.has(&Term::GatewayOf(service.clone()));
        for backend in self.index.get(&Term::IngressBackendFrom(service.clone())) {
            if let Some(backend) = self.objects.ingress_backends.get(backend) {
                found.serving.extend(super::reference::ingress_backend_services(backend));
            }
        }
        for control in self.index.get(&Term::AccessControlFrom(service.clone())) {
            if let Some(control) = self.objects.access_controls.get(control) {
                let backends = super::reference::access_control_services(control);
                found.all |= backends.is_empty();
                found.serving.extend(backends);
            }
        }
        if self.index.has(&Term::IngressOf(service.clone())) {
            found.serving.extend(self.objects.exports.keys().cloned());
        }
    }
}
