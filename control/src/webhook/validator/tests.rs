#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{NotReady, Validator, Worlds};
use crate::push::Roster;
use crate::telemetry::Telemetry;
use crate::webhook::{Request, Reviewer, Verdict};
use crate::world::{Settings, World};
use serde_json::{Value, json};
use std::sync::Arc;

struct Known(bool);

impl Worlds for Known {
    async fn world(&self) -> Result<Arc<World>, NotReady> {
        if self.0 { Ok(Arc::new(World::new(Settings::default()))) } else { Err(NotReady) }
    }
}

async fn verdict(ready: bool, request: Value) -> Verdict {
    let telemetry = Arc::new(Telemetry::new(&Arc::new(Roster::default())));
    let request: Request = serde_json::from_value(request).unwrap();
    Validator::new(Known(ready), Settings::default(), telemetry).review(&request).await
}

fn request(operation: &str, kind: (&str, &str, &str), namespace: &str, object: Value, old: Value) -> Value {
    json!({
        "uid": "1", "kind": {"group": kind.0, "version": kind.1, "kind": kind.2}, "namespace": namespace,
        "name": "a", "operation": operation, "object": object, "oldObject": old,
    })
}

const GATEWAY: (&str, &str, &str) = ("policy.flomesh.io", "v1alpha1", "AccessCert");

fn certificate(spec: Value) -> Value {
    json!({"metadata": {"namespace": "shop", "name": "a"}, "spec": spec})
}

#[tokio::test]
async fn a_policy_that_is_prohibited_is_refused_and_one_that_is_being_deleted_never_is() {
    let spec = json!({"subjectAltNames": ["a"], "secret": {"name": "a", "namespace": "shop"}});
    let refused = verdict(true, request("CREATE", GATEWAY, "shop", certificate(spec.clone()), Value::Null)).await;
    let Verdict::Refused(why) = refused else { panic!("{refused:?}") };
    assert!(why.starts_with("AccessCert shop/a: kind: FSM is prohibited to issue certificates"), "{why}");

    let mut leaving = certificate(json!({"subjectAltNames": []}));
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    for (operation, object, old) in [
        ("UPDATE", leaving, certificate(spec.clone())),
        ("UPDATE", certificate(spec.clone()), certificate(spec.clone())),
        ("DELETE", Value::Null, certificate(spec)),
    ] {
        let verdict = verdict(true, request(operation, GATEWAY, "shop", object, old)).await;
        assert!(matches!(verdict, Verdict::Skipped(_)), "{verdict:?}");
    }
}

#[tokio::test]
async fn before_the_world_is_known_only_mesh_config_is_judged() {
    let spec = json!({"subjectAltNames": ["a"], "secret": {"name": "a", "namespace": "shop"}});
    let later = verdict(false, request("CREATE", GATEWAY, "shop", certificate(spec), Value::Null)).await;
    assert!(matches!(later, Verdict::Later(_)), "{later:?}");
    let kind = ("config.flomesh.io", "v1alpha3", "MeshConfig");
    let config = |name: &str, spec: Value| json!({"metadata": {"namespace": "fsm-system", "name": name}, "spec": spec});
    let bad = json!({"certificate": {"certKeyBitSize": 1}});
    let refused =
        verdict(false, request("CREATE", kind, "fsm-system", config("fsm-mesh-config", bad.clone()), Value::Null))
            .await;
    let Verdict::Refused(why) = refused else { panic!("{refused:?}") };
    assert!(why.contains("spec.certificate.certKeyBitSize"), "{why}");
    let other = verdict(false, request("CREATE", kind, "elsewhere", config("fsm-mesh-config", bad), Value::Null)).await;
    assert!(matches!(other, Verdict::Skipped(_)), "{other:?}");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_the_field() {
    let object = certificate(json!({"subjectAltNames": "a"}));
    let refused = verdict(true, request("CREATE", GATEWAY, "shop", object, Value::Null)).await;
    let Verdict::Refused(why) = refused else { panic!("{refused:?}") };
    assert!(why.contains("AccessCert shop/a") && why.contains("expected a sequence"), "{why}");
}
