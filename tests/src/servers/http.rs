//! A well-behaved HTTP application: HTTP/1.1 and HTTP/2 (prior knowledge) on one port, told apart by the preface.

use crate::{Pod, TlsServer};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::sync::{Semaphore, mpsc, watch};

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// What the application was asked.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Version of the protocol.
    pub version: Version,
    /// Who connected to the application.
    pub remote: SocketAddr,
}

impl Seen {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.headers.iter();
        fields.find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// The application. What it does depends on the path:
///
/// | path | answer |
/// |---|---|
/// | `/status/N` | status N, body `N` |
/// | `/sse` | `data: first`, then, once [`Application::release`] is called, `data: second` |
/// | `/wait` | the echo, once released |
/// | `/count` | the length of the body, whose progress [`Application::uploaded`] shows |
/// | `/early` | 413 at once, whatever comes as a body |
/// | `/large/N` | N bytes |
/// | `/stream/N` | N bytes, made as they are taken |
/// | `…` as gRPC | the body as it came and `grpc-status: 0`; `/…/Stream` sends it twice, the second time once released |
/// | `/…/End/N` as gRPC | the body as it came and `grpc-status: N` |
/// | `/…/Refuse/N` as gRPC | no body, `grpc-status: N` in the head |
/// | anything else | the request as JSON |
#[derive(Clone)]
pub struct Application {
    state: Arc<State>,
}

struct State {
    name: String,
    requests: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    released: Semaphore,
    uploaded: watch::Sender<usize>,
}

impl Application {
    /// Starts the application at these addresses of the pod.
    pub fn start(pod: &Pod, at: &[SocketAddr]) -> Self {
        Self::serve(pod, at, None)
    }

    /// Starts it behind mutual TLS, as another sidecar with its application would look.
    pub fn start_tls(pod: &Pod, at: &[SocketAddr], tls: &TlsServer) -> Self {
        Self::serve(pod, at, Some(tls))
    }

    fn serve(pod: &Pod, at: &[SocketAddr], tls: Option<&TlsServer>) -> Self {
        let application = Self {
            state: Arc::new(State {
                name: pod.name().to_owned(),
                requests: Mutex::default(),
                connections: AtomicUsize::new(0),
                open: AtomicUsize::new(0),
                released: Semaphore::new(0),
                uploaded: watch::Sender::new(0),
            }),
        };
        for &address in at {
            let listener = pod.listen(address);
            let state = Arc::clone(&application.state);
            let tls = tls.cloned();
            tokio::spawn(async move {
                while let Ok((stream, remote)) = listener.accept().await {
                    let _ = stream.set_nodelay(true);
                    let state = Arc::clone(&state);
                    let tls = tls.clone();
                    tokio::spawn(async move {
                        state.connections.fetch_add(1, Ordering::Relaxed);
                        state.open.fetch_add(1, Ordering::Relaxed);
                        match tls {
                            None => connection(TokioIo::new(stream), remote, &state).await,
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    connection(TokioIo::new(stream), remote, &state).await;
                                }
                            }
                        }
                        state.open.fetch_sub(1, Ordering::Relaxed);
                    });
                }
            });
        }
        application
    }

    /// Lets one waiting response go on, now or when it comes to wait.
    pub fn release(&self) {
        self.state.released.add_permits(1);
    }

    /// All requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<Seen> {
        self.state.requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.requests().pop().expect("the application was asked")
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub fn open_connections(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }

    /// Waits until so many bytes of a request to `/count` have arrived.
    pub async fn uploaded(&self, bytes: usize) {
        let mut progress = self.state.uploaded.subscribe();
        let arrived = progress.wait_for(|&arrived| arrived >= bytes);
        let what = format!("{bytes} bytes arrive at the application");
        crate::within(&what, arrived).await.expect("the application lives");
    }
}

async fn connection<S>(stream: S, remote: SocketAddr, state: &Arc<State>)
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let service = service_fn(|request| {
        let state = Arc::clone(state);
        async move { Ok::<_, Infallible>(answer(request, remote, &state).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(stream, service).await;
}

async fn answer(request: Request<Incoming>, remote: SocketAddr, state: &Arc<State>) -> Answer {
    let (head, body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("", |path| path.as_str()).to_owned();
    let seen = Seen {
        method: head.method.to_string(),
        target: target.clone(),
        headers: fields(&head.headers),
        version: head.version,
        remote,
    };
    state.requests.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(seen.clone());
    let is_grpc = head.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let path = head.uri.path().to_owned();
    if is_grpc {
        return grpc(&path, &head.headers, body, state).await;
    }
    if let Some(status) = path.strip_prefix("/status/") {
        let code = status.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
        let code = code.unwrap_or(StatusCode::NOT_FOUND);
        let bodiless = matches!(code.as_u16(), 204 | 304);
        let body = if bodiless { none() } else { text(status) };
        return with_status(code, body);
    }
    if let Some(length) = path.strip_prefix("/large/") {
        return Response::new(text(&"x".repeat(length.parse().unwrap_or(0))));
    }
    if let Some(length) = path.strip_prefix("/stream/") {
        return stream(length.parse().unwrap_or(0));
    }
    match path.as_str() {
        "/sse" => sse(state),
        "/wait" => {
            released(state).await;
            echo(&seen, body, &state.name).await
        }
        "/early" => with_status(StatusCode::PAYLOAD_TOO_LARGE, text("too large")),
        "/count" => count(body, state).await,
        _ => echo(&seen, body, &state.name).await,
    }
}

async fn released(state: &Arc<State>) {
    if let Ok(permit) = state.released.acquire().await {
        permit.forget();
    }
}

fn stream(length: usize) -> Answer {
    const PIECE: usize = 64 << 10;
    let (sender, body) = frames();
    tokio::spawn(async move {
        let piece = Bytes::from(vec![b's'; PIECE]);
        let mut left = length;
        while left > 0 {
            let next = piece.slice(..left.min(PIECE));
            left -= next.len();
            if sender.send(Frame::data(next)).await.is_err() {
                return;
            }
        }
    });
    Response::new(body)
}

fn sse(state: &Arc<State>) -> Answer {
    let (sender, body) = frames();
    let state = Arc::clone(state);
    tokio::spawn(async move {
        let _ = sender.send(Frame::data(Bytes::from("data: first\n\n"))).await;
        released(&state).await;
        let _ = sender.send(Frame::data(Bytes::from("data: second\n\n"))).await;
    });
    let mut response = Response::new(body);
    let event_stream = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, event_stream);
    response
}

async fn count(mut body: Incoming, state: &Arc<State>) -> Answer {
    state.uploaded.send_replace(0);
    let mut total = 0;
    while let Some(Ok(frame)) = body.frame().await {
        total += frame.data_ref().map_or(0, Bytes::len);
        state.uploaded.send_replace(total);
    }
    Response::new(text(&total.to_string()))
}

async fn grpc(path: &str, headers: &HeaderMap, body: Incoming, state: &Arc<State>) -> Answer {
    let message = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (sender, body) = frames();
    let state = Arc::clone(state);
    let streams = path.ends_with("/Stream");
    if let Some((_, status)) = path.split_once("/Refuse/") {
        let mut response = Response::new(none());
        response.headers_mut().insert("grpc-status", HeaderValue::from_str(status).expect("a number"));
        return response;
    }
    let status = path.split_once("/End/").map_or("0", |(_, status)| status).to_owned();
    tokio::spawn(async move {
        let _ = sender.send(Frame::data(message.clone())).await;
        if streams {
            released(&state).await;
            let _ = sender.send(Frame::data(message)).await;
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_str(&status).expect("a number"));
        trailers.insert("grpc-message", HeaderValue::from_static("done"));
        let _ = sender.send(Frame::trailers(trailers)).await;
    });
    let mut response = Response::new(body);
    if let Some(kind) = headers.get(CONTENT_TYPE) {
        response.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    response
}

async fn echo(seen: &Seen, body: Incoming, name: &str) -> Answer {
    let (body, trailers) = match body.collect().await {
        Ok(collected) => {
            let trailers = collected.trailers().map(fields).unwrap_or_default();
            (collected.to_bytes(), trailers)
        }
        Err(_) => (Bytes::new(), Vec::new()),
    };
    let mut headers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (field, value) in &seen.headers {
        headers.entry(field).or_default().push(value);
    }
    let report = json!({
        "pod": name,
        "method": seen.method,
        "target": seen.target,
        "version": format!("{:?}", seen.version),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
        "trailers": trailers.into_iter().collect::<BTreeMap<_, _>>(),
        "remote": seen.remote.to_string(),
    });
    let mut response = Response::new(text(&report.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

fn with_status(status: StatusCode, body: BoxBody<Bytes, Infallible>) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn text(text: &str) -> BoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(text.to_owned())).boxed()
}

fn none() -> BoxBody<Bytes, Infallible> {
    Empty::new().boxed()
}

fn frames() -> (mpsc::Sender<Frame<Bytes>>, BoxBody<Bytes, Infallible>) {
    let (sender, receiver) = mpsc::channel(4);
    (sender, Frames(receiver).boxed())
}

/// A body made of frames as they come.
pub(crate) struct Frames(pub(crate) mpsc::Receiver<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}
