//! What can be wrong with a Vault, in words that say what to do.

use crate::cert::LeafRequest;
use crate::cert::answer::Mismatch;
use thiserror::Error;

/// Why a Vault does not do what it is asked for.
#[derive(Clone, Debug, Error)]
pub enum VaultError {
    /// Nobody answers.
    #[error("Vault at {address} does not answer: {reason}")]
    Away {
        /// Its address.
        address: String,
        /// Why.
        reason: String,
    },
    /// It needs its keys.
    #[error("Vault at {address} is sealed; unseal it (vault operator unseal), nothing is issued before")]
    Sealed {
        /// Its address.
        address: String,
    },
    /// It has a bad moment.
    #[error("Vault at {address} cannot do it at the moment ({status}): {reason}")]
    Busy {
        /// Its address.
        address: String,
        /// HTTP status.
        status: u16,
        /// What it says.
        reason: String,
    },
    /// The token is not good for this.
    #[error(
        "Vault does not let us {path}: {reason}; the token is wrong or has expired, or its policy lacks: path \"{}\" \
         {{ capabilities = [\"update\"] }}",
        .path.trim_start_matches("POST ").trim_start_matches("GET ")
    )]
    Denied {
        /// Method and path.
        path: String,
        /// What it says.
        reason: String,
    },
    /// There is no such thing.
    #[error("Vault has no {path}: {reason}; is the PKI engine mounted there (vault secrets list)?")]
    NotFound {
        /// Method and path.
        path: String,
        /// What it says.
        reason: String,
    },
    /// It does not want to.
    #[error("Vault refuses {path}: {reason}")]
    Refused {
        /// Method and path.
        path: String,
        /// What it says.
        reason: String,
    },
    /// The role does not allow what a mesh needs.
    #[error("Vault's role {role} does not allow it: {reason}. Write the role with: {remedy}")]
    Role {
        /// The role.
        role: String,
        /// What Vault says.
        reason: String,
        /// A setting of the role.
        remedy: String,
    },
    /// What was issued is not what was asked for.
    #[error("a certificate of Vault's role {role} (mount {mount}) is not used: {mismatch}{}", hint(.mismatch))]
    Answer {
        /// Mount of the engine.
        mount: String,
        /// The role.
        role: String,
        /// What is wrong.
        mismatch: Mismatch,
    },
    /// The engine cannot sign.
    #[error(
        "Vault's PKI engine {mount} has no issuer, so it cannot sign; make one (vault write {mount}/root/generate/internal \
         common_name=…), or import one"
    )]
    NoIssuer {
        /// Mount of the engine.
        mount: String,
    },
    /// The token cannot be read.
    #[error("the token for Vault cannot be read: {0}")]
    Token(String),
    /// Settings that cannot be used.
    #[error("{0}")]
    Settings(String),
}

impl VaultError {
    /// Whether another try may succeed without anybody doing anything to the settings.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Sealed { .. } | Self::Busy { .. })
    }

    /// The error of a request to sign: what Vault says about the role is the role's.
    pub(super) fn about_role(self, mount: &str, role: &str, leaf: &LeafRequest) -> Self {
        let (reason, passes) = match &self {
            Self::Refused { reason, .. } => (reason.clone(), false),
            // A role that depends on the engine answers so.
            Self::Busy { reason, .. } if reason.contains("role") => (reason.clone(), false),
            _ => return self,
        };
        let lower = reason.to_lowercase();
        let spiffe = leaf.names.spiffe.as_deref().unwrap_or_default();
        let domain = spiffe.trim_start_matches("spiffe://").split('/').next().unwrap_or_default();
        let remedy = if lower.contains("unknown role") {
            return Self::NotFound {
                path: format!("role {role}"),
                reason: format!("{reason}; write it: vault write {mount}/roles/{role} {ALL}"),
            };
        } else if lower.contains("uri") {
            format!("allowed_uri_sans=\"spiffe://{domain}/*\"")
        } else if lower.contains("ip subject") || lower.contains("ip sans") {
            "allow_ip_sans=true".to_owned()
        } else if lower.contains("not allowed by this role")
            || lower.contains("alternate name")
            || lower.contains("common name")
        {
            "allow_any_name=true enforce_hostnames=false".to_owned()
        } else if lower.contains("keys of type") || lower.contains("key type") || lower.contains("key_type") {
            "key_type=any".to_owned()
        } else {
            return if passes { self } else { Self::Refused { path: format!("POST {mount}/sign/{role}"), reason } };
        };
        Self::Role { role: role.to_owned(), reason, remedy }
    }
}

/// What a role of the mesh needs.
const ALL: &str =
    "allow_any_name=true enforce_hostnames=false allowed_uri_sans=\"spiffe://*\" key_type=any require_cn=false";

fn hint(mismatch: &Mismatch) -> &'static str {
    match mismatch {
        Mismatch::Missing(_) => "; allow the names in the role (allowed_uri_sans, allow_any_name, allow_ip_sans)",
        Mismatch::Surplus(_) => "; write the role with use_csr_common_name=false use_csr_sans=false",
        Mismatch::Usage(_) => "; write the role with server_flag=true client_flag=true",
        _ => "",
    }
}
