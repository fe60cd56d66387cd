//! Asking fsm-control for our certificate: a new key, a request for it, the service-account token.
//!
//! The server is verified, we are known by the token; the token file is read each time, because Kubernetes renews it. The
//! key is made for this one certificate. Nothing of token or key appears in an error.

use super::ControlOptions;
use super::link::{self, ControlError, Link, Outgoing};
use crate::limits;
use crate::tls::{Identity, OwnKey};
use bytes::Bytes;
use fsm_api::config::Certificate;
use fsm_api::stream::{IDENTITY_PATH, IdentityNames, IdentityRequest, IdentityResponse};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use std::time::Duration;
use tokio::time::timeout;

/// A certificate as it was issued.
#[derive(Debug)]
pub(super) struct Issued {
    /// The certificate, its key and the roots, in PEM.
    pub(super) certificate: Certificate,
    /// The same, usable.
    pub(super) identity: Identity,
    /// When fsm-control wants to be asked for the next one.
    pub(super) renew_after: Duration,
}

/// Asks for a certificate; `known` is the one in force, whose roots are trusted beside those of `--control-ca`.
pub(super) async fn ask(options: &ControlOptions, known: Option<&Identity>) -> Result<Issued, ControlError> {
    let (limit, authority) = (limits::CONTROL_TIMEOUT, options.address.authority());
    let asked = timeout(limit, ask_patiently(options, known)).await;
    asked.unwrap_or(Err(ControlError::Timeout { authority, what: "issue a certificate", limit }))
}

async fn ask_patiently(options: &ControlOptions, known: Option<&Identity>) -> Result<Issued, ControlError> {
    let bearer = bearer(options).await?;
    let key = OwnKey::generate()?;
    let answer = match exchange(options, known, bearer.clone(), key.request()?).await? {
        Answered::Issued(answer) => answer,
        Answered::NamesWanted(names) => {
            let csr = key.request_for(&names)?;
            match exchange(options, known, bearer, csr).await? {
                Answered::Issued(answer) => answer,
                Answered::NamesWanted(_) => {
                    let detail = "it asks for names that it was given".to_owned();
                    return Err(ControlError::Answer { authority: options.address.authority(), detail });
                }
            }
        }
    };
    let certificate = Certificate {
        cert_chain: answer.certificate_chain,
        private_key: key.pem(),
        issuing_ca: answer.trust_bundle,
        ..Certificate::default()
    };
    let identity = Identity::issued(&certificate, &options.pod.namespace)
        .map_err(|error| ControlError::Answer { authority: options.address.authority(), detail: error.to_string() })?;
    Ok(Issued { certificate, identity, renew_after: Duration::from_secs(answer.renew_after_seconds) })
}

/// What fsm-control says to a request.
enum Answered {
    Issued(IdentityResponse),
    /// Its authority takes names from the request.
    NamesWanted(IdentityNames),
}

async fn exchange(
    options: &ControlOptions,
    known: Option<&Identity>,
    bearer: HeaderValue,
    csr: String,
) -> Result<Answered, ControlError> {
    let request = request(options, bearer, &IdentityRequest { csr })?;
    let link = Link::open(options, None, known).await?;
    link.exchange(request, |response| answer(options, response)).await
}

async fn bearer(options: &ControlOptions) -> Result<HeaderValue, ControlError> {
    let bytes = link::read_file(&options.token, "--control-token", limits::CONTROL_TOKEN_BYTES).await?;
    let wrong = |why| ControlError::Token { path: options.token.clone(), why };
    let token = bytes.trim_ascii();
    if token.is_empty() {
        return Err(wrong("it is empty"));
    }
    let mut bearer = HeaderValue::from_bytes(&[b"Bearer ", token].concat())
        .map_err(|_| wrong("it has bytes that no token has; it must be one line of text"))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

fn request(
    options: &ControlOptions,
    bearer: HeaderValue,
    message: &IdentityRequest,
) -> Result<Request<Outgoing>, ControlError> {
    let authority = options.address.authority();
    let unusable = |detail: String| ControlError::Answer { authority: options.address.authority(), detail };
    let body = serde_json::to_vec(message).map_err(|error| unusable(error.to_string()))?;
    Request::post(format!("https://{authority}{IDENTITY_PATH}"))
        .header(header::AUTHORIZATION, bearer)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, super::USER_AGENT)
        .body(Full::new(Bytes::from(body)).boxed_unsync())
        .map_err(|error| unusable(error.to_string()))
}

async fn answer(options: &ControlOptions, response: Response<Incoming>) -> Result<Answered, ControlError> {
    let (authority, status) = (options.address.authority(), response.status());
    match status {
        StatusCode::OK | StatusCode::PRECONDITION_REQUIRED => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let detail = link::explanation(&authority, response).await;
            return Err(ControlError::Unauthorized { authority, path: options.token.clone(), status, detail });
        }
        _ => {
            let detail = link::explanation(&authority, response).await;
            return Err(ControlError::Status { authority, what: "the request for a certificate", status, detail });
        }
    }
    let body = link::read_all(&authority, response.into_body(), limits::CONTROL_ANSWER_BYTES).await?;
    // The error says line and column, and nothing of the text.
    let read = match status {
        StatusCode::PRECONDITION_REQUIRED => serde_json::from_slice(&body).map(Answered::NamesWanted),
        _ => serde_json::from_slice(&body).map(Answered::Issued),
    };
    read.map_err(|error| ControlError::Answer { authority, detail: error.to_string() })
}
