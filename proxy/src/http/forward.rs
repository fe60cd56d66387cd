//! What both directions do to a request on its way to an endpoint, and to the response on its way back.

use super::body::{BodyProgress, RequestBody, ResponseBody};
use super::reply::Refusal;
use super::{grpc, sanitize, target, upgrade};
use crate::reason::Reason;
use crate::upstream::cluster::ClusterSettings;
use crate::upstream::connect::{Protocol, Target};
use crate::upstream::endpoint::{ExchangeOptions, ForOthers};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{Extensions, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use std::sync::Arc;

/// A request that is ready for any endpoint of its cluster.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The request, with its target in the form that the protocol wants; taken when it is sent.
    pub request: Option<Request<RequestBody>>,
    /// How it is to be sent.
    pub options: ExchangeOptions<'a>,
    /// The client's offer to switch protocols.
    pub upgrade: Option<Upgrade>,
}

/// The client's offer to switch protocols.
#[derive(Debug)]
pub struct Upgrade {
    offered: HeaderValue,
    downstream: OnUpgrade,
}

/// Which protocol a request is sent on with: HTTP/2 where it is needed (a gRPC port, gRPC over HTTP/2) or known to be
/// understood (`preserve`: the other end is a sidecar that was spoken to in HTTP/2), else HTTP/1.1, which every
/// application speaks.
pub fn upstream_protocol(request: &Request<Incoming>, grpc_port: bool, preserve: bool) -> Protocol {
    let http2 = request.version() == Version::HTTP_2;
    let wanted = grpc_port || (http2 && (preserve || grpc::is_grpc(request.headers())));
    if wanted { Protocol::Http2 } else { Protocol::Http1 }
}

/// Prepares a request whose target is canonical.
///
/// # Errors
/// [`Reason::BadHost`] when the host cannot be an authority.
pub fn prepare<'a>(
    mut request: Request<Incoming>,
    protocol: Protocol,
    host: &HeaderValue,
    settings: &ClusterSettings,
    for_others: ForOthers<'a>,
) -> Result<Outgoing<'a>, Reason> {
    let offered = offered_upgrade(&request, protocol);
    let upgrade = offered.map(|offered| Upgrade { offered, downstream: hyper::upgrade::on(&mut request) });
    let (mut parts, body) = request.into_parts();
    let came_in = parts.version;
    sanitize::remove_hop_by_hop(&mut parts.headers);
    if let Some(upgrade) = &upgrade {
        sanitize::offer_upgrade(&mut parts.headers, &upgrade.offered);
    }
    parts.extensions = Extensions::new();
    if protocol == Protocol::Http2 {
        parts.uri = target::absolute(&parts.uri, host, Scheme::HTTP)?;
        parts.version = Version::HTTP_2;
        parts.headers.remove(HOST);
    } else {
        if parts.version == Version::HTTP_2 {
            sanitize::join_cookies(&mut parts.headers);
        }
        parts.version = Version::HTTP_11;
        if !body.is_end_stream() && !parts.headers.contains_key(CONTENT_LENGTH) {
            // The codec takes a GET that does not say how its body is framed for one without a body, and drops it.
            parts.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        if parts.headers.get(HOST) != Some(host) {
            parts.headers.insert(HOST, host.clone());
        }
    }
    let options = ExchangeOptions {
        protocol,
        upgrade: upgrade.is_some(),
        response_timeout: settings.response_timeout,
        requests_per_connection: settings.requests_per_connection,
        limits: settings.limits,
        for_others,
    };
    let request = Some(Request::from_parts(parts, RequestBody::stream(body, came_in)));
    Ok(Outgoing { request, options, upgrade })
}

impl Outgoing<'_> {
    /// How far the request's body has got; `None` where there is none.
    pub fn progress(&self) -> Option<Arc<BodyProgress>> {
        self.request.as_ref().and_then(|request| request.body().progress())
    }
}

/// The response as the downstream may see it.
///
/// # Errors
/// [`Reason::UpstreamProtocol`] when the endpoint's answer could be read in two ways, or switches to a protocol that
/// nobody offered.
pub fn finish(
    mut response: Response<ResponseBody>,
    upgrade: Option<Upgrade>,
    endpoint: &Target,
) -> Result<Response<ResponseBody>, Refusal> {
    let refusal = |what: &str| Refusal::explained(Reason::UpstreamProtocol, format!("endpoint {endpoint}: {what}"));
    if let Some(upgrade) = upgrade
        && upgrade::accepted(&response, &upgrade.offered)
    {
        return Ok(upgrade::tunnel(upgrade.downstream, response, &upgrade.offered));
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal("switches to a protocol that nobody offered"));
    }
    if !sanitize::is_plainly_framed(response.headers()) {
        return Err(refusal("ambiguous transfer coding in the response"));
    }
    sanitize::remove_hop_by_hop(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    Ok(response)
}

/// An offer to switch protocols counts only where both sides can: HTTP/1.1, GET, no body that could be mistaken for
/// the tunnel's first bytes.
fn offered_upgrade(request: &Request<Incoming>, protocol: Protocol) -> Option<HeaderValue> {
    let possible = protocol == Protocol::Http1
        && request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && request.body().is_end_stream();
    possible.then(|| sanitize::offered_upgrade(request.headers())).flatten()
}
