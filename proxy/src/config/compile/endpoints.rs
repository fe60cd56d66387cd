//! Other endpoints for some clusters, without compiling everything else anew.
//!
//! Endpoints change far more often than rules do, and they live in a cell of their own ([`Cluster`]): where nothing but
//! endpoints differs, the clusters stay, with every route that leads to them, and only what is in their cells is
//! replaced; hosts and destination ranges that name the same pods are replaced with them (`addresses.rs`). Where more follows from the endpoints than the endpoints themselves (a cluster becomes external, gets its
//! first stand-in, has variants for single ranges, or something about it is wrong), the answer is `None`, and the document is
//! compiled as a whole. Nothing is replaced then.

use super::addresses::with_other_addresses;
use super::clusters::{fails_over, is_external};
use super::{Compiler, Environment};
use crate::config::snapshot::Snapshot;
use crate::telemetry::Direction;
use crate::upstream::cluster::Cluster;
use fsm_api::config::{Config, Touched};
use std::sync::Arc;

/// `previous` with what `document` has in the places that are `touched`. Everything else in `document` must be as in
/// `previous`'s own.
pub fn with_other_endpoints(
    document: &Arc<Config>,
    touched: &Touched,
    previous: &Snapshot,
    environment: Environment,
) -> Option<Snapshot> {
    if touched.more {
        return None;
    }
    let outbound = match touched.elements.is_empty() {
        true => Arc::clone(&previous.outbound),
        false => Arc::new(with_other_addresses(document, &touched.elements, previous)?),
    };
    let mut compiler = Compiler::new(document, Vec::new(), Some(previous), environment);
    let names = touched.endpoints.iter();
    let replaced: Option<Vec<_>> = names.map(|name| compiler.replacement(name, previous)).collect();
    for (cluster, replacement) in replaced? {
        cluster.take_endpoints(&replacement);
    }
    Some(Snapshot {
        version: document.version.clone().unwrap_or_default(),
        document: Arc::clone(document),
        problems: previous.problems.clone(),
        clusters: previous.clusters.clone(),
        identity: previous.identity.clone(),
        settings: previous.settings.clone(),
        observe: Arc::clone(&previous.observe),
        inbound: previous.inbound.clone(),
        outbound,
        carried: Arc::clone(&previous.carried),
    })
}

impl Compiler<'_> {
    /// The cluster in force, and one that has the endpoints it is to get; `None` when more than endpoints would change.
    fn replacement<'p>(&mut self, name: &str, previous: &'p Snapshot) -> Option<(&'p Arc<Cluster>, Arc<Cluster>)> {
        let config = self.document.outbound.as_ref()?.clusters_configs.get(name)?;
        let before = previous.document.outbound.as_ref()?.clusters_configs.get(name)?;
        let in_force = previous.cluster(Direction::Outbound, name)?;
        let transport = previous.carried.ways.get(name)?;
        let path = format!("Outbound.ClustersConfigs[{name:?}]");
        let was_wrong = previous.problems.iter().any(|problem| problem.path.starts_with(&path));
        if was_wrong
            || is_external(config) != is_external(before)
            || fails_over(config) != fails_over(before)
            || has_variants(previous, name)
        {
            return None;
        }
        let replacement = self.remote_cluster(name, config, Some(transport), &previous.settings, &path);
        self.problems.is_empty().then_some((in_force, replacement))
    }
}

/// Whether the cluster is there once more for the certificate of a range (`<cluster>@<range>`).
fn has_variants(snapshot: &Snapshot, name: &str) -> bool {
    let first =
        snapshot.clusters.partition_point(|cluster| cluster.direction == Direction::Inbound || &*cluster.name <= name);
    let longer = snapshot.clusters[first..].iter().take_while(|cluster| cluster.name.starts_with(name));
    longer.into_iter().any(|cluster| cluster.name[name.len()..].starts_with('@'))
}

#[cfg(test)]
mod tests;
