//! From changes to publications: what the owner task does, without its waiting.

use super::View;
use super::findings::merged;
use crate::catalog::explain::{CannotExplain, Explanation, Question, explain};
use crate::catalog::{self, Built, Shared};
use crate::cert::Identity;
use crate::cert::server::ServerNames;
use crate::issued::{self, Ledger, Wanted};
use crate::log;
use crate::push::publication::EncodeError;
use crate::push::{PodKey, Publication, Push, Settings, Tenant};
use crate::source::Event;
use crate::telemetry::Kind as Label;
use crate::webhook::{InjectionFacts, log_level};
use crate::world::{Dirty, Group, GroupId, Problem, Severity, World};
use arc_swap::ArcSwap;
use fsm_api::resources::{Kind, ObjectKey};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

/// Certificates are valid for at least so long, whatever MeshConfig says: with less, renewing is all that a mesh does.
const LEAST_VALIDITY: Duration = Duration::from_secs(60);

/// The world's owner: takes changes in and publishes what follows from them.
#[derive(Debug)]
pub struct Publisher {
    world: World,
    push: Arc<Push>,
    problems: Arc<ArcSwap<Vec<Problem>>>,
    groups: BTreeMap<GroupId, Published>,
    dirty: Dirty,
    /// Pods whose object changed: whose they are may have changed with it.
    touched: BTreeSet<PodKey>,
    /// By the file that they are in.
    source_problems: BTreeMap<Arc<str>, Vec<Problem>>,
    ledger: Ledger,
    debug: watch::Sender<bool>,
    synced: bool,
    /// A copy for those who try changes, until there is another change.
    snapshot: Option<Arc<World>>,
}

#[derive(Debug)]
struct Published {
    publication: Arc<Publication>,
    problems: Vec<Problem>,
}

impl Publisher {
    /// An owner of `world`. The problems that are found are put into `problems`. Secrets and statuses are kept by nobody;
    /// see [`Publisher::with_ledger`].
    pub fn new(world: World, push: Arc<Push>, problems: Arc<ArcSwap<Vec<Problem>>>) -> Self {
        let owner = issued::Owner::of_mesh(&world.settings().mesh_name);
        Self {
            world,
            push,
            problems,
            groups: BTreeMap::new(),
            dirty: Dirty { mesh: true, ..Dirty::default() },
            touched: BTreeSet::new(),
            source_problems: BTreeMap::new(),
            ledger: Ledger::new(owner, ServerNames::default(), None),
            debug: watch::Sender::new(false),
            synced: false,
            snapshot: None,
        }
    }

    /// Tells whether the debug server is to be open.
    pub fn wants_debug_server(&self) -> watch::Receiver<bool> {
        self.debug.subscribe()
    }

    /// The same with a ledger, which tells whoever keeps Secrets and statuses how things stand. To be given before the
    /// first change.
    #[must_use]
    pub fn with_ledger(self, ledger: Ledger) -> Self {
        Self { ledger, ..self }
    }

    /// Takes a change in. Whether something is to be published now.
    pub fn take_in(&mut self, event: Event) -> bool {
        self.ledger.note(&event);
        self.snapshot = None;
        let of_mesh = match &event {
            Event::Applied(object) => object.value.kind() == Kind::MeshConfig,
            Event::Removed(key) => key.kind == Kind::MeshConfig,
            Event::Synced | Event::Complete { .. } | Event::Problems { .. } => false,
        };
        match event {
            Event::Applied(object) => {
                self.push.telemetry.events.add();
                self.touch(&object.value.key());
                let dirty = self.world.apply(object.value);
                self.dirty.merge(dirty);
            }
            Event::Removed(key) => {
                self.push.telemetry.events.add();
                self.touch(&key);
                let dirty = self.world.remove(&key);
                self.dirty.merge(dirty);
            }
            Event::Synced => self.synced = true,
            Event::Complete { kind, namespaces } => self.world.set_complete(kind, namespaces),
            Event::Problems { origin, problems } => {
                if problems.is_empty() {
                    self.source_problems.remove(&origin);
                } else {
                    self.source_problems.insert(origin, problems);
                }
            }
        }
        if of_mesh {
            log::follow(self.world.mesh_config().and_then(|config| log_level(config)));
        }
        self.synced
    }

    /// Publishes what follows from the changes since the last call; `caused` is when the first of them was seen.
    pub fn publish(&mut self, caused: Instant) {
        let began = Instant::now();
        let dirty = std::mem::take(&mut self.dirty);
        if dirty.mesh {
            self.adopt_settings();
        }
        for group in &dirty.gone {
            self.groups.remove(group);
        }
        let mut pods = std::mem::take(&mut self.touched);
        pods.extend(dirty.pods);
        let (built, published) = self.build(&dirty.groups, caused);
        for pod in &pods {
            place(&self.world, &self.push, &self.groups, pod);
        }
        self.report_problems();
        let telemetry = &self.push.telemetry;
        telemetry.built.add_many(built as u64);
        telemetry.build_time.observe(began.elapsed().as_secs_f64());
        telemetry.groups.set(self.groups.len() as u64);
        telemetry.pods.set(self.push.board.len() as u64);
        debug!("{built} documents computed, {published} of them new, {} pods looked at", pods.len());
    }

    /// The world as it is; `None` before everything was said once.
    pub fn snapshot(&mut self) -> Option<Arc<World>> {
        if !self.synced {
            return None;
        }
        Some(self.snapshot.get_or_insert_with(|| Arc::new(self.world.clone())).clone())
    }

    /// What injection into pods of a namespace needs to know; `None`: there is no such namespace here.
    pub fn injection_facts(&self, namespace: &str) -> Option<InjectionFacts> {
        InjectionFacts::of(&self.world, namespace)
    }

    /// A part of the world, for developers.
    pub fn view(&self, view: View) -> Value {
        match view {
            View::World => self.describe(),
            View::Namespaces => self.world.show_namespaces(),
            View::Policies => self.world.show_policies(),
            View::MeshConfig => self.world.show_mesh_config(),
            View::FeatureFlags => self.world.show_feature_flags(),
        }
    }

    /// Why a call is allowed or denied.
    ///
    /// # Errors
    /// Caller, service or port do not exist.
    pub fn explain(&self, question: &Question) -> Result<Explanation, CannotExplain> {
        explain(&self.world, question)
    }

    /// What the world has in it, for people.
    pub fn describe(&self) -> Value {
        let groups = self.world.groups().map(|(id, group)| {
            let published = self.groups.get(&id);
            json!({
                "group": id.to_string(),
                "account": group.account.to_string(),
                "services": group.services.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "pods": self.world.members(id).map(ToString::to_string).collect::<Vec<_>>(),
                "version": published.map(|published| published.publication.version().to_string()),
                "documentBytes": published.map(|published| published.publication.document().len()),
                "problems": published.map(|published| published.problems.len()),
            })
        });
        let endpoints: BTreeMap<String, usize> =
            self.world.ready_endpoints().map(|(service, ready)| (service.to_string(), ready)).collect();
        json!({
            "synced": self.synced,
            "settled": self.dirty.is_empty() && self.touched.is_empty(),
            "endpoints": endpoints,
            "namespaces": self.world.namespaces().count(),
            "monitoredNamespaces":
                self.world.namespaces().filter(|each| each.monitored).map(|each| each.name.clone()).collect::<Vec<_>>(),
            "pods": self.world.pods().count(),
            "services": self.world.services().count(),
            "groups": groups.collect::<Vec<_>>(),
        })
    }

    fn touch(&mut self, key: &ObjectKey) {
        if key.kind == Kind::Pod {
            self.touched.insert(PodKey::new(&key.namespace, &key.name));
        }
    }

    fn adopt_settings(&self) {
        let mesh = self.world.mesh();
        self.debug.send_if_modified(|wanted| std::mem::replace(wanted, mesh.debug_server) != mesh.debug_server);
        let settings = Settings {
            leaf_validity: mesh.certificate_validity.max(LEAST_VALIDITY),
            max_proxies: mesh.max_data_plane_connections.map_or(0, |most| most as usize),
            compress: mesh.compress_config,
        };
        if **self.push.settings.load() != settings {
            info!("the mesh's settings for proxies are {settings:?}");
            self.push.settings.store(Arc::new(settings));
        }
    }

    /// Computes the documents of some groups, and puts each that came out different on the board at once. How many were
    /// computed, and how many of them are new.
    fn build(&mut self, ids: &BTreeSet<GroupId>, caused: Instant) -> (usize, usize) {
        let (world, push, groups) = (&self.world, &*self.push, &mut self.groups);
        let mut tasks = Vec::with_capacity(ids.len());
        for &id in ids {
            match world.group(id) {
                Some(group) => {
                    let before = groups.get(&id).map(|published| published.publication.clone());
                    tasks.push(Task { id, group, before });
                }
                None => drop(groups.remove(&id)),
            }
        }
        let mut published = 0;
        each_made(world, &tasks, caused, |id, made| {
            let known = groups.get_mut(&id);
            match (made, known) {
                (Ok((Some(publication), problems)), _) => {
                    published += 1;
                    push.telemetry.published.add();
                    groups.insert(id, Published { publication: Arc::new(publication), problems });
                    for pod in world.members(id) {
                        place(world, push, groups, pod);
                    }
                }
                (Ok((None, problems)), Some(known)) => known.problems = problems,
                (Ok((None, _)), None) => {}
                (Err(why), _) => error!("the document of {id} stays as it was: {why}"),
            }
        });
        (tasks.len(), published)
    }

    /// Each problem once, in a fixed order, wherever it was found.
    fn report_problems(&self) {
        let of_documents = self.groups.values().flat_map(|published| published.problems.iter());
        let of_documents = of_documents.filter(|problem| !self.world.is_guess(problem)).cloned();
        let mut all = merged(self.world.problems(), of_documents);
        all.extend(self.source_problems.values().flatten().cloned());
        let wanted = Wanted::of(&self.world, &self.ledger);
        all.extend(wanted.problems.iter().cloned());
        self.ledger.tell(wanted, &all, self.is_complete());
        for (severity, kind) in [(Severity::Error, "error"), (Severity::Warning, "warning")] {
            let count = all.iter().filter(|problem| problem.severity == severity).count();
            self.push.telemetry.problems.get_or_create(&Label { kind }).set(count as u64);
        }
        let known = self.problems.load();
        for problem in all.iter().filter(|problem| !known.contains(problem)) {
            warn!("{problem}");
        }
        if !all.iter().eq(known.iter()) {
            self.problems.store(Arc::new(all.into_iter().collect()));
        }
    }

    /// Whether the source could read everything that is there.
    fn is_complete(&self) -> bool {
        let of_source = self.source_problems.iter().filter(|(origin, _)| !origin.starts_with(issued::OWN_ORIGINS));
        !of_source.flat_map(|(_, problems)| problems).any(|problem| problem.severity == Severity::Error)
    }
}

/// A document to be computed.
struct Task<'a> {
    id: GroupId,
    group: &'a Group,
    before: Option<Arc<Publication>>,
}

/// The document, if it came out different, and what was found on the way.
type Made = Result<(Option<Publication>, Vec<Problem>), EncodeError>;

/// Threads that compute documents; more would take the time of those that send them.
const MOST_THREADS: usize = 4;

/// Computes documents, several at a time, and hands over each as soon as it is there.
fn each_made(world: &World, tasks: &[Task<'_>], caused: Instant, mut take: impl FnMut(GroupId, Made)) {
    let shared = Shared::default();
    let make = |task: &Task<'_>| -> Made {
        let Built { config, problems } = catalog::build_with(world, task.group, &shared);
        Ok((Publication::make(config, task.before.as_deref(), caused, SystemTime::now())?, problems))
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS).min(tasks.len());
    if threads <= 1 {
        tasks.iter().for_each(|task| take(task.id, make(task)));
        return;
    }
    let next = AtomicUsize::new(0);
    let (done, finished) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (done, next) = (done.clone(), &next);
            scope.spawn(move || {
                while let Some(task) = tasks.get(next.fetch_add(1, Relaxed)) {
                    if done.send((task.id, make(task))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        finished.iter().for_each(|(id, made)| take(id, made));
    });
}

/// Puts on the board what holds for a pod now.
fn place(world: &World, push: &Push, groups: &BTreeMap<GroupId, Published>, pod: &PodKey) {
    let published = world.group_of(pod).and_then(|group| groups.get(&group));
    let placed = world.pod(pod).zip(published);
    let Some((model, published)) = placed else { return push.board.remove(pod) };
    match Identity::new(&model.account.namespace, &model.account.name) {
        Ok(identity) => {
            let proxy_uuid = model.proxy_uuid.clone().unwrap_or_default();
            let tenant = Tenant { identity, uid: model.uid.clone(), proxy_uuid };
            push.board.publish(pod, &tenant, &published.publication);
        }
        Err(why) => {
            warn!("pod {pod} gets no document: {why}");
            push.board.remove(pod);
        }
    }
}
