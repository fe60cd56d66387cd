//! FSM's repository protocol, for proxies that poll: what Pipy sidecars and `fsm-proxy URL` follow.
//!
//! A proxy's code base is `/repo[/PREFIX]/fsm-sidecar/<uuid>.sidecar.<sa>.<ns>/`; its version (`etag`, `date`) is asked for
//! every few seconds and its files are fetched when it changed. Other than FSM's own repository this one never shows a
//! half-written code base, nor an empty placeholder: a pod has its document, or there is nothing (404).
//!
//! The protocol is plain HTTP, and knowing the pod's uuid is all that it takes to read its document. So documents have
//! no private keys, unless that was asked for ([`keys`]); a proxy without any key of its own then refuses mTLS.

mod base;
mod keys;

use super::{Publication, Push, Tenant};
use crate::http::{Ask, PortLimits, Reply, reads, reply, serve as serve_http, text};
use crate::limits;
use crate::push::PodKey;
use base::Base;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use keys::Keys;
use serde::Deserialize;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use base::BaseError;

/// The repository.
#[derive(Debug)]
pub struct Repo {
    push: Arc<Push>,
    base: Base,
    keys: Option<Keys>,
}

const PORT: PortLimits =
    PortLimits { connections: limits::MAX_CONNECTIONS, body: limits::MAX_STATUS_BYTES, idle: limits::REPO_IDLE };

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, repo: Arc<Repo>, stop: CancellationToken) {
    let handler = move |ask| {
        let repo = repo.clone();
        async move { repo.answer(ask).await }
    };
    serve_http(listener, handler, PORT, stop).await;
}

/// One pod's code base at this moment.
#[derive(Debug)]
struct CodeBase {
    version: String,
    published: SystemTime,
    document: Bytes,
    compressed: bool,
}

impl Repo {
    /// A repository whose code bases inherit the scripts of `base`.
    ///
    /// # Errors
    /// When the scripts cannot be read.
    pub fn open(push: Arc<Push>, base: Option<&Path>, private_keys: bool) -> Result<Self, BaseError> {
        if private_keys {
            warn!(
                "--repo-private-keys: private keys of workloads are made here and sent in plain text to whoever asks \
                 the repository for them; move proxies to the stream and take the flag away"
            );
        }
        let base = base.map(Base::read).transpose()?.unwrap_or_default();
        let keys = private_keys.then(|| Keys::new(push.clone()));
        Ok(Self { push, base, keys })
    }

    async fn answer(&self, ask: Ask) -> Reply {
        let unknown = || text(StatusCode::NOT_FOUND, "there is no such code base\n");
        let Some((name, file)) = split(ask.uri().path()) else { return unknown() };
        let Some((pod, tenant, publication)) = self.find(name) else { return unknown() };
        if *ask.method() == Method::POST && file.is_empty() {
            return self.take_status(&pod, &tenant, ask.body().as_ref());
        }
        if !reads(ask.method()) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "use GET, HEAD or POST\n");
        }
        match self.code_base(&tenant, &publication).await {
            Ok(code_base) => self.show(&code_base, file, *ask.method() == Method::HEAD),
            Err(reason) => {
                warn!("the code base of pod {pod} cannot be made: {reason}");
                text(StatusCode::SERVICE_UNAVAILABLE, "the code base cannot be made at the moment\n")
            }
        }
    }

    /// `<uuid>.sidecar.<sa>.<ns>`, all of it right.
    fn find(&self, name: &str) -> Option<(PodKey, Arc<Tenant>, Arc<Publication>)> {
        let (uuid, identity) = name.split_once(".sidecar.")?;
        let (pod, seat) = self.push.board.by_proxy_uuid(uuid)?;
        let publication = seat.publications.borrow().clone();
        (seat.tenant.identity.to_string() == identity).then_some((pod, seat.tenant, publication))
    }

    async fn code_base(&self, tenant: &Tenant, publication: &Publication) -> Result<CodeBase, String> {
        let compressed = self.push.settings.load().compress;
        let (document, salt) = match &self.keys {
            Some(keys) => keys.document(&tenant.identity, publication).await?,
            None => (publication.document().clone(), 0),
        };
        let version = version(publication.version(), salt ^ self.base.fingerprint());
        Ok(CodeBase { version, published: publication.published(), document, compressed })
    }

    fn show(&self, code_base: &CodeBase, file: &str, head: bool) -> Reply {
        let name = if code_base.compressed { "config.json.gz" } else { "config.json" };
        let version = &code_base.version;
        let mut shown = match file {
            "" => {
                let list: String = self.base.paths().map(|path| format!("/{path}\n")).collect();
                text(StatusCode::OK, format!("{list}/{name}\n"))
            }
            "_etags" => {
                let base = self.base.fingerprint();
                let list: String = self.base.paths().map(|path| format!("/{path}#{base}\n")).collect();
                text(StatusCode::OK, format!("{list}/{name}#{version}\n"))
            }
            _ if file == name && head => reply(StatusCode::OK, OCTETS, Bytes::new()),
            _ if file == name && code_base.compressed => match gzip(&code_base.document) {
                Ok(bytes) => reply(StatusCode::OK, OCTETS, bytes),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            },
            _ if file == name => reply(StatusCode::OK, "application/json", code_base.document.clone()),
            _ => match self.base.file(file) {
                Some(bytes) => reply(StatusCode::OK, OCTETS, bytes),
                None => return text(StatusCode::NOT_FOUND, "the code base has no such file\n"),
            },
        };
        set(&mut shown, header::ETAG, version);
        set(&mut shown, header::DATE, &http_date(code_base.published));
        shown
    }

    fn take_status(&self, pod: &PodKey, tenant: &Tenant, body: Option<&Bytes>) -> Reply {
        let status = body.and_then(|body| serde_json::from_slice::<Status>(body).ok()).unwrap_or_default();
        self.push.roster.polled(pod, tenant, status.version, SystemTime::now());
        text(StatusCode::CREATED, "")
    }
}

/// What of a status report is looked at.
#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    version: String,
}

const OCTETS: &str = "application/octet-stream";

/// The name of the code base and the file in it.
fn split(path: &str) -> Option<(&str, &str)> {
    let (_prefix, rest) = path.strip_prefix("/repo/")?.split_once("fsm-sidecar/")?;
    rest.split_once('/')
}

/// The version of a document with something beside it that may change: decimal digits, at most 63 bits.
fn version(document: &str, salt: u64) -> String {
    match document.parse::<u64>() {
        Ok(number) => ((number ^ salt) & (u64::MAX >> 1)).to_string(),
        Err(_) => document.to_owned(),
    }
}

fn gzip(document: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(document)?;
    encoder.finish()
}

fn set(reply: &mut Reply, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
}

/// RFC 9110, section 5.6.7.
fn http_date(at: SystemTime) -> String {
    let at = jiff::Timestamp::try_from(at).unwrap_or_default();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests;
