//! The token that a Vault is asked with: given once, or kept in a Secret or a file and read again when it does not work
//! any more. It is renewed at two thirds of its life, as far as it can be.

use super::client::VaultClient;
use super::problem::VaultError;
use crate::cert::renew_after;
use crate::limits;
use crate::source::kubernetes::describe;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tracing::{info, warn};

/// A token's file or Secret has one line.
const MAX_TOKEN_BYTES: usize = 4 << 10;

/// Where the token comes from.
#[derive(Clone)]
pub enum TokenSource {
    /// Given.
    Given(String),
    /// In a file, which an agent may renew.
    File(PathBuf),
    /// In a Secret.
    Secret {
        /// To the API server.
        client: Client,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its key.
        key: String,
    },
}

/// The token in use.
pub(super) struct Tokens {
    source: TokenSource,
    known: Mutex<Option<String>>,
    renew_at: Mutex<Option<Instant>>,
}

impl Tokens {
    pub(super) fn new(source: TokenSource) -> Self {
        Self { source, known: Mutex::default(), renew_at: Mutex::default() }
    }

    pub(super) async fn current(&self) -> Result<String, VaultError> {
        let known = self.known.lock().clone();
        match known {
            Some(token) => Ok(token),
            None => self.read_again().await,
        }
    }

    /// Reads it from where it comes from.
    pub(super) async fn read_again(&self) -> Result<String, VaultError> {
        let token = self.source.read().await.map_err(VaultError::Token)?;
        let token = token.trim();
        if token.is_empty() || token.len() > MAX_TOKEN_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(VaultError::Token(format!("{}: it must be one line of text", self.source)));
        }
        let token = token.to_owned();
        *self.known.lock() = Some(token.clone());
        Ok(token)
    }

    pub(super) async fn renew_if_due(&self, client: &VaultClient) -> Result<(), VaultError> {
        let due = self.renew_at.lock().is_some_and(|at| Instant::now() >= at);
        if due { self.renew(client).await } else { Ok(()) }
    }

    /// How long it is until the token is to be renewed; `None`: it need not be.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.renew_at.lock().map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Finds out how long the token lives, and renews it if that can be done.
    pub(super) async fn renew(&self, client: &VaultClient) -> Result<(), VaultError> {
        let token = self.read_again().await?;
        let about = client.ask("GET", "auth/token/lookup-self", Some(&token), None).await?;
        let data = about.get("data").cloned().unwrap_or_default();
        let mut seconds = data.get("ttl").and_then(Value::as_u64).unwrap_or_default();
        if seconds == 0 {
            // It lives for ever.
            *self.renew_at.lock() = None;
            return Ok(());
        }
        if data.get("renewable").and_then(Value::as_bool) == Some(true) {
            let renewed = client.ask("POST", "auth/token/renew-self", Some(&token), Some(&json!({}))).await?;
            let granted = renewed.pointer("/auth/lease_duration").and_then(Value::as_u64);
            seconds = granted.unwrap_or(seconds);
            info!("renewed the token for Vault: it is good for {seconds} s");
        } else {
            warn!(
                "the token for Vault cannot be renewed and ends in {seconds} s; put another one in its place ({}) before",
                self.source
            );
        }
        let wait = renew_after(Duration::from_secs(seconds), 0.5).max(limits::ISSUER_RETRY);
        *self.renew_at.lock() = Some(Instant::now() + wait);
        Ok(())
    }
}

impl TokenSource {
    async fn read(&self) -> Result<String, String> {
        match self {
            Self::Given(token) => Ok(token.clone()),
            Self::File(path) => {
                let file = path.clone();
                let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
                let text = text.map_err(|error| error.to_string())?;
                text.map_err(|error| format!("{}: {error}", path.display()))
            }
            Self::Secret { client, namespace, name, key } => {
                let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
                let secret = timeout(limits::WRITE_TIMEOUT, secrets.get(name)).await;
                let secret = secret.map_err(|_| format!("{self}: the API server does not answer"))?;
                let secret = secret.map_err(|error| format!("{self}: {}", describe(&error)))?;
                let bytes = secret.data.unwrap_or_default().remove(key);
                let bytes = bytes.ok_or_else(|| format!("{self}: there is no such key"))?;
                String::from_utf8(bytes.0).map_err(|_| format!("{self}: it is no text"))
            }
        }
    }
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("--vault-token"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Secret { namespace, name, key, .. } => write!(f, "key {key} of Secret {namespace}/{name}"),
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSource({self})")
    }
}
