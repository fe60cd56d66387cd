#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::FollowedFacts;
use crate::push::Roster;
use crate::source::Event;
use crate::telemetry::Telemetry;
use crate::webhook::{Facts, NotReady};
use crate::world::{Settings, World};
use fsm_api::resources::{Kind, Located, Object, ObjectKey, manifest};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn object(yaml: &str) -> Event {
    let (mut objects, problems): (Vec<Located<Object>>, _) = manifest::read(yaml, "test.yaml");
    assert!(problems.is_empty(), "{problems:?}");
    Event::Applied(objects.remove(0))
}

#[tokio::test]
async fn nothing_is_told_of_half_a_world_and_then_what_is_there_now() {
    let settings = Settings {
        mesh_name: "fsm".into(),
        fsm_namespace: "fsm-system".into(),
        trust_domain: "cluster.local".into(),
        mesh_config_name: "fsm-mesh-config".into(),
    };
    let (events, received) = mpsc::channel(8);
    let telemetry = Arc::new(Telemetry::new(&Arc::new(Roster::default())));
    let (facts, follower) = FollowedFacts::new(World::new(settings), received, telemetry);
    let mut ready = facts.ready();
    let running = tokio::spawn(follower.run(CancellationToken::new()));
    let shop = "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {flomesh.io/monitored-by: fsm}, \
                annotations: {flomesh.io/metrics: enabled}}}";
    events.send(object(shop)).await.unwrap();
    assert_eq!(facts.of_namespace("shop").await, Err(NotReady));
    let config = |name| {
        format!(
            "{{apiVersion: config.flomesh.io/v1alpha3, kind: MeshConfig, metadata: {{namespace: fsm-system, name: {name}}}, \
             spec: {{sidecar: {{sidecarImage: {name}}}}}}}"
        )
    };
    events.send(object(&config("other"))).await.unwrap();
    events.send(Event::Synced).await.unwrap();
    ready.wait_for(|ready| *ready).await.unwrap();
    let known = facts.of_namespace("shop").await.unwrap().unwrap();
    assert_eq!(known.namespace.monitored_by.as_deref(), Some("fsm"));
    assert_eq!(known.namespace.annotations["flomesh.io/metrics"], "enabled");
    assert_eq!(known.mesh, None);
    assert_eq!(facts.of_namespace("plain").await, Ok(None));

    events.send(object(&config("fsm-mesh-config"))).await.unwrap();
    events.send(Event::Removed(ObjectKey::new(Kind::Namespace, "", "shop"))).await.unwrap();
    events.send(object(&shop.replace("shop", "new"))).await.unwrap();
    drop(events);
    running.await.unwrap();
    assert_eq!(facts.of_namespace("shop").await, Ok(None));
    let mesh = facts.of_namespace("new").await.unwrap().unwrap().mesh.unwrap();
    assert_eq!(mesh.spec.sidecar.as_ref().unwrap().sidecar_image.as_deref(), Some("fsm-mesh-config"));
}
