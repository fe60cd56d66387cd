#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{LogFormat, Options, Tokens, WriteTo};
use crate::source::Source;
use clap::{CommandFactory, Parser};
use std::time::Duration;

const LEAST: [&str; 7] =
    ["fsm-control", "--source", "dir:/objects", "--state-dir", "/state", "--tokens", "dir:/tokens"];

fn parse(more: &[&str]) -> Result<Options, clap::Error> {
    Options::try_parse_from(LEAST.iter().chain(more))
}

#[test]
fn the_flags_are_consistent() {
    Options::command().debug_assert();
}

#[test]
fn three_flags_are_enough_and_nothing_but_loopback_is_open_to_operators() {
    let options = parse(&[]).unwrap();
    assert_eq!(options.source, Source::Directory("/objects".into()));
    assert_eq!(options.tokens, Tokens::Directory("/tokens".into()));
    assert!(options.listen_admin.ip().is_loopback());
    assert_eq!(options.listen_stream.port(), 15128);
    assert_eq!((options.listen_repo, options.listen_webhook), (None, None));
    assert!(!options.repo_private_keys);
    assert_eq!(options.ca_announce, Duration::from_secs(600));
    assert_eq!(options.log_format, LogFormat::Text);
    for index in [1, 5] {
        let mut less = LEAST.to_vec();
        less.drain(index..index + 2);
        assert!(Options::try_parse_from(less).is_err());
    }
}

#[test]
fn a_cluster_can_be_the_source_and_know_the_tokens() {
    let parse = |tokens| {
        let given = ["fsm-control", "--source", "kubernetes", "--state-dir", "/state", "--tokens", tokens];
        Options::try_parse_from(given).unwrap()
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
        let error = Options::try_parse_from(given.copied().chain([flag, value])).unwrap_err().to_string();
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
fn a_provider_that_lacks_something_says_what_to_give() {
    let vault = |more: &[&str]| {
        let mut all = vec!["--certificate-manager", "vault"];
        all.extend(more);
        parse(&all).unwrap().provider.vault(None, "fsm-system").map_err(|error| error.to_string())
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
    let provider = parse(&["--cert-manager-issuer-name", ""]).unwrap().provider;
    assert!(provider.cert_manager("fsm-system").unwrap_err().to_string().contains("needs --cert-manager-issuer-name"));
    assert!(parse(&["--certificate-manager", "other"]).is_err());
}
