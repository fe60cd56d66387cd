//! The small server of the demo, as a program of its own: `fsm-demo application`.
//!
//! It knows nothing of the mesh: it listens on 127.0.0.1 and speaks plaintext. Port 8080 answers HTTP/1.1 with what it
//! was asked, port 50051 answers every gRPC call with the message it got, port 9000 echoes bytes.

use anyhow::Context as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where HTTP/1.1 is served.
pub(crate) const HTTP_PORT: u16 = 8080;
/// Where gRPC is served.
pub(crate) const GRPC_PORT: u16 = 50051;
/// Where bytes are echoed.
pub(crate) const ECHO_PORT: u16 = 9000;

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Serves until killed.
///
/// # Errors
/// When a port cannot be opened.
pub(crate) fn serve() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let (http, grpc, echo) = (listen(HTTP_PORT).await?, listen(GRPC_PORT).await?, listen(ECHO_PORT).await?);
        println!("listening on 127.0.0.1, ports {HTTP_PORT} (HTTP), {GRPC_PORT} (gRPC) and {ECHO_PORT} (echo)");
        loop {
            tokio::select! {
                Ok((stream, _)) = http.accept() => drop(tokio::spawn(serve_http(stream))),
                Ok((stream, _)) = grpc.accept() => drop(tokio::spawn(serve_grpc(stream))),
                Ok((stream, _)) = echo.accept() => drop(tokio::spawn(serve_echo(stream))),
            }
        }
    })
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).await.with_context(|| format!("port {port} cannot be opened"))
}

async fn serve_http(stream: TcpStream) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(report(request).await) });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        println!("an HTTP connection broke: {error}");
    }
}

async fn serve_grpc(stream: TcpStream) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(return_message(request).await) });
    let server = http2::Builder::new(TokioExecutor::new());
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        println!("a gRPC connection broke: {error}");
    }
}

async fn serve_echo(mut stream: TcpStream) {
    let (mut read, mut write) = stream.split();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = read.read(&mut buffer).await {
        if write.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// What the application saw, in words.
async fn report(request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let caller = head.headers.get("serviceidentity").and_then(|value| value.to_str().ok());
    let text = format!(
        "the application was asked: {} {}\nserviceidentity: {}\nbody: {}\n",
        head.method,
        head.uri,
        caller.unwrap_or("(none)"),
        String::from_utf8_lossy(&body),
    );
    Response::new(Full::new(Bytes::from(text)).boxed())
}

/// A unary gRPC method that returns its argument, with the status in trailers as gRPC wants it.
async fn return_message(request: Request<Incoming>) -> Answer {
    let caller = request.headers().get("serviceidentity").cloned();
    let message = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = VecDeque::from([Frame::data(message), Frame::trailers(trailers)]);
    let mut response = Response::new(Frames(frames).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if let Some(caller) = caller {
        response.headers_mut().insert("x-called-by", caller);
    }
    response
}

/// A body of unknown length, as gRPC servers answer: with a `content-length`, curl would not wait for the trailers.
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}
