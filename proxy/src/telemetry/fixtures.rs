//! What tests of pages and ports look at: snapshots with known clusters.

use super::record::{Ends, Session};
use super::workload::Workload;
use super::{Direction, Telemetry, families::View};
use crate::config::compile::{Environment, compile};
use crate::config::snapshot::Snapshot;
use crate::policy::budget::{BudgetSettings, RetryBudget};
use crate::upstream::affinity::Balancing;
use crate::upstream::cluster::{Cluster, ClusterSettings, Endpoints};
use crate::upstream::gate::GateLimits;
use fsm_api::config::Config;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A cluster that has counted nothing yet.
pub(crate) fn cluster(name: &str, direction: Direction) -> Arc<Cluster> {
    let settings = ClusterSettings {
        response_timeout: Duration::from_secs(60),
        requests_per_connection: None,
        limits: GateLimits::default(),
        breaker: None,
        retry: None,
        budget: Arc::new(RetryBudget::new(BudgetSettings::default(), Instant::now())),
        balancing: Balancing::default(),
    };
    let endpoints = Endpoints::new(&Balancing::default(), Vec::new(), 0, None);
    Arc::new(Cluster::new(name.into(), direction, Arc::default(), settings, endpoints))
}

/// A snapshot of an empty document with these clusters.
pub(crate) fn snapshot(clusters: Vec<Arc<Cluster>>) -> Snapshot {
    compiled(Config::default(), clusters)
}

/// A snapshot of this document, but with these clusters.
pub(crate) fn compiled(document: Config, clusters: Vec<Arc<Cluster>>) -> Snapshot {
    let mut snapshot = compile(Arc::new(document), Vec::new(), None, Environment::default());
    snapshot.clusters = clusters;
    snapshot
}

/// A view of these clusters by the pod `shop/web-7d4b9-x2x`.
pub(crate) fn view(clusters: Vec<Arc<Cluster>>) -> View {
    View {
        snapshot: Some(Arc::new(snapshot(clusters))),
        config_age: Some(Duration::from_secs(90)),
        telemetry: Arc::new(Telemetry::new()),
        workload: Arc::new(workload()),
    }
}

/// The pod `shop/web-7d4b9-x2x`.
pub(crate) fn workload() -> Workload {
    Workload { namespace: "shop".into(), kind: "Deployment".into(), name: "web".into(), pod: "web-7d4b9-x2x".into() }
}

/// A client's connection from 10.0.0.1:4000 to 10.0.0.2:80, over mTLS if it has an identity.
pub(crate) fn session(telemetry: &Arc<Telemetry>, identity: Option<&str>) -> Arc<Session> {
    let ends = Ends {
        peer: ([10, 0, 0, 1], 4000).into(),
        destination: ([10, 0, 0, 2], 80).into(),
        identity: identity.map(Into::into),
        mtls: identity.is_some(),
        server_name: None,
    };
    Session::new(telemetry, ends)
}
