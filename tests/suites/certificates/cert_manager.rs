//! Requests to cert-manager through a real API server, with a double of its controller and of an issuer: it signs what
//! stands in a request, as cert-manager's own issuers do, or refuses it in the ways that they have.

use super::{is_trusted, leaf, names};
use fsm_control::cert::cert_manager::{CertManager, CertManagerError, CertManagerSettings};
use fsm_control::cert::{IssueError, Issuer};
use fsm_tests::{ApiServer, api_server, eventually, within};
use k8s_openapi::ByteString;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer as Signer, KeyPair,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, SystemTime};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

const HOUR: Duration = Duration::from_secs(3600);
const DENY: usize = 1;
const FAIL: usize = 2;
const NO_ROOT: usize = 3;
const OTHER_ROOT: usize = 4;

/// The parts of cert-manager's definition that a client meets, as strict as the real one.
fn definition() -> Value {
    let text = json!({"type": "string"});
    let usages = json!({"type": "array", "items": {"type": "string", "enum": ["signing", "digital signature",
        "content commitment", "key encipherment", "key agreement", "data encipherment", "cert sign", "crl sign",
        "encipher only", "decipher only", "any", "server auth", "client auth", "code signing", "email protection",
        "s/mime", "ipsec end system", "ipsec tunnel", "ipsec user", "timestamping", "ocsp signing", "microsoft sgc",
        "netscape sgc"]}});
    let issuer =
        json!({"type": "object", "required": ["name"], "properties": {"name": text, "kind": text, "group": text}});
    let bytes = json!({"type": "string", "format": "byte"});
    let spec = json!({"type": "object", "required": ["issuerRef", "request"], "properties": {"request": bytes,
        "duration": text, "isCA": {"type": "boolean"}, "usages": usages, "issuerRef": issuer}});
    let condition = json!({"type": "object", "required": ["status", "type"], "properties": {"type": text,
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]}, "reason": text, "message": text,
        "lastTransitionTime": {"type": "string", "format": "date-time"}}});
    let status = json!({"type": "object", "properties": {"certificate": bytes, "ca": bytes,
        "failureTime": {"type": "string", "format": "date-time"}, "conditions": {"type": "array", "items": condition}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "certificaterequests.cert-manager.io",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test double"}},
        "spec": {"group": "cert-manager.io", "scope": "Namespaced",
            "names": {"kind": "CertificateRequest", "listKind": "CertificateRequestList",
                "plural": "certificaterequests", "singular": "certificaterequest", "shortNames": ["cr", "crs"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}}}]}})
}

fn requests(client: Client, namespace: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("cert-manager.io", "v1", "CertificateRequest");
    Api::namespaced_with(client, namespace, &ApiResource::from_gvk_with_plural(&gvk, "certificaterequests"))
}

struct Ca {
    pem: String,
    signer: Signer<'static, KeyPair>,
}

impl Ca {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, signer: Signer::new(params, key) }
    }

    fn sign(&self, request: &str) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(request).unwrap();
        request.params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        request.signed_by(&self.signer).unwrap().pem()
    }
}

/// cert-manager's part, as long as it is held.
struct Double {
    mode: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Double {
    fn start(requests: Api<DynamicObject>) -> Self {
        let mode = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(control(requests, mode.clone()));
        Self { mode, task }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn control(requests: Api<DynamicObject>, mode: Arc<AtomicUsize>) {
    let cas = [Ca::new("first"), Ca::new("second")];
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    loop {
        pace.tick().await;
        let all = requests.list(&ListParams::default()).await.expect("requests are listed");
        for request in all.items.into_iter().filter(|request| request.data.get("status").is_none()) {
            assert_eq!(
                request.data["spec"]["issuerRef"],
                json!({"name": "mesh", "kind": "Issuer", "group": "cert-manager.io"})
            );
            assert_eq!(request.metadata.labels.as_ref().unwrap()["app.kubernetes.io/managed-by"], "fsm-control");
            let condition = |kind: &str, status: &str, reason: &str, message: &str| json!({"type": kind, "status": status, "reason": reason, "message": message});
            let status = match mode.load(SeqCst) {
                DENY => json!({"conditions": [condition("Denied", "True", "policy", "not for this service account"),
                    condition("Ready", "False", "Denied", "denied")]}),
                FAIL => json!({"conditions": [condition("Ready", "False", "Failed", "the CA does not answer")]}),
                mode => {
                    let csr: ByteString = serde_json::from_value(request.data["spec"]["request"].clone()).unwrap();
                    let ca = &cas[usize::from(mode == OTHER_ROOT)];
                    let certificate = ByteString(ca.sign(std::str::from_utf8(&csr.0).unwrap()).into_bytes());
                    let root = ByteString(ca.pem.clone().into_bytes());
                    let mut status = json!({"certificate": certificate, "ca": root,
                        "conditions": [condition("Approved", "True", "cert-manager.io", ""),
                            condition("Ready", "True", "Issued", "fetched")]});
                    if mode == NO_ROOT {
                        status.as_object_mut().unwrap().remove("ca");
                    }
                    status
                }
            };
            let patch = Patch::Merge(json!({ "status": status }));
            let name = request.metadata.name.unwrap();
            requests.patch_status(&name, &PatchParams::default(), &patch).await.expect("a status is taken");
        }
    }
}

async fn prepare(server: &ApiServer, namespace: &str) -> (Api<DynamicObject>, CertManagerSettings) {
    // Two tests that apply the same at the same time are in each other's way.
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED.get_or_init(async || server.apply(&definition().to_string()).await).await;
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    server.apply(&object.to_string()).await;
    let requests = requests(server.client().await, namespace);
    eventually("the definition is served", async || requests.list(&ListParams::default()).await.is_ok()).await;
    let settings = CertManagerSettings {
        namespace: namespace.into(),
        issuer_name: "mesh".into(),
        issuer_kind: "Issuer".into(),
        issuer_group: "cert-manager.io".into(),
    };
    (requests, settings)
}

async fn open(server: &ApiServer, settings: CertManagerSettings) -> Result<CertManager, CertManagerError> {
    let opened = CertManager::open(server.client().await, settings, Arc::new(SystemTime::now));
    within("the issuer answers", opened).await
}

async fn refusal(manager: &CertManager) -> String {
    match within("it answers", manager.issue(leaf(names("shop", "web"), HOUR))).await {
        Err(IssueError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_issuer_of_cert_manager_signs_and_its_root_is_followed() {
    let Some(server) = api_server().await else { return };
    let (requests, settings) = prepare(&server, "cm-signs").await;
    let double = Double::start(requests.clone());
    let manager = open(&server, settings).await.unwrap();
    let bundle = manager.trust_bundle();
    let issued = within("it signs", manager.issue(leaf(names("shop", "web"), HOUR))).await.unwrap();
    assert!(is_trusted(&issued.chain, &bundle.pem, "web.shop.cluster.local"));
    // Many at once, each with its own certificate.
    let many = (0..20).map(|number| manager.issue(leaf(names("shop", &format!("web-{number}")), HOUR)));
    let many: Vec<_> = many.map(|one| async { one.await.unwrap() }).collect();
    for (number, one) in many.into_iter().enumerate() {
        let issued = within("it signs", one).await;
        assert!(is_trusted(&issued.chain, &bundle.pem, &format!("web-{number}.shop.cluster.local")));
    }
    eventually("requests are removed", async || {
        requests.list(&ListParams::default()).await.is_ok_and(|all| all.items.is_empty())
    })
    .await;

    double.mode.store(OTHER_ROOT, SeqCst);
    let changes = manager.changes();
    within("it looks", manager.look()).await.unwrap();
    assert!(changes.has_changed().unwrap());
    let both = manager.trust_bundle();
    assert!(both.pem.ends_with(&bundle.pem) && both.pem != bundle.pem, "the root of before stays trusted");
    let other = within("it signs", manager.issue(leaf(names("shop", "web"), HOUR))).await.unwrap();
    assert!(is_trusted(&other.chain, &both.pem, "web.shop.cluster.local"));
    assert!(is_trusted(&issued.chain, &both.pem, "web.shop.cluster.local"));
}

#[tokio::test]
async fn what_cert_manager_refuses_is_said_with_a_remedy() {
    let Some(server) = api_server().await else { return };
    let (requests, settings) = prepare(&server, "cm-refuses").await;
    let double = Double::start(requests.clone());
    let manager = open(&server, settings.clone()).await.unwrap();
    double.mode.store(DENY, SeqCst);
    let reason = refusal(&manager).await;
    assert!(reason.contains("was denied: not for this service account; approve requests"), "{reason}");
    double.mode.store(FAIL, SeqCst);
    let reason = refusal(&manager).await;
    assert!(reason.contains("Issuer mesh (cert-manager.io) does not sign"), "{reason}");
    assert!(reason.contains("the CA does not answer"), "{reason}");
    double.mode.store(NO_ROOT, SeqCst);
    let error = open(&server, settings.clone()).await.unwrap_err().to_string();
    assert!(error.contains("it does not say its root"), "{error}");
    // Nobody signs: it is given up in time, and nothing is left behind.
    drop(double);
    match within("it gives up", manager.issue(leaf(names("shop", "web"), HOUR))).await {
        Err(IssueError::Unavailable { reason, .. }) => {
            assert!(reason.contains("does cert-manager run, and is there Issuer mesh"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    eventually("requests are removed", async || {
        requests.list(&ListParams::default()).await.is_ok_and(|all| all.items.is_empty())
    })
    .await;
}
