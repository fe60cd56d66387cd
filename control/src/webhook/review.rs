//! One AdmissionReview (`admission.k8s.io/v1`): what is read of it, and what is answered.
//!
//! Pure. The patch is computed between the pod as it came, with whatever this program does not know, and the same with the
//! changes of injection in it; applying it gives exactly that.

use super::{InjectionFacts, NotReady};
use crate::http::{Reply, reply};
use crate::inject::{self, Decision, Settings};
use fsm_api::resources::mesh_config::MeshConfigSpec;
use http::StatusCode;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

const API_VERSION: &str = "admission.k8s.io/v1";

/// Why a body is no review.
#[derive(Debug, Error)]
pub(super) enum ReviewError {
    #[error("the body is no AdmissionReview: {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "the body is a {kind:?} of {api_version:?}; the injector understands AdmissionReview of {API_VERSION}: put only v1 into \
         admissionReviewVersions of the MutatingWebhookConfiguration"
    )]
    Version { api_version: String, kind: String },
    #[error("the AdmissionReview has no request; an API server always sends one")]
    NoRequest,
}

/// What the API server asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    uid: String,
    #[serde(default)]
    pub(super) kind: GroupVersionKind,
    #[serde(default)]
    name: String,
    /// Empty for what has none.
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) operation: String,
    #[serde(default)]
    pub(super) sub_resource: String,
    #[serde(default)]
    pub(super) object: Value,
    /// As it was; null for what is new.
    #[serde(default)]
    pub(super) old_object: Value,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct GroupVersionKind {
    #[serde(default)]
    pub(super) group: String,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    /// Read after the version: another version's may look different.
    request: Option<Value>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict {
    /// Admitted as it is, and why.
    Skipped(&'static str),
    /// Admitted, with something to be said to whoever asks.
    Admitted(Vec<String>),
    /// Admitted with the changes.
    Injected(json_patch::Patch),
    /// Not admitted, and why.
    Refused(String),
    /// Not admitted at the moment, and why.
    Later(String),
}

/// Reads a body.
pub(super) fn read(body: &[u8]) -> Result<Request, ReviewError> {
    let review: Review = serde_json::from_slice(body)?;
    if review.api_version != API_VERSION || review.kind != "AdmissionReview" {
        return Err(ReviewError::Version { api_version: review.api_version, kind: review.kind });
    }
    Ok(serde_json::from_value(review.request.ok_or(ReviewError::NoRequest)?)?)
}

/// Decides. The facts are needed only where [`Request::concerns_new_pod`].
pub(super) fn judge(
    request: &Request,
    facts: Result<Option<InjectionFacts>, NotReady>,
    settings: &Settings,
) -> Verdict {
    if !request.concerns_new_pod() {
        return Verdict::Skipped("only new pods get sidecars");
    }
    let facts = match facts {
        Ok(Some(facts)) => facts,
        Ok(None) => {
            return Verdict::Later(format!(
                "namespace {} is not known to the mesh yet, so it cannot be told whether this pod needs a sidecar; try again \
                 in a moment",
                request.namespace
            ));
        }
        Err(error) => return Verdict::Later(error.to_string()),
    };
    let pod: Pod = match serde_json::from_value(request.object.clone()) {
        Ok(pod) => pod,
        Err(error) => return Verdict::Refused(format!("the pod cannot be read: {error}")),
    };
    let usual = MeshConfigSpec::default();
    let mesh = facts.mesh.as_ref().map_or(&usual, |mesh| &mesh.spec);
    let Ok(uuid) = inject::new_uuid() else {
        return Verdict::Later("the system has no random numbers for the identity of the pod's proxy".to_owned());
    };
    match inject::inject(&pod, &facts.namespace, mesh, settings, &uuid) {
        Ok(Decision::Skip(reason)) => Verdict::Skipped(reason.text()),
        Ok(Decision::Inject(injected)) => match (serde_json::to_value(&pod), serde_json::to_value(&*injected)) {
            (Ok(before), Ok(after)) => {
                let wanted = inject::graft(&request.object, &before, &after);
                Verdict::Injected(json_patch::diff(&request.object, &wanted))
            }
            (Err(error), _) | (_, Err(error)) => Verdict::Refused(format!("the pod cannot be written: {error}")),
        },
        Err(error) => Verdict::Refused(error.to_string()),
    }
}

impl Request {
    /// Anything else is admitted as it is; a wrongly configured webhook must not stop a cluster.
    pub(super) fn concerns_new_pod(&self) -> bool {
        let kind = &self.kind;
        kind.group.is_empty() && kind.kind == "Pod" && self.operation == "CREATE" && self.sub_resource.is_empty()
    }

    /// For the log.
    pub(super) fn subject(&self) -> String {
        let generated = self.object.pointer("/metadata/generateName").and_then(Value::as_str).unwrap_or_default();
        let name = if self.name.is_empty() { format!("{generated}*") } else { self.name.clone() };
        format!("{} {}/{name}", self.kind.kind, self.namespace)
    }
}

impl Verdict {
    /// One of a few words.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Skipped(_) => "skipped",
            Self::Admitted(warnings) if warnings.is_empty() => "admitted",
            Self::Admitted(_) => "warned",
            Self::Injected(_) => "injected",
            Self::Refused(_) => "refused",
            Self::Later(_) => "not-ready",
        }
    }

    /// For the log; empty where there is nothing to tell.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Skipped(reason) => reason,
            Self::Injected(_) | Self::Admitted(_) => "",
            Self::Refused(reason) | Self::Later(reason) => reason,
        }
    }

    pub(super) fn reply(&self, request: &Request) -> Reply {
        let mut response = json!({"uid": request.uid, "allowed": true});
        let refused = |message: &str, code: u16, reason: &str| {
            json!({
                "uid": request.uid,
                "allowed": false,
                "status": {"status": "Failure", "message": message, "reason": reason, "code": code},
            })
        };
        match self {
            Self::Skipped(_) => {}
            Self::Admitted(warnings) => {
                if !warnings.is_empty() {
                    response["warnings"] = json!(warnings);
                }
            }
            Self::Injected(patch) => {
                response["patchType"] = "JSONPatch".into();
                // A patch is a list of plain objects: it can always be written.
                let patch = serde_json::to_vec(patch).unwrap_or_default();
                response["patch"] = json!(ByteString(patch));
            }
            Self::Refused(message) => response = refused(message, 400, "BadRequest"),
            Self::Later(message) => response = refused(message, 503, "ServiceUnavailable"),
        }
        let review = json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response});
        reply(StatusCode::OK, "application/json", review.to_string())
    }
}
