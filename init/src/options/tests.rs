//! Flags to options: defaults, lists, and the reason code of every mistake.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use clap::{CommandFactory, Parser};

use super::*;
use crate::flags::EXIT_CODES;

fn parse(arguments: &[&str]) -> Result<Options, InitError> {
    let arguments = ["fsm-init"].iter().chain(arguments);
    Options::try_from(Flags::try_parse_from(arguments).unwrap())
}

#[test]
fn no_flags_give_the_defaults_of_fsm() {
    let options = parse(&[]).unwrap();
    assert_eq!(options, Options::default());
    assert_eq!(options.inbound_port.get(), 15003);
    assert_eq!(options.outbound_port.get(), 15001);
    assert_eq!(options.proxy, ProxySelector::Uid(NonZeroU32::new(1500).unwrap()));
    assert_eq!(options.timeout, Duration::from_secs(30));
}

#[test]
fn lists_repeat_or_use_commas_and_drop_blanks_and_repetitions() {
    let options = parse(&[
        "--outbound-exclude-cidr=10.1.2.3/8, fd00::1/8,,10.0.0.0/8",
        "--outbound-exclude-cidr=192.0.2.7",
        "--outbound-exclude-port",
        "443,80,443",
        "--exclude-interface=eth1,cali+",
        "--inbound-exclude-port=",
    ])
    .unwrap();
    let ranges: Vec<String> = options.outbound_exclude.iter().map(ToString::to_string).collect();
    assert_eq!(ranges, ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"]);
    let ports: Vec<u16> = options.outbound_exclude_ports.iter().map(|port| port.get()).collect();
    assert_eq!(ports, [443, 80]);
    let names: Vec<String> = options.exclude_interfaces.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["eth1", "cali+"]);
    assert_eq!(options.inbound_exclude_ports, []);
}

#[test]
fn an_empty_value_counts_as_absent() {
    let options = parse(&["--proxy-uid=", "--proxy-mark=", "--backend=", "--pod-ip=", "--timeout= "]);
    assert_eq!(options.unwrap(), Options::default());
}

#[test]
fn every_flag_with_a_value_has_its_environment_variable() {
    for argument in Flags::command().get_arguments() {
        if argument.get_action().takes_values() {
            let expected = format!("FSM_INIT_{}", argument.get_id().as_str().to_ascii_uppercase());
            assert_eq!(argument.get_env().unwrap().to_str().unwrap(), expected);
        }
    }
}

#[test]
fn the_command_line_definition_is_sound() {
    Flags::command().debug_assert();
}

#[test]
fn marks_are_decimal_or_hexadecimal_with_an_optional_mask() {
    for (text, printed) in [("1337", "0x539"), ("0x539", "0x539"), ("0x500/0xff00", "0x500/0xff00")] {
        let options = parse(&["--proxy-mark", text]).unwrap();
        let ProxySelector::Mark(mark) = options.proxy else { panic!("not a mark: {options:?}") };
        assert_eq!(mark.to_string(), printed);
    }
}

#[test]
fn pod_addresses_are_taken_by_family() {
    let options = parse(&["--pod-ip=fd00::5,10.1.2.3"]).unwrap();
    assert_eq!(options.pod.v4, Some(Ipv4Addr::new(10, 1, 2, 3)));
    assert_eq!(options.pod.v6, Some("fd00::5".parse().unwrap()));
}

#[test]
fn mistakes_are_told_by_code_flag_and_value() {
    let cases = [
        (&["--outbound-exclude-cidr=10.0.0.0/33"][..], "init.invalid-cidr"),
        (&["--outbound-exclude-cidr=example.org"], "init.invalid-cidr"),
        (&["--outbound-include-cidr=::ffff:10.0.0.0/104"], "init.invalid-cidr"),
        (&["--outbound-include-cidr=10.0.0.0/8 -j ACCEPT"], "init.invalid-cidr"),
        (&["--outbound-exclude-port=0"], "init.invalid-port"),
        (&["--inbound-exclude-port=65536"], "init.invalid-port"),
        (&["--inbound-port=http"], "init.invalid-port"),
        (&["--exclude-interface=averyverylongname"], "init.invalid-interface"),
        (&["--exclude-interface=eth0\n-A INPUT -j DROP"], "init.invalid-interface"),
        (&["--exclude-interface=a b"], "init.invalid-interface"),
        (&["--exclude-interface=+"], "init.invalid-interface"),
        (&["--exclude-interface=-j"], "init.invalid-interface"),
        (&["--exclude-interface=!eth0"], "init.invalid-interface"),
        (&["--pod-ip=10.0.0.0/24"], "init.invalid-pod-ip"),
        (&["--pod-ip=10.0.0.1,10.0.0.2"], "init.invalid-pod-ip"),
        (&["--pod-ip=127.0.0.1"], "init.invalid-pod-ip"),
        (&["--pod-ip=::ffff:10.0.0.1"], "init.invalid-pod-ip"),
        (&["--proxy-uid=0"], "init.invalid-uid"),
        (&["--proxy-uid=4294967295"], "init.invalid-uid"),
        (&["--proxy-uid=envoy"], "init.invalid-uid"),
        (&["--proxy-mark=0"], "init.invalid-mark"),
        (&["--proxy-mark=0x100/0xff"], "init.invalid-mark"),
        (&["--proxy-mark=0xg"], "init.invalid-mark"),
        (&["--backend=nftables"], "init.invalid-choice"),
        (&["--ipv6=yes"], "init.invalid-choice"),
        (&["--timeout=0"], "init.invalid-timeout"),
        (&["--timeout=601"], "init.invalid-timeout"),
    ];
    for (arguments, code) in cases {
        let error = parse(arguments).expect_err(&format!("{arguments:?} was accepted"));
        assert_eq!(error.code(), code, "{arguments:?}");
        assert_eq!(error.exit_code(), 2);
        let flag = arguments[0].split('=').next().unwrap();
        assert!(error.to_string().contains(flag), "{error} does not name {flag}");
    }
}

#[test]
fn contradictions_are_refused() {
    for arguments in [
        &["--proxy-uid=1500", "--proxy-mark=5"][..],
        &["--inbound-port=15001"],
        &["--inbound-port=7", "--outbound-port=7"],
    ] {
        assert_eq!(parse(arguments).unwrap_err().code(), "init.conflict", "{arguments:?}");
    }
}

#[test]
fn the_help_lists_every_exit_code() {
    for code in 2..=9 {
        assert!(EXIT_CODES.contains(&format!("\n  {code}  ")), "exit code {code} is missing");
    }
}
