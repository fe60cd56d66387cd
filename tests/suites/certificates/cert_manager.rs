//! Requests to cert-manager through a real API server, with a double of its approver and of an issuer.

mod double;

use super::{is_trusted, leaf, names};
use crate::kubernetes::program::{Running, get};
use crate::kubernetes::{account, namespace, pod, token, uid};
use double::{Double, Mood};
use fsm_control::cert::cert_manager::{CertManager, CertManagerError, CertManagerSettings};
use fsm_control::cert::{IssueError, Issuer};
use fsm_tests::{ApiServer, Control, Mesh, Sidecar, api_server, eventually, within};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);

fn settings(namespace: &str) -> CertManagerSettings {
    CertManagerSettings {
        namespace: namespace.into(),
        issuer_name: "mesh".into(),
        issuer_kind: "Issuer".into(),
        issuer_group: "cert-manager.io".into(),
    }
}

async fn open(server: &ApiServer, namespace: &str) -> Result<CertManager, CertManagerError> {
    let opened = CertManager::open(server.client().await, settings(namespace), Arc::new(SystemTime::now));
    within("the issuer answers", opened).await
}

async fn issue(manager: &CertManager, account: &str) -> Result<String, IssueError> {
    let issued = within("it answers", manager.issue(leaf(names("shop", account), HOUR))).await;
    issued.map(|issued| issued.chain)
}

async fn refusal(manager: &CertManager) -> String {
    match issue(manager, "web").await {
        Err(IssueError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_issuer_of_cert_manager_signs_and_its_root_is_followed() {
    let Some(server) = api_server().await else { return };
    server.apply(&namespace("cm-signs", "none")).await;
    let mut double = Double::start(&server, "cm-signs").await;
    let manager = open(&server, "cm-signs").await.unwrap();
    let bundle = manager.trust_bundle();
    let first = issue(&manager, "web").await.unwrap();
    assert!(is_trusted(&first, &bundle.pem, "web.shop.cluster.local"));
    // Many at once, each with its own certificate.
    let many = async {
        let (a, b, c, d) =
            tokio::join!(issue(&manager, "a"), issue(&manager, "b"), issue(&manager, "c"), issue(&manager, "d"));
        [("a", a), ("b", b), ("c", c), ("d", d)]
    };
    for (account, issued) in many.await {
        assert!(is_trusted(&issued.unwrap(), &bundle.pem, &format!("{account}.shop.cluster.local")));
    }
    double.has_nothing_left().await;

    double.is_to(Mood::SignsWithAnother).await;
    let changes = manager.changes();
    within("it looks", manager.look()).await.unwrap();
    assert!(changes.has_changed().unwrap());
    let both = manager.trust_bundle();
    assert!(both.pem.ends_with(&bundle.pem) && both.pem != bundle.pem, "the root of before stays trusted");
    let other = issue(&manager, "web").await.unwrap();
    assert!(is_trusted(&other, &both.pem, "web.shop.cluster.local"));
    assert!(is_trusted(&first, &both.pem, "web.shop.cluster.local"));
    double.has_nothing_left().await;
}

#[tokio::test]
async fn what_cert_manager_refuses_is_said_with_the_request_and_a_remedy() {
    let Some(server) = api_server().await else { return };
    server.apply(&namespace("cm-refuses", "none")).await;
    let mut double = Double::start(&server, "cm-refuses").await;
    let manager = open(&server, "cm-refuses").await.unwrap();
    let bundle = manager.trust_bundle();
    double.is_to(Mood::Denies).await;
    let reason = refusal(&manager).await;
    assert!(reason.contains("CertificateRequest cm-refuses/fsm-"), "{reason}");
    assert!(reason.contains("was denied: not for this service account; approve requests"), "{reason}");
    double.is_to(Mood::Fails).await;
    let reason = refusal(&manager).await;
    assert!(
        reason.contains("Issuer mesh (cert-manager.io) does not sign CertificateRequest cm-refuses/fsm-"),
        "{reason}"
    );
    assert!(reason.contains("the CA does not answer"), "{reason}");
    double.is_to(Mood::SignsWithoutRoot).await;
    let error = open(&server, "cm-refuses").await.unwrap_err().to_string();
    assert!(error.contains("it does not say its root"), "{error}");
    // The issuer is not there: it is given up in time, and the reason is cert-manager's own.
    double.is_to(Mood::HasNoIssuer).await;
    match issue(&manager, "web").await {
        Err(IssueError::Unavailable { reason, .. }) => {
            assert!(reason.contains("Referenced \"Issuer\" not found"), "{reason}");
            assert!(reason.contains("does cert-manager run, and is there Issuer mesh"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    double.has_nothing_left().await;
    assert_eq!(manager.trust_bundle(), bundle, "what is trusted stays");
    double.is_to(Mood::Signs).await;
    assert!(is_trusted(&issue(&manager, "web").await.unwrap(), &bundle.pem, "web.shop.cluster.local"));
    double.is_well().await;
}

/// What a proxy says of its own certificate.
async fn certificate(sidecar: &Sidecar) -> Value {
    let said: Value = serde_json::from_slice(&sidecar.admin("/certs").await.body).unwrap();
    let own = said.as_array().unwrap().iter().find(|one| one["role"] == "mesh-chain");
    let mut own = own.unwrap_or_else(|| panic!("{said}")).clone();
    own.as_object_mut().unwrap().remove("secondsLeft");
    own
}

/// A pod of the account of the same name, with a sidecar.
fn with_proxy(name: &str) -> String {
    let mut object: Value = serde_json::from_str(pod("cm-shop", name, name).trim_end_matches("---\n")).unwrap();
    object["metadata"]["labels"]["fsm-proxy-uuid"] = format!("proxy-of-{name}").into();
    object.to_string() + "\n---\n"
}

#[tokio::test]
async fn proxies_get_their_certificates_from_cert_manager_and_keep_them_when_the_next_one_is_denied() {
    let Some(server) = api_server().await else { return };
    let Some(mesh) = Mesh::create() else { return };
    let accounts = account("cm-shop", "web") + &account("cm-shop", "api");
    let pods = with_proxy("web") + &with_proxy("api");
    server.apply(&(namespace("cmp-system", "none") + &namespace("cm-shop", "cmp") + &accounts + &pods)).await;
    let mut double = Double::start(&server, "cmp-system").await;
    let roots = server.directory().join("cmp-roots.pem");
    let flags = ["--source", "kubernetes", "--tokens", "kubernetes:fsm", "--listen-stream", "127.0.0.1:0"];
    let provider = ["--certificate-manager", "cert-manager", "--cert-manager-issuer-name", "mesh"];
    let written = ["--write-ca-bundle", roots.to_str().unwrap()];
    let control = Running::start(&server, "cmp", &[&flags[..], &provider, &written].concat()).await;
    let about = get(control.address("admin"), "/ca").await;
    assert_eq!((&about["provider"], about["roots"].as_array().unwrap().len()), (&json!("cert-manager"), 1));

    let launch = async |name: &str| {
        let pod = mesh.pod(name);
        let uid = uid(&server, "cm-shop", name).await;
        let address = control.address("stream").parse().unwrap();
        pod.bring_in(address);
        let name_of_control = "fsm-controller.cmp-system.svc".to_owned();
        let roots = std::fs::read_to_string(&roots).unwrap();
        let token = token(&server, "cm-shop", name, "fsm", Some((name, &uid))).await;
        let pod_object = ("cm-shop".to_owned(), name.to_owned(), uid);
        Sidecar::launch_from_control(&pod, &Control { address, name: name_of_control, roots, token, pod: pod_object })
    };
    let web = launch("web").await;
    web.ready().await;
    let first = certificate(&web).await;
    assert!(first.to_string().contains("web.cm-shop.cluster.local"), "{first}");

    // Another root turns up with another proxy's certificate, so that everybody asks for a new one; web is denied.
    double.is_to(Mood::SignsWithAnotherFor("api.cm-shop")).await;
    let api = launch("api").await;
    api.ready().await;
    eventually("it is denied, and said with its request", async || {
        let log = control.log();
        log.contains("CertificateRequest cmp-system/fsm-") && log.contains("was denied: not for this service account")
    })
    .await;
    assert_eq!(certificate(&web).await, first, "the old certificate stays");
    assert_eq!(get(control.address("admin"), "/ca").await["roots"].as_array().unwrap().len(), 2);

    double.is_to(Mood::SignsWithAnother).await;
    eventually("it has another one", async || certificate(&web).await != first).await;
    double.has_nothing_left().await;
}
