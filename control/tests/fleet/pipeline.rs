//! The whole way from an event to the acknowledgement of every proxy: world, catalog, publications, streams.

use super::harness::{Control, eventually};
use super::{AT_ONCE, join_all, resident};
use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use fsm_api::config::{Config, Touched};
use fsm_api::resources::manifest;
use fsm_api::stream::{ControlMessage, Delta, Update};
use fsm_control::controller::{Ends, Publisher, start};
use fsm_control::push::PodKey;
use fsm_control::source::Event;
use fsm_control::world::{Settings, World};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A mesh of so many services with so many pods each; every pod's proxy follows.
struct Mesh {
    control: Control,
    services: usize,
    pods: usize,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
}

impl Mesh {
    async fn start(services: usize, pods: usize, permissive: bool) -> Self {
        let control = Control::start().await;
        let publisher =
            Publisher::new(World::new(Settings::default()), control.push.clone(), Arc::new(ArcSwap::default()));
        let (events, receive) = mpsc::channel(100_000);
        let (_queries, queries) = mpsc::channel(1);
        let (ready, mut is_ready) = watch::channel(false);
        let stop = CancellationToken::new();
        start(publisher, Ends { events: receive, queries, ready, stop: stop.clone() }).unwrap();
        let mesh = Self { control, services, pods, events, stop };
        mesh.say(&surroundings(permissive)).await;
        for service in 0..services {
            mesh.say(&mesh.service(service)).await;
            for pod in 0..pods {
                mesh.say(&mesh.pod(service, pod)).await;
            }
            mesh.say(&mesh.slice(service, pods)).await;
        }
        mesh.events.send(Event::Synced).await.unwrap();
        is_ready.wait_for(|ready| *ready).await.unwrap();
        mesh
    }

    async fn say(&self, text: &str) {
        let (objects, errors) = manifest::read(text, "mesh.yaml");
        assert_eq!(errors, []);
        for object in objects {
            self.events.send(Event::Applied(object)).await.unwrap();
        }
    }

    /// Every proxy follows from now on and takes whatever comes. The first one of each of so many services also makes of
    /// it what a proxy makes of it, and compares it with what fsm-control has.
    async fn connect(&self, careful: usize) {
        let all: Vec<_> =
            (0..self.services).flat_map(|service| (0..self.pods).map(move |pod| (service, pod))).collect();
        for some in all.chunks(AT_ONCE) {
            let one = async |&(service, pod): &(usize, usize)| {
                let (account, pod) = (format!("svc-{service}"), PodKey::new("demo", format!("svc-{service}-{pod}")));
                let credentials = self.control.credentials(&pod, &account).await;
                let mut proxy = self.control.follow(&pod, &credentials, None).await.unwrap();
                let Some(ControlMessage::Update(update)) = proxy.next().await else { panic!("no document") };
                proxy.ack(&update.version).await;
                let mut document = (pod.name.ends_with("-0") && service < careful).then(|| Document::of(&update));
                tokio::spawn(async move {
                    loop {
                        let version = match proxy.next().await {
                            Some(ControlMessage::Update(update)) => {
                                document = document.map(|_| Document::of(&update));
                                update.version
                            }
                            Some(ControlMessage::Delta(delta)) => {
                                if let Some(document) = &mut document {
                                    document.take(&delta);
                                }
                                delta.version
                            }
                            _ => return,
                        };
                        proxy.ack(&version).await;
                    }
                });
            };
            join_all(some.iter().map(one).collect()).await;
        }
    }

    /// The last pod of the first service comes or goes; how long until everybody has acknowledged the consequence.
    async fn change(&self, there: bool) -> (Duration, usize) {
        let acknowledgements = &self.control.push.telemetry.acknowledged;
        let published = &self.control.push.telemetry.published;
        let (acknowledged, documents) = (acknowledgements.get(), published.get());
        let begun = Instant::now();
        self.say(&self.slice(0, if there { self.pods } else { self.pods - 1 })).await;
        let all = (self.services * self.pods) as u64;
        eventually("everybody has acknowledged", || acknowledgements.get() >= acknowledged + all).await;
        (begun.elapsed(), usize::try_from(published.get() - documents).unwrap())
    }

    /// Of the first pod.
    fn document(&self) -> Bytes {
        let seat = self.control.push.board.seat(&PodKey::new("demo", "svc-0-0")).unwrap();
        seat.publications.borrow().document().clone()
    }

    /// Of the first pod's document.
    fn version(&self) -> String {
        let seat = self.control.push.board.seat(&PodKey::new("demo", "svc-0-0")).unwrap();
        seat.publications.borrow().version().to_string()
    }

    fn service(&self, service: usize) -> String {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: svc-{service}, namespace: demo}}\nspec: {{selector: {{app: \
             svc-{service}}}, clusterIP: 10.96.0.{service}, ports: [{{name: http, port: 80, targetPort: 8080, appProtocol: \
             http}}]}}\n"
        )
    }

    fn pod(&self, service: usize, pod: usize) -> String {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: svc-{service}-{pod}, namespace: demo, uid: \
             uid-of-svc-{service}-{pod}, labels: {{app: svc-{service}, fsm-proxy-uuid: uuid-{service}-{pod}}}}}\nspec: \
             {{serviceAccountName: svc-{service}, containers: [{{name: app, image: x}}]}}\nstatus: {{phase: Running, \
             podIP: 10.1.{service}.{pod}, conditions: [{{type: Ready, status: \"True\"}}]}}\n"
        )
    }

    fn slice(&self, service: usize, pods: usize) -> String {
        let mut endpoints = String::new();
        for pod in 0..pods {
            let separator = if pod == 0 { "" } else { ", " };
            write!(
                endpoints,
                "{separator}{{addresses: [10.1.{service}.{pod}], conditions: {{ready: true}}, targetRef: {{kind: Pod, \
                 name: svc-{service}-{pod}, namespace: demo}}}}"
            )
            .unwrap();
        }
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: svc-{service}-1, namespace: demo, \
             labels: {{kubernetes.io/service-name: svc-{service}}}}}\naddressType: IPv4\nendpoints: [{endpoints}]\nports: \
             [{{name: http, port: 8080, protocol: TCP}}]\n"
        )
    }
}

/// What a proxy holds. What it does not fit it does not acknowledge, so that the mesh does not converge.
struct Document {
    version: String,
    text: Vec<u8>,
}

impl Document {
    fn of(update: &Update) -> Self {
        let (mut config, problems) = Config::read(update.document.get().as_bytes()).unwrap();
        assert_eq!(problems, []);
        Self { version: update.version.clone(), text: config.stampless().unwrap() }
    }

    fn take(&mut self, delta: &Delta) {
        assert_eq!(delta.base, self.version);
        let (mut config, _) = Config::read(&self.text).unwrap();
        for change in &delta.changes {
            change.apply(&mut config, &mut Touched::default()).unwrap();
        }
        self.text = config.stampless().unwrap();
        let digest: String = digest(&SHA256, &self.text).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, delta.digest);
        self.version.clone_from(&delta.version);
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn surroundings(permissive: bool) -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: demo, labels: {{flomesh.io/monitored-by: fsm}}}}\n---\napiVersion: \
         config.flomesh.io/v1alpha3\nkind: MeshConfig\nmetadata: {{name: fsm-mesh-config, namespace: fsm-system}}\nspec: \
         {{traffic: {{enablePermissiveTrafficPolicyMode: {permissive}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_endpoints_goes_all_the_way() {
    let mesh = Mesh::start(5, 6, true).await;
    mesh.connect(5).await;
    for there in [false, true, false, true] {
        let (_, documents) = mesh.change(there).await;
        assert!((1..=10).contains(&documents), "{documents} documents for five groups");
    }
    assert_eq!(mesh.control.push.roster.convergence().behind, 0);
}

/// Documents name every pod that may be called by its address, so that a pod that goes changes all of them. What is sent is
/// the difference all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_goes_is_a_small_message_however_large_the_documents_are() {
    let (services, pods) = (10, 20);
    let mesh = Mesh::start(services, pods, true).await;
    mesh.connect(services).await;
    let document = mesh.document();
    assert!(document.len() > 30_000, "{} bytes", document.len());
    let first = mesh.version();
    for there in [false, true, false] {
        let (took, _) = mesh.change(there).await;
        assert!(took < Duration::from_secs(20), "{took:?}");
    }
    assert_ne!(mesh.version(), first);
    let page = mesh.control.push.telemetry.page();
    let sent = |kind: &str| {
        let line = format!("fsm_proxy_response_send_success_count{{kind=\"{kind}\"}} ");
        page.lines().find_map(|each| each.strip_prefix(&*line)?.parse::<usize>().ok()).unwrap_or_default()
    };
    let all = services * pods;
    assert_eq!(sent("update"), all, "one whole document for each, at the beginning\n{page}");
    assert!(sent("delta") >= 3 * all, "{page}");
    let seat = mesh.control.push.board.seat(&PodKey::new("demo", "svc-0-0")).unwrap();
    let delta = seat.publications.borrow().delta(&first).unwrap();
    assert!(delta.len() < 5_000, "{} bytes of {}", delta.len(), document.len());
}

/// A mesh of 2,000 pods, or of what `MESH=<services>x<pods of each>` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute; prints figures"]
async fn a_whole_mesh_converges() {
    let size = std::env::var("MESH").unwrap_or_else(|_| "50x40".into());
    let (services, pods) = size.split_once('x').expect("MESH=<services>x<pods of each>");
    let (services, pods): (usize, usize) = (services.parse().unwrap(), pods.parse().unwrap());
    let empty = resident();
    let mesh = Mesh::start(services, pods, true).await;
    let computed = resident();
    mesh.connect(2).await;
    let document = mesh.document().len();
    println!("{services} services of {pods} pods, all may call all: documents of {} kB", document / 1000);
    println!("  world and documents in memory: {:.0} MB", (computed - empty) / 1e6);
    let each = (resident() - empty) / (services * pods) as f64;
    println!("  everything for each proxy, both ends: {:.3} MB", each / 1e6);
    let mut slowest = Duration::ZERO;
    for there in [false, true, false, true] {
        let building = building(&mesh);
        let (took, documents) = mesh.change(there).await;
        let building = self::building(&mesh) - building;
        let what = if there { "comes" } else { "goes" };
        println!(
            "  an endpoint {what}: {documents} documents computed in {building:.2} s, all have it after {took:.2?}"
        );
        slowest = slowest.max(took);
    }
    assert!(each < 0.3e6, "{each} bytes");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

/// Seconds that computing documents has taken so far.
fn building(mesh: &Mesh) -> f64 {
    let page = mesh.control.push.telemetry.page();
    let line = page.lines().find_map(|line| line.strip_prefix("fsm_config_build_time_sum ")).unwrap();
    line.parse().unwrap()
}
