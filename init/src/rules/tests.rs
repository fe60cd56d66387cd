//! The rules against FSM's table, and the properties that hold for all options.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::flags::Flags;

fn options(change: impl FnOnce(&mut Flags)) -> Options {
    let mut flags = Flags::default();
    change(&mut flags);
    Options::try_from(flags).unwrap()
}

fn texts(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn lines(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

/// FSM's programme with every condition true, row by row (number, operation, chain, match, target).
/// Rows 9, 10 and 18 to 22 are those that options add.
const FSM_ROWS: [(&str, &str); 26] = [
    ("1", "-A FSM_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15003"),
    ("2", "-A PREROUTING -p tcp -j FSM_PROXY_INBOUND"),
    ("3", "-A FSM_PROXY_INBOUND -p tcp -m tcp --dport 15010 -j RETURN"),
    ("4", "-A FSM_PROXY_INBOUND -p tcp -m tcp --dport 15901 -j RETURN"),
    ("5", "-A FSM_PROXY_INBOUND -p tcp -m tcp --dport 15902 -j RETURN"),
    ("6", "-A FSM_PROXY_INBOUND -p tcp -m tcp --dport 15903 -j RETURN"),
    ("7", "-A FSM_PROXY_INBOUND -p tcp -m tcp --dport 15904 -j RETURN"),
    ("8", "-A FSM_PROXY_INBOUND -p tcp -j FSM_PROXY_IN_REDIRECT"),
    ("9", "-I FSM_PROXY_INBOUND -i eth1 -j RETURN"),
    ("10", "-I FSM_PROXY_INBOUND -p tcp -m multiport --dports 22,9000 -j RETURN"),
    ("11", "-A FSM_PROXY_OUT_REDIRECT -p tcp -j REDIRECT --to-ports 15001"),
    ("12", "left out: never matched, and would open port 15000 of every host if it did"),
    ("13", "-A OUTPUT -p tcp -j FSM_PROXY_OUTBOUND"),
    ("14", "-A FSM_PROXY_OUTBOUND ! -d 127.0.0.1/32 -o lo -m owner --uid-owner 1500 -j FSM_PROXY_IN_REDIRECT"),
    ("15", "-A FSM_PROXY_OUTBOUND -o lo -m owner ! --uid-owner 1500 -j RETURN"),
    ("16", "-A FSM_PROXY_OUTBOUND -m owner --uid-owner 1500 -j RETURN"),
    ("17", "-A FSM_PROXY_OUTBOUND -d 127.0.0.1/32 -j RETURN"),
    ("18", "-I OUTPUT -d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 1500 -j DNAT --to-destination 10.1.2.3"),
    ("19", "-A FSM_PROXY_OUTBOUND -o eth1 -j RETURN"),
    ("20", "-A FSM_PROXY_OUTBOUND -d 10.96.0.0/12 -j RETURN"),
    ("21", "-A FSM_PROXY_OUTBOUND -p tcp -m multiport --dports 25,3306 -j RETURN"),
    ("22a", "-A FSM_PROXY_OUTBOUND -d 10.0.0.0/8 -j FSM_PROXY_OUT_REDIRECT"),
    ("22a", "-A FSM_PROXY_OUTBOUND -d 172.16.0.0/12 -j FSM_PROXY_OUT_REDIRECT"),
    ("22a", "-A FSM_PROXY_OUTBOUND -j RETURN"),
    ("22b", "-A FSM_PROXY_OUTBOUND -j FSM_PROXY_OUT_REDIRECT"),
    ("23", "COMMIT"),
];

/// The rows that are commands, of those selected.
fn rows(selected: impl Fn(&str) -> bool) -> Vec<String> {
    FSM_ROWS
        .iter()
        .filter(|(row, _)| selected(row) && !["12", "23"].contains(row))
        .map(|(_, line)| (*line).to_owned())
        .collect()
}

#[test]
fn default_rules_are_the_unconditional_rows_of_fsm_in_order() {
    let conditional = ["9", "10", "18", "19", "20", "21", "22a"];
    assert_eq!(lines(&RuleSet::compute(&Options::default()).v4), rows(|row| !conditional.contains(&row)));
}

#[test]
fn with_every_option_the_rules_are_all_rows_of_fsm_in_order() {
    let options = options(|flags| {
        flags.exclude_interface = texts(&["eth1"]);
        flags.inbound_exclude_port = texts(&["22", "9000"]);
        flags.pod_ip = texts(&["10.1.2.3"]);
        flags.outbound_exclude_cidr = texts(&["10.96.0.0/12", "fd00::/8"]);
        flags.outbound_exclude_port = texts(&["25", "3306"]);
        flags.outbound_include_cidr = texts(&["10.0.0.0/8", "fd01::/16", "172.16.0.0/12"]);
    });
    assert_eq!(lines(&RuleSet::compute(&options).v4), rows(|row| row != "22b"));
}

#[test]
fn ipv6_is_the_twin_of_ipv4_but_for_addresses() {
    let twin: Vec<String> = lines(&RuleSet::compute(&Options::default()).v4)
        .iter()
        .map(|line| line.replace("127.0.0.1/32", "::1/128"))
        .collect();
    assert_eq!(lines(&RuleSet::compute(&Options::default()).v6.unwrap()), twin);
}

#[test]
fn ranges_and_pod_addresses_go_to_their_own_family() {
    let options = options(|flags| {
        flags.outbound_exclude_cidr = texts(&["10.96.0.0/12", "fd00::/8"]);
        flags.pod_ip = texts(&["fd00::5"]);
    });
    let rules = RuleSet::compute(&options);
    let (v4, v6) = (lines(&rules.v4).join("\n"), lines(&rules.v6.unwrap()).join("\n"));
    assert!(v4.contains("10.96.0.0/12") && !v4.contains("fd00"), "{v4}");
    assert!(v6.contains("-d fd00::/8 -j RETURN") && !v6.contains("10.96"), "{v6}");
    assert!(
        v6.contains("-I OUTPUT -d ::1/128 -o lo -p tcp -m owner --uid-owner 1500 -j DNAT --to-destination fd00::5")
    );
    assert!(!v4.contains("DNAT"), "{v4}");
}

#[test]
fn an_inclusion_list_of_one_family_captures_nothing_of_the_other() {
    let options = options(|flags| flags.outbound_include_cidr = texts(&["10.0.0.0/8"]));
    let v6 = RuleSet::compute(&options).v6.unwrap();
    let last = v6.last().unwrap().to_string();
    assert_eq!(last, "-A FSM_PROXY_OUTBOUND -j RETURN");
    assert!(!v6.iter().any(|rule| rule.chain == Chain::Outbound && rule.target == Target::Jump(Chain::OutRedirect)));
}

#[test]
fn ipv6_switched_off_has_no_rules() {
    let options = options(|flags| flags.ipv6 = Some("off".to_owned()));
    assert_eq!(RuleSet::compute(&options).v6, None);
}

#[test]
fn long_port_lists_are_split_and_complete() {
    for count in [1, 14, 15, 16, 30, 31, 100] {
        let ports: Vec<String> = (1..=count).map(|port| port.to_string()).collect();
        let options = options(|flags| {
            flags.outbound_exclude_port = ports.clone();
            flags.inbound_exclude_port = ports.clone();
        });
        let rules = RuleSet::compute(&options).v4;
        for chain in [Chain::Inbound, Chain::Outbound] {
            let lists: Vec<&Vec<NonZeroU16>> = rules
                .iter()
                .filter(|rule| rule.chain == chain)
                .flat_map(|rule| &rule.matches)
                .filter_map(|one| match one {
                    Match::DestinationPorts(ports) => Some(ports),
                    _ => None,
                })
                .collect();
            assert!(lists.iter().all(|list| !list.is_empty() && list.len() <= 15));
            let mut all: Vec<u16> = lists.into_iter().flatten().map(|port| port.get()).collect();
            all.sort_unstable();
            assert_eq!(all, (1..=count).collect::<Vec<u16>>(), "{count} ports in {chain:?}");
        }
    }
}

#[test]
fn a_mark_takes_the_place_of_the_user_everywhere() {
    let options = options(|flags| {
        flags.proxy_mark = Some("0x500/0xff00".to_owned());
        flags.pod_ip = texts(&["10.1.2.3"]);
    });
    let text = lines(&RuleSet::compute(&options).v4).join("\n");
    assert!(!text.contains("owner"), "{text}");
    assert_eq!(text.matches("-m mark --mark 0x500/0xff00").count(), 3);
    assert_eq!(text.matches("-m mark ! --mark 0x500/0xff00").count(), 1);
}

#[test]
fn other_ports_and_users_are_used_as_given() {
    let options = options(|flags| {
        flags.inbound_port = Some("20003".to_owned());
        flags.outbound_port = Some("20001".to_owned());
        flags.proxy_uid = Some("1337".to_owned());
    });
    let text = lines(&RuleSet::compute(&options).v4).join("\n");
    assert!(text.contains("-A FSM_PROXY_IN_REDIRECT -p tcp -j REDIRECT --to-ports 20003"));
    assert!(text.contains("-A FSM_PROXY_OUT_REDIRECT -p tcp -j REDIRECT --to-ports 20001"));
    assert!(!text.contains("1500") && text.contains("--uid-owner 1337"), "{text}");
}

#[test]
fn only_tcp_enters_our_chains() {
    for rule in RuleSet::compute(&Options::default()).v4 {
        if rule.chain.is_builtin() {
            assert!(rule.matches.contains(&Match::Tcp), "{rule}");
        }
    }
}

#[test]
fn questions_about_names_go_to_the_proxy_where_it_answers_them() {
    let rules = RuleSet::compute(&options(|flags| flags.dns_port = Some("5300".to_owned())));
    let plain = RuleSet::compute(&options(|_| {}));
    let added = |with: &[Rule], without: &[Rule]| -> Vec<String> {
        lines(&with.iter().filter(|rule| !without.contains(rule)).cloned().collect::<Vec<_>>())
    };
    let wanted = [
        "-A FSM_PROXY_NAMES -m owner --uid-owner 1500 -j RETURN",
        "-A FSM_PROXY_NAMES -p udp -m udp --dport 53 -j REDIRECT --to-ports 5300",
        "-A OUTPUT -p udp -m udp --dport 53 -j FSM_PROXY_NAMES",
    ];
    assert_eq!(added(&rules.v4, &plain.v4), wanted);
    assert_eq!(added(&rules.v6.unwrap(), &plain.v6.unwrap()), wanted);
}
