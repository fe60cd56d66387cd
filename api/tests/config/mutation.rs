//! Mutilated documents: reading never panics, never fails, and never permits more than the document says.

use super::oracle::assert_permits_no_more_than;
use super::*;
use fsm_api::config::{ReadError, Severity};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use std::collections::BTreeSet;

/// Every value in every fixture, each replaced by each of these in turn.
fn wrong_values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(5),
        json!(1e300),
        json!(""),
        json!("\u{0}x"),
        json!([]),
        json!([5]),
        json!([null]),
        json!({}),
        json!({"a": 5}),
        json!({"80": null}),
    ]
}

#[test]
fn no_single_replacement_anywhere_adds_permission() {
    let mut readings = 0;
    // The other fixtures have the same parts.
    for (name, text) in &FIXTURES[1..4] {
        let original = json(text);
        let permitted = permissions(&read_clean(text));
        for pointer in pointers(&original) {
            for wrong in wrong_values() {
                let mut document = original.clone();
                *document.pointer_mut(&pointer).unwrap() = wrong.clone();
                let (config, problems) = read(&document);
                assert_permits_no_more_than(&config, &document);
                assert_reads_back(&config);

                // These have the wrong form wherever they stand, so nothing may appear that the original does not
                // permit. The others are legal somewhere: a name, an empty list, an object with a member of no meaning.
                let wrong_everywhere = [json!(-1), json!([5]), json!([null])];
                if wrong_everywhere.contains(&wrong) {
                    let added: Vec<_> = permissions(&config).difference(&permitted).cloned().collect();
                    assert!(added.is_empty(), "{name} {pointer} = {wrong} permits {added:?}\n{problems:#?}");
                }
                readings += 1;
            }
        }
    }
    assert!(readings > 5_000, "only {readings} readings");
}

/// Who may call what, from inside the mesh and from outside.
fn permissions(config: &Config) -> BTreeSet<String> {
    let mut permitted = BTreeSet::new();
    for (port, element) in config.inbound.iter().flat_map(|inbound| &inbound.traffic_matches) {
        for (host, service) in &element.http_host_port2_service {
            let rules = element.http_service_route_rules.get(&service.rule_name);
            for rule in rules.iter().flat_map(|rules| &rules.route_rules) {
                let callers = rule.allowed_services.clone().unwrap_or(vec!["anyone".into()]);
                for caller in callers {
                    permitted.insert(format!(
                        "{caller} calls {port} {host} {:?} {} {:?} {:?}",
                        rule.path_type, rule.path, rule.methods, rule.headers
                    ));
                }
            }
        }
        for (range, how) in &element.source_ip_ranges {
            let refused =
                how.as_ref().is_some_and(|how| how.authenticated_principals.as_ref().is_some_and(Vec::is_empty));
            if !refused {
                permitted.insert(format!("{range} enters {port} {how:?}"));
            }
        }
        if let Some(rules) = &element.tcp_service_route_rules {
            permitted.insert(format!("{:?} connects to {port}", rules.allowed_services));
        }
    }
    permitted
}

/// What was made of a document is a document without errors that means the same.
fn assert_reads_back(config: &Config) {
    let (again, problems) = read(&written(config));
    assert_eq!(again, *config);
    assert!(problems.iter().all(|problem| problem.severity == Severity::Note), "{problems:#?}");
}

/// JSON pointers of all values but the root.
fn pointers(document: &Value) -> Vec<String> {
    fn collect(value: &Value, here: &str, found: &mut Vec<String>) {
        let mut child = |name: &str, value: &Value| {
            let pointer = format!("{here}/{}", name.replace('~', "~0").replace('/', "~1"));
            found.push(pointer.clone());
            collect(value, &pointer, found);
        };
        match value {
            Value::Array(list) => list.iter().enumerate().for_each(|(n, v)| child(&n.to_string(), v)),
            Value::Object(map) => map.iter().for_each(|(name, v)| child(name, v)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(document, "", &mut found);
    found
}

#[derive(Clone, Debug)]
enum Mutation {
    Replace(Value),
    Delete,
    /// A list element is repeated; a member is copied to another name.
    Duplicate(String),
}

impl Mutation {
    fn apply(&self, document: &mut Value, at: &Index) {
        let pointers = pointers(document);
        if pointers.is_empty() {
            return;
        }
        let pointer = at.get(&pointers);
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let name = name.replace("~1", "/").replace("~0", "~");
        match (self, document.pointer_mut(parent).unwrap()) {
            (Self::Replace(value), _) => *document.pointer_mut(pointer).unwrap() = value.clone(),
            (Self::Delete, Value::Array(list)) => drop(list.remove(name.parse().unwrap())),
            (Self::Delete, Value::Object(map)) => drop(map.remove(&name)),
            (Self::Duplicate(_), Value::Array(list)) => {
                let index: usize = name.parse().unwrap();
                list.insert(index, list[index].clone());
            }
            (Self::Duplicate(other), Value::Object(map)) => {
                let value = map[&name].clone();
                map.insert(other.clone(), value);
            }
            (_, scalar) => panic!("{parent} is {scalar}"),
        }
    }
}

/// Names that mean something somewhere, so that a copied or invented member is looked at.
fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "Path",
            "Type",
            "Methods",
            "Headers",
            "AllowedServices",
            "TargetClusters",
            "RouteRules",
            "RuleName",
            "mTLS",
            "AuthenticatedPrincipals",
            "SourceIPRanges",
            "Port",
            "Protocol",
            "80",
            "080",
            "*",
            "Certificate",
            "SourceCert",
            "DestinationIPRanges",
            "X-Tenant",
            "Plugins",
            "RateLimit",
            "Local",
            "Weight",
            "Endpoints",
            "ServiceIdentities",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        any_name().prop_map(Value::from),
        prop::sample::select(vec!["http", "tcp", "Regex", "GET", "web.shop", ".*", "100", "1e3", "-0", "0x10"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any_name(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => any_json().prop_map(Mutation::Replace),
        1 => Just(Mutation::Delete),
        1 => any_name().prop_map(Mutation::Duplicate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutilated_documents_read_and_permit_no_more_than_they_say(
        fixture in prop::sample::select(FIXTURES.to_vec()),
        mutations in prop::collection::vec((any::<Index>(), any_mutation()), 1..6),
    ) {
        let mut document = json(fixture.1);
        for (at, mutation) in &mutations {
            mutation.apply(&mut document, at);
        }
        let (config, _) = Config::read(document.to_string().as_bytes()).unwrap();
        assert_permits_no_more_than(&config, &document);
        assert_reads_back(&config);
    }

    /// The same without a fixture to hold on to.
    #[test]
    fn arbitrary_json_reads_unless_it_is_no_object(document in any_json()) {
        match Config::read(document.to_string().as_bytes()) {
            Ok((config, _)) => assert_reads_back(&config),
            Err(error) => {
                prop_assert!(!document.is_object());
                prop_assert!(matches!(error, ReadError::NotAnObject { .. }), "{error}");
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..512), form in 0..3) {
        let bytes = match form {
            0 => bytes,
            1 => [&[0x1f, 0x8b, 8, 0][..], &bytes].concat(),
            _ => [&b"{\"Inbound\":"[..], &bytes].concat(),
        };
        let _ = Config::read(&bytes);
    }

    /// Damage in the middle of a real document: still text, still nearly right.
    #[test]
    fn damaged_text_never_panics(
        fixture in prop::sample::select(FIXTURES.to_vec()),
        at in any::<Index>(),
        damage in prop::collection::vec(any::<u8>(), 0..4),
        cut in any::<bool>(),
    ) {
        let text = fixture.1.as_bytes();
        let at = at.index(text.len());
        let rest = if cut { &[][..] } else { &text[at..] };
        let _ = Config::read(&[&text[..at], &damage, rest].concat());
    }
}
