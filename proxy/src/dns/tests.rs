//! Questions and their answers, with a resolver on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use fsm_api::config::{Config, DnsServers, LocalDnsProxy};
use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

const SEARCHES: &str = "nameserver 10.96.0.10\nsearch old.example\nsearch shop.svc.cluster.local svc.cluster.local\n";

fn asked(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 4711;
    message.add_query(Query::query(Name::from_str(name).unwrap(), kind));
    message.to_vec().unwrap()
}

/// What others say to a question: a code and no record.
fn said(code: ResponseCode) -> Vec<u8> {
    Message::error_msg(4711, OpCode::Query, code).to_vec().unwrap()
}

fn document(records: &[(&str, &[&str])]) -> Config {
    let list = |addresses: &[&str]| addresses.iter().map(|address| (*address).to_owned()).collect();
    let records: BTreeMap<String, Vec<String>> =
        records.iter().map(|(name, addresses)| ((*name).to_owned(), list(addresses))).collect();
    Config { dns_resolve_db: Some(records), ..Config::default() }
}

/// The code and the addresses of a reply.
fn read(reply: &[u8]) -> (ResponseCode, Vec<IpAddr>) {
    let reply = Message::from_vec(reply).unwrap();
    assert_eq!(reply.metadata.id, 4711);
    let address = |data: &RData| match data {
        RData::A(address) => IpAddr::V4(address.0),
        RData::AAAA(address) => IpAddr::V6(address.0),
        other => panic!("{other}"),
    };
    (reply.metadata.response_code, reply.answers.iter().map(|record| address(&record.data)).collect())
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_fixed_record_is_answered_at_once_whatever_the_search_list_made_of_its_name() {
    let document = document(&[("db.example", &["192.0.2.1", "192.0.2.2", "2001:db8::1"]), ("*", &["240.0.0.1"])]);
    let searches = answer::searches(SEARCHES);
    for (name, kind, wanted) in [
        ("db.example.", RecordType::A, &["192.0.2.1", "192.0.2.2"][..]),
        ("DB.Example.", RecordType::AAAA, &["2001:db8::1"]),
        ("db.example.shop.svc.cluster.local.", RecordType::A, &["192.0.2.1", "192.0.2.2"]),
    ] {
        let question = Question::read(&asked(name, kind)).unwrap();
        let Step::Reply(reply) = answer::first(&question, Some(&document), &searches) else { panic!("{name}") };
        assert_eq!(read(&reply), (ResponseCode::NoError, addresses(wanted)), "{name} {kind}");
    }
    for (name, kind) in [("other.example.", RecordType::A), ("db.example.", RecordType::TXT), ("*.", RecordType::A)] {
        let question = Question::read(&asked(name, kind)).unwrap();
        assert!(matches!(answer::first(&question, Some(&document), &searches), Step::Ask), "{name} {kind}");
    }
    let question = Question::read(&asked("db.example.", RecordType::A)).unwrap();
    assert!(matches!(answer::first(&question, None, &searches), Step::Ask), "without a document all is passed on");
}

#[test]
fn the_wildcard_is_for_names_that_nobody_knows_and_that_are_complete() {
    let document = document(&[("*", &["240.0.0.1"])]);
    let searches = answer::searches(SEARCHES);
    let reply = |name: &str, kind, code| {
        let question = Question::read(&asked(name, kind)).unwrap();
        read(&answer::then(&question, Some(said(code)), Some(&document), &searches))
    };
    let wildcard = (ResponseCode::NoError, addresses(&["240.0.0.1"]));
    assert_eq!(reply("nowhere.example.", RecordType::A, ResponseCode::NXDomain), wildcard);
    assert_eq!(reply("nowhere.example.", RecordType::AAAA, ResponseCode::NXDomain), (ResponseCode::NoError, vec![]));
    let tried = reply("nowhere.example.svc.cluster.local.", RecordType::A, ResponseCode::NXDomain);
    assert_eq!(tried.0, ResponseCode::NXDomain, "the client will ask for the name itself, too");
    for code in [ResponseCode::NoError, ResponseCode::ServFail] {
        assert_eq!(reply("some.example.", RecordType::A, code), (code, vec![]), "that is no proof that it is unknown");
    }
    assert_eq!(reply("nowhere.example.", RecordType::MX, ResponseCode::NXDomain).0, ResponseCode::NXDomain);
}

#[test]
fn silence_of_resolvers_is_an_error_of_theirs() {
    let question = Question::read(&asked("db.example.", RecordType::A)).unwrap();
    assert_eq!(read(&answer::then(&question, None, None, &[])), (ResponseCode::ServFail, vec![]));
}

#[test]
fn what_is_no_question_gets_no_answer() {
    for datagram in [&b""[..], b"\0", &said(ResponseCode::NoError), &[0xff; 40]] {
        assert!(Question::read(datagram).is_none(), "{datagram:?}");
    }
}

#[test]
fn resolvers_are_those_of_the_document_else_those_of_the_pod() {
    let pod =
        Resolvers::of_file("nameserver 127.0.0.153\nnameserver 10.96.0.10\n# nameserver 1.1.1.1\nnameserver fd00::a\n");
    assert_eq!(pod.0, [SocketAddr::from_str("10.96.0.10:53").unwrap(), "[fd00::a]:53".parse().unwrap()]);
    let mut named = document(&[]);
    assert_eq!(Resolvers::of_document(&named), None);
    let servers = DnsServers { primary: "192.0.2.53".into(), secondary: String::new() };
    named.spec.local_dns_proxy = Some(LocalDnsProxy { upstream_dns_servers: Some(servers) });
    assert_eq!(Resolvers::of_document(&named).unwrap().0, ["192.0.2.53:53".parse().unwrap()]);
}

#[tokio::test]
async fn what_is_not_known_here_is_asked_of_a_resolver() {
    let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let pod = Resolvers(vec![resolver.local_addr().unwrap()]);
    let answering = async {
        let mut buffer = [0; 512];
        let (length, from) = resolver.recv_from(&mut buffer).await.unwrap();
        // Somebody's guess with another id is not taken for the answer.
        resolver.send_to(&[0; 12], from).await.unwrap();
        buffer[2] |= 0x80;
        resolver.send_to(&buffer[..length], from).await.unwrap();
    };
    let question = asked("some.example.", RecordType::A);
    let (answer, ()) = tokio::join!(pod.ask(&question, None), answering);
    assert_eq!(read(&answer.unwrap()), (ResponseCode::NoError, vec![]));
}
