//! Workloads and their pods: reads each workload's spec, asks its controller, and carries out the plan.

use super::{Cluster, Entry};
use crate::local::workload::names;
use crate::local::workload::objects::{Key, Wanted};
use crate::local::workload::pod::Life;
use crate::local::workload::sets::{self, Create, Job, JobState, Member, Ordered, Plan, Rolling, Share};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job as JobObject;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::sync::Arc;
use std::time::Duration;

/// Kubernetes' default for `backoffLimit`.
const BACKOFF_LIMIT: u32 = 6;

/// Whose a pod is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) kind: Kind,
    /// Of the workload, which is in the pod's namespace.
    pub(super) name: String,
    /// Of the workload: one that is deleted and made again has other pods.
    pub(super) uid: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
}

/// What is remembered of a job.
#[derive(Clone, Copy, Debug)]
pub(super) struct JobRecord {
    pub(super) started: Duration,
    pub(super) state: JobState,
    pub(super) finished: Option<Duration>,
}

/// A workload with everything that its plan needs.
pub(super) struct Workload {
    owner: Owner,
    namespace: String,
    template: PodTemplateSpec,
    revision: String,
    wish: Wish,
}

enum Wish {
    Rolling(Rolling),
    Replicas(u32),
    Ordered(Ordered, Option<String>),
    Daemon(sets::Daemon),
    Job(JobWish),
}

struct JobWish {
    /// Without deadline and restarts, which depend on what has happened.
    job: Job,
    /// How long it may take.
    limit: Option<Duration>,
    /// How long its pods are kept after its end; `None`: for ever.
    keep: Option<Duration>,
}

impl Cluster {
    /// Brings the set of pods closer to what is wanted; says whether anything was added or told to end.
    pub(super) fn plan(&mut self, now: Duration) -> bool {
        self.plan_again = None;
        self.problems.clear();
        let workloads = self.workloads();
        self.jobs.retain(|key, _| self.wanted.jobs.contains_key(key));
        let mut is_changed = self.end_orphans(&workloads, now);
        for workload in workloads.iter() {
            let plan = self.plan_of(workload, now);
            is_changed |= !plan.is_empty();
            self.plan_again = [self.plan_again, plan.again].into_iter().flatten().min();
            self.carry_out(workload, plan, now);
        }
        is_changed | self.plan_pods(now)
    }

    /// All workloads. Reading them costs a hash of each template, so that is done only when objects have changed.
    fn workloads(&mut self) -> Arc<Vec<Workload>> {
        let wanted = &self.wanted;
        let read = || Arc::new(of_sets(wanted).into_iter().chain(of_jobs(wanted)).collect());
        Arc::clone(self.workloads.get_or_insert_with(read))
    }

    /// Ends pods whose workload is not there any more.
    fn end_orphans(&mut self, workloads: &[Workload], now: Duration) -> bool {
        let mut is_changed = false;
        for (key, entry) in &mut self.entries {
            let is_orphan = match &entry.owner {
                Some(owner) => !workloads.iter().any(|w| w.owner == *owner && w.namespace == key.0),
                None => !self.wanted.pods.contains_key(key),
            };
            if is_orphan && !entry.life.is_terminating() {
                entry.life.terminate(None, now);
                is_changed = true;
            }
        }
        is_changed
    }

    fn members(&self, workload: &Workload) -> Vec<Member> {
        let is_of_workload = |(key, entry): &(&Key, &Entry)| {
            key.0 == workload.namespace && entry.owner.as_ref() == Some(&workload.owner)
        };
        self.entries
            .iter()
            .filter(is_of_workload)
            .map(|(key, entry)| Member {
                name: key.1.clone(),
                revision: entry.revision.clone(),
                ready_since: entry.life.ready_since(),
                is_terminating: entry.life.is_terminating(),
                created: entry.life.created(),
                ended: entry.life.ended(),
            })
            .collect()
    }

    fn plan_of(&mut self, workload: &Workload, now: Duration) -> Plan {
        let members = self.members(workload);
        match &workload.wish {
            Wish::Rolling(wish) => sets::rolling(wish, &members, now),
            Wish::Replicas(wanted) => sets::replicas(*wanted, &members),
            Wish::Ordered(wish, _) => sets::ordered(wish, &members, now),
            Wish::Daemon(wish) => sets::daemon(wish, &members),
            Wish::Job(wish) => self.plan_of_job(workload, wish, members, now),
        }
    }

    fn plan_of_job(&mut self, workload: &Workload, wish: &JobWish, members: Vec<Member>, now: Duration) -> Plan {
        let key = (workload.namespace.clone(), workload.owner.name.clone());
        let is_running = |(at, entry): &(&Key, &Entry)| {
            at.0 == key.0 && entry.owner.as_ref() == Some(&workload.owner) && entry.life.ended().is_none()
        };
        let restarts = self.entries.iter().filter(is_running).map(|(_, entry)| entry.life.restarts()).sum();
        let first = JobRecord { started: now, state: JobState::Running, finished: None };
        let record = self.jobs.entry(key).or_insert(first);
        if let Some(finished) = record.finished {
            let Some(until) = wish.keep.map(|keep| finished + keep) else { return Plan::default() };
            if now < until {
                return Plan { again: Some(until), ..Plan::default() };
            }
            let names = members.into_iter().filter(|member| !member.is_terminating);
            return Plan { delete: names.map(|member| member.name).collect(), ..Plan::default() };
        }
        let wish = Job { deadline: wish.limit.map(|limit| record.started + limit), restarts, ..wish.job.clone() };
        let (state, plan) = sets::job(&wish, &members, now);
        record.state = state;
        record.finished = (state != JobState::Running).then_some(now);
        plan
    }

    fn carry_out(&mut self, workload: &Workload, plan: Plan, now: Duration) {
        for name in plan.delete {
            if let Some(entry) = self.entries.get_mut(&(workload.namespace.clone(), name)) {
                entry.life.terminate(None, now);
            }
        }
        for create in plan.create {
            let name = self.free_name(workload, &create);
            let pod = workload.pod(&name, &create);
            let owner = Some(workload.owner.clone());
            if let Err(why) = self.add(pod, owner, workload.revision.clone(), now) {
                let object = format!("{:?} {}/{}", workload.owner.kind, workload.namespace, workload.owner.name);
                self.problems.insert(object, why);
            }
        }
    }

    fn free_name(&mut self, workload: &Workload, create: &Create) -> String {
        let set = &workload.owner.name;
        loop {
            let name = match (create, workload.owner.kind) {
                (Create::Ordinal(ordinal), _) => return format!("{set}-{ordinal}"),
                (Create::Any, Kind::Deployment) => format!("{set}-{}-{}", workload.revision, self.names.letters(5)),
                (Create::Any, _) => format!("{set}-{}", self.names.letters(5)),
            };
            if !self.entries.contains_key(&(workload.namespace.clone(), name.clone())) {
                return name;
            }
        }
    }

    /// Pods that are nobody's: those that users have written.
    fn plan_pods(&mut self, now: Duration) -> bool {
        let mut is_changed = false;
        let pods: Vec<(Key, Pod)> = self.wanted.pods.iter().map(|(key, pod)| (key.clone(), Pod::clone(pod))).collect();
        for (key, mut pod) in pods {
            let revision = names::revision(&pod.spec);
            match self.entries.get_mut(&key) {
                Some(entry) if entry.revision != revision && entry.owner.is_none() => {
                    if !entry.life.is_terminating() {
                        entry.life.terminate(None, now);
                        is_changed = true;
                    }
                }
                Some(_) => {}
                None => {
                    pod.metadata.namespace = Some(key.0.clone());
                    match self.add(pod, None, revision, now) {
                        Ok(()) => is_changed = true,
                        Err(why) => drop(self.problems.insert(format!("Pod {}/{}", key.0, key.1), why)),
                    }
                }
            }
        }
        is_changed
    }

    /// Which version of a workload its numbers are about.
    fn generation(&self, kind: Kind, key: &Key) -> Option<i64> {
        match kind {
            Kind::Deployment => self.wanted.deployments.get(key)?.metadata.generation,
            Kind::StatefulSet => self.wanted.stateful_sets.get(key)?.metadata.generation,
            Kind::DaemonSet => self.wanted.daemon_sets.get(key)?.metadata.generation,
            Kind::ReplicaSet => self.wanted.replica_sets.get(key)?.metadata.generation,
            Kind::Job => None,
        }
    }

    /// Numbers for the status of each workload: kind of the state directory, key, status.
    pub(super) fn statuses(&mut self) -> Vec<(&'static str, Key, serde_json::Value)> {
        let mut statuses = Vec::new();
        for workload in self.workloads().iter().filter(|workload| workload.owner.kind != Kind::Job) {
            let key = (workload.namespace.clone(), workload.owner.name.clone());
            let members = self.members(workload);
            let generation = self.generation(workload.owner.kind, &key);
            let mut status = super::publish::set_status(workload.owner.kind, key, &workload.revision, &members);
            // Who waits for a rollout must not take the numbers of the time before it for its result.
            if let Some(generation) = generation {
                status.2["observedGeneration"] = generation.into();
            }
            statuses.push(status);
        }
        for (key, job) in &self.wanted.jobs {
            let owner = owner(Kind::Job, &job.metadata);
            let lives = self.entries.iter().filter(|(at, entry)| at.0 == key.0 && entry.owner.as_ref() == Some(&owner));
            let lives: Vec<&Life> = lives.map(|(_, entry)| &entry.life).collect();
            if let Some(record) = self.jobs.get(key) {
                statuses.push(("Job.batch", key.clone(), self.publisher.job_status(record, &lives)));
            }
        }
        statuses
    }
}

impl Workload {
    fn pod(&self, name: &str, create: &Create) -> Pod {
        let mut metadata = self.template.metadata.clone().unwrap_or_default();
        let mut spec = self.template.spec.clone().unwrap_or_default();
        metadata.name = Some(name.to_owned());
        metadata.namespace = Some(self.namespace.clone());
        let labels = metadata.labels.get_or_insert_default();
        let (kind, version, owner) = match self.owner.kind {
            Kind::Deployment => {
                labels.insert("pod-template-hash".to_owned(), self.revision.clone());
                ("ReplicaSet", "apps/v1", format!("{}-{}", self.owner.name, self.revision))
            }
            Kind::ReplicaSet => ("ReplicaSet", "apps/v1", self.owner.name.clone()),
            Kind::StatefulSet | Kind::DaemonSet => {
                labels.insert("controller-revision-hash".to_owned(), format!("{}-{}", self.owner.name, self.revision));
                let kind = if self.owner.kind == Kind::StatefulSet { "StatefulSet" } else { "DaemonSet" };
                (kind, "apps/v1", self.owner.name.clone())
            }
            Kind::Job => {
                for label in ["job-name", "batch.kubernetes.io/job-name"] {
                    labels.insert(label.to_owned(), self.owner.name.clone());
                }
                spec.restart_policy.get_or_insert_with(|| "Never".to_owned());
                ("Job", "batch/v1", self.owner.name.clone())
            }
        };
        if let (Create::Ordinal(ordinal), Wish::Ordered(_, service)) = (create, &self.wish) {
            labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name.to_owned());
            labels.insert("apps.kubernetes.io/pod-index".to_owned(), ordinal.to_string());
            spec.hostname = Some(name.to_owned());
            spec.subdomain.clone_from(service);
        }
        metadata.owner_references = Some(vec![OwnerReference {
            api_version: version.to_owned(),
            kind: kind.to_owned(),
            name: owner,
            uid: self.owner.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]);
        Pod { metadata, spec: Some(spec), status: None }
    }
}

fn of_sets(wanted: &Wanted) -> Vec<Workload> {
    let mut workloads = Vec::new();
    let mut add =
        |kind, key: &Key, metadata: &ObjectMeta, template: &PodTemplateSpec, wish: &dyn Fn(String) -> Wish| {
            let revision = names::revision(template);
            workloads.push(Workload {
                owner: owner(kind, metadata),
                namespace: key.0.clone(),
                template: template.clone(),
                wish: wish(revision.clone()),
                revision,
            });
        };
    for (key, object) in &wanted.deployments {
        let spec = &object.spec;
        add(Kind::Deployment, key, &object.metadata, &spec.template, &|revision| rolling(object, revision));
    }
    for (key, object) in &wanted.replica_sets {
        let spec = &object.spec;
        let template = spec.template.clone().unwrap_or_default();
        add(Kind::ReplicaSet, key, &object.metadata, &template, &|_| Wish::Replicas(count(spec.replicas, 1)));
    }
    for (key, object) in &wanted.stateful_sets {
        let spec = &object.spec;
        add(Kind::StatefulSet, key, &object.metadata, &spec.template, &|revision| ordered(object, revision));
    }
    for (key, object) in &wanted.daemon_sets {
        let spec = &object.spec;
        let strategy = spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
        let on_delete = strategy == Some("OnDelete");
        add(Kind::DaemonSet, key, &object.metadata, &spec.template, &|revision| {
            Wish::Daemon(sets::Daemon { revision, on_delete })
        });
    }
    workloads
}

fn rolling(deployment: &Deployment, revision: String) -> Wish {
    let spec = deployment.spec.clone();
    let strategy = spec.strategy.unwrap_or_default();
    let update = strategy.rolling_update.unwrap_or_default();
    let share = |value: Option<_>| value.as_ref().and_then(Share::parse).unwrap_or(Share::Percent(25));
    Wish::Rolling(Rolling {
        replicas: count(spec.replicas, 1),
        revision,
        max_surge: share(update.max_surge),
        max_unavailable: share(update.max_unavailable),
        recreate: strategy.type_.as_deref() == Some("Recreate"),
        min_ready: seconds(spec.min_ready_seconds),
        paused: spec.paused == Some(true),
    })
}

fn ordered(set: &StatefulSet, revision: String) -> Wish {
    let spec = set.spec.clone();
    let strategy = spec.update_strategy.unwrap_or_default();
    let wish = Ordered {
        set: set.metadata.name.clone().unwrap_or_default(),
        replicas: count(spec.replicas, 1),
        first: count(spec.ordinals.and_then(|ordinals| ordinals.start), 0),
        revision,
        partition: count(strategy.rolling_update.and_then(|update| update.partition), 0),
        parallel: spec.pod_management_policy.as_deref() == Some("Parallel"),
        on_delete: strategy.type_.as_deref() == Some("OnDelete"),
        min_ready: seconds(spec.min_ready_seconds),
    };
    Wish::Ordered(wish, spec.service_name)
}

fn of_jobs(wanted: &Wanted) -> impl Iterator<Item = Workload> {
    wanted.jobs.iter().filter_map(|(key, job)| of_job(key, job))
}

fn of_job(key: &Key, job: &JobObject) -> Option<Workload> {
    let spec = job.spec.as_ref()?;
    // Without either number Kubernetes wants one completion.
    let completions = match (spec.completions, spec.parallelism) {
        (None, None) => Some(1),
        (completions, _) => completions.and_then(|number| u32::try_from(number).ok()),
    };
    let limit = spec.active_deadline_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let keep = spec.ttl_seconds_after_finished.and_then(|seconds| u64::try_from(seconds).ok());
    let job_wish = Job {
        completions,
        parallelism: count(spec.parallelism, 1),
        backoff_limit: count(spec.backoff_limit, BACKOFF_LIMIT),
        deadline: None,
        suspended: spec.suspend == Some(true),
        restarts: 0,
    };
    Some(Workload {
        owner: owner(Kind::Job, &job.metadata),
        namespace: key.0.clone(),
        template: spec.template.clone(),
        // A job's template cannot change.
        revision: String::new(),
        wish: Wish::Job(JobWish {
            job: job_wish,
            limit: limit.map(Duration::from_secs),
            keep: keep.map(Duration::from_secs),
        }),
    })
}

fn owner(kind: Kind, metadata: &ObjectMeta) -> Owner {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Owner { kind, name: text(&metadata.name), uid: text(&metadata.uid) }
}

fn count(value: Option<i32>, default: u32) -> u32 {
    value.map_or(default, |value| u32::try_from(value).unwrap_or(0))
}

fn seconds(value: Option<i32>) -> Duration {
    Duration::from_secs(u64::try_from(value.unwrap_or(0)).unwrap_or(0))
}
