//! Follows the objects of an API server.
//!
//! Each kind has a task of its own, and all of them are alike: what differs between kinds is in the tables of
//! [`fsm_api::resources::Kind`] and `view.rs`. Everything that is hard is pure: a `shelf` says what a list or an event
//! means for those who listen, `discovery` believes that a kind is missing only when there is no doubt, `trim` drops what
//! nobody reads before it costs memory or causes an event.
//!
//! As long as the API server is away, everything stays as it was last seen; when it is back, only differences are said,
//! deletions among them. A kind that is not installed is waited for. A kind that may not be read is a problem, and the
//! source then never says that it is [synced](Event::Synced): half of the policies is worse than the old ones.
//!
//! Of Services, their endpoints and Secrets only those are kept that are in namespaces which the mesh `needs`. What is not
//! followed is not missing: the source [says](Event::Complete) what it follows, and a policy that names a namespace that
//! was not followed before is said after what is in there.
//!
//! An object that cannot be read is a problem with its name, and stays in force as it was last read; it never stops the
//! others. Nothing here writes to the API server.

mod client;
mod discovery;
mod needs;
mod raw;
mod retry;
mod shelf;
#[cfg(test)]
mod tests;
mod trim;
mod view;
mod watching;

pub use client::{ConnectError, client, connect};
pub(crate) use retry::{Retry, describe};

use super::Event;
use crate::world::{Problem, Severity};
use discovery::Served;
use fsm_api::resources::Kind;
use kube::Client;
use needs::Needed;
use retry::Failure;
use shelf::ORIGIN;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::error;
use view::{View, Within, views};
use watching::Watching;

/// What to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The name of the mesh, which its namespaces have in their label `flomesh.io/monitored-by`.
    pub mesh_name: String,
    /// The namespace of the control plane, which counts like one of the mesh.
    pub fsm_namespace: String,
    /// Which kinds, and how much of them.
    pub interest: Interest,
}

/// Which kinds are followed, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interest {
    /// What the control plane reads, and no more of it than it reads: the mesh's own kinds, the Namespaces of meshes, Pods in
    /// those of this one, IngressClasses; and Services, EndpointSlices and certificates among Secrets in the namespaces of
    /// the mesh and in those that its policies name.
    Mesh,
    /// What the injector reads: the Namespaces of the mesh, and MeshConfigs.
    Injection,
    /// These kinds whole, in all namespaces.
    Whole(Vec<Kind>),
}

/// An API server that is being followed. Dropping it ends that.
#[derive(Debug)]
pub struct Following {
    task: JoinHandle<()>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a kind's task says about itself.
enum Report {
    /// Its first list was complete, and what was in it has been said.
    Listed,
    /// How it stands: what keeps it from following, or nothing.
    Trouble(Kind, Option<(Failure, String)>),
}

/// Follows an API server. Call it within a runtime.
pub fn follow(client: Client, settings: Settings, events: mpsc::Sender<Event>) -> Following {
    Following { task: tokio::spawn(supervise(client, settings, events)) }
}

/// Starts one task for each kind and says what follows from all of them together.
async fn supervise(client: Client, settings: Settings, events: mpsc::Sender<Event>) {
    let views = views(&settings);
    let kinds: BTreeSet<Kind> = views.iter().map(|view| view.kind.clone()).collect();
    let (served, seen) = watch::channel(Served::default());
    let (namespaces, _) = watch::channel(None);
    let policies = views.iter().filter(|view| view.names_others()).map(|view| view.kind.clone()).collect();
    let partly = views.iter().filter(|view| view.within == Within::Needed).map(|view| view.kind.clone());
    let needed = Arc::new(Needed::new(policies, partly));
    let (reports, mut reported) = mpsc::channel(views.len().max(1));
    let ask = Arc::new(Notify::new());
    let mut left = views.len();
    let mut tasks = JoinSet::new();
    for view in views {
        let watching = Watching {
            client: client.clone(),
            view,
            served: seen.clone(),
            ask: ask.clone(),
            namespaces: namespaces.clone(),
            needed: needed.clone(),
            mesh_name: settings.mesh_name.clone(),
            own_namespace: settings.fsm_namespace.clone(),
            events: events.clone(),
            reports: reports.clone(),
        };
        tasks.spawn(watching.run());
    }
    tasks.spawn(async move { discovery::discover(client, kinds, served, &ask).await });
    let mut troubles = BTreeMap::new();
    loop {
        let event = tokio::select! {
            Some(report) = reported.recv() => match report {
                Report::Listed => {
                    left = left.saturating_sub(1);
                    (left == 0).then_some(Event::Synced)
                }
                Report::Trouble(kind, trouble) => note(&mut troubles, kind, trouble),
            },
            ended = tasks.join_next() => {
                // The end of one is the end of all: whoever listens must not take a part for the whole.
                if let Some(Err(failure)) = ended && failure.is_panic() {
                    error!("a task that follows the API server failed, nothing is followed any more: {failure}");
                }
                return;
            }
        };
        if let Some(event) = event
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

type Troubles = BTreeMap<Kind, (Failure, String)>;

/// Notes what keeps a kind from being followed. An event when that is something new.
fn note(troubles: &mut Troubles, kind: Kind, trouble: Option<(Failure, String)>) -> Option<Event> {
    let before = match &trouble {
        Some(trouble) => troubles.insert(kind, trouble.clone()),
        None => troubles.remove(&kind),
    };
    (before != trouble).then(|| Event::Problems { origin: ORIGIN.into(), problems: problems(troubles) })
}

/// One problem for each reason, whatever the number of kinds that it stops.
fn problems(troubles: &Troubles) -> Vec<Problem> {
    let mut by_reason: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut problems = Vec::new();
    for (kind, (failure, reason)) in troubles {
        let resource = resource(kind);
        match failure {
            Failure::Forbidden => problems.push(problem(
                "Forbidden",
                format!(
                    "fsm-control may not read {resource}: {reason}; allow it to get, list and watch them (the chart's \
                     ClusterRole does); at its start nothing is published before that"
                ),
            )),
            _ => by_reason.entry(reason).or_default().push(resource),
        }
    }
    problems.extend(by_reason.into_iter().map(|(reason, resources)| {
        problem(
            "ApiServerAway",
            format!(
                "the API server does not give {}: {reason}; what was last seen stays in force until it does",
                resources.join(", ")
            ),
        )
    }));
    problems
}

fn problem(reason: &'static str, text: String) -> Problem {
    Problem { severity: Severity::Error, objects: Vec::new(), reason, text }
}

/// As RBAC and `kubectl` name it.
fn resource(kind: &Kind) -> String {
    match kind.names() {
        Some(names) if !names.group.is_empty() => format!("{}.{}", names.plural, names.group),
        Some(names) => names.plural.to_owned(),
        None => kind.to_string(),
    }
}
