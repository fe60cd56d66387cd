//! What IPv6 addresses mean, the plan for it, and the lock of a namespace.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const LOOPBACK: &str = "00000000000000000000000000000001 01 80 10 80       lo\n";
const LINK_LOCAL: &str = "fe800000000000000000000000000001 02 40 20 80     eth0\n";
const UNIQUE_LOCAL: &str = "fd000000000000000000000000000005 02 40 00 80     eth0\n";

#[test]
fn only_an_address_others_can_reach_makes_ipv6_a_way_around() {
    let cases = [
        (String::new(), Ipv6Presence::LocalOnly),
        (LOOPBACK.to_owned() + LINK_LOCAL, Ipv6Presence::LocalOnly),
        (LOOPBACK.to_owned() + UNIQUE_LOCAL, Ipv6Presence::Global),
        ("garbage\n\n 1 2 3 00\n".to_owned(), Ipv6Presence::LocalOnly),
    ];
    for (addresses, presence) in cases {
        assert_eq!(parse_ipv6_presence(&addresses), presence, "{addresses}");
    }
}

/// Only the IPv4 half of nft is installed.
fn ipv4_only() -> Vec<Survey> {
    vec![Survey::fixture(Backend::Nft, Family::V4, "")]
}

fn plan(choice: Ipv6Choice, presence: Ipv6Presence) -> Result<Plan, InitError> {
    let options = Options { ipv6: choice, ..Options::default() };
    plan_apply(&options, Backend::Nft, &ipv4_only(), presence)
}

#[test]
fn missing_ip6tables_stops_only_where_ipv6_is_demanded_or_in_use() {
    use Ipv6Choice::{Auto, Off, On};
    use Ipv6Presence::{Absent, Global, LocalOnly};
    for (choice, presence) in [(On, Absent), (On, LocalOnly), (On, Global), (Auto, Global)] {
        let error = plan(choice, presence).err().unwrap();
        assert_eq!((error.code(), error.exit_code()), ("init.ipv6-unavailable", 5));
    }
    for (choice, presence, notes) in [(Auto, Absent, 0), (Auto, LocalOnly, 1), (Off, Absent, 0), (Off, Global, 0)] {
        let plan = plan(choice, presence).ok().unwrap();
        assert_eq!((plan.steps.len(), plan.notes.len()), (1, notes), "{choice:?} {presence:?}");
    }
}

#[test]
fn rules_left_by_the_other_variant_are_removed_after_ours_are_in() {
    let mut surveys = ipv4_only();
    surveys.push(Survey::fixture(
        Backend::Legacy,
        Family::V4,
        "*nat\n:FSM_PROXY_INBOUND - [0:0]\n-A PREROUTING -p tcp -j FSM_PROXY_INBOUND\nCOMMIT\n",
    ));
    let options = Options { ipv6: Ipv6Choice::Off, ..Options::default() };
    let plan = plan_apply(&options, Backend::Nft, &surveys, Ipv6Presence::Absent).ok().unwrap();
    let backends: Vec<Backend> = plan.steps.iter().map(|step| step.tools.backend).collect();
    assert_eq!(backends, [Backend::Nft, Backend::Legacy]);
    assert!(plan.steps[1].transaction.contains("-X FSM_PROXY_INBOUND"));
}

#[test]
fn switching_ipv6_off_removes_the_ipv6_rules_of_an_earlier_run() {
    let mut surveys = ipv4_only();
    surveys.push(Survey::fixture(
        Backend::Nft,
        Family::V6,
        "*nat\n:FSM_PROXY_OUTBOUND - [0:0]\n-A OUTPUT -p tcp -j FSM_PROXY_OUTBOUND\nCOMMIT\n",
    ));
    let options = Options { ipv6: Ipv6Choice::Off, ..Options::default() };
    let plan = plan_apply(&options, Backend::Nft, &surveys, Ipv6Presence::Global).ok().unwrap();
    assert_eq!(plan.steps.len(), 2);
    assert!(plan.steps[1].transaction.contains("-D OUTPUT -p tcp -j FSM_PROXY_OUTBOUND"));
}
