//! From events to what is on the board.

use crate::auth::TokenDirectory;
use crate::cert::Tresor;
use crate::cert::tresor::TresorSettings;
use crate::controller::{Ends, Publisher, Query, run};
use crate::push::{Board, PodKey, Push, Roster, Settings};
use crate::source::Event;
use crate::telemetry::Telemetry;
use crate::world::{Problem, Settings as WorldSettings, World};
use arc_swap::ArcSwap;
use fsm_api::resources::{Kind, Object, ObjectKey, manifest};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

struct Fixture {
    publisher: Publisher,
    push: Arc<Push>,
    problems: Arc<ArcSwap<Vec<Problem>>>,
    _directory: TempDir,
}

fn fixture() -> Fixture {
    let directory = TempDir::new().unwrap();
    let tresor = Tresor::open(directory.path(), TresorSettings::default(), Arc::new(SystemTime::now)).unwrap();
    let roster = Arc::new(Roster::default());
    let push = Arc::new(Push {
        board: Arc::new(Board::default()),
        telemetry: Arc::new(Telemetry::new(&roster)),
        roster,
        issuer: Arc::new(tresor),
        tokens: Arc::new(TokenDirectory::new("/nonexistent")),
        trust_domain: "cluster.local".into(),
        settings: ArcSwap::from_pointee(Settings::default()),
    });
    let problems = Arc::new(ArcSwap::default());
    let publisher = Publisher::new(World::new(WorldSettings::default()), push.clone(), problems.clone());
    Fixture { publisher, push, problems, _directory: directory }
}

fn events(text: &str) -> Vec<Event> {
    let (objects, errors) = manifest::read(text, "test.yaml");
    assert_eq!(errors, []);
    objects.into_iter().map(Event::Applied).collect()
}

fn pod_yaml(uid: &str, account: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: web-0, namespace: demo, uid: {uid}, labels: {{app: web, fsm-proxy-uuid: uuid-{uid}}}}}
spec: {{serviceAccountName: {account}, containers: [{{name: web, image: x}}]}}
status: {{phase: Running, podIP: 10.1.0.5, conditions: [{{type: Ready, status: "True"}}]}}
"#
    )
}

const SURROUNDINGS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: demo, labels: {flomesh.io/monitored-by: fsm}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: demo}
spec: {selector: {app: web}, clusterIP: 10.96.0.10, ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}]}
"#;

fn slice(addresses: &[&str]) -> String {
    let endpoints: Vec<_> =
        addresses.iter().map(|ip| format!("{{addresses: [{ip}], conditions: {{ready: true}}}}")).collect();
    format!(
        r#"
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: demo, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
endpoints: [{}]
ports: [{{name: http, port: 8080, protocol: TCP}}]
"#,
        endpoints.join(", ")
    )
}

fn web() -> PodKey {
    PodKey::new("demo", "web-0")
}

impl Fixture {
    fn say(&mut self, said: Vec<Event>) {
        for event in said {
            if self.publisher.take_in(event) {
                self.publisher.publish(Instant::now());
            }
        }
    }
}

#[test]
fn nothing_is_published_before_everything_was_said() {
    let mut fixture = fixture();
    fixture.say(events(SURROUNDINGS));
    fixture.say(events(&pod_yaml("u1", "web")));
    assert!(fixture.push.board.is_empty());
    fixture.say(vec![Event::Synced]);
    let seat = fixture.push.board.seat(&web()).unwrap();
    assert_eq!((seat.tenant.identity.to_string().as_str(), seat.tenant.uid.as_str()), ("web.demo", "u1"));
    assert_eq!(seat.tenant.proxy_uuid, "uuid-u1");
}

#[test]
fn a_change_that_says_nothing_new_is_not_published() {
    let mut fixture = fixture();
    fixture.say([events(SURROUNDINGS), events(&pod_yaml("u1", "web")), vec![Event::Synced]].concat());
    let mut seat = fixture.push.board.seat(&web()).unwrap();
    let first = seat.publications.borrow_and_update().clone();
    fixture.say([events(SURROUNDINGS), events(&pod_yaml("u1", "web"))].concat());
    assert!(!seat.publications.has_changed().unwrap());
    fixture.say(events(&slice(&["10.1.0.5"])));
    let first = match seat.publications.has_changed().unwrap() {
        true => seat.publications.borrow_and_update().clone(),
        false => first,
    };
    fixture.say(events(&slice(&["10.1.0.5", "10.1.0.6"])));
    let second = seat.publications.borrow_and_update().clone();
    assert_ne!(first.version(), second.version());
    fixture.say(events(&slice(&["10.1.0.5"])));
    let third = seat.publications.borrow_and_update().clone();
    assert_eq!(third.version(), first.version(), "the same world has the same version, whatever was in between");
}

#[test]
fn a_pod_that_comes_back_as_somebody_else_is_noticed_although_it_was_never_gone() {
    let mut fixture = fixture();
    fixture.say([events(SURROUNDINGS), events(&pod_yaml("u1", "web")), vec![Event::Synced]].concat());
    let mut seat = fixture.push.board.seat(&web()).unwrap();
    // Another pod of the same name: a file that was replaced.
    fixture.say(events(&pod_yaml("u2", "web")));
    seat.publications.borrow_and_update();
    assert!(seat.publications.has_changed().is_err(), "whoever followed the old pod is told");
    assert_eq!(fixture.push.board.seat(&web()).unwrap().tenant.uid, "u2");
    fixture.say(events(&pod_yaml("u2", "other")));
    assert_eq!(fixture.push.board.seat(&web()).unwrap().tenant.identity.to_string(), "other.demo");
}

#[test]
fn a_pod_that_is_gone_or_leaves_the_mesh_is_taken_off() {
    let mut fixture = fixture();
    fixture.say([events(SURROUNDINGS), events(&pod_yaml("u1", "web")), vec![Event::Synced]].concat());
    let unlabelled = "apiVersion: v1\nkind: Namespace\nmetadata: {name: demo}\n";
    fixture.say(events(unlabelled));
    assert!(fixture.push.board.is_empty());
    fixture.say(events(SURROUNDINGS));
    assert_eq!(fixture.push.board.len(), 1);
    let Event::Applied(pod) = events(&pod_yaml("u1", "web")).remove(0) else { unreachable!() };
    let key: ObjectKey = Object::key(&pod.value);
    fixture.say(vec![Event::Removed(key)]);
    assert!(fixture.push.board.is_empty());
}

#[test]
fn settings_of_the_mesh_reach_the_push() {
    let mut fixture = fixture();
    let mesh_config = r#"
apiVersion: config.flomesh.io/v1alpha3
kind: MeshConfig
metadata: {name: fsm-mesh-config, namespace: fsm-system}
spec:
  sidecar: {maxDataPlaneConnections: 7, compressConfig: false}
  certificate: {serviceCertValidityDuration: 90m}
"#;
    fixture.say([events(mesh_config), vec![Event::Synced]].concat());
    let expected = Settings { leaf_validity: Duration::from_secs(90 * 60), max_proxies: 7, compress: false };
    assert_eq!(**fixture.push.settings.load(), expected);
    fixture.say(events(&mesh_config.replace("90m", "1s")));
    assert_eq!(fixture.push.settings.load().leaf_validity, Duration::from_secs(60), "renewing is not all there is");
}

#[test]
fn problems_of_files_come_and_go() {
    let mut fixture = fixture();
    fixture.say(vec![Event::Synced]);
    let problem = Problem {
        severity: crate::world::Severity::Error,
        objects: vec!["Pod demo/x".into()],
        reason: "BrokenManifest",
        text: "line 3 is no YAML".into(),
    };
    let said = |problems| Event::Problems { origin: "x.yaml".into(), problems };
    fixture.say(vec![said(vec![problem.clone()])]);
    assert_eq!(**fixture.problems.load(), vec![problem]);
    assert!(fixture.push.telemetry.page().contains("fsm_problems{kind=\"error\"} 1"));
    fixture.say(vec![said(Vec::new())]);
    assert!(fixture.problems.load().is_empty());
}

#[test]
fn what_is_not_followed_yet_is_not_said_to_be_missing() {
    let ingress =
        "{apiVersion: policy.flomesh.io/v1alpha1, kind: IngressBackend, metadata: {namespace: demo, name: in}, spec:
        {backends: [{name: web, port: {number: 8080, protocol: http}}],
        sources: [{kind: Service, namespace: edge, name: gate}]}}";
    let complete = |namespaces: &[&str]| {
        let namespaces = Arc::new(namespaces.iter().map(|name| (*name).to_owned()).collect());
        Event::Complete { kind: Kind::Service, namespaces: Some(namespaces) }
    };
    let mut fixture = fixture();
    let begin = [events(SURROUNDINGS), events(&pod_yaml("u1", "web")), vec![complete(&["demo"]), Event::Synced]];
    fixture.say([begin.concat(), events(ingress)].concat());
    assert_eq!(**fixture.problems.load(), []);
    fixture.say(vec![complete(&["demo", "edge"])]);
    let problems = fixture.problems.load_full();
    assert!(
        problems.len() == 1 && problems[0].text.contains("endpoints not found for service edge/gate"),
        "{problems:?}"
    );
    fixture.say(vec![complete(&["demo"])]);
    assert_eq!(**fixture.problems.load(), []);
}

/// The loop around it: a burst is published at once, a question is answered, and being ready is said.
#[tokio::test(start_paused = true)]
async fn a_burst_of_changes_becomes_one_publication() {
    let Fixture { publisher, push, _directory, .. } = fixture();
    let (send, receive) = mpsc::channel(1_000);
    let (ask, queries) = mpsc::channel(1);
    let (ready, mut is_ready) = watch::channel(false);
    let stop = CancellationToken::new();
    let ends = Ends { events: receive, queries, ready, stop: stop.clone() };
    let owner = tokio::spawn(run(publisher, ends));
    for event in [events(SURROUNDINGS), events(&pod_yaml("u1", "web")), vec![Event::Synced]].concat() {
        send.send(event).await.unwrap();
    }
    is_ready.wait_for(|ready| *ready).await.unwrap();
    let before = push.telemetry.published.get();
    for last in 2..200 {
        let address = format!("10.1.0.{last}");
        for event in events(&slice(&[address.as_str()])) {
            send.send(event).await.unwrap();
        }
    }
    let mut seat = push.board.seat(&web()).unwrap();
    seat.publications.borrow_and_update();
    while !String::from_utf8_lossy(seat.publications.borrow_and_update().document()).contains("10.1.0.199") {
        seat.publications.changed().await.unwrap();
    }
    let published = push.telemetry.published.get() - before;
    assert!(published < 20, "{published} publications of 198 changes");
    let (answer, answered) = oneshot::channel();
    ask.send(Query::World(answer)).await.unwrap();
    let world = answered.await.unwrap();
    assert_eq!((&world["synced"], &world["groups"][0]["pods"][0]), (&true.into(), &"demo/web-0".into()));
    stop.cancel();
    owner.await.unwrap();
}
