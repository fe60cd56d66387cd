#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

#[test]
fn the_node_and_dns_keep_the_usual_addresses() {
    let plan = Plan::new(net("10.244.3.9/16"), net("10.96.0.0/12")).unwrap();
    assert_eq!((plan.node, plan.dns), (ip("10.244.0.1"), ip("10.96.0.10")));
    assert_eq!(plan.pods, net("10.244.0.0/16"), "host bits do not count");
}

#[test]
fn ranges_that_cannot_work_are_refused_by_name() {
    for (pods, services, named) in [
        ("10.0.0.0/8", "10.96.0.0/16", "overlaps"),
        ("10.96.4.0/24", "10.96.0.0/16", "overlaps"),
        ("10.244.0.0/30", "10.96.0.0/16", "/29"),
        ("10.244.0.0/16", "10.96.0.0/29", "/28"),
        ("169.254.0.0/24", "10.96.0.0/16", "link-local"),
        ("10.244.0.0/16", "127.0.0.0/16", "loopback"),
        ("224.0.0.0/8", "10.96.0.0/16", "multicast"),
        ("0.0.0.0/0", "10.96.0.0/16", "/8"),
    ] {
        let why = Plan::new(net(pods), net(services)).unwrap_err().to_string();
        assert!(why.contains(named), "{pods} {services}: {why}");
    }
}

#[test]
fn addresses_are_given_in_order_and_returned_ones_last() {
    let mut pool = AddressPool::new(net("10.1.0.0/29"), &[ip("10.1.0.1")]);
    assert_eq!(pool.take(None).unwrap(), ip("10.1.0.2"));
    assert_eq!(pool.take(Some(ip("10.1.0.4"))).unwrap(), ip("10.1.0.4"));
    pool.give_back(ip("10.1.0.2"));
    for expected in ["10.1.0.3", "10.1.0.5", "10.1.0.6", "10.1.0.2"] {
        assert_eq!(pool.take(None).unwrap(), ip(expected));
    }
    let why = pool.take(None).unwrap_err().to_string();
    assert!(why.contains("10.1.0.0/29"), "{why}");
}

#[test]
fn addresses_that_are_taken_or_no_hosts_are_refused() {
    let mut pool = AddressPool::new(net("10.1.0.0/29"), &[ip("10.1.0.1")]);
    for wrong in ["10.1.0.0", "10.1.0.7", "10.1.0.8", "10.1.0.1"] {
        assert!(pool.take(Some(ip(wrong))).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn no_address_is_ever_given_twice(steps in proptest::collection::vec((any::<bool>(), 0u8..16), 1..200)) {
        let range = net("10.1.0.0/28");
        let mut pool = AddressPool::new(range, &[ip("10.1.0.1")]);
        let mut held: Vec<Ipv4Addr> = Vec::new();
        for (take, which) in steps {
            let wanted = (which > 9).then(|| Ipv4Addr::new(10, 1, 0, which));
            if take {
                if let Ok(address) = pool.take(wanted) {
                    prop_assert!(!held.contains(&address) && address != ip("10.1.0.1"));
                    prop_assert!(range.hosts().any(|host| host == address));
                    held.push(address);
                } else {
                    prop_assert!(wanted.is_some() || held.len() == 13);
                }
            } else if !held.is_empty() {
                let address = held.remove(usize::from(which) % held.len());
                pool.give_back(address);
            }
        }
    }
}
