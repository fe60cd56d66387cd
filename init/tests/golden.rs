//! The exact input of `iptables-restore` and `ip6tables-restore` for typical options, as files one
//! can read. After an intended change, `UPDATE_GOLDEN=1 cargo test -p fsm-init --test golden`
//! rewrites them; review the difference.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::{env, fs};

use clap::Parser;
use fsm_init::{Flags, Options};

fn check(name: &str, arguments: &[&str]) {
    let flags = Flags::try_parse_from(["fsm-init"].iter().chain(arguments)).unwrap();
    let rules = fsm_init::preview(&Options::try_from(flags).unwrap());
    let command = ["fsm-init"].iter().chain(arguments).copied().collect::<Vec<_>>().join(" ");
    let text = format!("# {command}\n{rules}");
    let file: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", &format!("{name}.rules")].iter().collect();
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap();
    assert_eq!(text, expected, "{} differs", file.display());
}

#[test]
fn default_rules() {
    check("default", &[]);
}

#[test]
fn all_exclusions() {
    check(
        "exclusions",
        &[
            "--outbound-exclude-cidr=10.96.0.0/12,192.0.2.7,fd00:96::/112",
            "--outbound-exclude-port=25,3306",
            "--inbound-exclude-port=22,9000",
            "--exclude-interface=eth1,net+",
        ],
    );
}

#[test]
fn inclusions() {
    check(
        "inclusions",
        &["--outbound-include-cidr=10.0.0.0/8,172.16.0.0/12,fd00::/8", "--outbound-exclude-cidr=10.96.0.1/32"],
    );
}

#[test]
fn pod_ip_of_both_families() {
    check("pod-ip", &["--pod-ip=10.1.2.3,fd00::5"]);
}

#[test]
fn more_ports_than_one_rule_takes() {
    let ports: Vec<String> = (7001..=7031).map(|port| port.to_string()).collect();
    let list = ports.join(",");
    check("many-ports", &[&format!("--outbound-exclude-port={list}"), &format!("--inbound-exclude-port={list}")]);
}

#[test]
fn proxy_known_by_mark() {
    check("mark", &["--proxy-mark=0x539", "--pod-ip=10.1.2.3"]);
}

#[test]
fn ipv4_only_with_other_ports() {
    check("ipv4-only", &["--ipv6=off", "--inbound-port=20003", "--outbound-port=20001", "--proxy-uid=1337"]);
}
