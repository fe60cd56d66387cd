//! Objects that the control plane itself makes and keeps: Secrets with certificates for clients outside the mesh
//! (AccessCert, and `certificate.ingressGateway` of MeshConfig), and the statuses of policies.
//!
//! The owner of the world keeps a [`Ledger`] beside it: which Secrets there are, and which policies. What follows from
//! both is a [`Situation`]: the certificates that are wished for, those that are there, and what is to be said of each
//! policy. [`plan()`] compares the two and the time, purely; the [`Keeper`] does what it says with an
//! [`Issuer`](crate::cert::Issuer) and a [`Writer`].
//!
//! What is written comes back through the source like everybody's objects; then nothing is left to be done, so there is
//! no loop. A Secret that was not made here is never overwritten and never removed. While the source cannot read
//! everything, nothing is removed: a policy that cannot be read is not one that is gone.

mod bundles;
mod cluster;
mod directory;
mod keeper;
mod ledger;
mod plan;
mod secret;
mod status;
#[cfg(test)]
mod tests;
mod wish;
mod writer;

pub use bundles::BundleKeeper;
pub use cluster::ClusterWriter;
pub use directory::DirectoryWriter;
pub use keeper::{Keeper, ORIGIN, OWN_ORIGINS};
pub use ledger::Ledger;
pub use plan::{Action, Plan, Why, plan};
pub use secret::{Found, Owner};
pub(crate) use secret::{MANAGED_BY, MANAGER};
pub use status::{COMMITTED, ERROR, POLICY_KINDS};
pub use wish::{Wanted, Wish};
pub use writer::{WriteError, WriteFuture, Writer};

use crate::world::NamespacedName;
use fsm_api::resources::ObjectKey;
use fsm_api::resources::policy::PolicyStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How things stand, as far as the [`Keeper`] needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// The certificates that are to be there, by the Secret that they are to be in.
    pub wishes: BTreeMap<NamespacedName, Wish>,
    /// Secrets that a policy names which does not count at the moment (prohibited, broken, outside the mesh): they stay
    /// as they are.
    pub suspended: BTreeSet<NamespacedName>,
    /// The Secrets that are there and were made by this control plane.
    pub secrets: BTreeMap<NamespacedName, Arc<Found>>,
    /// The namespaces of the mesh, which are to have its roots; `None`: not known yet.
    pub namespaces: Option<BTreeSet<String>>,
    /// All policies that have a status, with what it is to be; `None`: not decided yet, it stays as it is.
    pub statuses: BTreeMap<ObjectKey, Option<PolicyStatus>>,
    /// What policies themselves say that became of them.
    pub said: BTreeMap<ObjectKey, PolicyStatus>,
    /// Everything that is there has been read: what is not in here is gone.
    pub complete: bool,
}
