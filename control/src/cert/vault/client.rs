//! HTTP with a Vault: JSON in, JSON out, every question with a deadline.

use super::problem::VaultError;
use crate::limits;
use crate::source::kubernetes::describe;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::timeout;

/// Longest answer that is read: a chain of certificates has a few KiB.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Where a Vault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultAddress {
    /// `https`, or `http` for tests.
    pub protocol: String,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// PEM of the roots that its own certificate hangs on; `None`: the system's.
    pub ca_file: Option<PathBuf>,
}

pub(super) struct VaultClient {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    address: VaultAddress,
}

impl VaultClient {
    pub(super) fn new(address: VaultAddress) -> Result<Self, VaultError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let unusable = |what: String| VaultError::Settings(what);
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.to_string()))?;
        let connector = match &address.ca_file {
            Some(path) => {
                let failed = |why: &dyn fmt::Display| unusable(format!("--vault-ca-file {}: {why}", path.display()));
                let pem = std::fs::read(path).map_err(|error| failed(&error))?;
                let mut roots = RootCertStore::empty();
                for root in CertificateDer::pem_slice_iter(&pem) {
                    roots.add(root.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
                }
                if roots.is_empty() {
                    return Err(failed(&"there is no certificate in it"));
                }
                HttpsConnectorBuilder::new()
                    .with_tls_config(builder.with_root_certificates(roots).with_no_client_auth())
            }
            None => HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(provider)
                .map_err(|error| unusable(format!("the roots of this machine cannot be read: {error}")))?,
        };
        let connector = connector.https_or_http().enable_http1().build();
        let http =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(limits::ISSUER_AT_ONCE).build(connector);
        Ok(Self { http, address })
    }

    pub(super) fn address(&self) -> &VaultAddress {
        &self.address
    }

    /// Asks; `path` is below `/v1/`.
    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Value, VaultError> {
        let asked = timeout(limits::ISSUER_TIMEOUT, self.exchange(method, path, token, body)).await;
        asked.unwrap_or_else(|_| Err(self.away(format!("nothing came within {} s", limits::ISSUER_TIMEOUT.as_secs()))))
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Value, VaultError> {
        let settings = |error: &dyn fmt::Display| VaultError::Settings(format!("Vault at {}: {error}", self.address));
        let uri: Uri = format!("{}/v1/{path}", self.address).parse().map_err(|error| settings(&error))?;
        let method: Method = method.parse().map_err(|error| settings(&error))?;
        let said = format!("{method} {path}");
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(uri).header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token).map_err(|_| VaultError::Token("it is no text".to_owned()))?;
            value.set_sensitive(true);
            request = request.header("x-vault-token", value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| settings(&error))?;
        let response = self.http.request(request).await.map_err(|error| self.away(describe(&error)))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| self.away(error.to_string()))?.to_bytes();
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        if (200..300).contains(&status) {
            return Ok(json);
        }
        Err(self.error(status, said, &reason(&json, &body)))
    }

    fn error(&self, status: u16, path: String, reason: &str) -> VaultError {
        let (address, reason) = (self.address.to_string(), reason.to_owned());
        match status {
            503 if reason.to_lowercase().contains("sealed") => VaultError::Sealed { address },
            403 => VaultError::Denied { path, reason },
            404 => VaultError::NotFound { path, reason },
            412 | 429 | 472 | 473 | 500.. => VaultError::Busy { address, status, reason },
            _ => VaultError::Refused { path, reason },
        }
    }

    fn away(&self, reason: String) -> VaultError {
        VaultError::Away { address: self.address.to_string(), reason }
    }
}

/// What Vault says, on one line.
fn reason(json: &Value, body: &[u8]) -> String {
    let errors = json.get("errors").and_then(Value::as_array);
    let errors: Vec<&str> = errors.into_iter().flatten().filter_map(Value::as_str).collect();
    let text = match errors.is_empty() {
        true => String::from_utf8_lossy(body).into_owned(),
        false => errors.join("; "),
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
    match text.trim() {
        "" => "it says nothing".to_owned(),
        text => text.to_owned(),
    }
}

impl fmt::Display for VaultAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "{}://[{}]:{}", self.protocol, self.host, self.port),
            false => write!(f, "{}://{}:{}", self.protocol, self.host, self.port),
        }
    }
}
