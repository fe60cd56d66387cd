//! What fsm-control counts, as a Prometheus page.
//!
//! Names are FSM's where FSM has one for the same thing (`fsm_proxy_connect_count`, `fsm_cert_issued_count`, …), spelled
//! exactly so: FSM's counters end in `_count`, not in the `_total` that prometheus-client would append. Labels come
//! from fixed sets only, never from what a peer sends.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::push::Roster;

/// Content type of [`Telemetry::page`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A counter that is exported under exactly its name.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<AtomicU64>);

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Level(Arc<AtomicU64>);

/// A label with one of a few fixed values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// Which kind.
    pub kind: &'static str,
}

/// How a request to a webhook ended, one of a few fixed words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// The word.
    pub outcome: &'static str,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    /// Proxies that came with a version.
    pub reconnects: Count,
    /// Messages to proxies, by kind.
    pub sent: Family<Kind, Count>,
    /// Changes that came into force at a connected proxy.
    pub acknowledged: Count,
    /// Refusals by proxies.
    pub nacks: Count,
    /// Documents that a proxy did not answer in time.
    pub unanswered: Count,
    /// Requests of proxies that were refused, by reason.
    pub refused: Family<Kind, Count>,
    /// Proxies that were too many.
    pub rejected_by_cap: Count,
    /// Seconds from seeing a change to its acknowledgement by a proxy.
    pub latency: Histogram,
    /// Certificates issued.
    pub certificates: Count,
    /// Seconds that issuing took.
    pub certificate_time: Histogram,
    /// Changes of resources.
    pub events: Count,
    /// Documents computed.
    pub built: Count,
    /// Documents that came out different and were published.
    pub published: Count,
    /// Seconds that computing and publishing the documents of one batch of changes took.
    pub build_time: Histogram,
    /// Groups of proxies with the same document.
    pub groups: Level,
    /// Pods of the mesh.
    pub pods: Level,
    /// Problems, by severity.
    pub problems: Family<Kind, Level>,
    /// Pods that the API server asked the injector about, by what became of them.
    pub admissions: Family<Outcome, Count>,
    /// Changes that the API server asked the validator about, by what became of them.
    pub validations: Family<Outcome, Count>,
    /// Objects kept in the cluster that were restored or renewed, by kind.
    pub reconciliations: Family<Kind, Count>,
}

impl Telemetry {
    /// All zero. The roster is asked when somebody looks.
    pub fn new(roster: &Arc<Roster>) -> Self {
        let mut registry = Registry::with_prefix("fsm");
        let seconds = || {
            Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
        };
        let telemetry = Self {
            reconnects: Count::default(),
            sent: Family::default(),
            acknowledged: Count::default(),
            nacks: Count::default(),
            unanswered: Count::default(),
            refused: Family::default(),
            rejected_by_cap: Count::default(),
            latency: seconds(),
            certificates: Count::default(),
            certificate_time: seconds(),
            events: Count::default(),
            built: Count::default(),
            published: Count::default(),
            build_time: seconds(),
            groups: Level::default(),
            pods: Level::default(),
            problems: Family::default(),
            admissions: Family::default(),
            validations: Family::default(),
            reconciliations: Family::default(),
            registry: Registry::default(),
        };
        telemetry.register(&mut registry);
        registry.register_collector(Box::new(Proxies(roster.clone())));
        Self { registry, ..telemetry }
    }

    fn register(&self, to: &mut Registry) {
        to.register("proxy_reconnect_count", "Proxies that came with a version of before", self.reconnects.clone());
        to.register("proxy_response_send_success_count", "Messages to proxies, by kind", self.sent.clone());
        to.register("proxy_ack_count", "Changes in force at connected proxies", self.acknowledged.clone());
        to.register("proxy_nack_count", "Versions refused by proxies", self.nacks.clone());
        to.register("proxy_unanswered_count", "Versions that a proxy did not answer in time", self.unanswered.clone());
        to.register("proxy_refused_count", "Requests of proxies refused, by reason", self.refused.clone());
        to.register(
            "proxy_max_connections_rejected",
            "Proxies refused because of maxDataPlaneConnections",
            self.rejected_by_cap.clone(),
        );
        to.register(
            "proxy_config_update_time",
            "Seconds from seeing a change to a proxy's acknowledgement",
            self.latency.clone(),
        );
        to.register("cert_issued_count", "Certificates issued", self.certificates.clone());
        to.register("cert_issued_time", "Seconds that issuing a certificate took", self.certificate_time.clone());
        to.register("k8s_api_event_count", "Changes of resources", self.events.clone());
        to.register("config_build_count", "Documents computed", self.built.clone());
        to.register(
            "config_publish_count",
            "Documents that came out different and were published",
            self.published.clone(),
        );
        to.register(
            "config_build_time",
            "Seconds that a batch of changes took to become documents",
            self.build_time.clone(),
        );
        to.register("config_groups", "Groups of proxies with the same document", self.groups.clone());
        to.register("mesh_pods", "Pods of the mesh", self.pods.clone());
        to.register("problems", "Problems of resources, by severity", self.problems.clone());
        to.register("admission_request_count", "Requests to the injector, by outcome", self.admissions.clone());
        to.register("validation_request_count", "Requests to the validator, by outcome", self.validations.clone());
        to.register(
            "reconciliation_total",
            "Objects that were kept in the cluster and had to be restored or renewed, by kind",
            self.reconciliations.clone(),
        );
        let version = Family::<Vec<(&'static str, &'static str)>, Level>::default();
        version.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION"))]).set(1);
        to.register("version_info", "Version of fsm-control", version);
    }

    /// The page.
    pub fn page(&self) -> String {
        let mut page = String::with_capacity(16 << 10);
        // Writing to a string cannot fail.
        let _ = text::encode_registry(&mut page, &self.registry);
        page
    }

    pub(crate) fn count_sent(&self, kind: &'static str) {
        self.sent.get_or_create(&Kind { kind }).add();
    }

    pub(crate) fn count_refused(&self, kind: &'static str) {
        self.refused.get_or_create(&Kind { kind }).add();
    }

    pub(crate) fn converged(&self, took: Duration) {
        self.acknowledged.add();
        self.latency.observe(took.as_secs_f64());
    }
}

impl Count {
    /// One more.
    pub fn add(&self) {
        self.add_many(1);
    }

    /// Some more.
    pub fn add_many(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    /// So far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Level {
    /// Now.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
}

impl EncodeMetric for Count {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        // A gauge's value is written without a suffix.
        encoder.encode_gauge(&self.get())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl EncodeMetric for Level {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_gauge(&self.0.load(Relaxed))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

impl TypedMetric for Count {
    const TYPE: MetricType = MetricType::Counter;
}

impl TypedMetric for Level {
    const TYPE: MetricType = MetricType::Gauge;
}

/// What the roster knows.
#[derive(Debug)]
struct Proxies(Arc<Roster>);

impl Collector for Proxies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let convergence = self.0.convergence();
        let mut gauge = |name: &str, help: &str, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        gauge("proxy_connect_count", "Connected proxies", convergence.connected as f64)?;
        gauge("proxy_behind", "Connected proxies without the newest version", convergence.behind as f64)?;
        gauge(
            "proxy_config_age_seconds",
            "For how long the proxy that waits longest has been without the newest version",
            convergence.oldest_behind_seconds,
        )
    }
}
