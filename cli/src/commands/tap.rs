//! `fsm tap`: requests while they happen.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::select::Scope;
use super::{MeshChoice, duration, pods, say_line};
use crate::reach::http::{self, Method};
use crate::reach::{Mesh, Place, PodName};
use crate::views::tap;

/// Sidecars that are watched at once, at most.
const MOST_PODS: usize = 20;
/// Longest line of a sidecar; it bounds its fields itself.
const LONGEST_LINE: u64 = 256 << 10;
/// Lines that wait to be printed; sidecars drop and count what a slow reader leaves.
const WAITING: usize = 1000;

/// `fsm tap`.
#[derive(Debug, Args)]
#[command(
    after_help = "Requests are shown when they have ended. Neither bodies nor headers are shown, and values of parameters that \
    look like secrets are hidden. Watching costs the sidecar a little; a slow reader loses lines and is told how many.\n\n\
    Examples:\n  fsm tap deploy/bookstore-v1 -n bookstore --direction inbound\n  \
    fsm tap deploy/bookbuyer -n bookbuyer --status 5xx -o json\n  fsm tap deploy/bookstore-v1 -n bookstore --reason any"
)]
pub(super) struct Tap {
    /// A pod, or deploy/NAME: all of its pods
    target: String,
    #[command(flatten)]
    scope: Scope,
    /// Only `inbound` or `outbound` requests
    #[arg(long, value_parser = ["inbound", "outbound"])]
    direction: Option<String>,
    /// Only requests of this method
    #[arg(long)]
    method: Option<String>,
    /// Only requests whose path begins so
    #[arg(long)]
    path: Option<String>,
    /// Only answers with this status: 503, 5xx or 500-504
    #[arg(long)]
    status: Option<String>,
    /// Only requests to a host, service, cluster or address with this in it
    #[arg(long)]
    to: Option<String>,
    /// Only requests from an identity or address with this in it
    #[arg(long)]
    from: Option<String>,
    /// Only requests refused for this reason; `any`: for some reason
    #[arg(long)]
    reason: Option<String>,
    /// End after so many requests
    #[arg(long, value_name = "NUMBER")]
    max: Option<u64>,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,
    /// How to show them
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true, value_name = "FORMAT")]
    output: Lines,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Lines {
    /// A line for people.
    #[default]
    Text,
    /// A JSON object on each line.
    Json,
}

impl Tap {
    pub(super) fn run(self, choice: &MeshChoice) -> Result<()> {
        let mesh = choice.reach()?;
        let mut found = pods::all(&mesh, choice, &self.scope, &self.target)?;
        found.retain(|pod| pods::has_sidecar(pod) && !pods::is_over(pod));
        if found.is_empty() {
            bail!("{} has no pod with a sidecar: `fsm proxy status` lists those that have one", self.target);
        }
        if found.len() > MOST_PODS {
            bail!("{} has {} pods, and at most {MOST_PODS} are watched at once: name a pod", self.target, found.len());
        }
        let (sender, lines) = mpsc::sync_channel(WAITING);
        for pod in found.iter().map(PodName::of) {
            let body = self.open(&mesh, &pod)?;
            let sender = sender.clone();
            std::thread::spawn(move || pass_on(body, &pod, &sender));
        }
        drop(sender);
        let until = self.time.map(|time| Instant::now() + time);
        let mut left = self.max.unwrap_or(u64::MAX);
        while left > 0 {
            let wait = until.map_or(Duration::from_secs(3600), |until| until.saturating_duration_since(Instant::now()));
            match lines.recv_timeout(wait) {
                Ok((pod, request)) => {
                    left -= u64::from(request.get("lost").is_none());
                    say_line(self.shown(&pod, request));
                }
                Err(RecvTimeoutError::Timeout) if until.is_some_and(|until| Instant::now() >= until) => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    bail!(
                        "no sidecar tells more: were their pods removed? `fsm get pods -n {}` shows",
                        found_in(&found)
                    );
                }
            }
        }
        Ok(())
    }

    fn open(&self, mesh: &Mesh, pod: &PodName) -> Result<impl Read + Send + 'static> {
        let place = Place::Sidecar(pod.clone());
        let path = tap::path(&[
            ("direction", self.direction.as_deref()),
            ("method", self.method.as_deref()),
            ("path", self.path.as_deref()),
            ("status", self.status.as_deref()),
            ("to", self.to.as_deref()),
            ("from", self.from.as_deref()),
            ("reason", self.reason.as_deref()),
        ]);
        let mut answer =
            http::ask(mesh.connect(&place)?, Method::Get, &path).with_context(|| format!("asking {place}"))?;
        if answer.status != 200 {
            let mut said = String::new();
            // Whatever it says, the status is known.
            let _ = (&mut answer.body).take(1000).read_to_string(&mut said);
            bail!("{place} will not be watched: {}", said.trim());
        }
        Ok(answer.body)
    }

    fn shown(&self, pod: &PodName, request: Value) -> String {
        match self.output {
            Lines::Text => tap::line(&pod.name, &request),
            Lines::Json => tap::object(&pod.namespace, &pod.name, request).to_string(),
        }
    }
}

fn found_in(found: &[Value]) -> String {
    found.first().map(PodName::of).map(|pod| pod.namespace).unwrap_or_default()
}

fn pass_on(body: impl Read, pod: &PodName, lines: &SyncSender<(PodName, Value)>) {
    let mut body = BufReader::new(body);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut body).take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let Ok(request) = serde_json::from_slice::<Value>(&line) else { continue };
        if lines.send((pod.clone(), request)).is_err() {
            return;
        }
    }
}
