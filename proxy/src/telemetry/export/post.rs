//! One `POST` to a collector: a fresh connection, one deadline for everything, an answer that is hardly read.

use crate::limits;
use crate::upstream::connect::dial;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Where something is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    host: String,
    port: u16,
    path: String,
}

/// The configuration names no collector.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoCollector {
    /// Not `host:port`.
    #[error("{0:?} is not `host:port`")]
    Address(String),
    /// Not a path.
    #[error("{0:?} is no path with an optional query")]
    Endpoint(String),
}

/// Why nothing was sent.
#[derive(Debug, Error)]
pub enum PostError {
    /// No address, or nobody there.
    #[error("collector {0} cannot be reached: {1}; check its address, and that it runs")]
    Connect(String, io::Error),
    /// It broke off or speaks something else.
    #[error("collector {0}: {1}")]
    Exchange(String, hyper::Error),
    /// It refused.
    #[error("collector {0} answers {1} to {2}; check the endpoint, and whether it takes this format")]
    Status(String, StatusCode, String),
    /// It took too long.
    #[error("collector {0} has not taken the batch within {limit:?}", limit = limits::EXPORT_TIMEOUT)]
    Timeout(String),
    /// The exporter's own complaint.
    #[error("collector {0}: {1}")]
    Other(String, String),
}

impl Collector {
    /// The collector at `address` (`host:port`), and the path there; `usual` if none is given.
    ///
    /// # Errors
    /// [`NoCollector`].
    pub fn new(address: &str, endpoint: &str, usual: &str) -> Result<Self, NoCollector> {
        let wrong = || NoCollector::Address(address.chars().take(64).collect());
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte)) {
            return Err(wrong());
        }
        let path = if endpoint.is_empty() { usual } else { endpoint };
        if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(NoCollector::Endpoint(path.chars().take(64).collect()));
        }
        Ok(Self { host: host.to_owned(), port, path: path.to_owned() })
    }

    /// `host:port`, as a URI spells it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The whole URL.
    pub fn url(&self) -> String {
        format!("http://{}{}", self.authority(), self.path)
    }
}

/// Sends a JSON body and reads whether it was taken.
///
/// # Errors
/// [`PostError`].
pub async fn post(
    collector: &Collector,
    headers: &[(HeaderName, HeaderValue)],
    body: Bytes,
    mark: Option<u32>,
) -> Result<(), PostError> {
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.headers_mut().extend(headers.iter().cloned());
    let answer = send(collector, request, mark).await?;
    if answer.status().is_success() {
        return Ok(());
    }
    Err(PostError::Status(collector.authority(), answer.status(), collector.path.clone()))
}

/// Sends a request to the collector's path.
///
/// # Errors
/// [`PostError`]; never for a status.
pub async fn send(
    collector: &Collector,
    request: Request<Bytes>,
    mark: Option<u32>,
) -> Result<Response<Bytes>, PostError> {
    let late = || PostError::Timeout(collector.authority());
    timeout(limits::EXPORT_TIMEOUT, exchange(collector, request, mark)).await.unwrap_or_else(|_| Err(late()))
}

async fn exchange(
    collector: &Collector,
    request: Request<Bytes>,
    mark: Option<u32>,
) -> Result<Response<Bytes>, PostError> {
    let authority = collector.authority();
    let stream = connect(collector, mark).await.map_err(|error| PostError::Connect(authority.clone(), error))?;
    let failed = |error| PostError::Exchange(collector.authority(), error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let (mut head, body) = request.into_parts();
    head.uri = collector.path.parse().unwrap_or_default();
    if let Ok(host) = HeaderValue::from_str(&authority) {
        head.headers.insert(HOST, host);
    }
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    head.headers.insert(USER_AGENT, HeaderValue::from_static(concat!("fsm-proxy/", env!("CARGO_PKG_VERSION"))));
    let answer = async {
        let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await.map_err(failed)?;
        let (head, body) = answer.into_parts();
        // What a collector says besides its status is of no use here.
        let body = Limited::new(body, limits::EXPORT_ANSWER_BYTES).collect().await;
        Ok(Response::from_parts(head, body.map(|body| body.to_bytes()).unwrap_or_default()))
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        end = &mut connection => {
            end.map_err(failed)?;
            answer.await
        }
    }
}

async fn connect(collector: &Collector, mark: Option<u32>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((collector.host.as_str(), collector.port)).await? {
        match timeout(limits::CONNECT_TIMEOUT, dial(address, mark)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
