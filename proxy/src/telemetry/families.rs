//! The Prometheus page: names, types, labels and help of everything that is counted.
//!
//! FSM's names come first and exactly as FSM's dashboards and the chart's keep-list spell them; ours begin with
//! `fsm_proxy_`, those of the process with `process_`. Only what really moves is exported.
//!
//! The page is Prometheus' classic text format ([`CONTENT_TYPE`]), not OpenMetrics: FSM has counters without the suffix
//! `_total` (`sidecar_cluster_upstream_rq_xx`), which OpenMetrics forbids and its scrapers refuse. prometheus-client
//! writes the format (descriptors, labels, escaping), but appends `_total` to whatever it takes for a counter; so
//! counters are declared as counters under their full name and their values are written through its suffix-free path.
//!
//! Nothing here is chosen by a client: labels are names of configured clusters, reasons, and this pod's own names
//! (CVE-2025-43915: labels taken from requests are an attack on memory).

mod fsm;
mod own;

pub(super) use fsm::{HTTP_LIMITS, RETRY_FAMILIES};

use super::counters::ClusterCounters;
use super::workload::Workload;
use super::{Direction, Telemetry};
use crate::config::snapshot::Snapshot;
use crate::upstream::cluster::Cluster;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Content type of [`prometheus_text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that a page of numbers is made from.
#[derive(Clone)]
pub struct View {
    /// The configuration in force, if any.
    pub snapshot: Option<Arc<Snapshot>>,
    /// How long it has been in force.
    pub config_age: Option<Duration>,
    /// Counters of the proxy as a whole.
    pub telemetry: Arc<Telemetry>,
    /// Who this proxy is.
    pub workload: Arc<Workload>,
}

/// The whole page. Its size depends on the number of configured clusters only.
pub fn prometheus_text(view: &View) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(view.clone()));
    let mut page = String::with_capacity(16 << 10);
    // Writing to a string cannot fail; a partial page would still be readable.
    let _ = text::encode_registry(&mut page, &registry);
    page
}

impl fmt::Debug for View {
    /// A collector must be printable; nobody wants to read a whole configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("workload", &self.workload).finish_non_exhaustive()
    }
}

impl Collector for View {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let clusters = ClusterRows::new(self.snapshot.as_deref());
        fsm::encode(&mut page, &clusters, self)?;
        own::encode(&mut page, &clusters, self)
    }
}

/// One counter of a cluster: metric name, help, how it is read.
type ClusterFamily = (&'static str, &'static str, fn(&ClusterCounters) -> u64);

type Labels<'a> = Vec<(&'static str, Cow<'a, str>)>;

struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    /// One family. A family without a series is left out.
    fn family<'v, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        series: impl IntoIterator<Item = (Labels<'v>, V)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in series {
            // `encode_gauge` means "no suffix" here, see the module's documentation.
            encoder.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn single<V: EncodeGaugeValue>(&mut self, name: &str, help: &str, kind: MetricType, value: V) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, kind)?.encode_gauge(&value)
    }

    fn optional<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        value: Option<V>,
    ) -> fmt::Result {
        value.map_or(Ok(()), |value| self.single(name, help, kind, value))
    }
}

/// Clusters by name. A document may use one name for a local and a remote cluster; their numbers are then added, since
/// two series with the same labels would make Prometheus drop one of them at random.
struct ClusterRows<'a>(BTreeMap<&'a str, Vec<&'a Cluster>>);

impl<'a> ClusterRows<'a> {
    fn new(snapshot: Option<&'a Snapshot>) -> Self {
        let mut rows: BTreeMap<&str, Vec<&Cluster>> = BTreeMap::new();
        for cluster in snapshot.into_iter().flat_map(|snapshot| &snapshot.clusters) {
            rows.entry(&cluster.name).or_default().push(cluster);
        }
        Self(rows)
    }

    fn sums<V: std::iter::Sum<V>>(
        &self,
        label: &'static str,
        read: impl Fn(&ClusterCounters) -> V,
    ) -> impl Iterator<Item = (Labels<'a>, V)> {
        self.0.iter().map(move |(name, clusters)| {
            let value = clusters.iter().map(|cluster| read(cluster.counters())).sum();
            (vec![(label, Cow::Borrowed(*name))], value)
        })
    }

    fn counts(&self, label: &'static str, read: impl Fn(&Cluster) -> usize) -> impl Iterator<Item = (Labels<'a>, i64)> {
        self.0.iter().map(move |(name, clusters)| {
            let value: usize = clusters.iter().map(|cluster| read(cluster)).sum();
            (vec![(label, Cow::Borrowed(*name))], i64::try_from(value).unwrap_or(i64::MAX))
        })
    }

    /// Rows of remote clusters only.
    fn outbound(&self) -> Self {
        let remote = |clusters: &Vec<&'a Cluster>| -> Vec<&'a Cluster> {
            clusters.iter().copied().filter(|cluster| cluster.direction == Direction::Outbound).collect()
        };
        let rows = self.0.iter().map(|(name, clusters)| (*name, remote(clusters)));
        Self(rows.filter(|(_, clusters)| !clusters.is_empty()).collect())
    }
}

#[cfg(test)]
mod tests;
