#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::local::workload::objects::Wanted;
use serde_json::json;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "web-0", "uid": "u", "labels": {"app": "web"}},
        "spec": {
            "serviceAccountName": "web", "containers": [],
            "volumes": [
                {"name": "identity", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token", "audience": "fsm", "expirationSeconds": 600}},
                    {"configMap": {"name": "fsm-trust-bundle", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
                ]}},
                {"name": "scratch", "emptyDir": {}},
            ],
        },
    }))
    .unwrap()
}

#[test]
fn a_projected_volume_has_all_its_parts() {
    let mut wanted = Wanted::default();
    assert!(current(&pod(), &[], &wanted).is_empty(), "without the ConfigMap it is as it was");
    let data = BTreeMap::from([("ca.crt".to_owned(), "roots".to_owned())]);
    wanted.trust_bundle = Some(std::sync::Arc::new(ConfigMap { data: Some(data), ..ConfigMap::default() }));
    let token = TokenWish {
        path: "token".into(),
        service_account: "web".into(),
        audience: Some("fsm".into()),
        lifetime: Duration::from_secs(600),
    };
    let files = vec![("ca.crt".to_owned(), b"roots".to_vec()), ("namespace".to_owned(), b"shop".to_vec())];
    let expected = runtime::Volume { name: "identity".into(), files, tokens: vec![token] };
    assert_eq!(current(&pod(), &[], &wanted), [expected], "and the empty directory is nobody's content");
}

#[test]
fn a_config_map_of_the_namespace_comes_before_the_one_of_all() {
    let mut wanted = Wanted::default();
    let data = BTreeMap::from([("ca.crt".to_owned(), "of all".to_owned())]);
    wanted.trust_bundle = Some(std::sync::Arc::new(ConfigMap { data: Some(data), ..ConfigMap::default() }));
    let key = ("shop".to_owned(), "fsm-trust-bundle".to_owned());
    wanted.apply("ConfigMap", key, &json!({"metadata": {}, "data": {"ca.crt": "own"}})).unwrap();
    assert_eq!(current(&pod(), &[], &wanted)[0].files[0].1, b"own");
}
