//! The validator's webhook: [`crate::validate`] decides about changes of policies in a world that stays as it is.
//!
//! Never stands in the way of what only repairs or removes: objects that are being deleted are taken, and so are changes
//! of metadata and status. MeshConfig is judged even before the source has been read.

use super::{NotReady, OwnerFacts, Request, Reviewer, VALIDATE_PATH, VALIDATED, Verdict};
use crate::controller::Query;
use crate::limits;
use crate::telemetry::{Outcome, Telemetry};
use crate::validate::{Judgement, Proposal, judge};
use crate::world::{Settings, World};
use fsm_api::resources::{Kind, Object, ObjectKey};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Where the world comes from.
pub trait Worlds: Send + Sync + 'static {
    /// The world as it is now.
    fn world(&self) -> impl Future<Output = Result<Arc<World>, NotReady>> + Send;
}

/// The webhook's answers.
#[derive(Debug)]
pub struct Validator<W> {
    worlds: W,
    settings: Settings,
    telemetry: Arc<Telemetry>,
}

impl Worlds for OwnerFacts {
    async fn world(&self) -> Result<Arc<World>, NotReady> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.queries.send(Query::Snapshot(answer)).await.map_err(|_| NotReady)?;
            answered.await.ok().flatten().ok_or(NotReady)
        };
        timeout(limits::FACTS_TIMEOUT, asked).await.unwrap_or(Err(NotReady))
    }
}

impl<W: Worlds> Validator<W> {
    /// Judges in these worlds.
    pub fn new(worlds: W, settings: Settings, telemetry: Arc<Telemetry>) -> Self {
        Self { worlds, settings, telemetry }
    }

    /// Whether the object is one of those that are judged; why not.
    fn concerns(&self, request: &Request, kind: &Kind) -> Result<(), &'static str> {
        if !["CREATE", "UPDATE"].contains(&request.operation.as_str()) || !request.sub_resource.is_empty() {
            return Err("only new and changed objects are validated");
        }
        let Settings { fsm_namespace, mesh_config_name, .. } = &self.settings;
        match kind {
            Kind::MeshConfig => {
                let name = request.object["metadata"]["name"].as_str().unwrap_or_default();
                let counts = request.namespace == *fsm_namespace && name == mesh_config_name;
                if counts { Ok(()) } else { Err("it is not the MeshConfig of this mesh") }
            }
            kind if VALIDATED.contains(kind) => Ok(()),
            _ => Err("this kind is not validated"),
        }?;
        if !request.object["metadata"]["deletionTimestamp"].is_null() {
            return Err("it is being deleted");
        }
        if request.operation == "UPDATE" && request.object["spec"] == request.old_object["spec"] {
            return Err("nothing but metadata or status changed");
        }
        Ok(())
    }

    async fn judged(&self, kind: &Kind, proposal: Proposal) -> Result<Judgement, NotReady> {
        let world = match self.worlds.world().await {
            Ok(world) => world,
            // It says by itself what is wrong with it, and a mesh that does not start may be waiting for it.
            Err(NotReady) if *kind == Kind::MeshConfig => Arc::new(World::new(self.settings.clone())),
            Err(NotReady) => return Err(NotReady),
        };
        let judging = spawn_blocking(move || judge(&world, &proposal, Timestamp::now()));
        match timeout(limits::JUDGEMENT_TIMEOUT, judging).await {
            Ok(Ok(judgement)) => Ok(judgement),
            Ok(Err(_)) | Err(_) => Err(NotReady),
        }
    }
}

impl<W: Worlds> Reviewer for Validator<W> {
    const PATH: &'static str = VALIDATE_PATH;

    async fn review(&self, request: &Request) -> Verdict {
        let asked = &request.kind;
        let api_version = match asked.group.as_str() {
            "" => asked.version.clone(),
            group => format!("{group}/{}", asked.version),
        };
        let kind = Kind::of(&api_version, &asked.kind);
        if let Err(why) = self.concerns(request, &kind) {
            return Verdict::Skipped(why);
        }
        let object = match read(&request.object, &api_version, &asked.kind) {
            Ok(object) => object,
            Err(error) => return Verdict::Refused(format!("{}: {error}", request.subject())),
        };
        let key = object.key();
        // What cannot be read any more excuses nothing.
        let before = read(&request.old_object, &api_version, &asked.kind).ok();
        let before = before.filter(|_| request.operation == "UPDATE");
        match self.judged(&kind, Proposal { object, before }).await {
            Ok(judgement) if judgement.faults.is_empty() => Verdict::Admitted(judgement.warnings),
            Ok(judgement) => Verdict::Refused(refusal(&key, &judgement)),
            Err(error) => Verdict::Later(format!("{key} cannot be validated: {error}")),
        }
    }

    fn count(&self, outcome: &'static str) {
        self.telemetry.validations.get_or_create(&Outcome { outcome }).add();
    }
}

fn refusal(key: &ObjectKey, judgement: &Judgement) -> String {
    let faults: Vec<String> = judgement.faults.iter().map(ToString::to_string).collect();
    format!("{key}: {}", faults.join("; "))
}

/// Reviews always say what the object is; the object itself may not.
fn read(object: &Value, api_version: &str, kind: &str) -> Result<Object, fsm_api::resources::InvalidObject> {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.entry("apiVersion").or_insert_with(|| api_version.into());
        fields.entry("kind").or_insert_with(|| kind.into());
    }
    Object::from_json(object)
}

#[cfg(test)]
mod tests;
