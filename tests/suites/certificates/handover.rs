//! MeshRootCertificates through their whole life: the built-in authority hands over to an OpenBao and takes over again, on
//! a real API server, with a clock that is moved by hand. At every step, what was signed before is still trusted.

use super::vault::{ROLE, engine};
use super::{is_trusted_at, leaf, names};
use fsm_api::resources::root_certificate::{CertificateProvider, MeshRootCertificate};
use fsm_control::admin::{Authority, NotRotated};
use fsm_control::cert::authority::{Provider, Signer};
use fsm_control::cert::custody::Place;
use fsm_control::cert::rollout::{Rollout, RolloutSettings};
use fsm_control::cert::tresor::TresorSettings;
use fsm_control::cert::vault::{TokenSource, VaultAddress, VaultSettings};
use fsm_control::cert::{Issuer, SecretPlace};
use fsm_control::leader::Leadership;
use fsm_tests::{ApiServer, OpenBao, api_server, eventually, within};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "life-system";
const WEB: &str = "web.shop.cluster.local";
const ANNOUNCE: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A clock that goes on when it is told to.
#[derive(Clone)]
struct Hand(Arc<Mutex<SystemTime>>);

impl Hand {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }

    fn forward(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

/// As the program reads them.
fn settings(client: Client, bao: &OpenBao) -> RolloutSettings {
    let (own, port, ca_file) = (client.clone(), bao.port(), bao.ca_file());
    let provider = move |spec: &CertificateProvider| match (&spec.tresor, &spec.vault) {
        (Some(tresor), None) => {
            let name = tresor.ca.secret_ref.name.clone().unwrap();
            let place = SecretPlace { namespace: NAMESPACE.into(), name, mesh: "life".into() };
            let settings = TresorSettings { announce: ANNOUNCE, ..TresorSettings::default() };
            Ok(Provider::Tresor(Place::Secret(own.clone(), place), settings))
        }
        (None, Some(vault)) => {
            let secret = vault.token.secret_key_ref.clone();
            let token = TokenSource::Secret {
                client: own.clone(),
                namespace: secret.namespace,
                name: secret.name,
                key: secret.key,
            };
            let host = vault.host.clone();
            let address = VaultAddress { protocol: "https".into(), host, port, ca_file: Some(ca_file.clone()) };
            Ok(Provider::Vault(VaultSettings { address, mount: "mesh".into(), role: vault.role.clone(), token }))
        }
        _ => Err("one of both".to_owned()),
    };
    RolloutSettings {
        client,
        namespace: NAMESPACE.into(),
        trust_domain: "cluster.local".into(),
        announce: ANNOUNCE,
        provider: Arc::new(provider),
    }
}

fn object(name: &str, provider: &Value) -> String {
    json!({"apiVersion": "config.flomesh.io/v1alpha3", "kind": "MeshRootCertificate",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {"trustDomain": "cluster.local", "provider": provider}})
    .to_string()
        + "\n---\n"
}

fn tresor(name: &str) -> String {
    object(name, &json!({"tresor": {"ca": {"secretRef": {"namespace": NAMESPACE, "name": "fsm-ca-bundle"}}}}))
}

/// The mesh's authority, and how its objects stand.
struct Life<'a> {
    server: &'a ApiServer,
    objects: Api<MeshRootCertificate>,
    hand: Hand,
    issuer: Arc<dyn Issuer>,
    authority: Authority,
    /// Certificates that are still valid.
    valid: Vec<String>,
}

impl Life<'_> {
    async fn state(&self, name: &str) -> String {
        let object = self.objects.get_opt(name).await.unwrap();
        object.and_then(|object| object.status).map(|status| status.state).unwrap_or_default()
    }

    async fn becomes(&self, name: &str, state: &str) {
        eventually(&format!("{name} is {state}"), async || self.state(name).await == state).await;
    }

    /// Lets time pass. Whoever carries objects out looks at the clock when one of them changes, and now and then.
    async fn passes(&self, time: Duration) {
        self.hand.forward(time);
        let seen = format!("{:?}", self.hand.now());
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"test": seen}}}));
        for object in self.objects.list(&Default::default()).await.unwrap() {
            self.objects.patch(&object.metadata.name.unwrap(), &PatchParams::default(), &patch).await.unwrap();
        }
    }

    async fn issue(&mut self) -> String {
        let issued = within("it signs", self.issuer.issue(leaf(names("shop", "web"), DAY))).await.unwrap();
        self.valid.push(issued.chain.clone());
        self.all_are_trusted();
        issued.chain
    }

    /// Everything that was signed and has not expired is trusted.
    fn all_are_trusted(&self) {
        let bundle = self.issuer.trust_bundle();
        for (index, chain) in self.valid.iter().enumerate() {
            // Vault has a clock of its own.
            let trusted =
                [self.hand.now(), SystemTime::now()].into_iter().any(|at| is_trusted_at(chain, &bundle.pem, WEB, at));
            assert!(trusted, "certificate {index} of {} is not trusted any more", self.valid.len());
        }
    }

    fn roots(&self) -> usize {
        self.issuer.trust_bundle().pem.matches("BEGIN CERTIFICATE").count()
    }

    /// From one object to another, which becomes active.
    async fn hands_over(&mut self, from: &str, to: &str, object: &str) {
        self.server.apply(object).await;
        self.becomes(to, "validatingRollout").await;
        eventually("both are trusted", async || self.roots() == 2).await;
        self.issue().await;
        let status = self.authority.status();
        assert_eq!((&status["rootCertificate"], &status["takesOver"]), (&json!(from), &json!(to)), "{status}");
        assert_eq!(status["phase"], "announced");
        match self.authority.rotate().await {
            Err(NotRotated::Busy(why)) => assert!(why.contains(&format!("{to} is taking over (this phase")), "{why}"),
            other => panic!("{other:?}"),
        }

        self.passes(ANNOUNCE).await;
        self.becomes(to, "issuingRollout").await;
        self.becomes(from, "validatingRollback").await;
        eventually("it signs", async || self.authority.status()["rootCertificate"] == to).await;
        self.issue().await;
        assert_eq!((self.roots(), &self.authority.status()["phase"]), (2, &json!("overlapping")));

        // Nothing that the one of before signed is valid any more.
        self.valid.clear();
        self.issue().await;
        self.passes(DAY + Duration::from_secs(120)).await;
        self.becomes(to, "active").await;
        self.becomes(from, "inactive").await;
        eventually("it is trusted alone", async || self.roots() == 1).await;
    }
}

#[tokio::test]
async fn the_built_in_authority_hands_over_to_vault_and_takes_over_again() {
    let Some(server) = api_server().await else { return };
    let Some(bao) = OpenBao::start() else { return };
    engine(&bao, "mesh");
    bao.set("mesh/roles/fsm", ROLE);
    let token = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": NAMESPACE, "name": "vault"},
        "stringData": {"token": bao.root_token()}});
    let namespace = crate::kubernetes::namespace(NAMESPACE, "none");
    server.apply(&(namespace + &token.to_string() + "\n---\n" + &tresor("own"))).await;

    let client = server.client().await;
    let hand = Hand(Arc::new(Mutex::new(SystemTime::now())));
    let clock = {
        let hand = hand.clone();
        Arc::new(move || hand.now())
    };
    let rollout = within("the first one opens", Rollout::open(settings(client.clone(), &bao), clock)).await.unwrap();
    let signer = Signer::Rollout(Box::new(rollout));
    let (issuer, authority) = (signer.issuer(), Authority::of(&signer));
    let stop = CancellationToken::new();
    let tended = tokio::spawn(signer.tend(Leadership::always(), None, stop.clone()));
    let objects = Api::namespaced(client, NAMESPACE);
    let mut life = Life { server: &server, objects, hand: hand.clone(), issuer, authority, valid: Vec::new() };
    life.becomes("own", "active").await;
    let own_root = life.issuer.trust_bundle().pem.clone();
    life.issue().await;

    let token = json!({"secretKeyRef": {"namespace": NAMESPACE, "name": "vault", "key": "token"}});
    let vault =
        json!({"vault": {"host": "127.0.0.1", "port": bao.port(), "protocol": "https", "role": "fsm", "token": token}});
    life.hands_over("own", "vault", &object("vault", &vault)).await;
    assert_ne!(life.issuer.trust_bundle().pem, own_root);
    match life.authority.rotate().await {
        Err(why @ NotRotated::Elsewhere { .. }) => {
            assert!(why.to_string().starts_with("the roots are those of vault (MeshRootCertificate vault)"), "{why}");
        }
        other => panic!("{other:?}"),
    }

    // Back, with the root that is still in its Secret.
    life.hands_over("vault", "own-again", &tresor("own-again")).await;
    assert_eq!(life.issuer.trust_bundle().pem, own_root);

    // In its last year the root is replaced without anybody asking, as without MeshRootCertificates.
    life.passes(DAY * 365 * 9 + DAY * 10).await;
    eventually("another root is announced", async || life.roots() == 2).await;
    let status = life.authority.status();
    assert_eq!((&status["phase"], &status["roots"][0]["signs"]), (&json!("announced"), &json!(true)), "{status}");
    let new_root = life.issuer.trust_bundle().pem.replace(&own_root, "");
    life.valid.clear();
    life.issue().await;
    life.passes(ANNOUNCE).await;
    eventually("it signs", async || life.issuer.trust_bundle().pem.starts_with(&new_root)).await;
    life.issue().await;
    assert_eq!(life.state("own-again").await, "active");
    stop.cancel();
    within("it ends", tended).await.unwrap();
}
