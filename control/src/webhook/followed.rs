//! What the injector knows when it is a program of its own: the namespaces of the mesh and its MeshConfig.
//!
//! The same world as the controller's, with these two kinds in it, kept up to date from a source. Answers begin when the
//! source has said everything once.

use super::{Facts, InjectionFacts, NotReady};
use crate::log;
use crate::source::Event;
use crate::telemetry::Telemetry;
use crate::world::World;
use fsm_api::resources::Kind;
use fsm_api::resources::mesh_config::MeshConfig;
use parking_lot::RwLock;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Namespaces and MeshConfig, as a source says them.
#[derive(Clone, Debug)]
pub struct FollowedFacts {
    world: Arc<RwLock<World>>,
    ready: watch::Receiver<bool>,
}

/// Takes in what the source says.
#[derive(Debug)]
pub struct Follower {
    world: Arc<RwLock<World>>,
    events: mpsc::Receiver<Event>,
    ready: watch::Sender<bool>,
    telemetry: Arc<Telemetry>,
}

impl FollowedFacts {
    /// Facts that are there when the follower [runs](Follower::run) and its source is synced.
    pub fn new(world: World, events: mpsc::Receiver<Event>, telemetry: Arc<Telemetry>) -> (Self, Follower) {
        let world = Arc::new(RwLock::new(world));
        let (ready, is_ready) = watch::channel(false);
        let follower = Follower { world: world.clone(), events, ready, telemetry };
        (Self { world, ready: is_ready }, follower)
    }

    /// Becomes true when everything was said once.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }
}

impl Facts for FollowedFacts {
    async fn of_namespace(&self, name: &str) -> Result<Option<InjectionFacts>, NotReady> {
        if *self.ready.borrow() { Ok(InjectionFacts::of(&self.world.read(), name)) } else { Err(NotReady) }
    }
}

impl Follower {
    /// Follows until the source or the program ends.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let event = tokio::select! {
                () = stop.cancelled() => return,
                event = self.events.recv() => event,
            };
            match event {
                None => return,
                Some(Event::Applied(object)) => {
                    self.telemetry.events.add();
                    let of_mesh = object.value.kind() == Kind::MeshConfig;
                    self.world.write().apply(object.value);
                    self.log_as_told(of_mesh);
                }
                Some(Event::Removed(key)) => {
                    self.telemetry.events.add();
                    self.world.write().remove(&key);
                    self.log_as_told(key.kind == Kind::MeshConfig);
                }
                Some(Event::Synced) => {
                    self.ready.send_replace(true);
                }
                // Neither namespaces nor MeshConfigs are followed in part.
                Some(Event::Complete { .. }) => {}
                Some(Event::Problems { problems, .. }) => {
                    for problem in problems {
                        warn!("{}: {}", problem.reason, problem.text);
                    }
                }
            }
        }
    }
}

impl Follower {
    /// The log's level is a setting of the mesh.
    fn log_as_told(&self, changed: bool) {
        if changed {
            let config = self.world.read().mesh_config().cloned();
            log::follow(config.as_deref().and_then(log_level));
        }
    }
}

/// `observability.fsmLogLevel`.
pub(crate) fn log_level(config: &MeshConfig) -> Option<&str> {
    config.spec.observability.as_ref()?.fsm_log_level.as_deref()
}

#[cfg(test)]
mod tests;
