//! Certificates from a Vault or an OpenBao: its PKI engine signs our requests.
//!
//! Private keys stay where they are: a request is signed (`POST /v1/<mount>/sign/<role>`), and what comes back is looked
//! at before it is used. The names stand in the request and beside it, so that a role may take them from either. Every
//! issuer of the mount is trusted, which is how its roots are changed without a failed connection: import the new one,
//! wait, make it the default, wait, remove the old one.
//!
//! A Vault that is away or sealed is asked again within the time of a request; one that refuses is not, and the error
//! says what to change. Nothing of the token appears in errors or logs.

mod client;
mod problem;
mod token;

pub use client::VaultAddress;
pub use problem::VaultError;
pub use token::TokenSource;

use super::answer::{self, Mismatch};
use super::known_roots::KnownRoots;
use super::tresor::Clock;
use super::{IssueError, IssueFuture, Issued, Issuer, LeafRequest, TrustBundle};
use crate::limits;
use client::VaultClient;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use token::Tokens;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

/// Settings of a Vault.
#[derive(Clone, Debug)]
pub struct VaultSettings {
    /// Where it is.
    pub address: VaultAddress,
    /// Path of the PKI engine; FSM's is `pki`.
    pub mount: String,
    /// Role of the engine that certificates are asked for with.
    pub role: String,
    /// Where its token comes from.
    pub token: TokenSource,
}

/// A Vault as issuer.
pub struct Vault {
    client: VaultClient,
    tokens: Tokens,
    mount: String,
    role: String,
    clock: Clock,
    turns: Semaphore,
    longest: Mutex<Duration>,
    roots: Mutex<KnownRoots>,
    bundle: watch::Sender<Arc<TrustBundle>>,
}

#[derive(Deserialize)]
struct Signed {
    certificate: String,
    issuing_ca: String,
    #[serde(default)]
    ca_chain: Vec<String>,
}

impl Vault {
    /// Asks what its roots are.
    ///
    /// # Errors
    /// [`VaultError`]; one that [passes](VaultError::is_passing) is worth another try.
    pub async fn open(settings: VaultSettings, clock: Clock) -> Result<Self, VaultError> {
        let client = VaultClient::new(settings.address)?;
        let tokens = Tokens::new(settings.token);
        let roots = KnownRoots::new(&roots(&client, &settings.mount).await?, clock());
        let vault = Self {
            bundle: watch::Sender::new(Arc::new(roots.bundle())),
            roots: Mutex::new(roots),
            client,
            tokens,
            mount: settings.mount,
            role: settings.role,
            clock,
            turns: Semaphore::new(limits::ISSUER_AT_ONCE),
            longest: Mutex::default(),
        };
        // A token that is wrong shall be known at the start, not with the first pod.
        vault.tokens.renew(&vault.client).await?;
        Ok(vault)
    }

    /// Keeps its token alive and asks for its roots now and then. What goes wrong is an error, and tried again.
    ///
    /// # Errors
    /// [`VaultError`].
    pub async fn tend(&self) -> Result<(), VaultError> {
        let roots = roots(&self.client, &self.mount).await?;
        self.learn(&roots);
        self.tokens.renew_if_due(&self.client).await
    }

    /// How long it is until there is something to [tend](Self::tend) again.
    pub fn next_look(&self) -> Duration {
        let due = self.tokens.due_in().unwrap_or(limits::VAULT_LOOK);
        due.clamp(limits::ISSUER_RETRY, limits::VAULT_LOOK)
    }

    fn learn(&self, heard: &[String]) {
        let keep = *self.longest.lock() + super::CLOCK_SKEW;
        let mut roots = self.roots.lock();
        if roots.hear(heard, (self.clock)(), keep) {
            self.bundle.send_replace(Arc::new(roots.bundle()));
        }
    }

    async fn sign(&self, leaf: &LeafRequest) -> Result<Issued, IssueError> {
        let name = &leaf.names.common_name;
        let until = Instant::now() + limits::ISSUER_PATIENCE;
        let mut pause = limits::ISSUER_RETRY;
        loop {
            let error = match self.sign_once(leaf).await {
                Ok(issued) => return Ok(issued),
                Err(error) => error,
            };
            if !error.is_passing() {
                let reason = format!("{error}");
                return Err(IssueError::Refused { name: name.clone(), reason });
            }
            if Instant::now() + pause >= until {
                return Err(IssueError::Unavailable { name: name.clone(), reason: error.to_string() });
            }
            debug!("{name}: {error}; it is tried again");
            sleep(pause).await;
            pause = (pause * 2).min(limits::ISSUER_LONGEST_RETRY);
        }
    }

    async fn sign_once(&self, leaf: &LeafRequest) -> Result<Issued, VaultError> {
        let _turn = self.turns.acquire().await.map_err(|error| VaultError::Away {
            address: self.client.address().to_string(),
            reason: error.to_string(),
        })?;
        let path = format!("{}/sign/{}", self.mount, self.role);
        let body = request(leaf);
        let mut token = self.tokens.current().await?;
        let mut answer = self.client.ask("POST", &path, Some(&token), Some(&body)).await;
        if matches!(&answer, Err(VaultError::Denied { .. })) {
            // Whoever keeps the Secret may have put another token there.
            let newer = self.tokens.read_again().await?;
            if newer != token {
                token = newer;
                answer = self.client.ask("POST", &path, Some(&token), Some(&body)).await;
            }
        }
        let answer = answer.map_err(|error| error.about_role(&self.mount, &self.role, leaf))?;
        let signed: Signed = serde_json::from_value(answer.get("data").cloned().unwrap_or_default())
            .map_err(|error| self.mismatch(Mismatch::Unreadable(error.to_string())))?;
        let mut authority = signed.ca_chain;
        authority.push(signed.issuing_ca);
        let answer =
            answer::look_at(&signed.certificate, &authority, leaf).map_err(|mismatch| self.mismatch(mismatch))?;
        {
            let mut longest = self.longest.lock();
            *longest = (*longest).max(leaf.validity);
        }
        self.trust_too(&answer.roots);
        Ok(answer.issued)
    }

    /// Roots that an answer names and that are not known yet; the others of the mount stay.
    fn trust_too(&self, roots: &[String]) {
        let known = self.bundle.borrow().pem.clone();
        if roots.iter().any(|root| !known.contains(root.trim_end())) {
            warn!(
                "Vault signs with a root that it did not announce: proxies that have not heard of it yet refuse its certificates"
            );
            let mut heard = roots.to_vec();
            heard.extend(answer::anchors(&known).unwrap_or_default());
            self.learn(&heard);
        }
    }

    fn mismatch(&self, mismatch: Mismatch) -> VaultError {
        VaultError::Answer { mount: self.mount.clone(), role: self.role.clone(), mismatch }
    }
}

impl Issuer for Vault {
    fn issue(&self, leaf: LeafRequest) -> IssueFuture<'_> {
        Box::pin(async move { self.sign(&leaf).await })
    }

    fn trust_bundle(&self) -> Arc<TrustBundle> {
        self.bundle.borrow().clone()
    }

    fn changes(&self) -> watch::Receiver<Arc<TrustBundle>> {
        self.bundle.subscribe()
    }

    /// A role takes them from there unless it is told otherwise.
    fn wants_names_in_requests(&self) -> bool {
        true
    }
}

/// The roots of all issuers of a mount; the default one's first. Everybody may ask for them.
async fn roots(client: &VaultClient, mount: &str) -> Result<Vec<String>, VaultError> {
    let listed = client.ask("GET", &format!("{mount}/issuers?list=true"), None, None).await;
    let ids: Vec<String> = match &listed {
        Ok(listed) => list(listed),
        // Before version 1.11 there is one issuer, and nothing to list.
        Err(VaultError::NotFound { .. } | VaultError::Denied { .. } | VaultError::Refused { .. }) => Vec::new(),
        Err(_) => listed.map(|_| Vec::new())?,
    };
    let mut all: Vec<String> = Vec::new();
    let default = client.ask("GET", &format!("{mount}/cert/ca_chain"), None, None).await;
    match default.and_then(|answer| anchors_of(&answer, mount)) {
        Ok(roots) => all.extend(roots),
        Err(VaultError::Refused { reason, .. } | VaultError::Busy { reason, .. })
            if ids.is_empty() && reason.contains("issuer") =>
        {
            return Err(VaultError::NoIssuer { mount: mount.to_owned() });
        }
        Err(error) if ids.is_empty() => return Err(error),
        Err(_) => {}
    }
    for id in ids {
        let answer = client.ask("GET", &format!("{mount}/issuer/{id}/json"), None, None).await?;
        for root in anchors_of(&answer, mount)? {
            if !all.contains(&root) {
                all.push(root);
            }
        }
    }
    match all.is_empty() {
        true => Err(VaultError::NoIssuer { mount: mount.to_owned() }),
        false => Ok(all),
    }
}

fn list(answer: &Value) -> Vec<String> {
    let keys = answer.pointer("/data/keys").and_then(Value::as_array);
    keys.into_iter().flatten().filter_map(|key| key.as_str().map(str::to_owned)).collect()
}

/// The trust anchors of an issuer: the roots of its chain.
fn anchors_of(answer: &Value, mount: &str) -> Result<Vec<String>, VaultError> {
    let chain = answer.pointer("/data/ca_chain");
    let pem: String = match chain {
        Some(Value::Array(chain)) if !chain.is_empty() => {
            chain.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
        }
        Some(Value::String(chain)) if !chain.is_empty() => chain.clone(),
        _ => answer.pointer("/data/certificate").and_then(Value::as_str).unwrap_or_default().to_owned(),
    };
    if pem.trim().is_empty() {
        return Err(VaultError::NoIssuer { mount: mount.to_owned() });
    }
    answer::anchors(&pem).map_err(|_| VaultError::NoIssuer { mount: mount.to_owned() })
}

fn request(leaf: &LeafRequest) -> Value {
    let names = &leaf.names;
    let addresses: Vec<String> = names.addresses.iter().map(ToString::to_string).collect();
    json!({
        "csr": leaf.request.pem(),
        "format": "pem",
        // It is among the alternative names, whole; a common name has at most 64 characters.
        "common_name": super::root::short_name(&names.common_name),
        "exclude_cn_from_sans": true,
        "alt_names": names.all_dns().collect::<Vec<_>>().join(","),
        "uri_sans": names.spiffe.clone().unwrap_or_default(),
        "ip_sans": addresses.join(","),
        "ttl": format!("{}s", leaf.validity.as_secs()),
    })
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("mount", &self.mount).field("role", &self.role).finish_non_exhaustive()
    }
}
