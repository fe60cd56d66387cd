//! Pods reach each other, Services and names.

use super::*;

const PORT: u16 = 8080;
const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 80);

fn service(endpoints: Vec<SocketAddrV4>) -> ServiceRule {
    ServiceRule { vip: VIP, port: 80, protocol: Protocol::Tcp, endpoints }
}

fn vip() -> SocketAddr {
    SocketAddr::from((VIP, 80))
}

#[tokio::test]
async fn pods_talk_to_each_other_and_to_the_node_with_their_own_addresses() {
    let Some(ground) = ground() else { return };
    let (one, two) = (ground.pod("shop", "one"), ground.pod("shop", "two"));
    greeter(&two, PORT, "two");
    let heard = greeting(one.connect(endpoint(&two, PORT).into(), PATIENCE).await).await.unwrap();
    assert_eq!(heard, format!("two {}", one.address()));
    let heard = greeting(ground.node.connect(endpoint(&two, PORT).into(), PATIENCE).await).await.unwrap();
    assert_eq!(heard, format!("two {}", ground.node.address()), "the node connects from its own address");
    let heard = greeting(two.connect((Ipv4Addr::LOCALHOST, PORT).into(), PATIENCE).await).await.unwrap();
    assert_eq!(heard, "two 127.0.0.1", "a pod's loopback address is its own");
    let refused = one.connect((Ipv4Addr::LOCALHOST, PORT).into(), PATIENCE).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_pod_that_is_gone_and_the_outside_cannot_be_reached_and_that_is_said_at_once() {
    let Some(ground) = ground() else { return };
    let (one, two) = (ground.pod("shop", "one"), ground.pod("shop", "two"));
    ground.node.remove_pod(two.key()).unwrap();
    assert!(ground.node.pod(two.key()).is_none());
    let gone = one.connect(endpoint(&two, PORT).into(), PATIENCE).await.unwrap_err();
    assert_eq!(gone.kind(), io::ErrorKind::HostUnreachable, "{gone}");
    let outside = one.connect((Ipv4Addr::new(192, 0, 2, 77), PORT).into(), PATIENCE).await.unwrap_err();
    assert_eq!(outside.kind(), io::ErrorKind::NetworkUnreachable, "{outside}");
}

#[tokio::test]
async fn a_pod_cannot_use_the_address_of_another() {
    let Some(ground) = ground() else { return };
    let (one, two, thief) = (ground.pod("shop", "one"), ground.pod("shop", "two"), ground.pod("shop", "thief"));
    greeter(&two, PORT, "two");
    let stolen = one.address();
    // Also a lie about where answers would have to go is not forwarded.
    let command = format!("addr add {stolen}/32 dev eth0");
    let words: Vec<&str> = std::iter::once("ip").chain(command.split(' ')).collect();
    assert_eq!(ground.run(&thief, &words).await, (0, String::new()));
    let socket = thief.run(|| std::net::UdpSocket::bind((stolen, 0)).unwrap()).unwrap();
    let target = two.run(|| std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).unwrap()).unwrap();
    socket.send_to(b"stolen", endpoint(&two, PORT)).unwrap();
    let honest = thief.run(|| std::net::UdpSocket::bind((thief.address(), 0)).unwrap()).unwrap();
    honest.send_to(b"honest", endpoint(&two, PORT)).unwrap();
    target.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 16];
    let (length, from) = target.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from.ip()), (&b"honest"[..], IpAddr::V4(thief.address())), "the first was dropped");
}

#[tokio::test]
async fn a_service_gives_its_connections_to_all_its_endpoints() {
    let Some(ground) = ground() else { return };
    let (client, one, two) = (ground.pod("shop", "client"), ground.pod("shop", "one"), ground.pod("shop", "two"));
    greeter(&one, PORT, "one");
    greeter(&two, PORT, "two");
    ground.node.set_services(&[service(vec![endpoint(&one, PORT), endpoint(&two, PORT)])]).unwrap();
    let mut heard = BTreeMap::<String, u32>::new();
    for _ in 0..200 {
        *heard.entry(greeting(client.connect(vip(), PATIENCE).await).await.unwrap()).or_default() += 1;
    }
    let counts = |name: &str| heard.get(&format!("{name} {}", client.address())).copied().unwrap_or(0);
    // A fair coin leaves this range once in 10^11 runs.
    assert!((52..=148).contains(&counts("one")), "{heard:?}");
    assert_eq!(counts("one") + counts("two"), 200, "{heard:?}: the client's address is kept");
    let from_node = greeting(ground.node.connect(vip(), PATIENCE).await).await.unwrap();
    assert!(from_node.ends_with(&ground.node.address().to_string()), "{from_node}: the node reaches Services too");
}

#[tokio::test]
async fn an_endpoint_reaches_itself_through_its_service() {
    let Some(ground) = ground() else { return };
    let one = ground.pod("shop", "one");
    greeter(&one, PORT, "one");
    ground.node.set_services(&[service(vec![endpoint(&one, PORT)])]).unwrap();
    let heard = greeting(one.connect(vip(), PATIENCE).await).await.unwrap();
    assert_eq!(heard, format!("one {}", ground.node.address()));
}

#[tokio::test]
async fn new_endpoints_take_new_connections_while_old_connections_go_on() {
    let Some(ground) = ground() else { return };
    let (client, one, two) = (ground.pod("shop", "client"), ground.pod("shop", "one"), ground.pod("shop", "two"));
    greeter(&two, PORT, "two");
    let listener = one.listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT))).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    ground.node.set_services(&[service(vec![endpoint(&one, PORT)])]).unwrap();
    let mut old = client.connect(vip(), PATIENCE).await.unwrap();
    let (mut accepted, _) = listener.accept().await.unwrap();
    ground.node.set_services(&[service(vec![endpoint(&two, PORT)])]).unwrap();
    assert!(greeting(client.connect(vip(), PATIENCE).await).await.unwrap().starts_with("two "));
    tokio::io::AsyncWriteExt::write_all(&mut old, b"still here").await.unwrap();
    let mut buffer = [0; 10];
    tokio::time::timeout(PATIENCE, tokio::io::AsyncReadExt::read_exact(&mut accepted, &mut buffer))
        .await
        .expect("it arrives")
        .unwrap();
    assert_eq!(&buffer, b"still here");
}

#[tokio::test]
async fn a_service_without_endpoints_or_port_refuses() {
    let Some(ground) = ground() else { return };
    let client = ground.pod("shop", "client");
    ground.node.set_services(&[service(Vec::new())]).unwrap();
    for port in [80, 81] {
        let refused = client.connect((VIP, port).into(), PATIENCE).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "port {port}: {refused}");
        let refused = ground.node.connect((VIP, port).into(), PATIENCE).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "port {port} from the node: {refused}");
    }
}

#[tokio::test]
async fn a_service_outside_of_the_range_is_refused_and_changes_nothing() {
    let Some(ground) = ground() else { return };
    let (client, one) = (ground.pod("shop", "client"), ground.pod("shop", "one"));
    greeter(&one, PORT, "one");
    ground.node.set_services(&[service(vec![endpoint(&one, PORT)])]).unwrap();
    for vip in [Ipv4Addr::new(10, 97, 0, 1), ground.node.dns_address()] {
        let wrong = ServiceRule { vip, ..service(Vec::new()) };
        let why = ground.node.set_services(&[wrong]).unwrap_err().to_string();
        assert!(why.contains(&vip.to_string()) && why.contains("10.96.0.0/16"), "{why}");
    }
    assert!(greeting(client.connect(vip(), PATIENCE).await).await.unwrap().starts_with("one "));
}

#[tokio::test]
async fn udp_services_work() {
    let Some(ground) = ground() else { return };
    let (client, one) = (ground.pod("shop", "client"), ground.pod("shop", "one"));
    let rule = ServiceRule { protocol: Protocol::Udp, ..service(vec![endpoint(&one, PORT)]) };
    ground.node.set_services(&[rule]).unwrap();
    let bind = |port| move || std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    let (server, socket) = (one.run(bind(PORT)).unwrap(), client.run(bind(0)).unwrap());
    for one in [&server, &socket] {
        one.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    socket.send_to(b"question", vip()).unwrap();
    let mut buffer = [0; 16];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from.ip()), (&b"question"[..], IpAddr::V4(client.address())));
    server.send_to(b"answer", from).unwrap();
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], from), (&b"answer"[..], vip()), "the answer comes from the Service");
}

#[tokio::test]
async fn names_are_resolved_in_pods_by_the_c_library() {
    let Some(ground) = ground() else { return };
    let pod = ground.node.add_pod(PodNetwork {
        names: vec!["web-0.web.shop.svc.cluster.local".to_owned()],
        hosts: vec![(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)), vec!["elsewhere.test".to_owned()])],
        ..PodNetwork::new(PodKey::new("shop", "web-0"))
    });
    let pod = pod.unwrap();
    let refused = ground.node.set_names(vec![
        NameRecord::addresses("web.shop.svc.cluster.local", [IpAddr::V4(VIP)]),
        NameRecord::alias("outside.shop.svc.cluster.local", "web.shop.svc.cluster.local"),
        NameRecord::addresses("not a name..", [IpAddr::V4(VIP)]),
    ]);
    assert_eq!(refused.len(), 1, "{refused:?}");
    for name in ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "outside"] {
        let (code, output) = ground.run(&pod, &["getent", "ahostsv4", name]).await;
        assert_eq!((code, output.split(' ').next()), (0, Some("10.96.0.80")), "{name}: {output}");
    }
    let (_, output) = ground.run(&pod, &["getent", "hosts", "10.96.0.80"]).await;
    assert!(output.ends_with("web.shop.svc.cluster.local"), "{output}");
    // Names that do not exist: said at once, also those of the outside.
    for name in ["nothing", "www.example.com"] {
        assert_eq!(ground.run(&pod, &["getent", "hosts", name]).await, (2, String::new()), "{name}");
    }
    let own = pod.address().to_string();
    for (name, address) in [("web-0", own.as_str()), ("elsewhere.test", "192.0.2.9"), ("localhost", "::1")] {
        let (_, output) = ground.run(&pod, &["getent", "hosts", name]).await;
        assert!(output.starts_with(address), "{name}: {output}");
    }
}

#[tokio::test]
async fn an_answer_too_large_for_a_datagram_comes_by_tcp() {
    let Some(ground) = ground() else { return };
    let pod = ground.pod("shop", "one");
    let many = (0..=255).map(|last| IpAddr::V4(Ipv4Addr::new(10, 244, 9, last)));
    ground.node.set_names(vec![NameRecord::addresses("many.shop.svc.cluster.local", many)]);
    let (code, output) = ground.run(&pod, &["getent", "ahostsv4", "many"]).await;
    let addresses: BTreeSet<&str> = output.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!((code, addresses.len()), (0, 256), "{output}");
}

#[tokio::test]
async fn with_an_uplink_pods_reach_tcp_servers_and_names_of_the_machine() {
    let Some(ground) = ground_with(|options| options.uplink = true) else { return };
    let pod = ground.pod("shop", "one");
    // An address of the machine's own that is not loopback: what is outside for a pod.
    let machine = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let listener = tokio::net::TcpListener::bind((machine, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let Some(outside) = address_of_machine() else { return };
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"outside").await;
        }
    });
    let heard = greeting(pod.connect((outside, port).into(), PATIENCE).await).await.unwrap();
    assert_eq!(heard, "outside");
    // Nobody listens there any more: accepted by the relay, then reset.
    let closed = std::net::TcpListener::bind((outside, 0)).unwrap().local_addr().unwrap();
    let reset = greeting(pod.connect(closed, PATIENCE).await).await.unwrap_err();
    assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset, "{reset}");
    // Between pods nothing changes.
    let two = ground.pod("shop", "two");
    greeter(&two, PORT, "two");
    let heard = greeting(pod.connect(endpoint(&two, PORT).into(), PATIENCE).await).await.unwrap();
    assert_eq!(heard, format!("two {}", pod.address()));
}

/// The address from which this machine would send; nothing is sent.
fn address_of_machine() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 200), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[tokio::test]
async fn addresses_are_unique_and_pods_too() {
    let Some(ground) = ground() else { return };
    let one = ground.pod("shop", "one");
    let why = ground.node.add_pod(PodNetwork::new(one.key().clone())).unwrap_err();
    assert!(matches!(why, NodeError::PodExists { .. }), "{why}");
    let taken = PodNetwork { address: Some(one.address()), ..PodNetwork::new(PodKey::new("shop", "two")) };
    let why = ground.node.add_pod(taken).unwrap_err();
    assert!(matches!(why, NodeError::Address(_)), "{why}");
    let wanted = Ipv4Addr::new(10, 244, 7, 7);
    let two = PodNetwork { address: Some(wanted), ..PodNetwork::new(PodKey::new("shop", "two")) };
    assert_eq!(ground.node.add_pod(two).unwrap().address(), wanted);
    let odd = PodNetwork { hostname: "a b".to_owned(), ..PodNetwork::new(PodKey::new("shop", "three")) };
    assert!(ground.node.add_pod(odd).is_err());
    assert_eq!(ground.node.pods().len(), 2);
}
