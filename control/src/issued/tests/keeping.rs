//! The keeper with a source that brings back what it writes, under a clock that is moved by hand.

use super::super::{Keeper, ORIGIN, Owner, WriteError, WriteFuture, Writer};
use super::{Desk, HOUR, Hand, access_cert, access_cert_for, page_secret};
use crate::cert::{Issuer, Tresor};
use crate::limits;
use crate::push::Roster;
use crate::source::Event;
use crate::telemetry::Telemetry;
use crate::world::{NamespacedName, Problem};
use fsm_api::resources::policy::PolicyStatus;
use fsm_api::resources::{Kind, Located, Object, ObjectKey};
use k8s_openapi::api::core::v1::Secret;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// What an API server is here.
#[derive(Debug, Default)]
struct Server {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    secrets: BTreeMap<NamespacedName, Secret>,
    statuses: BTreeMap<ObjectKey, PolicyStatus>,
    /// What it has not told yet.
    news: Vec<Event>,
    writes: usize,
    broken: bool,
    deaf: bool,
    /// Policies have their status in themselves, as in a cluster.
    in_policies: bool,
}

impl Server {
    fn write(&self, change: impl FnOnce(&mut State)) -> WriteFuture<'_> {
        let mut state = self.state.lock();
        state.writes += 1;
        if state.broken {
            let source = std::io::ErrorKind::StorageFull.into();
            return Box::pin(ready(Err(WriteError::Io { path: "/server".into(), doing: "writing it", source })));
        }
        change(&mut state);
        Box::pin(ready(Ok(())))
    }
}

impl Writer for Server {
    fn put_secret(&self, secret: Secret) -> WriteFuture<'_> {
        self.write(|state| {
            let event = Event::Applied(Located { value: Object::from(secret.clone()), ..super::located() });
            let (namespace, name) = (secret.metadata.namespace.clone(), secret.metadata.name.clone());
            state.secrets.insert(super::key(&namespace.unwrap(), &name.unwrap()), secret);
            state.news.push(event);
        })
    }

    fn remove_secret(&self, secret: NamespacedName) -> WriteFuture<'_> {
        self.write(|state| {
            state.secrets.remove(&secret);
            state.news.push(Event::Removed(ObjectKey::new(Kind::Secret, secret.namespace, secret.name)));
        })
    }

    fn statuses(&self) -> WriteFuture<'_, Option<BTreeMap<ObjectKey, PolicyStatus>>> {
        let state = self.state.lock();
        Box::pin(ready(Ok((!state.in_policies).then(|| state.statuses.clone()))))
    }

    fn set_status(&self, policy: ObjectKey, status: Option<PolicyStatus>) -> WriteFuture<'_> {
        self.write(|state| {
            if state.in_policies {
                state.news.push(with_status(&status));
            }
            match status {
                Some(status) => drop(state.statuses.insert(policy, status)),
                None => drop(state.statuses.remove(&policy)),
            }
        })
    }
}

/// The page's policy comes with this status.
fn with_status(status: &Option<PolicyStatus>) -> Event {
    let mut policy = access_cert();
    policy["status"] = serde_json::to_value(status).unwrap();
    Event::Applied(Located { value: Object::from_json(policy).unwrap(), ..super::located() })
}

struct Stage {
    desk: Desk,
    server: Arc<Server>,
    hand: Hand,
    tresor: Arc<Tresor>,
    events: mpsc::Receiver<Event>,
    /// What the keeper complains of.
    problems: Vec<Problem>,
    stop: CancellationToken,
    _directory: TempDir,
}

impl Stage {
    fn new() -> Self {
        Self::with(Server::default())
    }

    fn with(server: Server) -> Self {
        let (told, situation) = watch::channel(Arc::default());
        let (events, received) = mpsc::channel(64);
        let (hand, directory) = (Hand::new(), tempfile::tempdir().unwrap());
        let (server, tresor) = (Arc::new(server), hand.tresor(directory.path()));
        let keeper = Keeper {
            owner: Owner::of_mesh("fsm"),
            situation,
            issuer: tresor.clone(),
            writer: server.clone(),
            events,
            telemetry: Arc::new(Telemetry::new(&Arc::new(Roster::default()))),
        };
        let stop = CancellationToken::new();
        tokio::spawn(keeper.run(hand.clock(), stop.clone()));
        let mut desk = Desk::with_keeper(Some(told));
        desk.furnish();
        Self { desk, server, hand, tresor, events: received, problems: Vec::new(), stop, _directory: directory }
    }

    /// Plays the owner of the world for so long.
    async fn pass(&mut self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        loop {
            let news = match self.server.state.lock() {
                state if state.deaf => Vec::new(),
                mut state => std::mem::take(&mut state.news),
            };
            for event in news {
                self.desk.take_in(event);
            }
            while let Ok(event) = self.events.try_recv() {
                let Event::Problems { origin, problems } = event else { panic!("{event:?}") };
                assert_eq!(&*origin, ORIGIN);
                self.problems = problems;
            }
            let wanted = self.desk.wanted();
            let mut all: BTreeSet<Problem> = self.problems.iter().cloned().collect();
            all.extend(wanted.problems.iter().cloned());
            self.desk.ledger.tell(wanted, &all, true);
            if tokio::time::Instant::now() >= end {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn settle(&mut self) {
        self.pass(Duration::from_secs(3)).await;
    }

    fn writes(&self) -> usize {
        std::mem::take(&mut self.server.state.lock().writes)
    }

    fn data(&self) -> Option<String> {
        let state = self.server.state.lock();
        let data = state.secrets.get(&page_secret())?.data.as_ref().unwrap();
        Some(String::from_utf8(data["tls.crt"].0.clone()).unwrap())
    }

    fn roots(&self) -> String {
        let state = self.server.state.lock();
        String::from_utf8(state.secrets[&page_secret()].data.as_ref().unwrap()["ca.crt"].0.clone()).unwrap()
    }

    fn status(&self) -> Option<String> {
        let key = ObjectKey::new(Kind::AccessCert, "httpbin", "curl-mtls-cert");
        self.server.state.lock().statuses.get(&key).map(|status| status.current_status.clone().unwrap())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn one_policy_is_one_secret_and_one_status_and_then_there_is_peace() {
    let mut stage = Stage::new();
    stage.settle().await;
    assert_eq!(stage.writes(), 0);
    stage.desk.put(access_cert());
    stage.settle().await;
    assert!(stage.data().is_some());
    assert_eq!(stage.status().as_deref(), Some("committed"));
    assert_eq!(stage.writes(), 2);
    stage.pass(20 * limits::KEEPER_LOOK).await;
    assert_eq!(stage.writes(), 0);
    stage.desk.remove(Kind::AccessCert, "httpbin", "curl-mtls-cert");
    stage.settle().await;
    assert_eq!((stage.data(), stage.status(), stage.writes()), (None, None, 2));
}

#[tokio::test(start_paused = true)]
async fn certificates_are_replaced_at_two_thirds_and_with_the_roots() {
    let mut stage = Stage::new();
    stage.desk.put(access_cert());
    stage.settle().await;
    let first = stage.data();
    stage.hand.forward(15 * HOUR + HOUR / 2);
    stage.pass(limits::KEEPER_LOOK * 2).await;
    assert_eq!(stage.data(), first);
    stage.hand.forward(HOUR / 2);
    stage.pass(limits::KEEPER_LOOK * 2).await;
    let second = stage.data();
    assert_ne!(second, first);
    stage.tresor.rotate().await.unwrap();
    stage.settle().await;
    assert_ne!(stage.data(), second);
    assert_eq!(stage.roots(), stage.tresor.trust_bundle().pem);
    assert_eq!(stage.roots().matches("BEGIN").count(), 2, "both roots are trusted");
    stage.hand.forward(Duration::from_secs(601));
    stage.tresor.tick().await.unwrap();
    stage.settle().await;
    assert_eq!(stage.roots(), stage.tresor.trust_bundle().pem);
    assert_eq!(stage.status().as_deref(), Some("committed"));
    assert_eq!(stage.problems, []);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_a_user_removes_comes_again() {
    let mut stage = Stage::new();
    stage.desk.put(access_cert());
    stage.settle().await;
    let first = stage.data();
    let server = stage.server.clone();
    server.remove_secret(page_secret()).await.unwrap();
    stage.settle().await;
    assert!(stage.data().is_some());
    assert_ne!(stage.data(), first);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_removes_it_again_and_again_does_not_keep_us_busy() {
    let mut stage = Stage::new();
    stage.desk.put(access_cert());
    stage.settle().await;
    stage.writes();
    for _ in 0..100 {
        let removed = stage.server.state.lock().secrets.remove(&page_secret()).is_some();
        if removed {
            let gone = Event::Removed(ObjectKey::new(Kind::Secret, "curl", "curl-mtls-secret"));
            stage.server.state.lock().news.push(gone);
        }
        stage.pass(Duration::from_millis(100)).await;
    }
    let writes = stage.writes();
    assert!((5..=15).contains(&writes), "{writes} writes in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_tried_again_and_forgotten_when_it_is_over() {
    let mut stage = Stage::new();
    stage.server.state.lock().broken = true;
    stage.desk.put(access_cert());
    stage.settle().await;
    let [problem, status] = stage.problems.as_slice() else { panic!("{:?}", stage.problems) };
    assert_eq!((status.reason, &*status.objects), ("StatusNotWritten", &problem.objects[..1]));
    assert_eq!(problem.reason, "CertificateNotIssued");
    assert_eq!(problem.objects, ["AccessCert httpbin/curl-mtls-cert", "Secret curl/curl-mtls-secret"]);
    assert!(problem.text.contains("/server: writing it failed"), "{}", problem.text);
    stage.writes();
    stage.pass(Duration::from_secs(3600)).await;
    // Secret and status, each once a minute at the end.
    let writes = stage.writes();
    assert!((100..=140).contains(&writes), "{writes} writes in an hour");
    stage.server.state.lock().broken = false;
    stage.pass(limits::KEEPER_LONGEST_PAUSE * 2).await;
    assert_eq!(stage.problems, []);
    assert!(stage.data().is_some());
    assert_eq!(stage.status().as_deref(), Some("committed"));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_bring_back_what_is_written_makes_no_storm() {
    let mut stage = Stage::new();
    stage.server.state.lock().deaf = true;
    stage.desk.put(access_cert());
    stage.pass(Duration::from_secs(3600)).await;
    let writes = stage.writes();
    assert!((30..=80).contains(&writes), "{writes} writes in an hour");
    assert_eq!(stage.status(), None, "it is not committed before it is seen");
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_keeps_no_other_one_waiting() {
    let mut stage = Stage::new();
    stage.desk.put(access_cert());
    stage.server.state.lock().broken = true;
    stage.pass(Duration::from_secs(600)).await;
    // The first one waits for its minute now.
    stage.server.state.lock().broken = false;
    let mut second = access_cert_for("httpbin", "second", &["b.example.com"]);
    second["spec"]["secret"]["name"] = "second".into();
    stage.desk.put(second);
    stage.settle().await;
    let secrets: Vec<NamespacedName> = stage.server.state.lock().secrets.keys().cloned().collect();
    assert!(secrets.contains(&super::key("curl", "second")), "{secrets:?}");
}

#[tokio::test(start_paused = true)]
async fn a_status_that_somebody_replaces_or_takes_away_comes_again() {
    let server = Server::default();
    server.state.lock().in_policies = true;
    let mut stage = Stage::with(server);
    stage.desk.put(access_cert());
    stage.settle().await;
    assert_eq!((stage.status().as_deref(), stage.writes()), (Some("committed"), 2));
    stage.pass(20 * limits::KEEPER_LOOK).await;
    assert_eq!(stage.writes(), 0, "what is as it should be is left in peace");
    let theirs = PolicyStatus { current_status: Some("error".into()), reason: Some("of others".into()) };
    for status in [Some(theirs.clone()), None] {
        stage.server.state.lock().news.push(with_status(&status));
        stage.settle().await;
        assert_eq!((stage.status().as_deref(), stage.writes()), (Some("committed"), 1));
    }
    // Somebody who does so again and again is not fought with all our strength.
    for _ in 0..100 {
        stage.server.state.lock().news.push(with_status(&Some(theirs.clone())));
        stage.pass(Duration::from_millis(100)).await;
    }
    let writes = stage.writes();
    assert!((5..=15).contains(&writes), "{writes} writes in ten seconds");
}
