//! `fsm stat`: success rate, requests a second and latencies of workloads, from two readings of their sidecars.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use fsm_api::resources::Kind;
use serde_json::Value;

use super::select::Scope;
use super::{MeshChoice, duration, pods, say};
use crate::output::Progress;
use crate::reach::{Mesh, Place, PodName};
use crate::views::pages::Signals as Page;
use crate::views::traffic::{self, Counted, Sent, Signals};
use crate::views::workload::Workload;
use crate::views::{Format, show};

/// What `fsm stat` and `fsm top` look at.
#[derive(Debug, Clone, Args)]
pub(super) struct Subject {
    /// A pod, deploy/NAME, sts/NAME or svc/NAME [default: all workloads]; or `pods`: pod by pod
    target: Option<String>,
    /// Namespace [default: all; with a target: default]
    #[arg(short, long, value_name = "NS")]
    namespace: Option<String>,
    /// Accepted as everywhere: it is the default
    #[arg(short = 'A', long, conflicts_with = "namespace", hide = true)]
    all_namespaces: bool,
    /// What is sent to deploy/NAME or svc/NAME, by whoever sends it
    #[arg(long, value_name = "TARGET")]
    to: Option<String>,
    /// Namespace of --to [default: that of -n]
    #[arg(long, value_name = "NS", requires = "to")]
    to_namespace: Option<String>,
    /// What is sent by a pod or deploy/NAME, to whomever
    #[arg(long, value_name = "TARGET")]
    from: Option<String>,
    /// Namespace of --from [default: that of -n]
    #[arg(long, value_name = "NS", requires = "from")]
    from_namespace: Option<String>,
}

/// `fsm stat`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without --from and --to the numbers are those of requests that came in; with them, those of requests as their \
    senders saw them, one line for each pair. SUCCESS is the share of responses that are no failure of the server (5xx, or a gRPC call that it failed at). Percentiles are estimated within \
    the buckets of the sidecars' histograms. REFUSED/S counts what sidecars refused themselves.\n\n\
    Examples:\n  fsm stat\n  fsm stat deploy/bookstore-v1 -n bookstore --window 10s\n  \
    fsm stat --from deploy/bookbuyer --from-namespace bookbuyer"
)]
pub(super) struct Stat {
    #[command(flatten)]
    subject: Subject,
    /// Time between the two readings; 0: everything since the sidecars were started
    #[arg(short = 't', long, default_value = "2s", value_name = "TIME", value_parser = duration)]
    window: Duration,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t, hide_default_value = true, value_name = "FORMAT")]
    output: Format,
}

impl Stat {
    pub(super) fn run(self, choice: &MeshChoice) -> Result<()> {
        let mesh = choice.reach()?;
        let watch = self.subject.watch(&mesh, choice)?;
        let first = if self.window.is_zero() { Reading::default() } else { watch.read(&mesh) };
        std::thread::sleep(self.window);
        let second = watch.read(&mesh);
        for (pod, why) in &second.silent {
            eprintln!("Pod {pod} is left out: {why}");
        }
        let shown = watch.show(&first, &second, self.output);
        say(&shown);
        if watch.is_empty() {
            eprintln!("No pod with a sidecar is meant: `fsm proxy status` lists those that have one");
        } else if shown.is_empty() {
            eprintln!("Nothing was sent there since the sidecars were started.");
        }
        Ok(())
    }
}

/// The pods that are looked at, and how their numbers are put together.
pub(super) struct Watch {
    pods: Vec<(PodName, Workload)>,
    /// Pods without a sidecar, by the row that they belong to.
    others: Vec<Workload>,
    /// Services whose requests count, as senders see them; `None`: what comes in counts.
    sent: Option<Destination>,
}

/// Whom senders' requests go to.
enum Destination {
    Anyone,
    /// `namespace/service`.
    Services(BTreeSet<String>),
}

/// What the sidecars have counted at one moment.
#[derive(Default)]
pub(super) struct Reading {
    at: Option<Instant>,
    pods: BTreeMap<PodName, Page>,
    /// Who did not answer, and why.
    pub(super) silent: Vec<(PodName, String)>,
}

impl Subject {
    /// Finds the pods that are meant.
    pub(super) fn watch(&self, mesh: &Mesh, choice: &MeshChoice) -> Result<Watch> {
        let by_pod = self.target.as_deref().is_some_and(|word| matches!(word, "pod" | "pods" | "po"));
        let target = self.target.as_deref().filter(|_| !by_pod);
        if target.is_some() && self.from.is_some() && self.to.is_some() {
            bail!("a target together with both --from and --to says one thing twice: leave it out");
        }
        let own = |namespace: &Option<String>| namespace.clone().or_else(|| self.namespace.clone());
        let from = self.from.as_deref().map(|from| (from, own(&self.from_namespace)));
        let to = self.to.as_deref().map(|to| (to, own(&self.to_namespace)));
        let target = target.map(|target| (target, self.namespace.clone()));
        let (sources, destination) = match (from, to) {
            (None, None) => (target, None),
            (Some(from), to) => (Some(from), Some(to.or(target))),
            (None, Some(to)) => (target, Some(Some(to))),
        };
        let scope = |namespace: Option<String>| Scope { namespace };
        let mut found = match sources {
            Some((target, namespace)) => pods::all(mesh, choice, &scope(namespace), target)?,
            None => mesh.list(&Kind::Pod, self.namespace.as_deref().filter(|_| destination.is_none()))?,
        };
        found.retain(|pod| !pods::is_over(pod));
        let sent = match destination {
            None => None,
            Some(None) => Some(Destination::Anyone),
            Some(Some((target, namespace))) => {
                Some(Destination::Services(services(mesh, choice, &scope(namespace), target)?))
            }
        };
        let row = |pod: &Value| if by_pod { one_pod(pod) } else { Workload::of(pod) };
        let (with, without): (Vec<&Value>, Vec<&Value>) = found.iter().partition(|pod| pods::has_sidecar(pod));
        Ok(Watch {
            pods: with.into_iter().map(|pod| (PodName::of(pod), row(pod))).collect(),
            others: without.into_iter().map(row).collect(),
            sent,
        })
    }
}

fn one_pod(pod: &Value) -> Workload {
    Workload { name: format!("pod/{}", PodName::of(pod).name), ..Workload::of(pod) }
}

/// The Services that are meant: the one that is named, or those of the pods that are meant.
fn services(mesh: &Mesh, choice: &MeshChoice, scope: &Scope, target: &str) -> Result<BTreeSet<String>> {
    let found = pods::all(mesh, choice, scope, target)?;
    if let Some((word, name)) = target.split_once('/')
        && super::kinds::kind(word)? == Kind::Service
    {
        let resource = super::kinds::Resource::of(&Kind::Service);
        let namespace = scope.namespace_of(&resource, choice);
        let mut services = backends(&mesh.list(&Kind::TrafficSplit, Some(&namespace))?, &namespace, name);
        services.insert(format!("{namespace}/{name}"));
        return Ok(services);
    }
    let mut services = BTreeSet::new();
    for service in mesh.list(&Kind::Service, found.first().map(|pod| PodName::of(pod).namespace).as_deref())? {
        let selects = pods::selector_of(&service).is_some_and(|selector| found.iter().any(|pod| selector.matches(pod)));
        if selects {
            services.insert(PodName::of(&service).to_string());
        }
    }
    if services.is_empty() {
        bail!("no Service leads to {target}: name one with svc/NAME");
    }
    Ok(services)
}

/// The Services that TrafficSplits send a Service's requests to.
fn backends(splits: &[Value], namespace: &str, service: &str) -> BTreeSet<String> {
    let of_service = |split: &&Value| {
        let root = split.pointer("/spec/service").and_then(Value::as_str).unwrap_or_default();
        root.split('.').next() == Some(service)
    };
    let backends = splits.iter().filter(of_service).filter_map(|split| split.pointer("/spec/backends")?.as_array());
    let names = backends.flatten().filter_map(|backend| backend["service"].as_str()?.split('.').next());
    names.map(|name| format!("{namespace}/{name}")).collect()
}

impl Watch {
    /// Whether there is nobody to ask.
    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// Asks all sidecars for their counters.
    pub(super) fn read(&self, mesh: &Mesh) -> Reading {
        let mut reading = Reading { at: Some(Instant::now()), ..Reading::default() };
        let progress = Progress::new("Asking sidecars", self.pods.len());
        let answers = mesh.each(&self.pods, |mesh, (pod, _)| {
            let page = mesh.read::<Page>(&Place::Sidecar(pod.clone()), "/signals");
            progress.one_more();
            page
        });
        progress.end();
        for ((pod, _), answer) in self.pods.iter().zip(answers) {
            match answer {
                Ok(page) => drop(reading.pods.insert(pod.clone(), page)),
                Err(why) => reading.silent.push((pod.clone(), format!("{why:#}"))),
            }
        }
        reading
    }

    /// What happened between two readings; the busiest first where `fsm top` wants it so.
    pub(super) fn show(&self, first: &Reading, second: &Reading, format: Format) -> String {
        match &self.sent {
            None => show(&self.came_in(first, second), format),
            Some(destination) => show(&self.was_sent(destination, first, second), format),
        }
    }

    /// The rows of [`Watch::show`] as a table, the busiest first.
    pub(super) fn busiest(&self, first: &Reading, second: &Reading) -> String {
        let busier = |one: &Signals, other: &Signals| other.requests_per_second.total_cmp(&one.requests_per_second);
        match &self.sent {
            None => {
                let mut rows = self.came_in(first, second);
                rows.sort_by(busier);
                show(&rows, Format::Wide)
            }
            Some(destination) => {
                let mut rows = self.was_sent(destination, first, second);
                rows.sort_by(|one, other| busier(&one.0, &other.0));
                show(&rows, Format::Wide)
            }
        }
    }

    fn came_in(&self, first: &Reading, second: &Reading) -> Vec<Signals> {
        let mut rows: BTreeMap<Workload, Sums> = BTreeMap::new();
        for (pod, workload) in &self.pods {
            let sums = rows.entry(workload.clone()).or_default();
            sums.pods += 1;
            let Some(now) = second.pods.get(pod) else { continue };
            sums.meshed += 1;
            let earlier = first.pods.get(pod).map(traffic::came_in).unwrap_or_default();
            sums.add(&traffic::came_in(now).since(&earlier), window(first, second, now));
        }
        for workload in &self.others {
            rows.entry(workload.clone()).or_default().pods += 1;
        }
        let row = |(workload, sums): (Workload, Sums)| Signals {
            meshed: sums.meshed,
            pods: sums.pods,
            ..Signals::new(&workload, &sums.counted, sums.window)
        };
        rows.into_iter().map(row).collect()
    }

    fn was_sent(&self, destination: &Destination, first: &Reading, second: &Reading) -> Vec<Sent> {
        let mut rows: BTreeMap<(Workload, String), Sums> = BTreeMap::new();
        for (pod, workload) in &self.pods {
            let Some(now) = second.pods.get(pod) else { continue };
            let earlier = first.pods.get(pod).map(traffic::was_sent).unwrap_or_default();
            for (cluster, counted) in traffic::was_sent(now).into_iter().filter(|(name, _)| destination.has(name)) {
                let before = earlier.get(&cluster).cloned().unwrap_or_default();
                let sums = rows.entry((workload.clone(), cluster)).or_default();
                sums.add(&counted.since(&before), window(first, second, now));
            }
        }
        let row = |((workload, cluster), sums): ((Workload, String), Sums)| {
            let service = Some(cluster.replace('|', ":"));
            Sent(Signals { service, ..Signals::new(&workload, &sums.counted, sums.window) })
        };
        rows.into_iter().map(row).collect()
    }
}

/// What the pods of one row counted together.
#[derive(Default)]
struct Sums {
    counted: Counted,
    meshed: usize,
    pods: usize,
    window: Duration,
}

impl Sums {
    fn add(&mut self, counted: &Counted, window: Duration) {
        self.counted.add(counted);
        self.window = self.window.max(window);
    }
}

/// Between the readings; without an earlier one since the sidecar was started.
fn window(first: &Reading, second: &Reading, page: &Page) -> Duration {
    match (first.at, second.at) {
        (Some(then), Some(now)) => now.saturating_duration_since(then),
        _ => Duration::from_secs_f64(page.uptime_seconds.clamp(0.0, 1e9)),
    }
}

impl Destination {
    fn has(&self, cluster: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::Services(services) => {
                let name = cluster.split('|').next().unwrap_or_default();
                // A pod of a headless service has a cluster of its own: `namespace/pod.service`.
                let whole = name.split_once('/').and_then(|(namespace, name)| {
                    let (_, service) = name.split_once('.')?;
                    Some(format!("{namespace}/{service}"))
                });
                services.contains(name) || whole.is_some_and(|name| services.contains(&name))
            }
        }
    }
}
