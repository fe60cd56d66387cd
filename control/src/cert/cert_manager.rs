//! Certificates from cert-manager: each request is a CertificateRequest in the control plane's namespace, and whoever the
//! named issuer is signs it.
//!
//! An issuer of cert-manager signs what stands in a request and nothing else, so a request must carry its names
//! ([`Issuer::wants_names_in_requests`]). The object is watched until it has a certificate or is refused, and then
//! removed; what a process left behind that was killed meanwhile is removed by the next look. The issuer's root is the `status.ca` that comes with each certificate; at the start a certificate is asked for
//! to learn it. An issuer that does not say its root (ACME) cannot be used.

use super::answer::{self, Answer};
use super::known_roots::KnownRoots;
use super::tresor::Clock;
use super::{IssueError, IssueFuture, Issued, Issuer, LeafNames, LeafRequest, SigningRequest, TrustBundle};
use crate::limits;
use crate::source::kubernetes::describe;
use futures_util::TryStreamExt;
use k8s_openapi::ByteString;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::Mutex;
use rcgen::KeyPair;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

/// How cert-manager marks objects of ours, so that people find them.
const LABEL: &str = "app.kubernetes.io/managed-by";
const OWNER: &str = "fsm-control";

/// Nobody waits for a request that is so old.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// Which issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertManagerSettings {
    /// Namespace of the control plane, where requests are made and an `Issuer` is looked for.
    pub namespace: String,
    /// Name of the issuer.
    pub issuer_name: String,
    /// `Issuer`, `ClusterIssuer`, or the kind of an external issuer.
    pub issuer_kind: String,
    /// Group of the kind; `cert-manager.io`, or an external issuer's.
    pub issuer_group: String,
}

/// cert-manager as issuer.
pub struct CertManager {
    requests: Api<DynamicObject>,
    settings: CertManagerSettings,
    resource: ApiResource,
    clock: Clock,
    turns: Semaphore,
    longest: Mutex<Duration>,
    roots: Mutex<KnownRoots>,
    bundle: watch::Sender<Arc<TrustBundle>>,
}

/// Why cert-manager gives no certificate.
#[derive(Clone, Debug, Error)]
pub enum CertManagerError {
    /// The API server does not take the request.
    #[error("the API server does not take a CertificateRequest in namespace {namespace}: {reason}{}", hint(*.code))]
    ApiServer {
        /// Where.
        namespace: String,
        /// HTTP status; 0: none.
        code: u16,
        /// Why.
        reason: String,
    },
    /// Nobody signed it in time.
    #[error(
        "CertificateRequest {request} had no certificate after {} s ({state}) and is removed; does cert-manager run, and is \
         there {issuer}, and ready?",
        limits::ISSUER_PATIENCE.as_secs()
    )]
    Late {
        /// Namespace and name.
        request: String,
        /// Which issuer.
        issuer: String,
        /// What its conditions say.
        state: String,
    },
    /// An approver said no.
    #[error("CertificateRequest {request} was denied: {reason}; approve requests of this service account for {issuer}")]
    Denied {
        /// Namespace and name.
        request: String,
        /// Which issuer.
        issuer: String,
        /// Why.
        reason: String,
    },
    /// The issuer said no.
    #[error("{issuer} does not sign CertificateRequest {request}: {reason}")]
    Failed {
        /// Namespace and name.
        request: String,
        /// Which issuer.
        issuer: String,
        /// Why.
        reason: String,
    },
    /// What was issued is not what was asked for.
    #[error("a certificate of {issuer} is not used: {reason}")]
    Answer {
        /// Which issuer.
        issuer: String,
        /// What is wrong.
        reason: String,
    },
    /// Our own request cannot be made.
    #[error("a request for a certificate cannot be made: {0}")]
    Request(String),
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    certificate: Option<ByteString>,
    ca: Option<ByteString>,
    conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

/// What a request has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Waiting(String),
    Issued { certificate: String, ca: String },
    Denied(String),
    Failed(String),
}

impl CertManager {
    /// Has a certificate issued, to learn the issuer's root.
    ///
    /// # Errors
    /// [`CertManagerError`]; one that [passes](CertManagerError::is_passing) is worth another try.
    pub async fn open(client: Client, settings: CertManagerSettings, clock: Clock) -> Result<Self, CertManagerError> {
        let gvk = GroupVersionKind::gvk("cert-manager.io", "v1", "CertificateRequest");
        let resource = ApiResource::from_gvk_with_plural(&gvk, "certificaterequests");
        let roots = KnownRoots::new(&[], clock());
        let manager = Self {
            requests: Api::namespaced_with(client, &settings.namespace, &resource),
            bundle: watch::Sender::new(Arc::new(roots.bundle())),
            roots: Mutex::new(roots),
            settings,
            resource,
            clock,
            turns: Semaphore::new(limits::ISSUER_AT_ONCE),
            longest: Mutex::default(),
        };
        manager.look().await?;
        Ok(manager)
    }

    /// Asks for a certificate that nobody will use, to see what the issuer's root is now.
    ///
    /// # Errors
    /// [`CertManagerError`].
    pub async fn look(&self) -> Result<(), CertManagerError> {
        let refused = |error: &dyn fmt::Display| CertManagerError::Request(error.to_string());
        let names = LeafNames {
            common_name: format!("fsm-control-root-lookup.{}.svc", self.settings.namespace),
            dns: Vec::new(),
            spiffe: None,
            addresses: Vec::new(),
        };
        let key = KeyPair::generate().map_err(|error| refused(&error))?;
        let request = super::request::with_names(&names).map_err(|error| refused(&error))?;
        let pem = request.serialize_request(&key).and_then(|request| request.pem()).map_err(|error| refused(&error))?;
        let request = SigningRequest::check(&pem).map_err(|error| refused(&error))?;
        // cert-manager knows nothing shorter than an hour.
        let leaf = LeafRequest { request, names, validity: Duration::from_secs(3600) };
        let _turn = self.turns.acquire().await.map_err(|error| self.api_error(0, error.to_string()))?;
        let created = self.create(&leaf).await?;
        self.remove_left_behind(&created).await;
        self.finish(created, &leaf).await.map(drop)
    }

    async fn sign(&self, leaf: &LeafRequest) -> Result<Issued, CertManagerError> {
        let _turn = self.turns.acquire().await.map_err(|error| self.api_error(0, error.to_string()))?;
        let created = self.create(leaf).await?;
        self.finish(created, leaf).await
    }

    async fn create(&self, leaf: &LeafRequest) -> Result<DynamicObject, CertManagerError> {
        let (parameters, object) = (PostParams::default(), self.object(leaf));
        let created = timeout(limits::ISSUER_TIMEOUT, self.requests.create(&parameters, &object)).await;
        let created = created.map_err(|_| self.api_error(0, "it does not answer".to_owned()))?;
        created.map_err(|error| match &error {
            kube::Error::Api(status) => self.api_error(status.code, status.message.clone()),
            _ => self.api_error(0, describe(&error)),
        })
    }

    async fn finish(&self, created: DynamicObject, leaf: &LeafRequest) -> Result<Issued, CertManagerError> {
        let name = created.metadata.name.clone().unwrap_or_default();
        // Also when nobody waits for the answer any more.
        let _removed = Removal { requests: self.requests.clone(), name: name.clone() };
        let mut last = outcome(&created.data);
        if timeout(limits::ISSUER_PATIENCE, self.follow(&name, &mut last)).await.is_err() {
            debug!("CertificateRequest {name}: {last:?}");
        }
        self.judge(&name, last, leaf)
    }

    /// Removes requests that nobody waits for any more: a minute older, by the API server's clock, than one of now.
    async fn remove_left_behind(&self, of_now: &DynamicObject) {
        let ours = ListParams::default().labels(&format!("{LABEL}={OWNER}"));
        // Whatever fails here is tried again with the next look.
        let Ok(Ok(all)) = timeout(limits::ISSUER_TIMEOUT, self.requests.list(&ours)).await else { return };
        let made =
            |object: &DynamicObject| object.metadata.creation_timestamp.as_ref().map(|at| SystemTime::from(at.0));
        let Some(now) = made(of_now) else { return };
        for left in all.items.iter().filter(|one| made(one).is_some_and(|made| made + LEFT_BEHIND < now)) {
            drop(Removal { requests: self.requests.clone(), name: left.metadata.name.clone().unwrap_or_default() });
        }
    }

    /// Watches one request until it has come to something.
    async fn follow(&self, name: &str, last: &mut Outcome) {
        let one = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut seen = pin!(watcher(self.requests.clone(), one));
        while matches!(last, Outcome::Waiting(_)) {
            match seen.try_next().await {
                Ok(Some(watcher::Event::Apply(object) | watcher::Event::InitApply(object))) => {
                    *last = outcome(&object.data);
                }
                Ok(Some(watcher::Event::Delete(_))) => *last = Outcome::Failed("somebody removed it".to_owned()),
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => {
                    debug!("CertificateRequest {name} cannot be followed: {}", describe(&error));
                    tokio::time::sleep(limits::ISSUER_RETRY).await;
                }
            }
        }
    }

    fn judge(&self, name: &str, outcome: Outcome, leaf: &LeafRequest) -> Result<Issued, CertManagerError> {
        let (request, issuer) = (format!("{}/{name}", self.settings.namespace), self.issuer());
        let (certificate, ca) = match outcome {
            Outcome::Issued { certificate, ca } => (certificate, ca),
            Outcome::Waiting(state) => return Err(CertManagerError::Late { request, issuer, state }),
            Outcome::Denied(reason) => return Err(CertManagerError::Denied { request, issuer, reason }),
            Outcome::Failed(reason) => return Err(CertManagerError::Failed { request, issuer, reason }),
        };
        let unusable = |reason: String| CertManagerError::Answer { issuer: self.issuer(), reason };
        let Answer { issued, roots } =
            answer::look_at(&certificate, &[ca], leaf).map_err(|mismatch| unusable(mismatch.to_string()))?;
        if roots.is_empty() {
            return Err(unusable("it does not say its root (status.ca is empty), so nobody could trust it".to_owned()));
        }
        let keep = {
            let mut longest = self.longest.lock();
            *longest = (*longest).max(leaf.validity);
            *longest + super::CLOCK_SKEW
        };
        let mut known = self.roots.lock();
        if known.hear(&roots, (self.clock)(), keep) {
            if !self.bundle.borrow().pem.is_empty() {
                warn!(
                    "{} signs with another root: proxies that have not heard of it yet refuse its certificates",
                    self.issuer()
                );
            }
            self.bundle.send_replace(Arc::new(known.bundle()));
        }
        Ok(issued)
    }

    fn object(&self, leaf: &LeafRequest) -> DynamicObject {
        let CertManagerSettings { issuer_name, issuer_kind, issuer_group, .. } = &self.settings;
        let mut object = DynamicObject::new("", &self.resource).data(json!({ "spec": {
            "request": ByteString(leaf.request.pem().into_bytes()),
            "duration": format!("{}s", leaf.validity.as_secs()),
            "isCA": false,
            "usages": ["digital signature", "key encipherment", "server auth", "client auth"],
            "issuerRef": { "name": issuer_name, "kind": issuer_kind, "group": issuer_group },
        }}));
        object.metadata.name = None;
        object.metadata.generate_name = Some("fsm-".to_owned());
        object.metadata.labels = Some([(LABEL.to_owned(), OWNER.to_owned())].into());
        object
    }

    fn issuer(&self) -> String {
        let CertManagerSettings { issuer_name, issuer_kind, issuer_group, .. } = &self.settings;
        format!("{issuer_kind} {issuer_name} ({issuer_group})")
    }

    fn api_error(&self, code: u16, reason: String) -> CertManagerError {
        CertManagerError::ApiServer { namespace: self.settings.namespace.clone(), code, reason }
    }
}

impl CertManagerError {
    /// Whether another try may succeed without anybody doing anything to the settings.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Late { .. } => true,
            Self::ApiServer { code, .. } => *code == 0 || *code == 429 || *code >= 500,
            _ => false,
        }
    }
}

fn hint(code: u16) -> &'static str {
    match code {
        403 => "; grant create, get, list, watch and delete on certificaterequests.cert-manager.io there",
        404 => "; install cert-manager, with its definitions",
        _ => "",
    }
}

impl Issuer for CertManager {
    fn issue(&self, leaf: LeafRequest) -> IssueFuture<'_> {
        Box::pin(async move {
            self.sign(&leaf).await.map_err(|error| {
                let (name, reason) = (leaf.names.common_name.clone(), error.to_string());
                match error.is_passing() {
                    true => IssueError::Unavailable { name, reason },
                    false => IssueError::Refused { name, reason },
                }
            })
        })
    }

    fn trust_bundle(&self) -> Arc<TrustBundle> {
        self.bundle.borrow().clone()
    }

    fn changes(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.bundle.subscribe()
    }

    fn wants_names_in_requests(&self) -> bool {
        true
    }
}

/// What the status of a request says.
fn outcome(data: &Value) -> Outcome {
    let status: Status =
        data.get("status").cloned().and_then(|status| serde_json::from_value(status).ok()).unwrap_or_default();
    let condition = |kind: &str| status.conditions.iter().find(|condition| condition.kind == kind);
    let text = |condition: &Condition| match condition.message.is_empty() {
        true => condition.reason.clone(),
        false => condition.message.clone(),
    };
    if let Some(denied) = condition("Denied").filter(|condition| condition.status == "True") {
        return Outcome::Denied(text(denied));
    }
    if let Some(invalid) = condition("InvalidRequest").filter(|condition| condition.status == "True") {
        return Outcome::Failed(text(invalid));
    }
    let pem = |bytes: Option<&ByteString>| bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
    match condition("Ready") {
        Some(ready) if ready.status == "True" => match pem(status.certificate.as_ref()) {
            Some(certificate) => Outcome::Issued { certificate, ca: pem(status.ca.as_ref()).unwrap_or_default() },
            None => Outcome::Waiting("it is ready and has no certificate".to_owned()),
        },
        Some(ready) if ready.reason == "Denied" => Outcome::Denied(text(ready)),
        Some(ready) if ready.reason == "Failed" => Outcome::Failed(text(ready)),
        Some(ready) => Outcome::Waiting(text(ready)),
        None if condition("Approved").is_some_and(|approved| approved.status == "True") => {
            Outcome::Waiting("it is approved, and its issuer has not answered".to_owned())
        }
        None => Outcome::Waiting("nobody has approved or denied it".to_owned()),
    }
}

/// Removes a request when it is not needed any more.
struct Removal {
    requests: Api<DynamicObject>,
    name: String,
}

impl Drop for Removal {
    fn drop(&mut self) {
        let (requests, name) = (self.requests.clone(), std::mem::take(&mut self.name));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let removed = timeout(limits::WRITE_TIMEOUT, requests.delete(&name, &DeleteParams::default())).await;
            if let Ok(Err(error)) = removed {
                debug!("CertificateRequest {name} is not removed: {}", describe(&error));
            }
        });
    }
}

impl fmt::Debug for CertManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertManager").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
