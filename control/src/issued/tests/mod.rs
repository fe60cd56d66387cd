//! Tests of the objects that are kept here: who gets which certificate, when it is replaced, and what is left alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bundles;
mod files;
mod keeping;
mod plans;
mod whole;
mod wishes;

use super::{Ledger, Owner, Situation, Wanted, Wish};
use crate::cert::server::{KeyAndChain, ServerNames};
use crate::cert::tresor::{Clock, Tresor, TresorSettings};
use crate::source::Event;
use crate::world::{NamespacedName, Problem, Settings, World};
use fsm_api::resources::{Located, Object, ObjectKey};
use k8s_openapi::api::core::v1::Secret;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

const HOUR: Duration = Duration::from_secs(3600);

/// A clock that stands until it is moved.
#[derive(Clone)]
struct Hand(Arc<Mutex<SystemTime>>);

impl Hand {
    fn new() -> Self {
        // Whole seconds, as certificates have them.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        Self(Arc::new(Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(now))))
    }

    fn now(&self) -> SystemTime {
        *self.0.lock()
    }

    fn forward(&self, by: Duration) {
        *self.0.lock() += by;
    }

    fn clock(&self) -> Clock {
        let hand = self.clone();
        Arc::new(move || hand.now())
    }

    fn tresor(&self, directory: &Path) -> Arc<Tresor> {
        Arc::new(Tresor::open(directory, TresorSettings::default(), self.clock()).unwrap())
    }
}

/// The owner's half: the world and the ledger.
struct Desk {
    world: World,
    ledger: Ledger,
}

impl Desk {
    fn with_keeper(keeper: Option<watch::Sender<Arc<Situation>>>) -> Self {
        let own = ServerNames {
            dns: vec!["fsm-controller.fsm-system.svc".into(), "localhost".into()],
            addresses: vec!["127.0.0.1".parse().unwrap()],
        };
        Self { world: World::new(Settings::default()), ledger: Ledger::new(Owner::of_mesh("fsm"), own, keeper) }
    }

    /// With somebody who keeps objects, the page's namespaces, and AccessCert allowed.
    fn new() -> Self {
        let mut desk = Self::with_keeper(Some(watch::Sender::default()));
        desk.furnish();
        desk
    }

    fn furnish(&mut self) {
        for object in [namespace("httpbin", true), namespace("curl", false), mesh_config(json!({}))] {
            self.put(object);
        }
    }

    fn put(&mut self, object: Value) {
        let object = Object::from_json(object).unwrap();
        self.take_in(Event::Applied(Located { value: object, ..located() }));
    }

    fn remove(&mut self, kind: fsm_api::resources::Kind, namespace: &str, name: &str) {
        self.take_in(Event::Removed(ObjectKey::new(kind, namespace, name)));
    }

    fn take_in(&mut self, event: Event) {
        self.ledger.note(&event);
        match event {
            Event::Applied(object) => drop(self.world.apply(object.value)),
            Event::Removed(key) => drop(self.world.remove(&key)),
            _ => {}
        }
    }

    fn wanted(&self) -> Wanted {
        Wanted::of(&self.world, &self.ledger)
    }

    fn situation(&self) -> Situation {
        let wanted = self.wanted();
        let mut problems: BTreeSet<Problem> = self.world.problems().into_iter().collect();
        problems.extend(wanted.problems.iter().cloned());
        self.ledger.situation(wanted, &problems, true)
    }

    /// The only problem: its reason, objects and text.
    fn refusal(&self) -> (&'static str, Vec<String>, String) {
        let wanted = self.wanted();
        let mut problems = wanted.problems.into_iter();
        let problem = problems.next().expect("a problem");
        assert_eq!(problems.next(), None);
        (problem.reason, problem.objects, problem.text)
    }
}

fn located() -> Located<Object> {
    let text = "{apiVersion: v1, kind: Namespace, metadata: {name: a}}";
    fsm_api::resources::manifest::read(text, "test").0.remove(0)
}

fn key(namespace: &str, name: &str) -> NamespacedName {
    NamespacedName::new(namespace, name)
}

fn namespace(name: &str, in_mesh: bool) -> Value {
    let labels = if in_mesh { json!({"flomesh.io/monitored-by": "fsm"}) } else { json!({}) };
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn mesh_config(certificate: Value) -> Value {
    json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshConfig",
        "metadata": {"name": "fsm-mesh-config", "namespace": "fsm-system"},
        "spec": {"featureFlags": {"enableAccessCertPolicy": true}, "certificate": certificate}})
}

fn ingress_gateway(names: &[&str], validity: &str) -> Value {
    json!({"ingressGateway": {"subjectAltNames": names, "validityDuration": validity,
        "secret": {"namespace": "curl", "name": "ingress"}}})
}

/// The policy of FSM's pages 6.3 and 6.4.
fn access_cert() -> Value {
    access_cert_for("httpbin", "curl-mtls-cert", &["curl.curl.cluster.local"])
}

fn access_cert_for(namespace: &str, name: &str, names: &[&str]) -> Value {
    json!({"apiVersion": "policy.flomesh.io/v1alpha1", "kind": "AccessCert",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"subjectAltNames": names, "secret": {"namespace": "curl", "name": "curl-mtls-secret"}}})
}

/// A Secret of the user's own.
fn foreign() -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "curl-mtls-secret", "namespace": "curl"}, "stringData": {"tls.crt": "x", "tls.key": "y"}})
}

fn page_secret() -> NamespacedName {
    key("curl", "curl-mtls-secret")
}

fn page_wish() -> Wish {
    let mut desk = Desk::new();
    desk.put(access_cert());
    desk.wanted().wishes.remove(&page_secret()).expect("granted")
}

/// As the keeper makes it.
async fn secret(wish: &Wish, tresor: &Tresor) -> Secret {
    use crate::cert::Issuer;
    let made = KeyAndChain::make(tresor, wish.names.leaf(), wish.validity.get()).await.unwrap();
    Owner::of_mesh("fsm").secret(wish, &made, &tresor.trust_bundle().pem)
}
