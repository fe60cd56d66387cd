#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn plan() -> Plan {
    Plan::new("10.244.0.0/16".parse().unwrap(), "10.96.0.0/16".parse().unwrap()).unwrap()
}

fn rule(vip: &str, port: u16, protocol: Protocol, endpoints: &[&str]) -> ServiceRule {
    let endpoints = endpoints.iter().map(|one| one.parse().unwrap()).collect();
    ServiceRule { vip: vip.parse().unwrap(), port, protocol, endpoints }
}

const NO_SERVICES: &str = "\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:FSM-SERVICES - [0:0]
-A PREROUTING -d 10.96.0.0/16 -j FSM-SERVICES
-A OUTPUT -d 10.96.0.0/16 -j FSM-SERVICES
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -d 10.96.0.0/16 -j REJECT --reject-with icmp-port-unreachable
-A OUTPUT -d 10.96.0.10/32 -j ACCEPT
-A OUTPUT -d 10.96.0.0/16 -p tcp -j REJECT --reject-with tcp-reset
-A OUTPUT -d 10.96.0.0/16 -j REJECT --reject-with icmp-port-unreachable
COMMIT
";

#[test]
fn without_services_all_service_addresses_refuse() {
    assert_eq!(rules(&[], &plan(), None), NO_SERVICES);
    let empty = rule("10.96.0.80", 80, Protocol::Tcp, &[]);
    assert_eq!(rules(&[empty], &plan(), None), NO_SERVICES, "a Service without endpoints is as good as none");
}

#[test]
fn each_port_has_a_chain_with_equal_shares() {
    let services = [
        rule("10.96.0.80", 80, Protocol::Tcp, &["10.244.0.4:8080", "10.244.0.2:8080", "10.244.0.3:8080"]),
        rule("10.96.0.53", 5353, Protocol::Udp, &["10.244.0.2:53"]),
    ];
    let text = rules(&services, &plan(), None);
    let ours: Vec<&str> =
        text.lines().filter(|line| line.contains("FSM-SERVICE-") || line.contains("POSTROUTING -s")).collect();
    let expected = [
        ":FSM-SERVICE-0 - [0:0]",
        ":FSM-SERVICE-1 - [0:0]",
        "-A FSM-SERVICES -d 10.96.0.53/32 -p udp -m udp --dport 5353 -j FSM-SERVICE-0",
        "-A FSM-SERVICE-0 -p udp -j DNAT --to-destination 10.244.0.2:53",
        "-A FSM-SERVICES -d 10.96.0.80/32 -p tcp -m tcp --dport 80 -j FSM-SERVICE-1",
        "-A FSM-SERVICE-1 -p tcp -m statistic --mode random --probability 0.3333333333 -j DNAT --to-destination \
         10.244.0.2:8080",
        "-A FSM-SERVICE-1 -p tcp -m statistic --mode random --probability 0.5000000000 -j DNAT --to-destination \
         10.244.0.3:8080",
        "-A FSM-SERVICE-1 -p tcp -j DNAT --to-destination 10.244.0.4:8080",
        "-A POSTROUTING -s 10.244.0.2/32 -d 10.244.0.2/32 -j SNAT --to-source 10.244.0.1",
        "-A POSTROUTING -s 10.244.0.3/32 -d 10.244.0.3/32 -j SNAT --to-source 10.244.0.1",
        "-A POSTROUTING -s 10.244.0.4/32 -d 10.244.0.4/32 -j SNAT --to-source 10.244.0.1",
    ];
    assert_eq!(ours, expected);
}

#[test]
fn order_and_repetition_make_no_difference() {
    let one = rule("10.96.0.80", 80, Protocol::Tcp, &["10.244.0.2:80", "10.244.0.3:80"]);
    let two = rule("10.96.0.81", 80, Protocol::Tcp, &["10.244.0.2:80"]);
    let turned = rule("10.96.0.80", 80, Protocol::Tcp, &["10.244.0.3:80", "10.244.0.2:80", "10.244.0.3:80"]);
    let halves = [
        rule("10.96.0.80", 80, Protocol::Tcp, &["10.244.0.3:80"]),
        two.clone(),
        rule("10.96.0.80", 80, Protocol::Tcp, &["10.244.0.2:80"]),
    ];
    let expected = rules(&[one, two.clone()], &plan(), None);
    assert_eq!(rules(&[two, turned], &plan(), None), expected);
    assert_eq!(rules(&halves, &plan(), None), expected);
}

#[test]
fn the_way_out_takes_tcp_that_is_for_nobody_inside() {
    let text = rules(&[], &plan(), Some("10.244.0.1:4000".parse().unwrap()));
    let ours: Vec<&str> = text.lines().filter(|line| line.contains("FSM-UPLINK")).collect();
    let expected = [
        ":FSM-UPLINK - [0:0]",
        "-A PREROUTING -p tcp -j FSM-UPLINK",
        "-A FSM-UPLINK -d 10.244.0.0/16 -j RETURN",
        "-A FSM-UPLINK -d 10.96.0.0/16 -j RETURN",
        "-A FSM-UPLINK -p tcp -j DNAT --to-destination 10.244.0.1:4000",
    ];
    assert_eq!(ours, expected);
}
