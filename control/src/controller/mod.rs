//! Ties the parts together: source → world → catalog → push, in one owner task.
//!
//! Changes are taken in one by one and collected for a moment ([`limits::QUIET`], at most
//! [`limits::COLLECT_AT_MOST`]): a rollout is hundreds of them. Then the documents of the groups that they concern are
//! computed anew, and those that came out different are published. Before the source has said that everything was
//! there, nothing is published: half a world would cut connections that a whole one allows. The task runs on a thread
//! of its own, so that computing never delays what is being sent.

mod collect;
mod findings;
mod publisher;

pub use publisher::Publisher;

use crate::catalog::explain::{CannotExplain, Explanation, Question};
use crate::limits;
use crate::source::Event;
use crate::webhook::InjectionFacts;
use crate::world::World;
use collect::Collect;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// A question about the world, answered by its owner between two batches of changes.
#[derive(Debug)]
pub enum Query {
    /// What the world has in it, for people.
    World(oneshot::Sender<serde_json::Value>),
    /// Why a call is allowed or denied.
    Explain {
        /// Which call.
        question: Box<Question>,
        /// The answer, or why there is none.
        answer: oneshot::Sender<Result<Explanation, CannotExplain>>,
    },
    /// A part of the world, for developers.
    View(View, oneshot::Sender<serde_json::Value>),
    /// The world as it is, to try a change in a copy of it; `None` before the source has said everything.
    Snapshot(oneshot::Sender<Option<Arc<World>>>),
    /// What injection into pods of a namespace needs to know.
    Injection {
        /// Its name.
        namespace: String,
        /// `None`: there is no such namespace as far as is known here.
        answer: oneshot::Sender<Option<InjectionFacts>>,
    },
}

/// Parts of the world that the debug server shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// As [`Query::World`].
    World,
    /// Namespaces.
    Namespaces,
    /// Policies by kind.
    Policies,
    /// The MeshConfig that counts.
    MeshConfig,
    /// Its feature flags.
    FeatureFlags,
}

/// What the owner task listens to and speaks to.
#[derive(Debug)]
pub struct Ends {
    /// From the source.
    pub events: mpsc::Receiver<Event>,
    /// From the admin port.
    pub queries: mpsc::Receiver<Query>,
    /// Becomes true when the first documents are published.
    pub ready: watch::Sender<bool>,
    /// Ends the task.
    pub stop: CancellationToken,
}

/// Starts the owner task on a thread of its own.
///
/// # Errors
/// When the system refuses the thread.
pub fn start(publisher: Publisher, ends: Ends) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name("fsm-owner".to_owned());
    thread.spawn(move || runtime.block_on(run(publisher, ends)))
}

/// The owner task. Ends when it is stopped, or with its source.
pub async fn run(mut publisher: Publisher, mut ends: Ends) {
    let mut collect = Collect::default();
    loop {
        let due = collect.due();
        tokio::select! {
            biased;
            () = ends.stop.cancelled() => return,
            () = wait_until(due) => {
                if let Some(caused) = collect.take() {
                    publisher.publish(caused);
                    ends.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
                }
            }
            event = ends.events.recv() => match event {
                Some(event) => take_in(&mut publisher, &mut collect, event),
                None => return,
            },
            Some(query) = ends.queries.recv() => match query {
                // Whoever asked may have given up; that is theirs.
                Query::World(answer) => drop(answer.send(publisher.describe())),
                Query::View(view, answer) => drop(answer.send(publisher.view(view))),
                Query::Explain { question, answer } => drop(answer.send(publisher.explain(&question))),
                Query::Snapshot(answer) => drop(answer.send(publisher.snapshot())),
                Query::Injection { namespace, answer } => drop(answer.send(publisher.injection_facts(&namespace))),
            },
        }
    }
}

fn take_in(publisher: &mut Publisher, collect: &mut Collect, event: Event) {
    let now = Instant::now();
    if publisher.take_in(event) {
        collect.note(now);
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
