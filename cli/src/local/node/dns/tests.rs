#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use proptest::prelude::*;

use super::forward::resolvers;
use super::zone::Verdict;
use super::*;

const WEB: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 80);

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 244, 0, last).into()
}

fn zone() -> Zone {
    Zone::new(
        "cluster.local",
        vec![
            NameRecord::addresses("web.shop.svc.cluster.local", [WEB.into()]),
            NameRecord::addresses("db.shop.svc.cluster.local.", [v4(2), v4(3), v4(4)]),
            NameRecord::addresses("db-0.db.shop.svc.cluster.local", [v4(2)]),
            NameRecord::addresses("six.shop.svc.cluster.local", [Ipv6Addr::LOCALHOST.into()]),
            NameRecord::addresses("none.shop.svc.cluster.local", []),
            NameRecord::port("_http._tcp.web.shop.svc.cluster.local", 80, "web.shop.svc.cluster.local"),
            NameRecord::alias("near.shop.svc.cluster.local", "WEB.shop.svc.cluster.local"),
            NameRecord::alias("far.shop.svc.cluster.local", "www.example.com"),
            NameRecord::alias("a.shop.svc.cluster.local", "b.shop.svc.cluster.local"),
            NameRecord::alias("b.shop.svc.cluster.local", "a.shop.svc.cluster.local"),
            NameRecord::addresses("website.test", [v4(9)]),
        ],
    )
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    message
}

/// Code, answers in words, and whether the zone is named.
fn ask(zone: &Zone, name: &str, kind: RecordType) -> (ResponseCode, Vec<String>, bool) {
    match zone.answer(&question(name, kind), 0) {
        Verdict::Answer(reply) => {
            let answers = reply.answers.iter().map(|one| format!("{} {}", one.name, one.data)).collect();
            (reply.metadata.response_code, answers, !reply.authorities.is_empty())
        }
        Verdict::Elsewhere(_, name) => panic!("{name} is asked elsewhere"),
    }
}

#[test]
fn a_service_has_its_address_in_any_spelling() {
    for name in ["web.shop.svc.cluster.local.", "web.shop.svc.cluster.local", "WeB.shop.SVC.cluster.local."] {
        let (code, answers, _) = ask(&zone(), name, RecordType::A);
        assert_eq!((code, answers.len()), (ResponseCode::NoError, 1), "{name}");
        assert!(answers[0].ends_with("local. 10.96.0.80"), "{answers:?}");
    }
}

#[test]
fn names_without_such_a_record_exist_and_others_do_not() {
    let zone = zone();
    for (name, kind) in [
        ("web.shop.svc.cluster.local.", RecordType::AAAA),
        ("six.shop.svc.cluster.local.", RecordType::A),
        ("none.shop.svc.cluster.local.", RecordType::A),
        // Above a name that exists (RFC 8020).
        ("shop.svc.cluster.local.", RecordType::A),
        ("_tcp.web.shop.svc.cluster.local.", RecordType::SRV),
        ("cluster.local.", RecordType::A),
    ] {
        assert_eq!(ask(&zone, name, kind), (ResponseCode::NoError, vec![], true), "{name} {kind}");
    }
    for name in ["nothing.shop.svc.cluster.local.", "web.cluster.local.", "x.web.shop.svc.cluster.local."] {
        assert_eq!(ask(&zone, name, RecordType::A), (ResponseCode::NXDomain, vec![], true), "{name}");
    }
    assert_eq!(
        ask(&zone, "web.", RecordType::A),
        (ResponseCode::NXDomain, vec![], false),
        "a bare word is not of elsewhere"
    );
}

#[test]
fn a_headless_service_has_all_addresses_and_each_is_first_in_turn() {
    let zone = zone();
    let firsts: Vec<String> = (0..3)
        .map(|turn| match zone.answer(&question("db.shop.svc.cluster.local.", RecordType::A), turn) {
            Verdict::Answer(reply) => {
                assert_eq!(reply.answers.len(), 3);
                assert!(reply.metadata.authoritative);
                reply.answers[0].data.to_string()
            }
            Verdict::Elsewhere(..) => panic!("of this zone"),
        })
        .collect();
    assert_eq!(firsts, ["10.244.0.2", "10.244.0.3", "10.244.0.4"]);
}

#[test]
fn aliases_are_followed_inside_and_named_outside() {
    let zone = zone();
    let (code, answers, _) = ask(&zone, "near.shop.svc.cluster.local.", RecordType::A);
    let expected =
        ["near.shop.svc.cluster.local. web.shop.svc.cluster.local.", "web.shop.svc.cluster.local. 10.96.0.80"];
    assert_eq!((code, &answers[..]), (ResponseCode::NoError, &expected.map(str::to_owned)[..]));
    match zone.answer(&question("far.shop.svc.cluster.local.", RecordType::A), 0) {
        Verdict::Elsewhere(reply, name) => {
            assert_eq!((reply.answers.len(), name.to_ascii()), (1, "www.example.com.".to_owned()));
        }
        Verdict::Answer(reply) => panic!("{reply:?}"),
    }
    assert_eq!(ask(&zone, "a.shop.svc.cluster.local.", RecordType::A).0, ResponseCode::ServFail, "a circle");
}

#[test]
fn ports_and_reverse_names_are_known() {
    let zone = zone();
    let (_, answers, _) = ask(&zone, "_http._tcp.web.shop.svc.cluster.local.", RecordType::SRV);
    assert!(answers[0].ends_with("0 1 80 web.shop.svc.cluster.local."), "{answers:?}");
    let (_, answers, _) = ask(&zone, "80.0.96.10.in-addr.arpa.", RecordType::PTR);
    assert!(answers[0].ends_with(" web.shop.svc.cluster.local."), "{answers:?}");
    let (_, answers, _) = ask(&zone, "2.0.244.10.in-addr.arpa.", RecordType::PTR);
    assert!(answers[0].ends_with(" db.shop.svc.cluster.local."), "the first that has it: {answers:?}");
}

#[test]
fn names_outside_of_the_domain_may_be_given_too() {
    assert_eq!(ask(&zone(), "website.test.", RecordType::A).1, ["website.test. 10.244.0.9"]);
}

#[test]
fn what_is_no_plain_question_is_refused_with_the_right_code() {
    let zone = zone();
    let code = |message: &Message| match zone.answer(message, 0) {
        Verdict::Answer(reply) => reply.metadata.response_code,
        Verdict::Elsewhere(..) => panic!("asked elsewhere"),
    };
    assert_eq!(code(&Message::query()), ResponseCode::FormErr, "no question");
    let mut two = question("web.shop.svc.cluster.local.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(code(&two), ResponseCode::FormErr, "two questions");
    let mut update = question("web.shop.svc.cluster.local.", RecordType::A);
    update.metadata.op_code = OpCode::Update;
    assert_eq!(code(&update), ResponseCode::NotImp);
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(code(&chaos), ResponseCode::Refused);
}

#[test]
fn names_that_cannot_be_are_returned() {
    let long = "x".repeat(64);
    let wrong = ["", ".", &long, "a..b"].map(|name| NameRecord::addresses(name, [v4(1)]));
    let mut zone = Zone::new("cluster.local", wrong.to_vec());
    assert_eq!(zone.take_refused(), wrong);
}

#[test]
fn the_cluster_s_domain_must_be_a_domain() {
    for right in ["cluster.local", "local", "k8s.example-1.com"] {
        check_domain(right).unwrap();
    }
    for wrong in ["", ".", "cluster.local.", "Cluster.local", "a b", "-a.b", "a\nb"] {
        assert!(check_domain(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn the_resolver_file_completes_names_as_kubernetes_does() {
    let expected =
        "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";
    assert_eq!(resolver_file(Ipv4Addr::new(10, 96, 0, 10).into(), Some("shop"), "cluster.local"), expected);
}

#[test]
fn the_machine_s_resolvers_are_read_as_the_c_library_does() {
    let file = "# comment\nnameserver 192.0.2.1\nsearch example.com\nnameserver  2001:db8::1 \nnameserver junk\n\
                nameserver 192.0.2.3\nnameserver 192.0.2.4\n";
    let found: Vec<String> = resolvers(file).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.3:53"]);
    assert_eq!(resolvers(""), ["127.0.0.1:53".parse::<SocketAddr>().unwrap()]);
}

proptest! {
    #[test]
    fn no_question_makes_the_zone_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), turn: usize) {
        if let Ok(message) = Message::from_vec(&bytes) {
            let _ = zone().answer(&message, turn);
        }
    }
}

/// A server on loopback, and a socket that asks it.
async fn served() -> (tokio::net::UdpSocket, SocketAddrV4) {
    // A port that is free for one protocol may be taken for the other.
    let both = std::iter::repeat_with(|| {
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let streams = std::net::TcpListener::bind(datagrams.local_addr().unwrap()).ok()?;
        Some((datagrams, streams))
    });
    let (datagrams, streams) = both.take(100).flatten().next().expect("a port that is free for both");
    let SocketAddr::V4(at) = datagrams.local_addr().unwrap() else { panic!("an IPv4 address") };
    datagrams.set_nonblocking(true).unwrap();
    streams.set_nonblocking(true).unwrap();
    let mut zone = zone();
    let many = (0..=255).map(v4);
    assert!(zone.take_refused().is_empty());
    zone = Zone::new("cluster.local", vec![NameRecord::addresses("many.shop.svc.cluster.local", many)]);
    tokio::spawn(serve(Sockets { datagrams, streams }, Arc::new(RwLock::new(zone)), None));
    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(at).await.unwrap();
    (client, at)
}

async fn exchange(client: &tokio::net::UdpSocket, bytes: &[u8]) -> Message {
    client.send(bytes).await.unwrap();
    let mut buffer = vec![0; 65535];
    let length = tokio::time::timeout(Duration::from_secs(10), client.recv(&mut buffer)).await.unwrap().unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

#[tokio::test]
async fn large_answers_are_cut_by_udp_and_whole_by_tcp() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (client, at) = served().await;
    let mut request = question("many.shop.svc.cluster.local.", RecordType::A);
    let reply = exchange(&client, &request.to_vec().unwrap()).await;
    assert!(reply.metadata.truncation && reply.answers.is_empty() && reply.metadata.id == request.metadata.id);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    request.edns = Some(edns);
    let bytes = request.to_vec().unwrap();
    let reply = exchange(&client, &bytes).await;
    assert!(reply.metadata.truncation && reply.edns.is_some(), "more than a network surely carries in one piece");
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    for _ in 0..2 {
        stream.write_u16(bytes.len() as u16).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        let reply = Message::from_vec(&answer).unwrap();
        assert_eq!((reply.answers.len(), reply.metadata.truncation), (256, false));
    }
}

#[tokio::test]
async fn junk_gets_an_error_or_nothing_and_names_outside_do_not_exist_without_a_way_out() {
    let (client, _) = served().await;
    // Too short for an answer, and an answer: both are left alone. What comes back is for the third.
    client.send(b"junk").await.unwrap();
    let mut answer = question("www.example.com.", RecordType::A).into_response();
    answer.metadata.id = 1;
    client.send(&answer.to_vec().unwrap()).await.unwrap();
    let mut damaged = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    damaged.extend([63, b'x']);
    let reply = exchange(&client, &damaged).await;
    assert_eq!((reply.metadata.id, reply.metadata.response_code), (0x1234, ResponseCode::FormErr));
    let reply = exchange(&client, &question("www.example.com.", RecordType::A).to_vec().unwrap()).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
}
