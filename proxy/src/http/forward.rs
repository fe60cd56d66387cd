//! The last step of both directions: one request to one endpoint, its response back.

use super::body::{RequestBody, ResponseBody};
use super::reply::Refusal;
use super::{grpc, sanitize, target, upgrade};
use crate::upstream::cluster::Cluster;
use crate::upstream::connect::Protocol;
use crate::upstream::endpoint::{Endpoint, ExchangeOptions};
use http::header::HOST;
use http::uri::Scheme;
use http::{Extensions, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The chosen cluster: its limits apply.
    pub cluster: &'a Cluster,
    /// The chosen endpoint.
    pub endpoint: &'a Endpoint,
    /// What the endpoint speaks.
    pub protocol: Protocol,
    /// Value of `Host` or `:authority`.
    pub host: &'a HeaderValue,
}

/// Which protocol a request is sent on with: HTTP/2 where it is needed (a gRPC port, gRPC over HTTP/2) or known to be
/// understood (`preserve`: the other end is a sidecar that was spoken to in HTTP/2), else HTTP/1.1, which every
/// application speaks.
pub fn upstream_protocol(request: &Request<Incoming>, grpc_port: bool, preserve: bool) -> Protocol {
    let http2 = request.version() == Version::HTTP_2;
    let wanted = grpc_port || (http2 && (preserve || grpc::is_grpc(request.headers())));
    if wanted { Protocol::Http2 } else { Protocol::Http1 }
}

/// Sends a request whose target is canonical, and returns the response as the downstream may see it.
///
/// # Errors
/// [`Refusal`] with the upstream's failure.
pub async fn forward(
    mut request: Request<Incoming>,
    destination: Destination<'_>,
) -> Result<Response<ResponseBody>, Refusal> {
    let offered = offered_upgrade(&request, destination.protocol);
    let downstream = offered.as_ref().map(|_| hyper::upgrade::on(&mut request));
    let request = upstream_request(request, destination, offered.as_ref())?;
    let settings = &destination.cluster.settings;
    let options = ExchangeOptions {
        protocol: destination.protocol,
        upgrade: offered.is_some(),
        response_timeout: settings.response_timeout,
        requests_per_connection: settings.requests_per_connection,
    };
    let mut response = destination.endpoint.exchange(request, options).await?;
    if let (Some(offered), Some(downstream)) = (offered, downstream)
        && upgrade::accepted(&response, &offered)
    {
        return Ok(upgrade::tunnel(downstream, response, &offered));
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let detail = format!("endpoint {} switches to a protocol that nobody offered", destination.endpoint.target);
        return Err(Refusal { reason: crate::reason::Reason::UpstreamProtocol, detail });
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

fn upstream_request(
    request: Request<Incoming>,
    destination: Destination<'_>,
    offered: Option<&HeaderValue>,
) -> Result<Request<RequestBody>, Refusal> {
    let (mut parts, body) = request.into_parts();
    sanitize::remove_hop_by_hop(&mut parts.headers);
    if let Some(protocol) = offered {
        sanitize::offer_upgrade(&mut parts.headers, protocol);
    }
    parts.extensions = Extensions::new();
    if destination.protocol == Protocol::Http2 {
        parts.uri = target::absolute(&parts.uri, destination.host, Scheme::HTTP)?;
        parts.version = Version::HTTP_2;
        parts.headers.remove(HOST);
    } else {
        parts.version = Version::HTTP_11;
        if parts.headers.get(HOST) != Some(destination.host) {
            parts.headers.insert(HOST, destination.host.clone());
        }
    }
    Ok(Request::from_parts(parts, RequestBody::stream(body)))
}
