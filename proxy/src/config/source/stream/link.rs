//! One HTTP/2 connection to fsm-control: name, TCP, TLS, HTTP/2, each with a deadline.
//!
//! The server is always verified: its chain against the roots that the pod was given and, once there are some, those of
//! the mesh; its name against the configured one. The connection is driven by whoever uses it, so there is no
//! task to supervise. Fails with a [`ControlError`] that names the cause and the remedy.

use super::ControlOptions;
use crate::limits;
use crate::tls::{Alpn, ClientTls, ConnectError, Expect, Identity, IdentityError, OwnKeyError, roots_from_pem};
use crate::upstream::connect::dial;
use bytes::Bytes;
use fsm_api::stream::frame::FrameError;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::RootCertStore;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// Bytes of an explanation beside an unexpected status.
const EXPLANATION_BYTES: usize = 4 << 10;

/// Why fsm-control did not do what it was asked for.
#[derive(Debug, Error)]
pub(super) enum ControlError {
    #[error("{path} ({flag}) cannot be read: {source}")]
    File { path: PathBuf, flag: &'static str, source: io::Error },
    #[error("{path} (--control-token) is no token: {why}")]
    Token { path: PathBuf, why: &'static str },
    #[error("{path} (--control-ca) cannot be used: {source}")]
    Roots { path: PathBuf, source: IdentityError },
    #[error("the host name {host} does not resolve ({source}); check --control and the pod's DNS")]
    Resolve { host: String, source: io::Error },
    #[error("{authority} does not accept connections ({source}); check that fsm-control runs")]
    Connect { authority: String, source: io::Error },
    #[error("{authority} did not {what} within {limit} s; check that fsm-control runs", limit = .limit.as_secs_f64())]
    Timeout { authority: String, what: &'static str, limit: Duration },
    #[error("{authority} is not the expected fsm-control: {source}; --control-name says whom to expect")]
    Name { authority: String, source: ConnectError },
    #[error("{authority} cannot be trusted: {source}; --control-ca must hold the root of fsm-control's certificate")]
    Untrusted { authority: String, source: ConnectError },
    #[error("TLS with {authority} failed: {source}")]
    Tls { authority: String, source: ConnectError },
    #[error("{authority} does not speak HTTP/2; check that --control leads to fsm-control's port for proxies")]
    Protocol { authority: String },
    #[error("the connection to {authority} broke ({detail})")]
    Broken { authority: String, detail: String },
    #[error("{authority} refuses our certificate ({detail}); a new one is asked for")]
    Refused { authority: String, detail: String },
    #[error(
        "{authority} does not accept the token in {path} ({status}: {detail}); check that the token is this pod's and has not expired"
    )]
    Unauthorized { authority: String, path: PathBuf, status: StatusCode, detail: String },
    #[error("{authority} answered {status} to {what}: {detail}")]
    Status { authority: String, what: &'static str, status: StatusCode, detail: String },
    #[error("the answer of {authority} cannot be used: {detail}")]
    Answer { authority: String, detail: String },
    #[error("a message of {authority} cannot be used: {source}")]
    Frame { authority: String, source: FrameError },
    #[error("{authority} ended the stream")]
    Ended { authority: String },
    #[error(
        "{authority} takes version {named:?} for the one in force, which is {in_force:?}; the whole document is asked for"
    )]
    Confused { authority: String, named: String, in_force: String },
    #[error(transparent)]
    OwnKey(#[from] OwnKeyError),
    #[error("a task of the proxy ended early ({0})")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl ControlError {
    /// Whether our certificate is the reason.
    pub(super) const fn is_about_our_certificate(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// Whether our certificate may be the reason although nobody says so: the connection ended when the server had seen it. The
    /// alert that would say so can get lost (TLS 1.3 sends it after the handshake).
    pub(super) const fn may_be_about_our_certificate(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }
}

/// What we send.
pub(super) type Outgoing = UnsyncBoxBody<Bytes, Infallible>;

type Driver = Connection<TokioIo<TlsStream<TcpStream>>, Outgoing, TokioExecutor>;

/// A connection; `sender` works only while `connection` is polled, which [`Link::exchange`] does.
pub(super) struct Link {
    authority: String,
    sender: SendRequest<Outgoing>,
    connection: Driver,
}

impl Link {
    /// Connects. With `identity` the TLS is mutual; `trusted` are roots beside those of `--control-ca`.
    pub(super) async fn open(
        options: &ControlOptions,
        identity: Option<&Identity>,
        trusted: Option<&Identity>,
    ) -> Result<Self, ControlError> {
        let authority = options.address.authority();
        let roots = roots(options, trusted).await?;
        let tls = ClientTls::new(identity, roots, Expect::HostName, Alpn::H2_ONLY)
            .map_err(|error| ControlError::Answer { authority: authority.clone(), detail: error.to_string() })?;
        let stream = connect(options).await?;
        let connected = tls.connect(stream, Some(&options.name), limits::CONTROL_TIMEOUT).await;
        let connected = connected.map_err(|source| refused_server(authority.clone(), source))?;
        if connected.alpn != Alpn::H2 {
            return Err(ControlError::Protocol { authority });
        }
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits::HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(limits::HTTP2_CONNECTION_WINDOW)
            .max_header_list_size(limits::HTTP2_MAX_HEADER_BYTES)
            .keep_alive_interval(limits::CONTROL_KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(limits::CONTROL_KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        let handshake = builder.handshake(TokioIo::new(connected.stream));
        let handshake = within(&authority, "greet", handshake).await?;
        let (sender, connection) = handshake.map_err(|error| broken(&authority, &error))?;
        Ok(Self { authority, sender, connection })
    }

    /// Sends one request, and does `rest` with the response while the connection is driven.
    pub(super) async fn exchange<T, R>(
        self,
        request: Request<Outgoing>,
        rest: impl FnOnce(Response<Incoming>) -> R,
    ) -> Result<T, ControlError>
    where
        R: Future<Output = Result<T, ControlError>>,
    {
        let Self { authority, mut sender, connection } = self;
        let work = async {
            let response = within(&authority, "answer", sender.send_request(request)).await?;
            rest(response.map_err(|error| broken(&authority, &error))?).await
        };
        tokio::pin!(work, connection);
        tokio::select! {
            // What was received before the connection ended is looked at first.
            biased;
            done = &mut work => done,
            end = &mut connection => match end {
                Ok(()) => work.await,
                Err(error) => Err(broken(&authority, &error)),
            },
        }
    }
}

/// Waits for an answer of fsm-control, but not for ever.
pub(super) async fn within<T>(
    authority: &str,
    what: &'static str,
    answer: impl Future<Output = T>,
) -> Result<T, ControlError> {
    let limit = limits::CONTROL_TIMEOUT;
    timeout(limit, answer).await.map_err(|_| ControlError::Timeout { authority: authority.to_owned(), what, limit })
}

/// Reads a small body as a whole, within the deadline.
pub(super) async fn read_all(authority: &str, body: Incoming, limit: usize) -> Result<Bytes, ControlError> {
    let collected = within(authority, "complete its answer", Limited::new(body, limit).collect()).await?;
    let collected = collected.map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(error) => broken(authority, &*error),
        Err(_) => {
            let detail = format!("it has more than {limit} bytes");
            ControlError::Answer { authority: authority.to_owned(), detail }
        }
    })?;
    Ok(collected.to_bytes())
}

/// What the server says about a status that was not expected, as one short line.
pub(super) async fn explanation(authority: &str, response: Response<Incoming>) -> String {
    let plain = response.headers().get(header::CONTENT_LENGTH).is_none_or(|length| length.as_bytes() != b"0");
    let body = match plain {
        true => read_all(authority, response.into_body(), EXPLANATION_BYTES).await.unwrap_or_default(),
        false => Bytes::new(),
    };
    let text: String = String::from_utf8_lossy(&body).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.trim() {
        "" => "without an explanation".to_owned(),
        text => text.to_owned(),
    }
}

/// What HTTP/2 makes of a failure. The alert by which a server refuses a client's certificate arrives only after the
/// handshake (TLS 1.3), and h2 hands on nothing of it but its text; of pings without an answer hyper says nothing at all.
pub(super) fn broken(authority: &str, error: &(dyn Error + 'static)) -> ControlError {
    let mut detail = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !detail.contains(&text) {
            detail = format!("{detail}: {text}");
        }
        source = inner.source();
    }
    let authority = authority.to_owned();
    if detail.ends_with("broken pipe") {
        let silence = limits::CONTROL_KEEP_ALIVE_INTERVAL + limits::CONTROL_KEEP_ALIVE_TIMEOUT;
        detail = format!("it was closed, or nothing was heard for {} s", silence.as_secs());
    }
    match detail.contains("received fatal alert") {
        true => ControlError::Refused { authority, detail },
        false => ControlError::Broken { authority, detail },
    }
}

/// Reads a small file on a blocking thread, but does not wait for ever: it may be on a file system that is away.
pub(super) async fn read_file(path: &Path, flag: &'static str, limit: u64) -> Result<Vec<u8>, ControlError> {
    let owned = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        std::fs::File::open(&owned)?.take(limit + 1).read_to_end(&mut bytes)?;
        match bytes.len() as u64 > limit {
            true => Err(io::Error::other(format!("it has more than {limit} bytes"))),
            false => Ok(bytes),
        }
    });
    let read = timeout(limits::CONTROL_TIMEOUT, reading).await;
    let read = read.unwrap_or_else(|_| Ok(Err(io::ErrorKind::TimedOut.into())))?;
    read.map_err(|source| ControlError::File { path: path.to_owned(), flag, source })
}

async fn roots(options: &ControlOptions, trusted: Option<&Identity>) -> Result<Arc<RootCertStore>, ControlError> {
    let given = match read_file(&options.ca, "--control-ca", limits::CONTROL_CA_BYTES).await {
        Ok(bytes) => roots_from_pem(&String::from_utf8_lossy(&bytes), "the file")
            .map_err(|source| ControlError::Roots { path: options.ca.clone(), source }),
        Err(error) => Err(error),
    };
    let Some(trusted) = trusted else { return given };
    // The mesh's own roots are newer than what the pod was given once, and are enough.
    let mut roots = given.map_or_else(|_| RootCertStore::empty(), |given| RootCertStore::clone(&given));
    roots.extend(trusted.roots().roots.iter().cloned());
    Ok(Arc::new(roots))
}

/// Connects to the first address that accepts.
async fn connect(options: &ControlOptions) -> Result<TcpStream, ControlError> {
    let (host, port) = (options.address.host.as_str(), options.address.port);
    let addresses = timeout(limits::RESOLVE_TIMEOUT, lookup_host((host, port))).await;
    let addresses = addresses
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| ControlError::Resolve { host: host.to_owned(), source })?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses.take(limits::ADDRESSES_PER_CONNECT) {
        match timeout(limits::CONNECT_TIMEOUT, dial(address, options.mark)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(ControlError::Connect { authority: options.address.authority(), source: last })
}

fn refused_server(authority: String, source: ConnectError) -> ControlError {
    match source {
        ConnectError::Identity { .. } => ControlError::Name { authority, source },
        ConnectError::Certificate { .. } => ControlError::Untrusted { authority, source },
        ConnectError::Timeout(_) | ConnectError::Protocol { .. } | ConnectError::Closed => {
            ControlError::Tls { authority, source }
        }
    }
}
