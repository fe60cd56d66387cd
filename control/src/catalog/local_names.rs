//! Names that sidecars answer by themselves. Not what exists in the cluster: that is its DNS's to say.

use crate::world::Mesh;
use fsm_api::config::{DnsServers, LocalDnsProxy};
use std::collections::BTreeMap;

/// Whom sidecars ask; there only where they answer at all.
pub(super) fn proxy(mesh: &Mesh) -> Option<LocalDnsProxy> {
    let mut resolvers = mesh.local_names.as_ref()?.resolvers.iter().map(ToString::to_string);
    let upstream_dns_servers =
        resolvers.next().map(|primary| DnsServers { primary, secondary: resolvers.next().unwrap_or_default() });
    Some(LocalDnsProxy { upstream_dns_servers })
}

/// Addresses by name.
pub(super) fn records(mesh: &Mesh) -> Option<BTreeMap<String, Vec<String>>> {
    let records = &mesh.local_names.as_ref()?.records;
    let texts = records
        .iter()
        .map(|(name, addresses)| (name.clone(), addresses.iter().map(ToString::to_string).collect::<Vec<_>>()));
    (!records.is_empty()).then(|| texts.collect())
}
