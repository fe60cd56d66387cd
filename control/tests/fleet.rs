//! fsm-control's push, over real TLS on loopback: single streams, refusals, and whole fleets of proxies.
//!
//! A small fleet always runs. The large one measures and is asked for: `cargo test -p fsm-control --test fleet --
//! --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "fleet/harness.rs"]
mod harness;
#[path = "fleet/identity.rs"]
mod identity;
#[path = "fleet/pipeline.rs"]
mod pipeline;
#[path = "fleet/streams.rs"]
mod streams;

use fsm_control::push::{PodKey, Publication};
use harness::{Control, Proxy, document, eventually, pod, publish};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Proxies that follow, their groups, and what each group has.
struct Fleet {
    control: Control,
    groups: Vec<Arc<Publication>>,
    pods: Vec<(PodKey, usize)>,
    proxies: Vec<Proxy>,
}

/// Clusters of one document: a mesh of a hundred services.
const CLUSTERS: usize = 100;

/// Connections that are being opened at once.
const AT_ONCE: usize = 64;

impl Fleet {
    async fn assemble(size: usize, groups: usize) -> Self {
        let control = Control::start().await;
        let groups: Vec<_> = (0..groups)
            .map(|group| {
                let mut config = document(CLUSTERS, "10.200.0.1:80");
                config.spec.service_identity = format!("account-{group}.bookstore");
                publish(config, None)
            })
            .collect();
        let pods: Vec<_> = (0..size).map(|index| (pod(&format!("pod-{index}")), index % groups.len())).collect();
        for (pod, group) in &pods {
            control.place(pod, &format!("account-{group}"), &groups[*group]);
        }
        let mut fleet = Self { control, groups, pods, proxies: Vec::new() };
        fleet.connect().await;
        fleet
    }

    /// Every proxy asks for its certificate, opens its stream and gets its document.
    async fn connect(&mut self) {
        let control = &self.control;
        let mut waiting = self.pods.iter();
        let one = async |(pod, group): &(PodKey, usize)| {
            let credentials = control.credentials(pod, &format!("account-{group}")).await;
            let mut proxy = control.follow(pod, &credentials, None).await.unwrap();
            proxy.reach(self.groups[*group].version()).await;
            proxy
        };
        let mut connecting = Vec::new();
        loop {
            connecting.extend(waiting.by_ref().take(AT_ONCE).map(&one));
            if connecting.is_empty() {
                return;
            }
            self.proxies.extend(join_all(std::mem::take(&mut connecting)).await);
        }
    }

    /// One endpoint of every group changes; how long until every proxy has it and control knows.
    async fn change(&mut self, endpoint: &str) -> Duration {
        let mut following = JoinSet::new();
        let next: Vec<_> = self
            .groups
            .iter()
            .enumerate()
            .map(|(group, before)| {
                let mut config = document(CLUSTERS, endpoint);
                config.spec.service_identity = format!("account-{group}.bookstore");
                publish(config, Some(before))
            })
            .collect();
        let begun = Instant::now();
        for (mut proxy, (_, group)) in self.proxies.drain(..).zip(&self.pods) {
            let version = next[*group].version().clone();
            following.spawn(async move {
                proxy.reach(&version).await;
                proxy
            });
        }
        for (pod, group) in &self.pods {
            self.control.place(pod, &format!("account-{group}"), &next[*group]);
        }
        let mut reached = following.join_all().await;
        eventually("every acknowledgement has arrived", || self.control.push.roster.convergence().behind == 0).await;
        let took = begun.elapsed();
        let number = |pod: &PodKey| pod.name.trim_start_matches("pod-").parse::<usize>().unwrap();
        reached.sort_by_key(|proxy| number(&proxy.pod));
        (self.proxies, self.groups) = (reached, next);
        took
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_fleet_converges() {
    let mut fleet = Fleet::assemble(50, 5).await;
    assert_eq!(fleet.control.push.roster.len(), 50);
    for round in 0..5 {
        fleet.change(&format!("10.200.1.{round}:80")).await;
    }
    let page = fleet.control.push.telemetry.page();
    assert!(page.contains("fsm_proxy_response_send_success_count{kind=\"update\"} 50"), "{page}");
    assert!(page.contains("fsm_proxy_response_send_success_count{kind=\"delta\"} 250"), "{page}");
    for report in fleet.control.push.roster.reports() {
        assert_eq!(report.version_acknowledged, report.version_wanted, "{report:?}");
    }
}

/// The figures of the issue: 2,000 proxies, less than 0.3 MB for each, a change everywhere in less than two seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute; prints figures"]
async fn a_large_fleet_is_quick_and_lean() {
    const SIZE: usize = 2_000;
    let size = std::env::var("FLEET").ok().and_then(|size| size.parse().ok()).unwrap_or(SIZE);
    let empty = resident();
    let begun = Instant::now();
    let mut fleet = Fleet::assemble(size, 50).await;
    let assembled = begun.elapsed();
    let each = (resident() - empty) / size as f64;
    println!(
        "{size} proxies in {} groups, documents of {} kB",
        fleet.groups.len(),
        fleet.groups[0].document().len() / 1000
    );
    println!("certificates, streams and first documents: {:.1} s", assembled.as_secs_f64());
    println!("resident for each proxy, both ends of its connection: {:.3} MB", each / 1e6);
    let mut times: Vec<_> = Vec::new();
    for round in 0..10 {
        times.push(fleet.change(&format!("10.201.0.{round}:80")).await);
    }
    times.sort();
    println!(
        "one endpoint changes, all have it: median {:?}, slowest {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    println!("resident for each proxy after ten changes: {:.3} MB", (resident() - empty) / size as f64 / 1e6);
    assert!(each < 0.3e6, "{each} bytes");
    assert!(*times.last().unwrap() < Duration::from_secs(2), "{times:?}");
}

/// Bytes of this process in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}

/// All of them at once, in their order.
async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in waiting.iter_mut().zip(&mut done) {
            if let Some(running) = future
                && let std::task::Poll::Ready(output) = running.as_mut().poll(cx)
            {
                *done = Some(output);
                *future = None;
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
