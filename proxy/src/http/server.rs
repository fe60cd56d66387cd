//! The downstream side of an HTTP connection: codec, limits, deadlines and draining.
//!
//! Malformed messages never reach a handler: the codec answers 400, 414 or 431 itself and closes (hyper's rules for
//! ambiguous framing are the ones of RFC 9112 §6.3, and stricter).

use super::body::ResponseBody;
use super::reply;
use crate::limits;
use crate::runtime::drain::{DrainWatch, Phase};
use crate::tls::Alpn;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// The version that a downstream connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// The version that both sides agreed on, if they did.
    pub const fn agreed(alpn: Alpn) -> Option<Self> {
        match alpn {
            Alpn::H2 | Alpn::MeshH2 => Some(Self::Http2),
            Alpn::Http1 | Alpn::MeshHttp1 => Some(Self::Http1),
            Alpn::None | Alpn::MeshTcp | Alpn::Other => None,
        }
    }
}

/// Serves a connection until it ends or the proxy drains.
///
/// `patience`: the phase at which an HTTP/2 client is asked to leave (GOAWAY).
///
/// # Errors
/// What the codec found wrong with the connection; local replies have been sent where the protocol allows them.
pub async fn serve<IO, H, F>(
    io: IO,
    version: Version,
    mut drain: DrainWatch,
    patience: Phase,
    handle: H,
) -> Result<(), hyper::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Response<ResponseBody>> + Send + 'static,
{
    // In a box: hyper moves the future several times (into the task of an HTTP/2 stream, through the task's stages), and
    // it is some kilobytes large.
    let service = service_fn(move |request: Request<Incoming>| {
        // The HTTP/1 codec leaves the body of an answer to HEAD out by itself, the HTTP/2 codec sends it.
        let bodiless = version == Version::Http2 && request.method() == Method::HEAD;
        // Made where it stays: a box that is filled afterwards is copied into.
        let response = Box::into_pin(Box::write(Box::new_uninit(), handle(request)));
        async move {
            let mut response = response.await;
            if bodiless {
                reply::keep_head_only(&mut response);
            }
            Ok::<_, Infallible>(response)
        }
    });
    match version {
        Version::Http1 => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits::HTTP1_HEADER_TIMEOUT)
                .max_buf_size(limits::HTTP1_MAX_HEADER_BYTES)
                .auto_date_header(false)
                .serve_connection(TokioIo::new(io), service)
                .with_upgrades();
            let mut connection = pin!(connection);
            tokio::select! {
                biased;
                result = connection.as_mut() => return result,
                () = drain.reached(Phase::Closing) => connection.as_mut().graceful_shutdown(),
            }
            connection.await
        }
        Version::Http2 => {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(limits::HTTP2_STREAM_WINDOW)
                .initial_connection_window_size(limits::HTTP2_CONNECTION_WINDOW)
                .max_concurrent_streams(limits::HTTP2_MAX_STREAMS)
                .max_header_list_size(limits::HTTP2_MAX_HEADER_BYTES)
                .max_send_buf_size(limits::HTTP2_SEND_BUFFER)
                .max_pending_accept_reset_streams(limits::HTTP2_MAX_PENDING_RESETS)
                .max_local_error_reset_streams(limits::HTTP2_MAX_LOCAL_RESETS)
                .keep_alive_interval(limits::HTTP2_KEEP_ALIVE_INTERVAL)
                .keep_alive_timeout(limits::HTTP2_KEEP_ALIVE_TIMEOUT)
                .auto_date_header(false)
                .serve_connection(TokioIo::new(io), service);
            let mut connection = pin!(connection);
            tokio::select! {
                biased;
                result = connection.as_mut() => return result,
                () = drain.reached(patience) => connection.as_mut().graceful_shutdown(),
            }
            connection.await
        }
    }
}
