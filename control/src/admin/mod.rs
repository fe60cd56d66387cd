//! The port for operators, probes and scrapers; on loopback unless said otherwise.
//!
//! Whoever comes from another machine gets [`Vitals`] and the supported versions of SMI, and nothing else: on Kubernetes the
//! port is open to all pods for the sake of probes and scrapers, while operators come by `kubectl port-forward`, which is
//! loopback. Nothing secret is shown: documents are redacted, of the authority only fingerprints. The only request that changes
//! anything is `POST /ca/rotate`. Requests that a browser makes for somebody else's page (with an `origin`, or under a
//! host name that is not this machine's) are refused.

mod authority;
mod explain;
mod vitals;

pub use authority::{Authority, NotRotated};
pub use vitals::Vitals;

use crate::catalog::explain::CannotExplain;
use crate::controller::Query;
use crate::http::{Ask, Reply, comes_from_here, json, reads, serve as serve_http, text};
use crate::push::{PodKey, Push};
use crate::world::{Problem, Severity};
use arc_swap::ArcSwap;
use fsm_api::config::Config;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use vitals::{PORT, wrong_method};

/// What the admin port shows.
#[derive(Debug)]
pub struct Admin {
    /// Everything about proxies.
    pub push: Arc<Push>,
    /// Who signs certificates.
    pub authority: Arc<Authority>,
    /// What is wrong with the users' objects.
    pub problems: Arc<ArcSwap<Vec<Problem>>>,
    /// To the owner of the world.
    pub queries: mpsc::Sender<Query>,
    /// Health, version and metrics.
    pub vitals: Vitals,
}

const INDEX: &str = "\
fsm-control's admin port:
  GET  /health/ready       200 once the first documents are published
  GET  /health/alive       200 (also /healthz)
  GET  /version            version
  GET  /smi/version        supported versions of SMI
  GET  /metrics            Prometheus
  GET  /proxies            connected proxies: version wanted and acknowledged, certificates, refusals
  GET  /problems           what is wrong with objects
  GET  /world              namespaces, groups of proxies, versions
  GET  /config?pod=NS/NAME the newest document of a pod, without secrets
  GET  /explain?from=NS/POD&to=NS/SERVICE
                           whether a call is allowed, and by which objects; also port, method, path, header
  GET  /ca                 roots of the mesh and how their rotation stands
  POST /ca/rotate          begin to replace the root
";

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>, stop: CancellationToken) {
    let handler = move |ask| {
        let admin = admin.clone();
        async move { admin.answer(ask).await }
    };
    serve_http(listener, handler, PORT, stop).await;
}

impl Admin {
    async fn answer(&self, ask: Ask) -> Reply {
        if is_foreign(&ask) {
            return text(StatusCode::FORBIDDEN, "this port answers programs on this machine, not web pages\n");
        }
        let path = ask.uri().path();
        let open = if path == "/smi/version" { Some(json(&smi_versions())) } else { self.vitals.page(path) };
        if let Some(page) = open {
            return if reads(ask.method()) { page } else { wrong_method(&Method::GET) };
        }
        if !comes_from_here(&ask) {
            let hint = "use kubectl port-forward, or open this port on loopback";
            return text(StatusCode::FORBIDDEN, format!("only programs on this machine get this page; {hint}\n"));
        }
        if path == "/ca/rotate" {
            return if *ask.method() == Method::POST { self.rotate().await } else { wrong_method(&Method::POST) };
        }
        if !reads(ask.method()) {
            return wrong_method(&Method::GET);
        }
        match path {
            "/" => text(StatusCode::OK, INDEX),
            "/proxies" => json(&self.push.roster.reports()),
            "/problems" => json(&self.problems.load().iter().map(problem).collect::<Vec<_>>()),
            "/world" => self.world().await,
            "/config" => self.config(&ask),
            "/explain" => self.explain(&ask).await,
            "/ca" => json(&self.authority.status()),
            _ => text(StatusCode::NOT_FOUND, format!("there is no {path}\n\n{INDEX}")),
        }
    }

    async fn rotate(&self) -> Reply {
        match self.authority.rotate().await {
            Ok(status) => {
                let mut reply = json(&status);
                *reply.status_mut() = StatusCode::ACCEPTED;
                reply
            }
            Err(why @ NotRotated::Failed(_)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
            Err(why) => text(StatusCode::CONFLICT, format!("{why}\n")),
        }
    }

    async fn world(&self) -> Reply {
        let (answer, answered) = oneshot::channel();
        if self.queries.send(Query::World(answer)).await.is_err() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "fsm-control is being stopped\n");
        }
        match answered.await {
            Ok(world) => json(&world),
            Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "fsm-control is being stopped\n"),
        }
    }

    async fn explain(&self, ask: &Ask) -> Reply {
        let question = match explain::question(ask.uri().query().unwrap_or_default()) {
            Ok(question) => Box::new(question),
            Err(why) => return text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        };
        let (answer, answered) = oneshot::channel();
        if self.queries.send(Query::Explain { question, answer }).await.is_err() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "fsm-control is being stopped\n");
        }
        match answered.await {
            Ok(Ok(explanation)) => json(&explanation),
            Ok(Err(why @ CannotExplain::Port { .. })) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
            Ok(Err(why)) => text(StatusCode::NOT_FOUND, format!("{why}\n")),
            Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "fsm-control is being stopped\n"),
        }
    }

    fn config(&self, ask: &Ask) -> Reply {
        let query = ask.uri().query().unwrap_or_default();
        let pod = query.split('&').find_map(|pair| pair.strip_prefix("pod="));
        let pod = pod.map(|pod| pod.replace("%2F", "/").replace("%2f", "/"));
        let Some((namespace, name)) = pod.as_deref().and_then(|pod| pod.split_once('/')) else {
            return text(StatusCode::BAD_REQUEST, "say which pod: /config?pod=NAMESPACE/NAME\n");
        };
        let pod = PodKey::new(namespace, name);
        let Some(seat) = self.push.board.seat(&pod) else {
            let hint = "it is unknown, over, without a proxy, or its namespace is not in the mesh";
            return text(StatusCode::NOT_FOUND, format!("there is no document for pod {pod}: {hint}\n"));
        };
        let publication = seat.publications.borrow().clone();
        match Config::read(publication.document()) {
            Ok((config, _)) => json(&config.redacted()),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("the document cannot be shown: {error}\n")),
        }
    }
}

fn problem(problem: &Problem) -> Value {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({ "severity": severity, "reason": problem.reason, "objects": problem.objects, "text": problem.text })
}

fn smi_versions() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("HTTPRouteGroup", "specs.smi-spec.io/v1alpha4"),
        ("TCPRoute", "specs.smi-spec.io/v1alpha4"),
        ("TrafficSplit", "split.smi-spec.io/v1alpha4"),
        ("TrafficTarget", "access.smi-spec.io/v1alpha3"),
    ])
}

/// Made by a browser for a web page of somebody else's (CSRF, DNS rebinding)?
pub(crate) fn is_foreign(ask: &Ask) -> bool {
    if ask.headers().contains_key(header::ORIGIN) {
        return true;
    }
    let host = ask.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let name = name.trim_start_matches('[').trim_end_matches(']');
    // A rebound name is a public one; addresses, this machine's name and names in the cluster are not.
    let local =
        name.is_empty() || name == "localhost" || name.ends_with(".svc") || name.ends_with(".svc.cluster.local");
    !local && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests;
