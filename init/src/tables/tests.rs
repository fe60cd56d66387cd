//! Transactions from every kind of start, against a small model of what the kernel does with them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use super::*;
use crate::flags::Flags;
use crate::options::Options;
use crate::rules::RuleSet;

/// Chains in order of name with their rules: what a sequence of restore commands produces.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Model(BTreeMap<String, Vec<String>>);

impl Model {
    fn new(foreign: &[(&str, &[&str])]) -> Self {
        let mut chains: BTreeMap<String, Vec<String>> =
            ["PREROUTING", "OUTPUT", "POSTROUTING"].map(|chain| (chain.to_owned(), Vec::new())).into();
        for (chain, rules) in foreign {
            let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
            chains.insert((*chain).to_owned(), rules);
        }
        Self(chains)
    }

    fn listing(&self) -> String {
        let mut text =
            "# made by a test\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j FSM_PROXY_INBOUND\nCOMMIT\n*nat\n".to_owned();
        for chain in self.0.keys() {
            text += &format!(":{chain} ACCEPT [1:60]\n");
        }
        for (chain, rules) in &self.0 {
            for rule in rules {
                text += &format!("-A {chain} {rule}\n");
            }
        }
        text + "COMMIT\n# done\n"
    }

    fn table(&self) -> NatTable {
        NatTable::parse(&self.listing())
    }

    /// Executes as iptables-restore does; panics where it would refuse.
    fn execute(&mut self, transaction: &str) {
        let mut lines = transaction.lines();
        assert_eq!(lines.next(), Some("*nat"));
        for line in lines {
            if line == "COMMIT" {
                return;
            }
            if let Some(declaration) = line.strip_prefix(':') {
                let chain = declaration.split(' ').next().unwrap();
                self.0.insert(chain.to_owned(), Vec::new());
                continue;
            }
            let mut words = line.splitn(3, ' ');
            let (operation, chain, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or(""));
            if operation == "-X" {
                let removed = self.0.remove(chain).expect("deletes a chain that does not exist");
                assert!(removed.is_empty(), "deletes a chain that is not empty: {line}");
                let user = self.0.values().flatten().find(|rule| rule.ends_with(chain));
                assert_eq!(user, None, "{chain} is deleted while in use");
                continue;
            }
            let rules = self.0.get_mut(chain).unwrap_or_else(|| panic!("no such chain: {line}"));
            match operation {
                "-F" => rules.clear(),
                "-A" => rules.push(rest.to_owned()),
                "-D" => {
                    let found = rules.iter().position(|rule| rule == rest);
                    rules.remove(found.unwrap_or_else(|| panic!("no such rule: {line}")));
                }
                "-I" => match rest.split_once(' ').and_then(|(at, rest)| Some((at.parse::<usize>().ok()?, rest))) {
                    Some((at, rest)) => rules.insert(at - 1, rest.to_owned()),
                    None => rules.insert(0, rest.to_owned()),
                },
                _ => panic!("unknown operation: {line}"),
            }
        }
        panic!("no COMMIT");
    }

    fn reach(&mut self, wanted: &Footprint) {
        if let Some(text) = transaction(&self.table(), wanted, Family::V4) {
            self.execute(&text);
        }
    }

    fn apply(&mut self, options: &Options) {
        self.reach(&Footprint::of(&RuleSet::compute(options).v4));
    }
}

fn options(arguments: &[&str]) -> Options {
    use clap::Parser;
    let flags = Flags::try_parse_from(["fsm-init"].iter().chain(arguments)).unwrap();
    Options::try_from(flags).unwrap()
}

const DOCKER: [(&str, &[&str]); 4] = [
    ("PREROUTING", &["-m addrtype --dst-type LOCAL -j DOCKER"]),
    (
        "OUTPUT",
        &[
            "-d 127.0.0.1/32 -o lo -p tcp -m owner --uid-owner 1000 -j DNAT --to-destination 10.9.9.9",
            "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
        ],
    ),
    ("POSTROUTING", &["-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"]),
    ("DOCKER", &["-i docker0 -m comment --comment \"our -j FSM_PROXY rule\" -j RETURN"]),
];

#[test]
fn applying_again_changes_nothing() {
    for foreign in [&[][..], &DOCKER[..]] {
        for arguments in [&[][..], &["--pod-ip=10.1.2.3", "--inbound-exclude-port=22"]] {
            let mut model = Model::new(foreign);
            model.apply(&options(arguments));
            let once = model.clone();
            model.apply(&options(arguments));
            model.apply(&options(arguments));
            assert_eq!(model, once);
        }
    }
}

#[test]
fn cleaning_leaves_the_tables_as_before() {
    for arguments in [&[][..], &["--pod-ip=10.1.2.3"], &["--pod-ip=10.1.2.3", "--proxy-mark=7"]] {
        let before = Model::new(&DOCKER);
        let mut model = before.clone();
        model.apply(&options(arguments));
        assert_ne!(model, before);
        model.reach(&Footprint::default());
        assert_eq!(model, before, "{arguments:?}");
    }
}

#[test]
fn cleaning_without_anything_of_ours_is_no_transaction() {
    let table = Model::new(&DOCKER).table();
    assert_eq!(transaction(&table, &Footprint::default(), Family::V4), None);
    assert_eq!(transaction(&NatTable::default(), &Footprint::default(), Family::V4), None);
}

#[test]
fn the_result_depends_on_the_last_options_only() {
    let variants: [&[&str]; 5] = [
        &[],
        &["--pod-ip=10.1.2.3"],
        &["--pod-ip=10.7.7.7", "--proxy-uid=1337"],
        &["--proxy-mark=0x10", "--pod-ip=10.1.2.3"],
        &["--outbound-include-cidr=10.0.0.0/8"],
    ];
    for first in variants {
        for second in variants {
            let (mut direct, mut detour) = (Model::new(&[]), Model::new(&[]));
            direct.apply(&options(second));
            detour.apply(&options(first));
            detour.apply(&options(second));
            assert_eq!(detour, direct, "{first:?} then {second:?}");
        }
    }
}

#[test]
fn hooks_keep_their_place_among_rules_added_since() {
    let mut model = Model::new(&[]);
    model.apply(&options(&[]));
    model.0.get_mut("OUTPUT").unwrap().push("-j LATER".to_owned());
    model.0.get_mut("OUTPUT").unwrap().insert(0, "-j EARLIER".to_owned());
    let before = model.clone();
    model.apply(&options(&[]));
    assert_eq!(model, before);
}

#[test]
fn doubled_hooks_become_one() {
    // What FSM's own script leaves when its container runs twice.
    let mut model = Model::new(&[]);
    model.apply(&options(&["--pod-ip=10.1.2.3"]));
    let clean = model.clone();
    for chain in ["PREROUTING", "OUTPUT"] {
        let rules = model.0.get_mut(chain).unwrap();
        rules.extend_from_within(..);
    }
    model.apply(&options(&["--pod-ip=10.1.2.3"]));
    assert_eq!(model, clean);
}

#[test]
fn the_pod_ip_rule_comes_before_the_jump() {
    let mut model = Model::new(&[]);
    model.apply(&options(&[]));
    model.apply(&options(&["--pod-ip=10.1.2.3"]));
    let output = &model.0["OUTPUT"];
    assert_eq!(output.len(), 2);
    assert!(output[0].contains("-j DNAT"), "{output:?}");
    model.0.get_mut("OUTPUT").unwrap().reverse();
    model.apply(&options(&["--pod-ip=10.1.2.3"]));
    assert!(model.0["OUTPUT"][0].contains("-j DNAT"));
}

#[test]
fn going_back_restores_what_was_there_before() {
    let variants: [&[&str]; 4] = [&[], &["--pod-ip=10.1.2.3"], &["--pod-ip=10.7.7.7"], &["--proxy-uid=1337"]];
    for earlier in variants {
        for later in variants {
            for foreign in [&[][..], &DOCKER[..]] {
                let mut model = Model::new(foreign);
                model.apply(&options(earlier));
                model.0.get_mut("OUTPUT").unwrap().push("-j LATER".to_owned());
                let before = model.clone();
                let footprint = model.table().footprint(Family::V4);
                model.apply(&options(later));
                model.reach(&footprint);
                assert_eq!(model, before, "{earlier:?}, then {later:?}, then back");
            }
        }
    }
    let before = Model::new(&DOCKER);
    let mut model = before.clone();
    model.apply(&options(&["--pod-ip=10.1.2.3"]));
    model.reach(&before.table().footprint(Family::V4));
    assert_eq!(model, before);
}

#[test]
fn chains_of_others_that_jump_into_ours_lose_only_that_rule_and_only_on_clean() {
    let mut model = Model::new(&[("CUSTOM", &["-p tcp -j FSM_PROXY_OUT_REDIRECT", "-j RETURN"])]);
    model.0.insert("FSM_PROXY_OUT_REDIRECT".to_owned(), Vec::new());
    model.apply(&options(&[]));
    assert_eq!(model.0["CUSTOM"].len(), 2);
    model.reach(&Footprint::default());
    assert_eq!(model.0["CUSTOM"], ["-j RETURN"]);
}

#[test]
fn order_of_words_in_a_saved_rule_does_not_matter() {
    let saved = "-p tcp -o lo -d 127.0.0.1/32 -m owner --uid-owner 1500 -j DNAT --to-destination 10.0.0.1";
    assert!(is_pod_ip_rule(saved, "-m owner --uid-owner 1500", Family::V4));
    for (foreign, why) in [
        (saved.replace("1500", "1000"), "another user"),
        (saved.replace("-o lo ", ""), "another interface"),
        (saved.replace("127.0.0.1/32", "127.0.0.2/32"), "another address"),
        (format!("-m comment --comment x {saved}"), "one more condition"),
        (saved.replace("-j DNAT --to-destination 10.0.0.1", "-j RETURN"), "another target"),
        (saved.replace("-o lo", "! -o lo"), "negated"),
    ] {
        assert!(!is_pod_ip_rule(&foreign, "-m owner --uid-owner 1500", Family::V4), "{why}");
    }
}

#[test]
fn strange_listings_are_read_without_panic() {
    for listing in [
        "",
        "*nat",
        "*nat\n:\n-A\n-A \n-A X\n-A OUTPUT \nCOMMIT",
        "*nat\n-A OUTPUT -j\n-A OUTPUT !\n-A OUTPUT - - -\n",
        "# Table `nat' is incompatible, use 'nft' tool.\n",
        "*filter\n:FSM_PROXY_INBOUND - [0:0]\nCOMMIT\n",
    ] {
        let table = NatTable::parse(listing);
        assert!(!table.holds_ours(), "{listing:?}");
        assert_eq!(transaction(&table, &Footprint::default(), Family::V4), None, "{listing:?}");
    }
}
