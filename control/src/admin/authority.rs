//! Who signs certificates, as far as operators see it: fingerprints, how a change of roots stands, and beginning one. Only
//! roots of the built-in authority are changed from here; those of Vault and cert-manager are changed there.

use crate::cert::authority::Signer;
use crate::cert::rollout::{Signing, Trusted};
use crate::cert::tresor::{TresorError, rfc3339, roots_of};
use crate::cert::{Exchange, Issuer, Tresor};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::SystemTime;
use thiserror::Error;
use tokio::sync::watch;

/// Who signs certificates, as far as operators see it.
#[derive(Clone, Debug)]
pub struct Authority {
    who: Who,
    issuer: Arc<dyn Issuer>,
}

/// How it is known who signs.
#[derive(Clone, Debug)]
enum Who {
    /// By flags.
    Fixed(&'static str, Option<Arc<Tresor>>),
    /// By MeshRootCertificates.
    Named(watch::Receiver<Signing>, Arc<Exchange>),
}

/// Why a root is not replaced.
#[derive(Debug, Error)]
pub enum NotRotated {
    /// It is not the mesh's own.
    #[error(
        "the roots are those of {provider}: change them there, with overlap, as the documentation of certificates says{remedy}"
    )]
    Elsewhere {
        /// Who signs.
        provider: String,
        /// What else there is to do.
        remedy: &'static str,
    },
    /// Something changes already.
    #[error("{0}")]
    Busy(String),
    /// It cannot be made or kept.
    #[error("{0}")]
    Failed(TresorError),
}

impl Authority {
    /// Of a signer.
    pub fn of(signer: &Signer) -> Self {
        let who = match signer.signing() {
            Some((signing, all)) => Who::Named(signing, all),
            None => Who::Fixed(signer.kind(), signer.tresor()),
        };
        Self { who, issuer: signer.issuer() }
    }

    /// Only the built-in authority.
    pub fn of_tresor(tresor: Arc<Tresor>) -> Self {
        Self { issuer: tresor.clone(), who: Who::Fixed("tresor", Some(tresor)) }
    }

    /// Its roots, and how a change of them stands.
    pub fn status(&self) -> Value {
        match &self.who {
            Who::Fixed(kind, tresor) => self.one(kind, tresor.as_deref()),
            Who::Named(signing, _) => {
                let signing = signing.borrow().clone();
                let mut status = self.one(signing.kind, signing.tresor.as_deref());
                // Those of other objects are trusted, too.
                status["roots"] = attributed(&self.issuer.trust_bundle().pem, &signing.trusted);
                status["rootCertificate"] = signing.name.into();
                if let Some(change) = signing.change {
                    status["phase"] = if change.signs { "overlapping" } else { "announced" }.into();
                    status["until"] = change.until.map(rfc3339).into();
                    status["takesOver"] = change.to.into();
                }
                status
            }
        }
    }

    /// Begins to replace the root; gives the status then.
    ///
    /// # Errors
    /// [`NotRotated`], and then everything stays as it was.
    pub async fn rotate(&self) -> Result<Value, NotRotated> {
        let tresor = match &self.who {
            Who::Fixed(kind, None) => {
                return Err(NotRotated::Elsewhere { provider: (*kind).to_owned(), remedy: "" });
            }
            Who::Fixed(_, Some(tresor)) => tresor.clone(),
            Who::Named(signing, _) => own_root(signing.borrow().clone())?,
        };
        tresor.rotate().await.map_err(|error| match error {
            TresorError::Busy(_) => NotRotated::Busy(error.to_string()),
            _ => NotRotated::Failed(error),
        })?;
        if let Who::Named(_, all) = &self.who {
            // They look at their roots now and then; whoever asks shall see the new one.
            all.refresh(SystemTime::now());
        }
        Ok(self.status())
    }

    fn one(&self, kind: &str, tresor: Option<&Tresor>) -> Value {
        let mut status = match tresor {
            Some(tresor) => json!(tresor.status()),
            None => json!({ "roots": roots_of(&self.issuer.trust_bundle().pem) }),
        };
        status["provider"] = kind.into();
        status
    }
}

/// Roots with the objects that they are of.
fn attributed(pem: &str, trusted: &[Trusted]) -> Value {
    let own = |one: &Trusted| json!(roots_of(&one.issuer.trust_bundle().pem));
    let owned: Vec<(&Trusted, Value)> = trusted.iter().map(|one| (one, own(one))).collect();
    let mut roots = json!(roots_of(pem));
    for root in roots.as_array_mut().into_iter().flatten() {
        let is_it = |one: &Value| one["fingerprint"] == root["fingerprint"];
        let owner = owned.iter().find(|(_, own)| own.as_array().is_some_and(|own| own.iter().any(is_it)));
        if let Some((owner, _)) = owner {
            root["provider"] = owner.kind.into();
            root["rootCertificate"] = owner.name.clone().into();
        }
    }
    roots
}

/// The authority whose root is to be replaced, where MeshRootCertificates say who signs.
fn own_root(signing: Signing) -> Result<Arc<Tresor>, NotRotated> {
    if let Some(change) = &signing.change {
        let until = change.until.map(|until| format!(" (this phase ends at {})", rfc3339(until))).unwrap_or_default();
        return Err(NotRotated::Busy(format!(
            "MeshRootCertificate {} is taking over{until}; a root can be replaced when it is active",
            change.to
        )));
    }
    let Signing { name, kind, tresor, .. } = signing;
    tresor.ok_or_else(|| NotRotated::Elsewhere {
        provider: format!("{kind} (MeshRootCertificate {name})"),
        remedy: ", or make another MeshRootCertificate",
    })
}
