//! `fsm program httpbin`: the part of httpbin that the demos use, with the same JSON.
//!
//! `/get /post /put /patch /delete /anything[/…] /headers /ip /user-agent /uuid /status/CODES /delay/SECONDS /bytes/N
//! /stream/N /response-headers?… /redirect/N /redirect-to?url=… /cookies /basic-auth/USER/PASSWORD /json /html /`. A
//! `HEAD` is answered like a `GET` without its body. Bodies are limited to 8 MiB in both directions. If `XHTTPBIN_POD`
//! is set, answers carry it as `x-httpbin-pod`.

mod answers;

use super::arguments::Arguments;
use super::serve::{self, Reply};
use super::{Usage, httpbin::answers::Asked};
use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Largest body that is taken or given.
const BODY_BYTES: usize = 8 << 20;

/// How long a request's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn run(arguments: &[String]) -> Result<(), Usage> {
    let mut arguments = Arguments::new(arguments);
    let mut port = 80;
    while let Some(flag) = arguments.flag()? {
        match flag.as_str() {
            "--port" => port = arguments.port(&flag)?,
            _ => return Err(Usage::unknown(&flag, "[--port PORT]")),
        }
    }
    let pod = std::env::var("XHTTPBIN_POD").ok().and_then(|pod| HeaderValue::try_from(pod).ok());
    serve::until_told_to_end(async move {
        let listener = serve::everywhere(port)?;
        println!("listening on port {port}");
        serve_on(listener, pod).await;
        Ok(())
    })
}

/// Serves until the task is ended.
async fn serve_on(listener: tokio::net::TcpListener, pod: Option<HeaderValue>) {
    let pod = Arc::new(pod);
    serve::accept(listener, move |stream, peer| {
        let pod = Arc::clone(&pod);
        serve::connection(stream, move |request| {
            let pod = Arc::clone(&pod);
            async move {
                let mut reply = answer(request, peer).await;
                let headers = reply.headers_mut();
                headers.insert("server", HeaderValue::from_static("gunicorn/19.9.0"));
                headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
                headers.insert("access-control-allow-credentials", HeaderValue::from_static("true"));
                if let Some(pod) = pod.as_ref() {
                    headers.insert("x-httpbin-pod", pod.clone());
                }
                reply
            }
        })
    })
    .await;
}

async fn answer(request: Request<Incoming>, peer: SocketAddr) -> Reply {
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return answers::status(413),
        Err(_) => return answers::status(408),
    };
    let asked = Asked::new(head, body, peer.ip());
    if let Some(delay) = asked.delay() {
        tokio::time::sleep(delay).await;
    }
    println!("{} {} {}", peer.ip(), asked.method(), asked.target());
    let mut reply = asked.answer();
    if asked.method() == "HEAD" {
        let length = HeaderValue::from(hyper::body::Body::size_hint(reply.body()).exact().unwrap_or(0));
        *reply.body_mut() = Full::new(Bytes::new());
        reply.headers_mut().insert("content-length", length);
    }
    reply
}

#[cfg(test)]
mod tests;
