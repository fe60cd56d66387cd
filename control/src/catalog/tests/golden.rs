//! A folder of YAML in, the documents of its pods out: `testdata/<case>/*.yaml` and `testdata/<case>/expected/<pod>.json`.
//!
//! `FSM_BLESS=1 cargo test -p fsm-control golden` writes what is built now into `expected`; read the difference before you
//! commit it.

use super::{cases, documents, objects, testdata, world};
use fsm_api::config::{Config, Severity};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// The file with the problems of a case.
const PROBLEMS: &str = "problems.txt";

#[test]
fn every_case_gives_the_expected_documents() {
    let bless = std::env::var_os("FSM_BLESS").is_some_and(|value| value == "1");
    let mut wrong = Vec::new();
    for case in cases() {
        let (documents, problems) = documents(&world(objects(&case)));
        assert!(!documents.is_empty(), "{case}: no pod has a proxy");
        let mut built: BTreeMap<String, String> =
            documents.into_iter().map(|(pod, text)| (format!("{pod}.json"), text)).collect();
        if !problems.is_empty() {
            built.insert(PROBLEMS.to_owned(), format!("{}\n", problems.join("\n")));
        }
        let folder = testdata().join(&case).join("expected");
        if bless {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in built {
                fs::write(folder.join(name), text).unwrap();
            }
            continue;
        }
        let expected: BTreeMap<String, String> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}; run with FSM_BLESS=1", folder.display()))
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
            .collect();
        for name in expected.keys().chain(built.keys()) {
            if expected.get(name) != built.get(name) {
                let difference = first_difference(expected.get(name), built.get(name));
                wrong.push(format!("{case}/expected/{name}: {difference}"));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "run with FSM_BLESS=1 and look at the difference:\n{}", wrong.join("\n"));
}

#[test]
fn proxies_read_every_document_without_a_problem() {
    for case in cases() {
        for (pod, text) in documents(&world(objects(&case))).0 {
            let (config, problems) = Config::read(text.as_bytes()).unwrap();
            let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
            assert!(errors.is_empty(), "{case}, {pod}: {errors:?}");
            // What a document says survives being read.
            let again: Value = serde_json::to_value(&config).unwrap();
            let written: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(again, written, "{case}, {pod}");
        }
    }
}

/// Everything that rules name is defined, and no element of the mesh stands for any destination.
#[test]
fn documents_are_whole() {
    for case in cases() {
        for (pod, text) in documents(&world(objects(&case))).0 {
            let (config, _) = Config::read(text.as_bytes()).unwrap();
            let at = format!("{case}, {pod}");
            let inbound = config.inbound.unwrap();
            for (port, entry) in &inbound.traffic_matches {
                for service in entry.http_host_port2_service.values() {
                    assert!(entry.http_service_route_rules.contains_key(&service.rule_name), "{at}: {port}");
                }
                let rules = entry.http_service_route_rules.values().flat_map(|rules| &rules.route_rules);
                let tcp = entry.tcp_service_route_rules.iter().flat_map(|rules| rules.target_clusters.keys());
                for cluster in rules.flat_map(|rule| rule.target_clusters.keys()).chain(tcp) {
                    assert!(inbound.clusters_configs.contains_key(cluster), "{at}: {cluster}");
                }
            }
            let Some(outbound) = config.outbound else { continue };
            for element in outbound.traffic_matches.values().flatten() {
                for service in element.http_host_port2_service.values() {
                    assert!(element.http_service_route_rules.contains_key(&service.rule_name), "{at}: {service:?}");
                }
                let rules = element.http_service_route_rules.values().flat_map(|rules| &rules.route_rules);
                let tcp = element.tcp_service_route_rules.iter().flat_map(|rules| &rules.target_clusters);
                for cluster in rules.flat_map(|rule| rule.target_clusters.keys()).chain(tcp.flat_map(BTreeMap::keys)) {
                    assert!(outbound.clusters_configs.contains_key(cluster), "{at}: {cluster}");
                    let of_mesh = cluster.contains('/') && cluster.contains('|') && element.protocol != "https";
                    assert!(!of_mesh || element.destination_ip_ranges.is_some(), "{at}: {cluster}");
                }
            }
        }
    }
}

fn first_difference(expected: Option<&String>, built: Option<&String>) -> String {
    match (expected, built) {
        (None, _) => "is not expected".into(),
        (_, None) => "is not built".into(),
        (Some(expected), Some(built)) => {
            let lines = expected.lines().zip(built.lines()).enumerate().find(|(_, (one, other))| one != other);
            match lines {
                Some((number, (one, other))) => format!("line {}: expected `{one}`, built `{other}`", number + 1),
                None => "one is longer".into(),
            }
        }
    }
}
