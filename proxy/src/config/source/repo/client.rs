//! A small HTTP/1.1 client for one host: one kept-alive connection, one request at a time, everything bounded.
//!
//! The connection is driven by the request that uses it, so there is no task to supervise; what a peer does to an idle
//! connection is noticed when it is used next, and then a fresh one is made.

use super::RepoUrl;
use crate::limits;
use bytes::Bytes;
use fsm_api::config::MAX_DOCUMENT_BYTES;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// A whole response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why there is no response.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    #[error("the host name {0} does not resolve ({1}); check the URL and the pod's DNS")]
    Resolve(String, io::Error),
    #[error("{0} does not accept connections ({1}); check that the controller runs")]
    Connect(String, io::Error),
    #[error("{0} did not answer within {limit} s; check that the controller runs", limit = .1.as_secs_f64())]
    Timeout(String, Duration),
    #[error("the connection to {0} broke ({1})")]
    Http(String, hyper::Error),
    #[error("{0} answered with more than {1} bytes; check that the URL is that of a sidecar's codebase")]
    TooLarge(String, usize),
    #[error("{0} closed the connection before its answer was complete")]
    Closed(String),
    #[error("the request to {0} cannot be made ({1})")]
    Request(String, http::Error),
}

/// The client; holds at most one connection.
#[derive(Debug)]
pub(super) struct Client {
    url: RepoUrl,
    deadline: Duration,
    /// Bytes of a body that are read.
    limit: usize,
    link: Option<Link>,
}

#[derive(Debug)]
struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// `None` when it has come to its end.
    connection: Option<Pin<Box<Driver>>>,
}

type Driver = Connection<TokioIo<TcpStream>, Full<Bytes>>;

impl Client {
    pub(super) fn new(url: RepoUrl, deadline: Duration) -> Self {
        Self { url, deadline, limit: MAX_DOCUMENT_BYTES, link: None }
    }

    /// Reads smaller bodies only.
    #[cfg(test)]
    pub(super) fn limit_bodies(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Sends one request for `name` below the codebase and reads the whole response, within the deadline.
    pub(super) async fn send(&mut self, method: Method, name: &str, json: Option<Bytes>) -> Result<Answer, FetchError> {
        let request = self.request(method, name, json)?;
        // A link whose exchange did not end well (or was cancelled) is not put back.
        let link = self.link.take();
        let (authority, deadline) = (self.url.authority(), self.deadline);
        let answer = timeout(deadline, self.exchange(link, request))
            .await
            .map_err(|_| FetchError::Timeout(authority, deadline))??;
        Ok(answer)
    }

    async fn exchange(&mut self, link: Option<Link>, request: Request<Full<Bytes>>) -> Result<Answer, FetchError> {
        if let Some(mut link) = link {
            match link.exchange(&self.url, self.limit, request.clone()).await {
                Ok(answer) => return Ok(self.keep(link, answer)),
                // Idle connections may have died; all our requests may be sent twice.
                Err(FetchError::Http(..) | FetchError::Closed(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let mut link = Link::open(&self.url).await?;
        let answer = link.exchange(&self.url, self.limit, request).await?;
        Ok(self.keep(link, answer))
    }

    fn keep(&mut self, link: Link, answer: Answer) -> Answer {
        self.link = link.connection.is_some().then_some(link);
        answer
    }

    fn request(&self, method: Method, name: &str, json: Option<Bytes>) -> Result<Request<Full<Bytes>>, FetchError> {
        let mut builder = Request::builder()
            .method(method)
            .uri(format!("{}{name}", self.url.path))
            .header(header::HOST, self.url.authority())
            .header(header::USER_AGENT, concat!("fsm-proxy/", env!("CARGO_PKG_VERSION")));
        if json.is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        builder
            .body(Full::new(json.unwrap_or_default()))
            .map_err(|error| FetchError::Request(self.url.authority(), error))
    }
}

impl Link {
    /// Connects to the first address that accepts.
    async fn open(url: &RepoUrl) -> Result<Self, FetchError> {
        let authority = url.authority();
        let resolve = timeout(limits::RESOLVE_TIMEOUT, lookup_host((url.host.as_str(), url.port))).await;
        let addresses = resolve
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| FetchError::Resolve(url.host.clone(), error))?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match timeout(limits::CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    let handshake = http1::handshake(TokioIo::new(stream)).await;
                    let (sender, connection) = handshake.map_err(|error| FetchError::Http(authority, error))?;
                    return Ok(Self { sender, connection: Some(Box::pin(connection)) });
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(FetchError::Connect(authority, last))
    }

    async fn exchange(
        &mut self,
        url: &RepoUrl,
        limit: usize,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, FetchError> {
        let Self { sender, connection } = self;
        let exchange = async {
            let failed = |error| FetchError::Http(url.authority(), error);
            sender.ready().await.map_err(failed)?;
            let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
            let body =
                Limited::new(body, limit).collect().await.map_err(|error| match error.downcast::<hyper::Error>() {
                    Ok(error) => failed(*error),
                    Err(error) if error.is::<LengthLimitError>() => FetchError::TooLarge(url.authority(), limit),
                    Err(_) => FetchError::Closed(url.authority()),
                })?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        tokio::pin!(exchange);
        let end = async {
            let end = match connection.as_mut() {
                Some(connection) => connection.await,
                None => Ok(()),
            };
            // Dropping it ends a request that it has not taken up.
            *connection = None;
            end
        };
        tokio::select! {
            // The response may be complete in the same moment in which the peer closes: it is looked at first.
            biased;
            answer = &mut exchange => answer,
            end = end => match end {
                // What was received before the end is still to be had.
                Ok(()) => exchange.await,
                Err(error) => Err(FetchError::Http(url.authority(), error)),
            },
        }
    }
}
