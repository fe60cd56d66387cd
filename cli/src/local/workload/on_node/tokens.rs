//! Tokens of pods: who issues them, and the one that needs nobody else.

use super::super::runtime::{PodId, TokenWish};
use super::files::{absent_is_fine, told, write};
use crate::local::state::State;
use fsm_control::auth::Token;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// Issues tokens. Called where blocking is allowed.
pub trait Tokens: Send + Sync {
    /// A token that says that its bearer is this pod.
    ///
    /// # Errors
    /// Why there is none, and what to do; the container that needs it is started later.
    fn issue(&self, pod: &PodId, wish: &TokenWish) -> Result<Issued, String>;

    /// The pod is gone: its tokens are worth nothing any more.
    fn forget(&self, pod: &PodId);
}

/// A token.
pub struct Issued {
    /// As it is written into the file.
    pub token: String,
    /// When to have another one issued; `None`: it is good as long as the pod lives.
    pub renew: Option<SystemTime>,
}

/// Random tokens, known to whoever follows the directory of tokens: `tokens/<fingerprint>.json` says whose each is.
pub struct LocalTokens {
    state: State,
    records: Mutex<BTreeMap<PodId, Vec<PathBuf>>>,
}

impl LocalTokens {
    /// Tokens of a mesh.
    pub fn new(state: State) -> Self {
        Self { state, records: Mutex::default() }
    }
}

impl Tokens for LocalTokens {
    fn issue(&self, pod: &PodId, wish: &TokenWish) -> Result<Issued, String> {
        let token = random_token().map_err(|error| told(Path::new("/dev/urandom"), &error))?;
        let bearer = Token::bearer(Some(format!("Bearer {token}").as_bytes())).map_err(|error| error.to_string())?;
        let record = self.state.tokens().join(format!("{}.json", bearer.fingerprint()));
        let account = &wish.service_account;
        let text = json!({
            "namespace": pod.namespace, "serviceAccount": account, "pod": pod.name, "uid": pod.uid, "expires": null,
        });
        write(&record, text.to_string().as_bytes(), 0o600)?;
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.entry(pod.clone()).or_default().push(record);
        Ok(Issued { token, renew: None })
    }

    fn forget(&self, pod: &PodId) {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner).remove(pod);
        for record in records.into_iter().flatten() {
            if let Err(error) = fs::remove_file(&record).or_else(absent_is_fine) {
                tracing::warn!("pod {pod}: cannot remove {}: {error}", record.display());
            }
        }
    }
}

fn random_token() -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
