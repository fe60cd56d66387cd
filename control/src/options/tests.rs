#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{ControllerOptions, LogFormat, NativeSidecars, Program, Role, Tokens, WriteTo, with_role};
use crate::source::Source;
use clap::{CommandFactory, Parser};
use std::time::Duration;

const LEAST: [&str; 7] =
    ["fsm-control", "--source", "dir:/objects", "--state-dir", "/state", "--tokens", "dir:/tokens"];

fn role(arguments: &[&str]) -> Result<Role, clap::Error> {
    Program::try_parse_from(with_role(arguments.iter().map(Into::into))).map(|program| program.role)
}

fn controller(arguments: &[&str]) -> Result<ControllerOptions, clap::Error> {
    match role(arguments)? {
        Role::Controller(options) => Ok(*options),
        other => panic!("{other:?}"),
    }
}

fn parse(more: &[&str]) -> Result<ControllerOptions, clap::Error> {
    controller(&[&LEAST, more].concat())
}

#[test]
fn the_flags_are_consistent() {
    Program::command().debug_assert();
}

#[test]
fn three_flags_are_enough_and_nothing_but_loopback_is_open_to_operators() {
    let options = parse(&[]).unwrap();
    assert_eq!(options.source, Source::Directory("/objects".into()));
    assert_eq!(options.tokens, Tokens::Directory("/tokens".into()));
    assert!(options.operation.listen_admin.ip().is_loopback());
    assert_eq!(options.listen_stream.port(), 15128);
    assert_eq!((options.listen_repo, options.listen_webhook), (None, None));
    assert!(!options.repo_private_keys);
    assert_eq!(options.certificates.ca_announce, Duration::from_secs(600));
    assert_eq!(options.operation.log.log_format, LogFormat::Text);
    for index in [1, 5] {
        let mut less = LEAST.to_vec();
        less.drain(index..index + 2);
        assert!(controller(&less).is_err());
    }
}

#[test]
fn a_cluster_can_be_the_source_and_know_the_tokens() {
    let parse = |tokens| {
        let given = ["fsm-control", "--source", "kubernetes", "--state-dir", "/state", "--tokens", tokens];
        controller(&given).unwrap()
    };
    let options = parse("kubernetes:fsm");
    assert_eq!(options.source, Source::Kubernetes);
    assert_eq!(options.tokens, Tokens::Kubernetes { audience: Some("fsm".into()) });
    assert_eq!(parse("kubernetes").tokens, Tokens::Kubernetes { audience: None });
}

#[test]
fn objects_are_written_to_the_cluster_or_into_a_directory() {
    let place = |more: &[&str]| parse(more).unwrap().write_objects;
    assert_eq!(place(&[]), None);
    assert_eq!(place(&["--write-objects", "kubernetes"]), Some(WriteTo::Kubernetes));
    assert_eq!(place(&["--write-objects", "./kubernetes"]), Some(WriteTo::Directory("./kubernetes".into())));
}

#[test]
fn wrong_values_are_refused_with_a_remedy() {
    for (flag, value, remedy) in [
        ("--tokens", "/tokens", "dir:PATH"),
        ("--tokens", "dir:", "dir:PATH"),
        ("--tokens", "kubernetes:", "kubernetes:AUDIENCE"),
        ("--ca-key", "dsa", "ecdsa-p256 or rsa-2048"),
        ("--ca-announce", "10m ago", "90s"),
        ("--ca-announce", "soon", "90s"),
        ("--log-format", "xml", "text or json"),
    ] {
        let given = LEAST
            .iter()
            .filter(|word| **word != flag || flag != "--tokens")
            .filter(|word| **word != "dir:/tokens" || flag != "--tokens");
        let given: Vec<&str> = given.copied().chain([flag, value]).collect();
        let error = controller(&given).unwrap_err().to_string();
        assert!(error.contains(remedy), "{flag} {value}: {error}");
    }
}

#[test]
fn the_certificate_names_the_service_first_and_whatever_was_asked_for() {
    let options = parse(&["--fsm-namespace", "mesh", "--server-name", "control.example,10.0.0.1,fd00::1"]).unwrap();
    let names = options.server_names();
    assert_eq!(names.dns[0], "fsm-controller.mesh.svc");
    assert!(names.dns.contains(&"control.example".to_owned()) && names.dns.contains(&"localhost".to_owned()));
    assert!(names.addresses.contains(&"10.0.0.1".parse().unwrap()));
    assert!(names.addresses.contains(&"fd00::1".parse().unwrap()));
}

#[test]
fn without_the_name_of_a_role_it_is_the_controller() {
    let named = [&["fsm-control", "controller"][..], &LEAST[1..]].concat();
    assert_eq!(controller(&named).unwrap().source, parse(&[]).unwrap().source);
    assert_eq!(with_role(["fsm-control".into()]), ["fsm-control", "controller"]);
    assert_eq!(with_role(["fsm-control".into(), "--version".into()]), ["fsm-control", "--version"]);
    assert!(matches!(role(&["fsm-control", "bootstrap"]).unwrap(), Role::Bootstrap(_)));
    assert!(matches!(role(&["fsm-control", "cleanup", "--mesh-name", "a"]).unwrap(), Role::Cleanup(_)));
    let Role::Preinstall(options) = role(&["fsm-control", "preinstall", "--namespace", "a"]).unwrap() else { panic!() };
    assert_eq!(options.fsm_namespace, "a");
    assert!(role(&["fsm-control", "bootsrap"]).unwrap_err().to_string().contains("bootstrap"));
}

#[test]
fn the_injector_has_its_own_port_and_flags() {
    let parse = |more: &[&str]| {
        let Role::Injector(options) =
            role(&[&["fsm-control", "injector", "--state-dir", "/s"], more].concat()).unwrap()
        else {
            panic!()
        };
        options
    };
    let options = parse(&[]);
    assert_eq!((options.listen_webhook.port(), options.webhook_timeout.as_secs()), (9090, 20));
    assert!(!options.upkeep.enable_reconciler);
    assert_eq!(options.injection.native_sidecars, NativeSidecars::Auto);
    let options = parse(&["--native-sidecars", "--enable-reconciler"]);
    assert!(options.upkeep.enable_reconciler);
    assert_eq!(options.injection.native_sidecars, NativeSidecars::Always);
    let names = options.certificates.names_of("fsm-injector", "fsm-system");
    assert_eq!(names.dns[0], "fsm-injector.fsm-system.svc");
    assert_eq!(parse(&["--native-sidecars=false"]).injection.native_sidecars, NativeSidecars::Never);
}

#[test]
fn every_role_says_what_its_flags_do() {
    for name in ["controller", "injector", "bootstrap", "preinstall", "cleanup"] {
        let help = role(&["fsm-control", name, "--help"]).unwrap_err().to_string();
        assert!(help.contains("--log-level") && help.contains("--fsm-namespace"), "{help}");
    }
    let help = role(&["fsm-control", "--help"]).unwrap_err().to_string();
    assert!(help.contains("bootstrap") && help.contains("preinstall"), "{help}");
}

#[test]
fn a_provider_that_lacks_something_says_what_to_give() {
    let vault = |more: &[&str]| {
        let mut all = vec!["--certificate-manager", "vault"];
        all.extend(more);
        parse(&all).unwrap().certificates.provider.vault(None, "fsm-system").map_err(|error| error.to_string())
    };
    for (more, says) in [
        (&[][..], "needs --vault-host"),
        (&["--vault-host", "vault"], "needs a token: --vault-token-secret-name"),
        (&["--vault-host", "vault", "--vault-token", "t", "--vault-token-file", "f"], "not several"),
        (&["--vault-host", "vault", "--vault-token-secret-name", "s"], "go together: give both"),
        (
            &["--vault-host", "v", "--vault-token-secret-name", "s", "--vault-token-secret-key", "k"],
            "needs an API server",
        ),
        (&["--vault-host", "vault", "--vault-token", "t", "--vault-role", ""], "must not be empty"),
    ] {
        let error = vault(more).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    let given =
        vault(&["--vault-host", "::1", "--vault-protocol", "https", "--vault-token", "t", "--vault-mount", "/a/b/"]);
    let given = given.unwrap();
    assert_eq!((given.address.to_string().as_str(), given.mount.as_str()), ("https://[::1]:8200", "a/b"));
    assert!(!format!("{given:?}").contains("\"t\""), "the token is not shown");
    let provider = parse(&["--cert-manager-issuer-name", ""]).unwrap().certificates.provider;
    assert!(provider.cert_manager("fsm-system").unwrap_err().to_string().contains("needs --cert-manager-issuer-name"));
    assert!(parse(&["--certificate-manager", "other"]).is_err());
}
