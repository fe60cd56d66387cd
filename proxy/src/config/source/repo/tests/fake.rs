//! A repository in this process, scripted by the test.

use super::super::super::RepoUrl;
use super::Compression;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// A running repository with one codebase; ends when dropped.
pub(super) struct Fake {
    pub(super) url: RepoUrl,
    script: Arc<Mutex<Script>>,
    connections: Arc<Mutex<(usize, JoinSet<()>)>>,
    accepting: JoinHandle<()>,
}

/// What the repository answers, and what it was asked.
#[derive(Default)]
struct Script {
    etag: Option<String>,
    date: Option<String>,
    /// By file name; the empty one is the list.
    files: HashMap<String, Reply>,
    head: Option<Reply>,
    post: Option<Reply>,
    asked: Vec<String>,
    posts: Vec<Bytes>,
}

/// One scripted answer.
#[derive(Clone)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

pub(super) fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    Reply { status, headers: Vec::new(), body: body.into() }
}

impl Reply {
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

pub(super) fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn url(address: SocketAddr) -> RepoUrl {
    format!("http://{address}/repo/fsm-sidecar/u.sidecar.web.shop/").parse().unwrap()
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url(listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script::default()));
        let connections = Arc::new(Mutex::new((0, JoinSet::new())));
        let (prefix, scripted, counted) = (url.path.clone(), script.clone(), connections.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (prefix, script) = (prefix.clone(), scripted.clone());
                let service = service_fn(move |request| answer(request, prefix.clone(), script.clone()));
                let mut counted = counted.lock();
                counted.0 += 1;
                counted.1.spawn(async move {
                    let mut server = http1::Builder::new();
                    drop(server.auto_date_header(false).serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { url, script, connections, accepting }
    }

    /// The codebase as a whole: its version and its files.
    pub(super) fn publish(&self, etag: &str, files: &[(&str, Reply)]) {
        let mut script = self.script.lock();
        script.etag = Some(format!("\"{etag}\""));
        script.date = Some("Mon, 02 Mar 2026 09:14:07 GMT".into());
        script.files = files.iter().map(|(name, reply)| ((*name).to_owned(), reply.clone())).collect();
        script.files.insert(String::new(), reply(200, "/main.js\n/config.json\n"));
    }

    /// No codebase: everything is 404.
    pub(super) fn delete(&self) {
        let mut script = self.script.lock();
        script.files.clear();
        script.post = Some(reply(404, ""));
    }

    /// Replaces one file and leaves the version as it is.
    pub(super) fn set(&self, name: &str, reply: Reply) {
        self.script.lock().files.insert(name.to_owned(), reply);
    }

    pub(super) fn set_head(&self, reply: Reply) {
        self.script.lock().head = Some(reply);
    }

    pub(super) fn set_post(&self, reply: Reply) {
        self.script.lock().post = Some(reply);
    }

    pub(super) fn set_date(&self, date: &str) {
        self.script.lock().date = Some(date.into());
    }

    /// Leaves the version out of every answer.
    pub(super) fn anonymous(&self) {
        let mut script = self.script.lock();
        (script.etag, script.date) = (None, None);
    }

    /// Requests so far: method and file.
    pub(super) fn asked(&self) -> Vec<String> {
        self.script.lock().asked.clone()
    }

    pub(super) fn posts(&self) -> Vec<Bytes> {
        self.script.lock().posts.clone()
    }

    pub(super) fn forget(&self) {
        self.script.lock().asked.clear();
    }

    /// Connections so far.
    pub(super) fn connections(&self) -> usize {
        self.connections.lock().0
    }

    /// Closes every open connection, as a restarted controller does.
    pub(super) async fn hang_up(&self) {
        let mut open = std::mem::take(&mut self.connections.lock().1);
        open.shutdown().await;
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    prefix: String,
    script: Arc<Mutex<Script>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let name = head.uri.path().strip_prefix(&prefix).unwrap_or("<outside>").to_owned();
    let mut script = script.lock();
    script.asked.push(format!("{} {name}", head.method));
    let reply = match head.method {
        Method::HEAD if script.head.is_some() => script.head.clone(),
        Method::POST => {
            script.posts.push(body);
            Some(script.post.clone().unwrap_or_else(|| reply(201, "")))
        }
        _ => script.files.get(&name).cloned(),
    };
    let reply = reply.unwrap_or_else(|| self::reply(404, "Not Found"));
    let mut response = Response::builder().status(reply.status);
    for (name, value) in [("etag", &script.etag), ("date", &script.date)] {
        if let Some(value) = value {
            response = response.header(name, value);
        }
    }
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(reply.body)).unwrap())
}
