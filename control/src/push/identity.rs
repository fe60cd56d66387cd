//! Certificates for workloads: a token and a signing request in, a certificate for the token's account out.

use super::server::{Reply, ReplyBody, refusal};
use super::{PodKey, Push};
use crate::auth::{ReviewError, Token};
use crate::cert::{IssueError, LeafNames, LeafRequest, RequestError, SigningRequest, renew_after};
use crate::limits;
use bytes::Bytes;
use fsm_api::stream::{IdentityNames, IdentityRequest, IdentityResponse};
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;
use tokio::time::timeout;
use tracing::{info, warn};

/// Answers a request for a certificate.
pub(super) async fn issue(push: Arc<Push>, headers: HeaderMap, mut body: Incoming) -> Reply {
    let answer = timeout(limits::IDENTITY_TIMEOUT, certify(&push, &headers, &mut body)).await;
    match answer.unwrap_or(Err(Refused::Late)) {
        Ok(json) => {
            let mut reply = Response::new(ReplyBody::whole(json));
            let kind = header::HeaderValue::from_static("application/json");
            reply.headers_mut().insert(header::CONTENT_TYPE, kind);
            reply
        }
        Err(Refused::NamesWanted(names)) => {
            let json = serde_json::to_vec(&names).unwrap_or_default();
            let mut reply = Response::new(ReplyBody::whole(json.into()));
            *reply.status_mut() = StatusCode::PRECONDITION_REQUIRED;
            reply
        }
        Err(refused) => {
            warn!("a certificate is refused: {refused}");
            push.telemetry.count_refused(refused.label());
            let _ = timeout(limits::REFUSED_BODY_TIMEOUT, discard(&mut body)).await;
            refusal(refused.status(), &refused.to_string())
        }
    }
}

/// Takes what is still to come of a request, and forgets it. An answer in the middle of it is lost on some clients: curl 7.88
/// finds its stream closed when it goes on sending, and shows no status.
async fn discard(body: &mut Incoming) {
    let mut length = 0;
    while let Some(Ok(frame)) = body.frame().await {
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > limits::MAX_IDENTITY_BYTES {
            return;
        }
    }
}

/// Why there is no certificate.
#[derive(Debug, Error)]
enum Refused {
    #[error(transparent)]
    Caller(#[from] ReviewError),
    #[error("the body must be JSON with the member \"csr\" and have at most {limit} bytes: {0}", limit = limits::MAX_IDENTITY_BYTES)]
    Body(String),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(
        "the certificate authority of this mesh takes names from the request, and they are not in it: ask with them"
    )]
    NamesWanted(IdentityNames),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error("no certificate could be made within {} s; try again", limits::IDENTITY_TIMEOUT.as_secs())]
    Late,
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Caller(ReviewError::Missing | ReviewError::Refused) => StatusCode::UNAUTHORIZED,
            Self::Caller(ReviewError::Identity(_)) => StatusCode::FORBIDDEN,
            Self::Request(RequestError::Names { .. }) => StatusCode::FORBIDDEN,
            Self::Body(_) | Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::NamesWanted(_) => StatusCode::PRECONDITION_REQUIRED,
            Self::Caller(ReviewError::Unavailable(_)) | Self::Issue(_) | Self::Late => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Caller(_) => "token",
            Self::Body(_) => "malformed",
            Self::Request(RequestError::Names { .. }) => "other-names",
            Self::Request(_) => "signing-request",
            Self::NamesWanted(_) => "names-wanted",
            Self::Issue(IssueError::Refused { .. }) => "issuer-refused",
            Self::Issue(_) | Self::Late => "issuer",
        }
    }
}

async fn certify(push: &Push, headers: &HeaderMap, body: &mut Incoming) -> Result<Bytes, Refused> {
    let began = Instant::now();
    // Who asks is settled before anything of what is asked is read.
    let token = Token::bearer(headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()))?;
    let caller = push.tokens.review(&token).await?;
    let body = Limited::new(body, limits::MAX_IDENTITY_BYTES).collect().await;
    let body = body.map_err(|error| Refused::Body(error.to_string()))?.to_bytes();
    let request: IdentityRequest = serde_json::from_slice(&body).map_err(|error| Refused::Body(error.to_string()))?;
    let request = SigningRequest::check(&request.csr)?;
    let names = LeafNames::of_workload(&caller.identity, &push.trust_domain);
    request.claims_only(&names)?;
    if push.issuer.wants_names_in_requests() && !request.carries(&names) {
        return Err(Refused::NamesWanted(IdentityNames {
            common_name: crate::cert::short_name(&names.common_name).to_owned(),
            dns: names.all_dns().map(str::to_owned).collect(),
            uris: names.spiffe.into_iter().collect(),
        }));
    }
    let validity = push.settings.load().leaf_validity;
    // The bundle is read first: roots that change meanwhile are told again on the stream.
    let bundle = push.issuer.trust_bundle();
    let issued = push.issuer.issue(LeafRequest { request, names, validity }).await?;
    let remaining = issued.not_after.duration_since(SystemTime::now()).unwrap_or_default();
    let renew_after = renew_after(remaining, random()).max(Duration::from_secs(1));
    info!("issued a certificate to {} for pod {:?}", caller.identity, caller.pod);
    let pod = PodKey::new(caller.identity.namespace(), &caller.pod);
    push.roster.certified(&pod, &caller.identity, issued.not_after);
    push.telemetry.certificates.add();
    push.telemetry.certificate_time.observe(began.elapsed().as_secs_f64());
    let response = IdentityResponse {
        certificate_chain: issued.chain,
        trust_bundle: bundle.pem.clone(),
        renew_after_seconds: renew_after.as_secs(),
    };
    serde_json::to_vec(&response).map(Into::into).map_err(|error| Refused::Body(error.to_string()))
}

/// From 0 to 1; good enough for spreading load.
fn random() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64
}
