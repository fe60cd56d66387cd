//! Which endpoint gets a request: by load, by key, by session, by age. Shares are counted, time is only printed.

use fsm_tests::{
    Authority, Clients, Document, LeafRequest, Mesh, Pod, Reply, Sender, Service, Sidecar, Website, Wire, empty, http1,
    request,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Four replicas of a service, each telling its number, and a client with a sidecar.
struct Replicas {
    sites: Vec<Website>,
    service: Service,
    document: Document,
    addresses: Vec<IpAddr>,
    client: Pod,
    sidecar: Sidecar,
    // Last: everything above lives in it.
    _mesh: Mesh,
}

impl Replicas {
    /// With this `LoadBalancing`; replica 0 takes so much longer.
    async fn start(balancing: Value, slowness: Duration) -> Option<Self> {
        let mesh = Mesh::create()?;
        let authority = Authority::new("fsm-ca.flomesh.io");
        let service = Service::new("api", "shop", "http", 8080, 8080, &["10.96.0.1"]);
        let leaf = authority.issue(&LeafRequest::new("api.shop"));
        let mut sites = Vec::new();
        let mut addresses = Vec::new();
        for number in 0..4_u8 {
            let address = IpAddr::from([10, 244, 2, 1 + number]);
            let pod = mesh.pod_at("api", &[address]);
            let pause = if number == 0 { slowness } else { Duration::ZERO };
            sites.push(Website::start_tls(
                &pod,
                &format!("{address}:8080"),
                &leaf,
                Clients::OfItsAuthority,
                move |_| {
                    Box::pin(async move {
                        tokio::time::sleep(pause).await;
                        (200, number.to_string())
                    })
                },
            ));
            addresses.push(address);
        }
        let client = mesh.pod("web");
        let document = Document::new(&authority.issue(&LeafRequest::new("web.shop")));
        let document = balanced(document.call(&service, &addresses).allow(&client), &service, balancing);
        // Otherwise a connection of the application would keep the endpoint of its first request.
        let document = document.set("/Spec/Traffic/HTTP1PerRequestLoadBalancing", json!(true));
        let sidecar = Sidecar::start(&client, document.json()).await;
        Some(Self { sites, service, document, addresses, client, sidecar, _mesh: mesh })
    }

    async fn connect(&self) -> Sender {
        http1(Wire::connect(&self.client, self.service.address()).await).await
    }

    /// Which replica answers a request with these headers.
    async fn replica(&self, sender: &mut Sender, headers: &[(&str, &str)]) -> usize {
        let mut asked = request("GET", "api.shop", "/", empty());
        for (name, value) in headers {
            asked.headers_mut().insert(http_name(name), value.parse().expect("a header value"));
        }
        number(&sender.call(asked).await)
    }

    fn requests(&self) -> Vec<usize> {
        self.sites.iter().map(|site| site.asked().len()).collect()
    }
}

fn http_name(name: &str) -> hyper::header::HeaderName {
    name.parse().expect("a header name")
}

fn number(reply: &Reply) -> usize {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.text().parse().expect("the replica's number")
}

fn balanced(document: Document, service: &Service, balancing: Value) -> Document {
    let cluster = service.cluster().replace('/', "~1");
    document.set(&format!("/Outbound/ClustersConfigs/{cluster}/LoadBalancing"), balancing)
}

/// So many clients at a time send so many requests in all; their times, sorted.
async fn load(replicas: &Replicas, clients: usize, requests: usize) -> Vec<Duration> {
    let one = async || {
        let mut sender = replicas.connect().await;
        let mut times = Vec::new();
        for _ in 0..requests / clients {
            let started = Instant::now();
            replicas.replica(&mut sender, &[]).await;
            times.push(started.elapsed());
        }
        times
    };
    let all = futures_of((0..clients).map(|_| one())).await;
    let mut times: Vec<Duration> = all.into_iter().flatten().collect();
    times.sort();
    times
}

async fn futures_of<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(move |cx| {
        for (future, done) in futures.iter_mut().zip(&mut done) {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *done = Some(value);
            }
        }
        if done.iter().all(Option::is_some) {
            return std::task::Poll::Ready(done.iter_mut().filter_map(Option::take).collect());
        }
        std::task::Poll::Pending
    })
    .await
}

#[tokio::test]
async fn least_request_keeps_away_from_a_slow_replica_and_round_robin_does_not() {
    const SLOW: Duration = Duration::from_millis(200);
    let Some(by_load) = Replicas::start(json!({"Algorithm": "least-request"}), SLOW).await else { return };
    // No balancer knows a slow replica before its first slow answers.
    load(&by_load, 4, 80).await;
    let before = by_load.requests()[0];
    let times = load(&by_load, 4, 1200).await;
    let slowed = by_load.requests()[0] - before;
    println!("least-request: {slowed} of 1200 went to the slow replica, p99 {:?}", times[times.len() * 99 / 100]);
    assert!(slowed <= 12, "{slowed} of 1200 requests went to the slow replica");

    let round_robin = Replicas::start(json!({"Algorithm": "round-robin"}), SLOW).await.expect("the first one started");
    load(&round_robin, 4, 80).await;
    assert_eq!(round_robin.requests(), [20; 4], "what the other algorithm is compared with");
}

#[tokio::test]
async fn requests_with_the_same_header_meet_the_same_replica_and_few_move_when_one_leaves() {
    let balancing = json!({"Algorithm": "hash", "HashOn": "header:x-user"});
    let Some(replicas) = Replicas::start(balancing.clone(), Duration::ZERO).await else { return };
    let users: Vec<String> = (0..60).map(|number| format!("user-{number}")).collect();
    let mut homes = BTreeMap::new();
    for round in 0..3 {
        let mut sender = replicas.connect().await;
        for user in &users {
            let replica = replicas.replica(&mut sender, &[("x-user", user)]).await;
            let home = *homes.entry(user).or_insert(replica);
            assert_eq!(home, replica, "{user} in round {round}");
        }
    }
    assert_eq!(homes.values().collect::<BTreeSet<_>>().len(), 4, "everybody gets some: {homes:?}");

    let three = Document::clone(&replicas.document);
    let cluster = replicas.service.cluster().replace('/', "~1");
    let endpoints: serde_json::Map<String, Value> =
        replicas.addresses[..3].iter().map(|address| (format!("{address}:8080"), json!({"Weight": 100}))).collect();
    let three = three.set(&format!("/Outbound/ClustersConfigs/{cluster}/Endpoints"), Value::Object(endpoints));
    replicas.sidecar.update(three.json()).await;
    let mut sender = replicas.connect().await;
    let mut moved = 0;
    for (user, home) in &homes {
        let replica = replicas.replica(&mut sender, &[("x-user", user)]).await;
        assert_ne!(replica, 3, "it has left");
        moved += usize::from(*home != 3 && replica != *home);
    }
    assert!(moved <= users.len() / 5, "{moved} of {} users moved although their replica had stayed", users.len());
}

#[tokio::test]
async fn a_session_stays_with_its_replica() {
    let balancing = json!({"Algorithm": "round-robin", "HashOn": "cookie:session", "SessionSeconds": 60});
    let Some(replicas) = Replicas::start(balancing, Duration::ZERO).await else { return };
    let mut sender = replicas.connect().await;
    let mut met = BTreeSet::new();
    for session in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let cookie = format!("theme=dark; session={session}");
        let home = replicas.replica(&mut sender, &[("cookie", &cookie)]).await;
        for _ in 0..5 {
            assert_eq!(replicas.replica(&mut sender, &[("cookie", &cookie)]).await, home, "session {session}");
        }
        met.insert(home);
    }
    assert_eq!(met.len(), 4, "sessions themselves take turns");
    let without: BTreeSet<usize> = {
        let mut met = BTreeSet::new();
        for _ in 0..8 {
            met.insert(replicas.replica(&mut sender, &[]).await);
        }
        met
    };
    assert_eq!(without.len(), 4, "requests without a session take turns");
}

#[tokio::test]
async fn a_new_replica_is_warmed_up() {
    let warm_up = json!({"Algorithm": "round-robin", "WarmUp": {"Window": 3600.0, "Least": 0.1}});
    let Some(replicas) = Replicas::start(warm_up.clone(), Duration::ZERO).await else { return };
    let cluster = replicas.service.cluster().replace('/', "~1");
    let endpoints = |range: std::ops::Range<usize>| {
        let endpoints: serde_json::Map<String, Value> = replicas.addresses[range]
            .iter()
            .map(|address| (format!("{address}:8080"), json!({"Weight": 100})))
            .collect();
        let document = replicas.document.clone();
        document.set(&format!("/Outbound/ClustersConfigs/{cluster}/Endpoints"), Value::Object(endpoints))
    };
    replicas.sidecar.update(endpoints(0..3).json()).await;
    replicas.sidecar.update(endpoints(0..4).json()).await;
    let before = replicas.requests();
    load(&replicas, 2, 320).await;
    let got: Vec<usize> = replicas.requests().iter().zip(&before).map(|(now, before)| now - before).collect();
    println!("of 320 requests the replicas got {got:?}");
    assert!(got[3] >= 1 && got[3] <= 24, "a tenth of a full share of 80: {got:?}");
    assert!(got[..3].iter().all(|&share| share >= 80), "the others carry on: {got:?}");
}
