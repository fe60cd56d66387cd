//! Certificates of single destination ranges (`DestinationIPRanges[..].SourceCert`).
//!
//! Connections to such a range are made with its certificate and verified against its own roots. Each certificate gets a
//! variant of every cluster that the entry leads to, with connections, counters and health of its own: what was
//! opened with one certificate never carries the traffic of another one. A variant is called `<cluster>@<range>`, after
//! the first range that it serves.
//!
//! A certificate that cannot be used leaves its ranges without endpoints; their traffic never leaves in another way.

use super::Compiler;
use super::clusters::connect_timeout;
use crate::config::snapshot::{Settings, TlsKey, TransportKey};
use crate::limits;
use crate::tls::Identity;
use crate::upstream::cluster::Cluster;
use crate::upstream::connect::Transport;
use fsm_api::config::{Certificate, OutboundTrafficMatch};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the entries of outbound ports are compiled with.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) settings: &'a Settings,
    pub(super) identity: Option<&'a Arc<Identity>>,
}

/// The variants of clusters so far.
#[derive(Default)]
pub(super) struct Variants {
    by_certificate: FxHashMap<(String, TlsKey), Arc<Cluster>>,
    pub(super) by_name: BTreeMap<Arc<str>, Arc<Cluster>>,
}

/// One certificate's view of the clusters that an entry leads to.
pub(super) struct Certified {
    /// Variants by the name of the cluster they stand for.
    pub(super) clusters: BTreeMap<Arc<str>, Arc<Cluster>>,
    /// How connections pass through with this certificate.
    pub(super) passthrough: Option<Arc<Transport>>,
    /// The range, which tells the variant's rounds from those of the entry's other certificates.
    pub(super) range: String,
}

impl TlsKey {
    /// What a `SourceCert` asks for: a certificate of its own, or the mesh's and a server with one of `identities`.
    pub(super) fn of_source(certificate: &Certificate, identities: &[String]) -> Self {
        match certificate.fsm_issued {
            Some(true) => Self::Mesh(identities.to_vec()),
            Some(false) | None => Self::origination(certificate),
        }
    }
}

impl Compiler<'_> {
    /// Makes the variants of the entry's clusters for the certificate of one range; `path` is where the range stands.
    pub(super) fn certified(
        &mut self,
        entry: &OutboundTrafficMatch,
        certificate: &Certificate,
        range: &str,
        path: &str,
        surroundings: Surroundings<'_>,
    ) -> Certified {
        let mut clusters = BTreeMap::new();
        for name in targets(entry) {
            if let Some(variant) = self.variant(name, certificate, range, path, surroundings) {
                clusters.insert(name.into(), variant);
            }
        }
        let passthrough = entry.tcp_service_route_rules.is_some().then(|| {
            let tls = TlsKey::of_source(certificate, &[]);
            let key = TransportKey { tls, connect_timeout: limits::CONNECT_TIMEOUT, via: None };
            self.transport(key, surroundings.identity, path)
        });
        Certified { clusters, passthrough: passthrough.flatten(), range: range.to_owned() }
    }

    fn variant(
        &mut self,
        name: &str,
        certificate: &Certificate,
        range: &str,
        path: &str,
        surroundings: Surroundings<'_>,
    ) -> Option<Arc<Cluster>> {
        // A cluster that does not exist is reported with the rule that names it.
        let config = self.document.outbound.as_ref()?.clusters_configs.get(name)?;
        let tls = TlsKey::of_source(certificate, &config.service_identities);
        let known = (name.to_owned(), tls.clone());
        if let Some(variant) = self.variants.by_certificate.get(&known) {
            return Some(Arc::clone(variant));
        }
        let key = TransportKey { tls, connect_timeout: connect_timeout(config), via: None };
        let transport = self.transport(key, surroundings.identity, path);
        let called = self.variant_name(name, range);
        // What is wrong with the cluster itself has been reported for the cluster.
        let problems = self.problems.len();
        let variant = self.remote_cluster(&called, config, transport.as_ref(), surroundings.settings, path);
        self.problems.truncate(problems);
        self.variants.by_certificate.insert(known, Arc::clone(&variant));
        self.variants.by_name.insert(Arc::clone(&variant.name), Arc::clone(&variant));
        Some(variant)
    }

    fn variant_name(&self, name: &str, range: &str) -> String {
        let taken = |name: &str| self.variants.by_name.contains_key(name) || self.remote.contains_key(name);
        let first = format!("{name}@{range}");
        if !taken(&first) {
            return first;
        }
        let others = (2..).map(|number: u32| format!("{first}#{number}"));
        others.into_iter().find(|name| !taken(name)).unwrap_or(first)
    }
}

fn targets(entry: &OutboundTrafficMatch) -> BTreeSet<&str> {
    let rules = entry.http_service_route_rules.values().flat_map(|rules| &rules.route_rules);
    let http = rules.flat_map(|rule| rule.target_clusters.keys());
    let tcp = entry.tcp_service_route_rules.iter().filter_map(|rules| rules.target_clusters.as_ref());
    http.chain(tcp.flat_map(BTreeMap::keys)).map(String::as_str).collect()
}
