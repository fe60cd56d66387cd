//! A double of cert-manager: its definition as strict as the real one, its approver, and an issuer that signs what stands
//! in a request, as cert-manager's own issuers do, or refuses it in the ways that they have.

use fsm_tests::{ApiServer, eventually, within};
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
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// The first CA signs.
    Signs,
    /// Another CA signs.
    SignsWithAnother,
    /// Another CA signs for whoever has this name, and the approver denies everybody else.
    SignsWithAnotherFor(&'static str),
    /// It signs, and does not say its root, as ACME issuers do.
    SignsWithoutRoot,
    /// The approver denies.
    Denies,
    /// The issuer fails.
    Fails,
    /// It is approved, and the issuer does not exist.
    HasNoIssuer,
}

/// cert-manager's part, as long as it is held.
pub(super) struct Double {
    pub(super) requests: Api<DynamicObject>,
    mood: Arc<Mutex<Mood>>,
    task: JoinHandle<()>,
}

impl Double {
    /// Installs the definition, and looks after the requests of a namespace, which must all be for `Issuer mesh`.
    pub(super) async fn start(server: &ApiServer, namespace: &str) -> Self {
        // Tests that apply the same at the same time are in each other's way.
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        INSTALLED.get_or_init(async || server.apply(&definition().to_string()).await).await;
        let requests = requests(server.client().await, namespace);
        eventually("the definition is served", async || requests.list(&ListParams::default()).await.is_ok()).await;
        let mood = Arc::new(Mutex::new(Mood::Signs));
        let task = tokio::spawn(control(requests.clone(), mood.clone()));
        Self { requests, mood, task }
    }

    /// From now on it answers so. What goes wrong with it is this test's failure.
    pub(super) async fn is_to(&mut self, mood: Mood) {
        self.is_well().await;
        *self.mood.lock().unwrap() = mood;
    }

    /// Nothing of what it saw was wrong.
    pub(super) async fn is_well(&mut self) {
        if self.task.is_finished() {
            (&mut self.task).await.expect("the double goes on");
        }
    }

    /// All requests are removed.
    pub(super) async fn has_nothing_left(&mut self) {
        self.is_well().await;
        eventually("requests are removed", async || {
            self.requests.list(&ListParams::default()).await.is_ok_and(|all| all.items.is_empty())
        })
        .await;
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The parts of cert-manager's definition (v1.18) that a client meets.
fn definition() -> Value {
    let text = json!({"type": "string"});
    let usages = json!({"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "string",
        "enum": ["signing", "digital signature", "content commitment", "key encipherment", "key agreement",
            "data encipherment", "cert sign", "crl sign", "encipher only", "decipher only", "any", "server auth",
            "client auth", "code signing", "email protection", "s/mime", "ipsec end system", "ipsec tunnel",
            "ipsec user", "timestamping", "ocsp signing", "microsoft sgc", "netscape sgc"]}});
    let issuer = json!({"type": "object", "required": ["name"],
        "properties": {"name": text, "kind": text, "group": {"type": "string", "default": "cert-manager.io"}}});
    let bytes = json!({"type": "string", "format": "byte"});
    let spec = json!({"type": "object", "required": ["issuerRef", "request"], "properties": {"request": bytes,
        "duration": text, "isCA": {"type": "boolean"}, "usages": usages, "issuerRef": issuer, "username": text,
        "uid": text}});
    let condition = json!({"type": "object", "required": ["status", "type"], "properties": {"type": text,
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]}, "reason": text, "message": text,
        "lastTransitionTime": {"type": "string", "format": "date-time"}}});
    let conditions = json!({"type": "array", "items": condition, "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"]});
    let status = json!({"type": "object", "properties": {"certificate": bytes, "ca": bytes,
        "failureTime": {"type": "string", "format": "date-time"}, "conditions": conditions}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "certificaterequests.cert-manager.io"},
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

/// A condition. API server 1.20 takes an empty text in a patch for null and refuses it, so there is none.
fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    assert!(!reason.is_empty() && !message.is_empty());
    json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

async fn control(requests: Api<DynamicObject>, mood: Arc<Mutex<Mood>>) {
    let cas = [Ca::new("first"), Ca::new("second")];
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    loop {
        pace.tick().await;
        let all = within("requests are listed", requests.list(&ListParams::default())).await.unwrap();
        for request in all.items {
            let mood = *mood.lock().unwrap();
            let Some(status) = next(&request, mood, &cas) else { continue };
            let name = request.metadata.name.unwrap();
            let patch = Patch::Merge(json!({ "status": status }));
            match within("a status is taken", requests.patch_status(&name, &PatchParams::default(), &patch)).await {
                Ok(_) => {}
                // Whoever asked has given up meanwhile.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
}

/// What the status of a request is next: first somebody approves, then the issuer answers.
fn next(request: &DynamicObject, mood: Mood, cas: &[Ca; 2]) -> Option<Value> {
    let spec = &request.data["spec"];
    let csr: ByteString = serde_json::from_value(spec["request"].clone()).unwrap();
    let csr = std::str::from_utf8(&csr.0).unwrap();
    let mood = match mood {
        Mood::SignsWithAnotherFor(name) if names(csr).contains(name) => Mood::SignsWithAnother,
        Mood::SignsWithAnotherFor(_) => Mood::Denies,
        other => other,
    };
    let conditions = request.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let approved = condition("Approved", "True", "cert-manager.io", "Certificate request has been approved");
    if conditions.is_empty() {
        assert_eq!(spec["issuerRef"], json!({"name": "mesh", "kind": "Issuer", "group": "cert-manager.io"}));
        assert_eq!(spec["usages"], json!(["digital signature", "key encipherment", "server auth", "client auth"]));
        assert_eq!(spec["isCA"], false);
        assert_eq!(request.metadata.labels.as_ref().unwrap()["app.kubernetes.io/managed-by"], "fsm-control");
        let denied = condition("Denied", "True", "policy", "not for this service account");
        return Some(json!({"conditions": [if mood == Mood::Denies { denied } else { approved }]}));
    }
    if conditions.len() > 1 {
        return None;
    }
    let failed = |reason: &str, message: &str| {
        json!({"failureTime": "2026-01-01T00:00:00Z",
            "conditions": [conditions[0], condition("Ready", "False", reason, message)]})
    };
    let ca = &cas[usize::from(mood == Mood::SignsWithAnother)];
    Some(match mood {
        Mood::Denies => failed("Denied", "The CertificateRequest was denied by an approval controller"),
        Mood::Fails => failed("Failed", "the CA does not answer"),
        Mood::HasNoIssuer => {
            let pending = "Referenced \"Issuer\" not found: issuer.cert-manager.io \"mesh\" not found";
            json!({"conditions": [approved, condition("Ready", "False", "Pending", pending)]})
        }
        _ => {
            let certificate = ByteString(ca.sign(csr).into_bytes());
            let root = (mood != Mood::SignsWithoutRoot).then(|| ByteString(ca.pem.clone().into_bytes()));
            let fetched = condition("Ready", "True", "Issued", "Certificate fetched from issuer successfully");
            json!({"certificate": certificate, "ca": root, "conditions": [approved, fetched]})
        }
    })
}

/// All names that stand in a request.
fn names(csr: &str) -> String {
    let request = CertificateSigningRequestParams::from_pem(csr).unwrap();
    format!("{:?}", request.params.subject_alt_names)
}
