//! Whole lives of a cluster, with seeds: slow and failing starts, crashes, failing probes, scale changes, updates,
//! deletions, processes that do not end when asked. After every step the invariants are looked at; in the end chaos
//! stops, everything must become as wanted, then everything is deleted and nothing may be left.

use super::super::*;
use super::{apply, cluster, deployment};
use crate::local::workload::runtime::{ContainerId, Exit, Stop, User};
use crate::local::workload::sets::JobState;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const SEEDS: u64 = 256;

/// Threads that share them.
const LANES: u64 = 4;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn millis(&mut self, limit: u64) -> Duration {
        Duration::from_millis(1 + self.below(limit))
    }
}

struct Simulation {
    cluster: Cluster,
    random: Random,
    now: Duration,
    /// What will be reported, by time and order.
    due: BTreeMap<(Duration, u64), Report>,
    order: u64,
    /// Pods that exist on the node.
    up: BTreeSet<PodId>,
    running: BTreeSet<ContainerId>,
    is_calm: bool,
    versions: BTreeMap<&'static str, (u32, u32)>,
}

const DEPLOYMENTS: [(&str, &str); 2] = [("shop", "web"), ("plain", "api")];

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut simulation = Self {
            cluster: cluster(seed),
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: Duration::ZERO,
            due: BTreeMap::new(),
            order: 0,
            up: BTreeSet::new(),
            running: BTreeSet::new(),
            is_calm: false,
            versions: BTreeMap::from([("web", (2, 0)), ("api", (1, 0)), ("db", (2, 0))]),
        };
        let service = json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        });
        apply(&mut simulation.cluster, "Service", "web", &service);
        let job = json!({
            "metadata": {"namespace": "shop", "name": "job", "uid": "uid-job"},
            "spec": {
                "completions": 3, "parallelism": 2, "backoffLimit": 4,
                "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "task", "command": ["task"]}]}},
            },
        });
        apply(&mut simulation.cluster, "Job.batch", "job", &job);
        for name in ["web", "api", "db"] {
            simulation.write(name);
        }
        simulation
    }

    fn write(&mut self, name: &'static str) {
        let (replicas, version) = self.versions[name];
        let probe = json!({"httpGet": {"path": "/", "port": 80}, "periodSeconds": 2, "failureThreshold": 2});
        if name == "db" {
            let set = json!({
                "metadata": {"namespace": "plain", "name": "db", "uid": "uid-db"},
                "spec": {"replicas": replicas, "serviceName": "db", "selector": {}, "template": {"spec": {
                    "containers": [{"name": "main", "command": [format!("v{version}")], "readinessProbe": probe}],
                }}},
            });
            apply(&mut self.cluster, "StatefulSet.apps", "db", &set);
            return;
        }
        let (namespace, _) = DEPLOYMENTS.iter().find(|(_, one)| *one == name).unwrap();
        let mut object = deployment(namespace, name, replicas, &format!("v{version}"));
        let container = &mut object["spec"]["template"]["spec"]["containers"][0];
        container["readinessProbe"] = probe.clone();
        container["livenessProbe"] = probe;
        apply(&mut self.cluster, "Deployment.apps", name, &object);
    }

    fn report(&mut self, after: Duration, report: Report) {
        self.order += 1;
        self.due.insert((self.now + after, self.order), report);
    }

    fn begin(&mut self, action: Action) {
        let calm = self.is_calm;
        match action {
            Action::SetUp { pod, .. } => {
                let is_taken = self.up.iter().any(|one| one.namespace == pod.namespace && one.name == pod.name);
                assert!(!is_taken, "two pods {pod} at once");
                let after = self.random.millis(500);
                if calm || self.random.chance(90) {
                    self.up.insert(pod.clone());
                    let addresses = vec![std::net::Ipv4Addr::from(self.order as u32).into()];
                    self.report(after, Report::PodUp { pod, addresses });
                } else {
                    self.report(after, Report::PodFailed { pod, why: "bad luck".into() });
                }
            }
            Action::Start { id, process } => self.start(id, process.user),
            Action::Stop { id, how } => {
                assert!(self.running.contains(&id), "{id:?} is stopped but does not run");
                let obeys = calm || how == Stop::Kill || self.random.chance(80);
                if obeys {
                    let after = self.random.millis(3000);
                    self.report(after, Report::Exited { id, exit: Exit::Signal(15) });
                }
            }
            Action::Check { id, ticket, .. } => {
                let outcome = if calm || self.random.chance(80) { Ok(()) } else { Err("no answer".to_owned()) };
                let after = self.random.millis(300);
                self.report(after, Report::Checked { id, ticket, outcome });
            }
            Action::TearDown { pod } => {
                assert!(self.up.contains(&pod), "{pod} is torn down but not up");
                self.running.retain(|id| id.pod != pod);
                let after = self.random.millis(200);
                self.report(after, Report::Gone { pod });
            }
        }
    }

    fn start(&mut self, id: ContainerId, user: User) {
        assert!(self.up.contains(&id.pod), "{id:?} is started in a pod that is not up");
        let twin = self.running.iter().any(|one| one.pod == id.pod && one.container == id.container);
        assert!(!twin, "{id:?} is started twice");
        let after = self.random.millis(400);
        if !self.is_calm && self.random.chance(5) {
            let report = Report::StartFailed { id, reason: "CreateContainerError".into(), why: "bad luck".into() };
            return self.report(after, report);
        }
        self.running.insert(id.clone());
        self.report(after, Report::Started { id: id.clone() });
        let ends = user == User::Redirection || id.container == "task";
        let crashes = !self.is_calm && self.random.chance(15);
        if ends || crashes {
            let later = after + self.random.millis(if ends { 3000 } else { 60_000 });
            let code = i32::from(crashes);
            self.report(later, Report::Exited { id, exit: Exit::Code(code) });
        }
    }

    /// Something that users do.
    fn disturb(&mut self) {
        let name = ["web", "api", "db"][self.random.below(3) as usize];
        match self.random.below(4) {
            0 => self.versions.get_mut(name).unwrap().0 = self.random.below(5) as u32,
            1 => self.versions.get_mut(name).unwrap().1 += 1,
            2 => {
                let pods: Vec<PodId> = self.cluster.lives().map(|life| life.id().clone()).collect();
                if !pods.is_empty() {
                    let pod = &pods[self.random.below(pods.len() as u64) as usize];
                    self.cluster.remove("Pod", &key_of(pod), self.now);
                }
                return;
            }
            _ => return,
        }
        self.write(name);
    }

    fn step(&mut self) {
        let before: Vec<(&str, usize)> = DEPLOYMENTS.iter().map(|(_, name)| (*name, self.available(name))).collect();
        let ready_before: BTreeSet<PodId> =
            self.cluster.lives().filter(|life| life.ready_since().is_some()).map(|life| life.id().clone()).collect();
        for action in self.cluster.step(self.now) {
            if let Action::SetUp { pod, .. } = &action
                && pod.name.starts_with("db-")
            {
                self.check_order(pod, &ready_before);
            }
            self.begin(action);
        }
        self.check(&before);
    }

    fn check_order(&self, pod: &PodId, ready: &BTreeSet<PodId>) {
        let ordinal: u32 = pod.name.trim_start_matches("db-").parse().unwrap();
        let is_first_try = self.cluster.lives().any(|life| life.id() == pod && life.created() == self.now);
        for earlier in 0..ordinal {
            let is_ready = ready.iter().any(|one| one.name == format!("db-{earlier}"));
            assert!(is_ready || !is_first_try, "{pod} is made although db-{earlier} is not ready");
        }
    }

    fn active(&self, name: &str) -> usize {
        let is_active = |life: &&Life| {
            life.id().name.starts_with(&format!("{name}-")) && !life.is_terminating() && life.ended().is_none()
        };
        self.cluster.lives().filter(is_active).count()
    }

    fn available(&self, name: &str) -> usize {
        let is_available = |life: &&Life| {
            life.id().name.starts_with(&format!("{name}-")) && !life.is_terminating() && life.ready_since().is_some()
        };
        self.cluster.lives().filter(is_available).count()
    }

    fn check(&mut self, before: &[(&str, usize)]) {
        for (name, available_before) in before {
            let replicas = self.versions[name].0 as usize;
            let surge = replicas.div_ceil(4);
            assert!(self.active(name) <= replicas + surge, "{name} has more than {replicas}+{surge} pods");
            let least = (replicas - replicas / 4).min(*available_before);
            assert!(self.available(name) >= least, "{name}: a step leaves less than {least} available");
        }
        for publication in self.cluster.publish() {
            if let Publication::Put { kind: "EndpointSlice.discovery.k8s.io", object, .. } = publication {
                self.check_endpoints(&object);
            }
        }
        for life in self.cluster.lives() {
            assert!(
                life.is_gone() || life.addresses().is_empty() || self.up.contains(life.id()),
                "{} is up",
                life.id()
            );
        }
        if let Some(wake) = self.cluster.wake(self.now) {
            assert!(wake > self.now, "it would be woken at once, for ever");
        }
    }

    fn check_endpoints(&self, slice: &Value) {
        for endpoint in slice["endpoints"].as_array().unwrap() {
            let name = endpoint["targetRef"]["name"].as_str().unwrap();
            let life = self.cluster.lives().find(|life| life.id().name == name).expect("endpoints are pods that exist");
            let serves = life.ready_since().is_some() && !life.is_terminating();
            assert_eq!(endpoint["conditions"]["ready"].as_bool().unwrap(), serves, "{name}");
            if serves {
                let runs =
                    |container: &str| self.running.iter().any(|id| id.pod == *life.id() && id.container == container);
                assert!(runs("main") && runs("sidecar"), "{name} is ready but not all of it runs");
            }
        }
    }

    /// Goes on to the next thing that happens, or to `end`.
    fn advance(&mut self, end: Duration) -> bool {
        let report = self.due.keys().next().map(|(at, _)| *at);
        let next = [report, self.cluster.wake(self.now)].into_iter().flatten().min().filter(|at| *at < end);
        let Some(next) = next else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let report = entry.remove();
            match &report {
                Report::Exited { id, .. } if !self.running.remove(id) => continue,
                Report::Started { id } | Report::Checked { id, .. } if !self.running.contains(id) => continue,
                Report::Gone { pod } => drop(self.up.remove(pod)),
                _ => {}
            }
            self.cluster.learn(&report, self.now);
        }
        true
    }

    fn run_until(&mut self, end: Duration) {
        let mut steps = 0;
        self.step();
        while self.advance(end) {
            if !self.is_calm && self.random.chance(3) {
                self.disturb();
            }
            self.step();
            steps += 1;
            assert!(steps < 200_000, "it does not come to rest");
        }
    }
}

#[test]
fn whatever_happens_the_invariants_hold_and_the_wish_comes_true() {
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            scope.spawn(move || {
                for seed in (1..=SEEDS).filter(|seed| seed % LANES == lane) {
                    if std::panic::catch_unwind(|| live(seed)).is_err() {
                        panic!("seed {seed}");
                    }
                }
            });
        }
    });
}

fn live(seed: u64) {
    let mut simulation = Simulation::new(seed);
    simulation.run_until(Duration::from_secs(60));
    simulation.is_calm = true;
    simulation.run_until(Duration::from_secs(220));
    for (_, name) in DEPLOYMENTS {
        let replicas = simulation.versions[name].0 as usize;
        assert_eq!(simulation.available(name), replicas, "{name} is as wanted in the end");
        assert_eq!(simulation.active(name), replicas, "{name} has no pod too many");
    }
    assert_eq!(simulation.available("db"), simulation.versions["db"].0 as usize);
    let record = simulation.cluster.jobs.values().next().expect("the job is known");
    assert_ne!(record.state, JobState::Running, "the job has come to an end");
    let version = format!("v{}", simulation.versions["web"].1);
    let is_current = |life: &Life| {
        let main = life.pod().spec.as_ref().unwrap().containers.iter().find(|container| container.name == "main");
        main.unwrap().args.clone().unwrap_or_default() == [version.clone()]
    };
    let is_of_web = |life: &&Life| life.id().name.starts_with("web-");
    assert!(simulation.cluster.lives().filter(is_of_web).all(is_current), "all pods are of the latest version");
    for (kind, namespace, name) in [
        ("Deployment.apps", "shop", "web"),
        ("Deployment.apps", "plain", "api"),
        ("StatefulSet.apps", "plain", "db"),
        ("Job.batch", "shop", "job"),
    ] {
        simulation.cluster.remove(kind, &(namespace.into(), name.into()), simulation.now);
    }
    simulation.versions.values_mut().for_each(|(replicas, _)| *replicas = 0);
    simulation.run_until(Duration::from_secs(260));
    assert_eq!(simulation.cluster.lives().count(), 0, "no pod is left");
    assert!(simulation.up.is_empty() && simulation.running.is_empty(), "nothing is left on the node");
}
