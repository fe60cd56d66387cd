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

mod buckets;
mod edges;
mod fsm;
mod own;

pub use buckets::Buckets;

pub(super) use fsm::{HTTP_LIMITS, RETRY_FAMILIES};

use super::counters::ClusterCounters;
use super::signals::{OTHERS, Totals};
use super::workload::Workload;
use super::{Direction, Telemetry};
use crate::config::snapshot::Snapshot;
use crate::limits::SERIES_PER_FAMILY;
use crate::upstream::cluster::Cluster;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, text};
use prometheus_client::metrics::{MetricType, exemplar::Exemplar};
use prometheus_client::registry::Registry;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::AddAssign;
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
        let mut page = Page { encoder, cap: SERIES_PER_FAMILY, capped: 0 };
        let snapshot = self.snapshot.as_deref();
        let every = ClusterRows::new(clusters(snapshot, None));
        let remote = ClusterRows::new(clusters(snapshot, Some(Direction::Outbound)));
        fsm::encode(&mut page, &every, &remote, self)?;
        own::encode(&mut page, &every, &remote, self)?;
        let capped = page.capped;
        page.single(
            "fsm_proxy_metric_series_capped",
            "Series that this page adds up because a family has too many; 0 is right.",
            MetricType::Gauge,
            capped,
        )
    }
}

/// One counter of a cluster: metric name, help, how it is read.
type ClusterFamily = (&'static str, &'static str, fn(&ClusterCounters) -> u64);

type Labels<'a> = Vec<(&'static str, Cow<'a, str>)>;

struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
    /// Series of one family; the rest is added up in one.
    cap: usize,
    /// Series that were added up.
    capped: u64,
}

impl Page<'_> {
    /// One family. A family without a series is left out.
    fn family<'v, V: EncodeGaugeValue + Copy + AddAssign>(
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
        let mut encoder = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in series.by_ref().take(self.cap) {
            // `encode_gauge` means "no suffix" here, see the module's documentation.
            encoder.encode_family(&labels)?.encode_gauge(&value)?;
        }
        let Some((labels, mut sum)) = series.next() else { return Ok(()) };
        self.capped += 1;
        for (_, value) in series {
            sum += value;
            self.capped += 1;
        }
        encoder.encode_family(&overflow(&labels))?.encode_gauge(&sum)
    }

    /// A family of histograms over the buckets of a preset.
    fn histograms<'v>(
        &mut self,
        name: &str,
        help: &str,
        buckets: Buckets,
        series: impl IntoIterator<Item = (Labels<'v>, Totals)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let cap = (self.cap / (buckets.bounds().len() + 3)).max(1);
        let mut encoder = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let mut write = |labels: &Labels<'_>, totals: &Totals| {
            let (sum, counts) = (totals.microseconds as f64 / 1_000.0, buckets.counts(totals));
            let exemplars: Option<&HashMap<usize, Exemplar<NoLabelSet, f64>>> = None;
            encoder.encode_family(labels)?.encode_histogram(sum, totals.responses(), &counts, exemplars)
        };
        for (labels, totals) in series.by_ref().take(cap) {
            write(&labels, &totals)?;
        }
        let Some((labels, mut sum)) = series.next() else { return Ok(()) };
        self.capped += 1;
        for (_, totals) in series {
            sum.merge(&totals);
            self.capped += 1;
        }
        write(&overflow(&labels), &sum)
    }

    fn single<V: EncodeGaugeValue>(&mut self, name: &str, help: &str, kind: MetricType, value: V) -> fmt::Result {
        self.encoder.encode_descriptor(name, help, None, kind)?.encode_gauge(&value)
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

/// The labels of what exceeds a cap.
fn overflow(labels: &Labels<'_>) -> Labels<'static> {
    labels.iter().map(|(name, _)| (*name, Cow::Borrowed(OTHERS))).collect()
}

/// Clusters by name. A document may use one name for a local and a remote cluster; their numbers are then added, since
/// two series with the same labels would make Prometheus drop one of them at random.
struct ClusterRows<'a>(BTreeMap<&'a str, Row<'a>>);

#[derive(Default)]
struct Row<'a> {
    clusters: Vec<&'a Cluster>,
    /// What all of their edges counted together, read once for the whole page.
    totals: Totals,
}

impl<'a> ClusterRows<'a> {
    fn new(clusters: impl Iterator<Item = &'a Cluster>) -> Self {
        let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
        for cluster in clusters {
            let row = rows.entry(&cluster.name).or_default();
            row.clusters.push(cluster);
            row.totals.merge(&cluster.counters().edges.totals());
        }
        Self(rows)
    }

    fn sums<V: std::iter::Sum<V>>(
        &self,
        label: &'static str,
        read: impl Fn(&ClusterCounters) -> V,
    ) -> impl Iterator<Item = (Labels<'a>, V)> {
        self.0.iter().map(move |(name, row)| {
            let value = row.clusters.iter().map(|cluster| read(cluster.counters())).sum();
            (vec![(label, Cow::Borrowed(*name))], value)
        })
    }

    fn totals(&self, label: &'static str) -> impl Iterator<Item = (Labels<'a>, &Totals)> {
        self.0.iter().map(move |(name, row)| (vec![(label, Cow::Borrowed(*name))], &row.totals))
    }

    fn counts(&self, label: &'static str, read: impl Fn(&Cluster) -> usize) -> impl Iterator<Item = (Labels<'a>, i64)> {
        self.0.iter().map(move |(name, row)| {
            let value: usize = row.clusters.iter().map(|cluster| read(cluster)).sum();
            (vec![(label, Cow::Borrowed(*name))], i64::try_from(value).unwrap_or(i64::MAX))
        })
    }
}

/// Clusters of one direction, or of both.
fn clusters(snapshot: Option<&Snapshot>, direction: Option<Direction>) -> impl Iterator<Item = &Cluster> {
    let clusters = snapshot.into_iter().flat_map(|snapshot| &snapshot.clusters).map(|cluster| &**cluster);
    clusters.filter(move |cluster| direction.is_none_or(|direction| cluster.direction == direction))
}

#[cfg(test)]
mod tests;
