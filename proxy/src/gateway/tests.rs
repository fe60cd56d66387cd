#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::destination::{Destinations, Permit};
use super::observed::Observed;
use super::socks;
use crate::reason::Reason;
use crate::upstream::connect::Target;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn destinations(permits: &[&str]) -> Destinations {
    Destinations::new(permits.iter().map(|permit| permit.parse().unwrap()).collect())
}

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn admits_address(destinations: &Destinations, address: &str) -> bool {
    let own: IpAddr = "10.244.4.4".parse().unwrap();
    destinations.admits_address(&address.parse::<SocketAddr>().unwrap(), own)
}

#[test]
fn without_permits_everything_is_permitted_but_the_machine_itself() {
    let all = destinations(&[]);
    for permitted in ["203.0.113.1:443", "10.0.0.1:5432", "[fd00::1]:80", "[2001:db8::1]:443"] {
        assert!(all.admits(&target(permitted)) && admits_address(&all, permitted), "{permitted}");
    }
    for refused in [
        "127.0.0.1:80",
        "127.9.9.9:80",
        "[::1]:80",
        "[::ffff:127.0.0.1]:80",
        "0.0.0.0:80",
        "0.1.2.3:80",
        "[::]:80",
        "10.244.4.4:1080",
        "10.244.4.4:443",
        "[::ffff:10.244.4.4]:80",
        "169.254.169.254:80",
        "[::ffff:169.254.169.254]:80",
        "[fe80::1]:80",
        "[fd00:ec2::254]:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "[ff02::1]:80",
    ] {
        assert!(!admits_address(&all, refused), "{refused}");
    }
}

#[test]
fn with_permits_only_what_they_name_is_permitted() {
    let some = destinations(&["api.example.org:443", "*.cdn.example.org:*", "10.0.0.0/8:5432", "[fd00::/64]:443"]);
    for permitted in
        ["api.example.org:443", "a.cdn.example.org:1", "a.b.cdn.example.org:443", "10.9.9.9:5432", "[fd00::9]:443"]
    {
        assert!(some.admits(&target(permitted)), "{permitted}");
    }
    for refused in [
        "api.example.org:80",
        "cdn.example.org:443",
        "evilcdn.example.org:443",
        "11.0.0.1:5432",
        "10.0.0.1:5433",
        "[fd00:1::9]:443",
    ] {
        assert!(!some.admits(&target(refused)), "{refused}");
    }
}

#[test]
fn addresses_of_the_machine_need_a_permit_of_their_own() {
    for permits in [&["0.0.0.0/0:*"][..], &["*.internal:80"], &["169.254.169.254:443"], &["[fd00::/8]:80"]] {
        let some = destinations(permits);
        assert!(!admits_address(&some, "169.254.169.254:80"), "{permits:?}");
        assert!(!admits_address(&some, "[fd00:ec2::254]:80"), "{permits:?}");
    }
    assert!(admits_address(&destinations(&["169.254.169.254:80"]), "169.254.169.254:80"));
    assert!(admits_address(&destinations(&["169.254.0.0/16:*"]), "169.254.169.254:80"));
    assert!(!admits_address(&destinations(&["127.0.0.1:80"]), "127.0.0.1:80"), "the gateway itself never");
}

#[test]
fn permits_read_back_and_nonsense_is_refused() {
    for text in ["api.example.org:443", "*.example.org:*", "10.0.0.0/8:5432"] {
        assert_eq!(text.parse::<Permit>().unwrap().to_string(), text);
    }
    for text in ["", "example.org", "example.org:http", ":443", "*:443", "exa mple:443", "10.0.0.0/99:1"] {
        assert!(text.parse::<Permit>().is_err(), "{text:?}");
    }
}

async fn asked(bytes: &[u8]) -> (std::io::Result<Target>, Vec<u8>) {
    let (mut client, mut server) = tokio::io::duplex(1024);
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let target = socks::read_target(&mut server).await;
    drop(server);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    (target, answer)
}

#[tokio::test]
async fn socks5_clients_name_hosts_in_three_ways() {
    for (host, expected) in [
        (&b"\x01\xcb\x00\x71\x07"[..], "203.0.113.7:443"),
        (&b"\x03\x0fapi.example.org"[..], "api.example.org:443"),
        (&b"\x03\x0b203.0.113.7"[..], "203.0.113.7:443"),
        (&b"\x04\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"[..], "[fd00::1]:443"),
    ] {
        let bytes = [b"\x05\x02\x01\x00\x05\x01\x00", host, b"\x01\xbb"].concat();
        let (target, answer) = asked(&bytes).await;
        assert_eq!(target.unwrap().to_string(), expected);
        assert_eq!(answer, [5, 0]);
    }
}

#[tokio::test]
async fn socks5_requests_that_cannot_be_served_are_refused_in_their_own_words() {
    let (target, answer) = asked(b"\x04\x01\x00\x50").await;
    assert!(target.is_err() && answer.is_empty());
    let (target, answer) = asked(b"\x05\x01\x02").await;
    assert!(target.is_err());
    assert_eq!(answer, [5, 0xff], "a password is asked for");
    let (target, answer) = asked(b"\x05\x01\x00\x05\x02\x00\x01").await;
    assert!(target.is_err());
    assert_eq!(answer[2..4], [5, 7], "BIND");
    let (target, answer) = asked(b"\x05\x01\x00\x05\x01\x00\x09").await;
    assert!(target.is_err());
    assert_eq!(answer[2..4], [5, 8], "an unknown kind of address");
    for cut in 0..10 {
        assert!(asked(&b"\x05\x01\x00\x05\x01\x00\x01\xcb\x00\x71\x07\x01\xbb"[..cut]).await.0.is_err());
    }
    for name in [&b"\x03\x00"[..], b"\x03\x04a b\xff", b"\x03\x05*.org"] {
        assert!(asked(&[b"\x05\x01\x00\x05\x01\x00", name, b"\0\x50"].concat()).await.0.is_err());
    }
    let mut answer = Vec::new();
    socks::answer(&mut answer, Some(Reason::DestinationNotAllowed)).await.unwrap();
    assert_eq!(answer[..2], [5, 2]);
}

#[tokio::test]
async fn what_passes_is_observed_and_not_changed() {
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let mut observed = Observed::new(server);
    let bytes = vec![0x16; 40_000];
    client.write_all(&bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let mut read = Vec::new();
    observed.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, bytes);
}
