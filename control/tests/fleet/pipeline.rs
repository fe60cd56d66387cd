//! The whole way from an event to the acknowledgement of every proxy: world, catalog, publications, streams.

use super::harness::{Control, eventually};
use super::{AT_ONCE, join_all, resident};
use arc_swap::ArcSwap;
use fsm_api::resources::manifest;
use fsm_api::stream::ControlMessage;
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

    /// Every proxy follows from now on and takes whatever comes.
    async fn connect(&self) {
        let all: Vec<_> =
            (0..self.services).flat_map(|service| (0..self.pods).map(move |pod| (service, pod))).collect();
        for some in all.chunks(AT_ONCE) {
            let one = async |&(service, pod): &(usize, usize)| {
                let (account, pod) = (format!("svc-{service}"), PodKey::new("demo", format!("svc-{service}-{pod}")));
                let credentials = self.control.credentials(&pod, &account).await;
                let mut proxy = self.control.follow(&pod, &credentials, None).await.unwrap();
                let Some(ControlMessage::Update(update)) = proxy.next().await else { panic!("no document") };
                proxy.ack(&update.version).await;
                tokio::spawn(async move {
                    loop {
                        let version = match proxy.next().await {
                            Some(ControlMessage::Update(update)) => update.version,
                            Some(ControlMessage::Endpoints(update)) => update.version,
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
    mesh.connect().await;
    for there in [false, true, false, true] {
        let (_, documents) = mesh.change(there).await;
        assert!((1..=10).contains(&documents), "{documents} documents for five groups");
    }
    assert_eq!(mesh.control.push.roster.convergence().behind, 0);
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
    mesh.connect().await;
    let seat = mesh.control.push.board.seat(&PodKey::new("demo", "svc-0-0")).unwrap();
    let document = seat.publications.borrow().document().len();
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
    assert!(slowest < Duration::from_secs(30), "{slowest:?}");
}

/// Seconds that computing documents has taken so far.
fn building(mesh: &Mesh) -> f64 {
    let page = mesh.control.push.telemetry.page();
    let line = page.lines().find_map(|line| line.strip_prefix("fsm_config_build_time_sum ")).unwrap();
    line.parse().unwrap()
}
