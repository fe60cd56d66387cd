//! `fsm rollout`: new pods for a workload, one after the other.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::select::{self, Named, Scope};
use super::{MeshChoice, merge, patch, say_line, wait};
use crate::local::state::{ObjectName, State};

const INTERVAL: Duration = Duration::from_millis(100);

/// `fsm rollout`.
#[derive(Debug, Subcommand)]
pub(super) enum Rollout {
    /// Replace the pods of a workload, for example after its namespace joined the mesh
    Restart(Workloads),
    /// Wait until all pods of a workload are new and ready
    Status {
        #[command(flatten)]
        workloads: Workloads,
        /// How long, as in 90s or 3m
        #[arg(long, default_value = "5m", value_parser = wait::duration)]
        timeout: Duration,
    },
}

/// Which workloads.
#[derive(Debug, Args)]
pub(super) struct Workloads {
    /// deploy/NAME or deployment NAME; also statefulset and daemonset
    #[arg(required = true, value_name = "KIND/NAME")]
    words: Vec<String>,
    #[command(flatten)]
    scope: Scope,
}

impl Rollout {
    pub(super) fn run(self, mesh: &MeshChoice) -> Result<()> {
        let state = mesh.state()?;
        match self {
            Self::Restart(workloads) => {
                for (named, id) in workloads.find(mesh)? {
                    let now = jiff::Timestamp::now().to_string();
                    let mark = json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}}});
                    patch::change(&state.objects(), &named, &id, |object| merge::patch(object, &mark))?;
                    say_line(format!("{} restarted", named.resource.answer(&id.name)));
                }
            }
            Self::Status { workloads, timeout } => {
                for (named, id) in workloads.find(mesh)? {
                    follow(&state, &named, &id, Instant::now() + timeout)?;
                }
            }
        }
        Ok(())
    }
}

impl Workloads {
    fn find(&self, mesh: &MeshChoice) -> Result<Vec<(Named, ObjectName)>> {
        let mut found = Vec::new();
        for named in select::named(&self.words)? {
            let resource = &named.resource;
            if !matches!(resource.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet") {
                bail!("{} are not rolled out: only deployments, statefulsets and daemonsets are", resource.plural);
            }
            let Some(name) = &named.name else { bail!("say which {} by name", resource.plural) };
            let id = ObjectName::new(&resource.directory(), &self.scope.namespace_of(resource, mesh), name);
            found.push((named, id));
        }
        Ok(found)
    }
}

fn follow(state: &State, named: &Named, id: &ObjectName, deadline: Instant) -> Result<()> {
    let kind = named.resource.kind.to_ascii_lowercase();
    let mut told = String::new();
    loop {
        let object = state.objects().get(id)?.ok_or_else(|| select::not_found(&named.resource, id))?;
        let Some(line) = pending(&object, &kind) else {
            say_line(format!("{kind} \"{}\" successfully rolled out", id.name));
            return Ok(());
        };
        if line != told {
            say_line(&line);
            told = line;
        }
        if Instant::now() >= deadline {
            bail!(
                "timed out waiting for {kind} \"{}\": `fsm get pods -n {}` tells what keeps its pods",
                id.name,
                id.namespace
            );
        }
        if !state.is_running() {
            bail!("the mesh {} does not run (any more), so nothing will change", state.mesh());
        }
        std::thread::sleep(INTERVAL);
    }
}

/// What is still to be waited for; `None` if nothing is.
fn pending(object: &Value, kind: &str) -> Option<String> {
    let number = |path: &str| object.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return Some(format!("Waiting for {kind} spec update to be observed..."));
    }
    let (wanted, updated, available) = match kind {
        "daemonset" => (
            number("/status/desiredNumberScheduled"),
            number("/status/updatedNumberScheduled"),
            number("/status/numberAvailable"),
        ),
        _ => (
            object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1),
            number("/status/updatedReplicas"),
            number("/status/availableReplicas").max(if kind == "statefulset" {
                number("/status/readyReplicas")
            } else {
                0
            }),
        ),
    };
    let old = number("/status/replicas").saturating_sub(updated);
    if updated < wanted {
        return Some(format!(
            "Waiting for {kind} \"{name}\" rollout to finish: {updated} out of {wanted} new replicas have been updated..."
        ));
    }
    if old > 0 && kind != "daemonset" {
        return Some(format!(
            "Waiting for {kind} \"{name}\" rollout to finish: {old} old replicas are pending termination..."
        ));
    }
    (available < wanted).then(|| {
        format!(
            "Waiting for {kind} \"{name}\" rollout to finish: {available} of {wanted} updated replicas are available..."
        )
    })
}
