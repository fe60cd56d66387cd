//! Webhooks, which API servers ask. The injector's: about every pod that is about to be created, answered with the patch
//! that puts the sidecar into it ([`crate::inject`] decides). The validator's: about every change of a policy
//! ([`crate::validate`] decides).
//!
//! A pod that is none of the mesh's is admitted as it is. A pod that would silently be outside of the mesh is refused with
//! the reason: wrong annotations, or a namespace that is not known here yet (controllers try again). What is no review is
//! told so with a status of HTTP. Nothing is ever written anywhere, so a dry run is a run. Never needs the API server
//! itself for an answer: the facts come from the owner of the world, or from a world of its own ([`Facts`]).

pub mod configuration;
mod followed;
mod native;
mod review;
pub mod server;
mod validator;

pub(crate) use followed::log_level;
pub use followed::{FollowedFacts, Follower};
pub use native::Native;
pub use review::{Request, Verdict};
pub use server::serve;
pub use validator::{Validator, Worlds};

use crate::controller::Query;
use crate::http::{Ask, Reply, reads, text};
use crate::inject::{NamespaceFacts, Settings};
use crate::limits;
use crate::telemetry::{Outcome, Telemetry};
use crate::world::World;
use fsm_api::resources::Kind;
use fsm_api::resources::mesh_config::MeshConfig;
use http::{Method, StatusCode, header};
use std::future::Future;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

/// Where the API server sends its reviews, as in FSM.
pub const MUTATE_PATH: &str = "/mutate-pod-creation";

/// Where the API server sends changes of policies, as in FSM.
pub const VALIDATE_PATH: &str = "/validate";

/// The kinds whose changes are validated in the namespaces of the mesh.
pub const VALIDATED: [Kind; 18] = [
    Kind::TrafficTarget,
    Kind::TrafficSplit,
    Kind::HttpRouteGroup,
    Kind::IngressBackend,
    Kind::AccessControl,
    Kind::AccessCert,
    Kind::Egress,
    Kind::EgressGateway,
    Kind::UpstreamTrafficSetting,
    Kind::Retry,
    Kind::Isolation,
    Kind::Plugin,
    Kind::PluginChain,
    Kind::PluginConfig,
    Kind::Cluster,
    Kind::GlobalTrafficPolicy,
    Kind::ServiceExport,
    Kind::NamespacedIngress,
];

/// Where probes ask.
pub const HEALTH_PATH: &str = "/healthz";

/// What injection into pods of one namespace needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct InjectionFacts {
    /// The namespace.
    pub namespace: NamespaceFacts,
    /// The MeshConfig that counts; `None`: there is none, and the usual values hold.
    pub mesh: Option<Arc<MeshConfig>>,
}

impl InjectionFacts {
    /// The facts that a world has; `None`: it has no such namespace.
    pub fn of(world: &World, namespace: &str) -> Option<Self> {
        let namespace = world.namespace(namespace)?;
        Some(Self {
            namespace: NamespaceFacts {
                name: namespace.name.clone(),
                monitored_by: namespace.labels.get("flomesh.io/monitored-by").cloned(),
                annotations: namespace.annotations.clone(),
            },
            mesh: world.mesh_config().cloned(),
        })
    }
}

/// Where the facts come from.
pub trait Facts: Send + Sync + 'static {
    /// The facts for pods of a namespace; `None`: there is no such namespace as far as is known here.
    fn of_namespace(&self, name: &str) -> impl Future<Output = Result<Option<InjectionFacts>, NotReady>> + Send;
}

/// Nothing is known yet, or whoever knows does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "fsm-control has not read the resources of the mesh yet or is overloaded, so it cannot tell whether this pod needs a \
     sidecar; try again, and look at its log and its /health/ready if this lasts"
)]
pub struct NotReady;

/// Asks the owner of the world.
#[derive(Clone, Debug)]
pub struct OwnerFacts {
    /// To the owner.
    pub queries: mpsc::Sender<Query>,
    /// Whether all resources were read once: half a world has namespaces without their labels.
    pub ready: watch::Receiver<bool>,
}

/// The webhook's answers.
#[derive(Debug)]
pub struct Webhook<F> {
    /// What is known of namespaces and the mesh.
    pub facts: F,
    /// What the injector was told when it started.
    pub settings: Settings,
    /// Whether sidecars are native, whatever the settings say.
    pub native: Native,
    /// Where requests are counted.
    pub telemetry: Arc<Telemetry>,
}

impl Facts for OwnerFacts {
    async fn of_namespace(&self, name: &str) -> Result<Option<InjectionFacts>, NotReady> {
        if !*self.ready.borrow() {
            return Err(NotReady);
        }
        let (answer, answered) = oneshot::channel();
        let query = Query::Injection { namespace: name.to_owned(), answer };
        let asked = async {
            self.queries.send(query).await.map_err(|_| NotReady)?;
            answered.await.map_err(|_| NotReady)
        };
        timeout(limits::FACTS_TIMEOUT, asked).await.unwrap_or(Err(NotReady))
    }
}

impl<F: Facts> Reviewer for Webhook<F> {
    const PATH: &'static str = MUTATE_PATH;

    async fn review(&self, request: &review::Request) -> Verdict {
        let facts =
            if request.concerns_new_pod() { self.facts.of_namespace(&request.namespace).await } else { Ok(None) };
        let (facts, settings) = match self.native.decided() {
            Some(native_sidecars) => (facts, Settings { native_sidecars, ..self.settings.clone() }),
            None => (Err(NotReady), self.settings.clone()),
        };
        review::judge(request, facts, &settings)
    }

    fn count(&self, outcome: &'static str) {
        self.telemetry.admissions.get_or_create(&Outcome { outcome }).add();
    }
}

/// Whoever answers the reviews that are sent to one path.
pub trait Reviewer: Send + Sync + 'static {
    /// Where they are sent.
    const PATH: &'static str;

    /// Decides about one of them.
    fn review(&self, request: &review::Request) -> impl Future<Output = Verdict> + Send;

    /// Counts how one of them ended.
    fn count(&self, outcome: &'static str);
}

/// Answers one request to a webhook's port.
pub(crate) async fn answer<R: Reviewer>(reviewer: &R, ask: Ask) -> Reply {
    match (ask.method(), ask.uri().path()) {
        (&Method::POST, path) if path == R::PATH => {
            let (outcome, reply) = reviewed(reviewer, ask).await;
            reviewer.count(outcome);
            reply
        }
        (method, HEALTH_PATH) if reads(method) => text(StatusCode::OK, "Health OK"),
        (_, HEALTH_PATH) => text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n"),
        (_, path) if path == R::PATH => text(StatusCode::METHOD_NOT_ALLOWED, "only POST is served here\n"),
        _ => text(
            StatusCode::NOT_FOUND,
            format!("there is nothing here; API servers use {}, probes {HEALTH_PATH}\n", R::PATH),
        ),
    }
}

/// The reply, and the word under which it is counted.
async fn reviewed<R: Reviewer>(reviewer: &R, ask: Ask) -> (&'static str, Reply) {
    let invalid = |status, reason: String| ("invalid", text(status, format!("{reason}\n")));
    let kind = ask.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        let reason = format!("the request's Content-Type is {kind:?}; send a review as application/json");
        return invalid(StatusCode::BAD_REQUEST, reason);
    }
    let Some(body) = ask.body() else {
        let most = limits::MAX_REVIEW_BYTES;
        return invalid(StatusCode::PAYLOAD_TOO_LARGE, format!("the review is longer than {most} bytes"));
    };
    let request = match review::read(body) {
        Ok(request) => request,
        Err(error) => return invalid(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let verdict = reviewer.review(&request).await;
    tracing::debug!("{}: {} {}", request.subject(), verdict.outcome(), verdict.reason());
    (verdict.outcome(), verdict.reply(&request))
}

#[cfg(test)]
mod tests;
