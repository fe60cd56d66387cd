//! Certificates: who issues them, for whom, and when they are replaced.
//!
//! A workload makes its own key and asks with a PKCS #10 request; private keys never travel. Whoever issues
//! certificates is an [`Issuer`]: the built-in authority ([`tresor`]), a [`vault`], or [`cert_manager`]. The names in a
//! certificate come from the [`Identity`] that the caller proved, never from the request: one that claims other names is
//! refused.
//!
//! Roots change with overlap ([`rotation`]): a new root is trusted by everybody before the first certificate is
//! signed with it, and an old one is trusted until the last certificate that it signed has expired.

mod answer;
pub mod authority;
pub mod cert_manager;
pub mod changeover;
pub mod custody;
mod exchange;
pub mod identity;
mod known_roots;
mod names;
pub mod request;
pub mod rollout;
pub mod root;
pub mod rotation;
pub mod server;
mod storage;
mod told;
pub mod tresor;
pub mod vault;

pub use answer::Mismatch;
pub use custody::Custody;
pub use exchange::Exchange;
pub use identity::{Identity, IdentityError};
pub use names::AllNames;
pub use request::{RequestError, SigningRequest};
pub(crate) use root::short_name;
pub use storage::cluster::SecretPlace;
pub use tresor::Tresor;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::sync::watch;

/// Certificates begin to be valid so long before they are issued: the clocks of two nodes never agree.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// What an [`Issuer`] answers some time later.
pub type IssueFuture<'a> = Pin<Box<dyn Future<Output = Result<Issued, IssueError>> + Send + 'a>>;

/// Whoever signs certificates.
///
/// Implementations may ask a remote service; they bound their own time, and a failure concerns one request only.
pub trait Issuer: fmt::Debug + Send + Sync {
    /// Signs a certificate for the key of a request.
    fn issue(&self, leaf: LeafRequest) -> IssueFuture<'_>;

    /// The roots that are to be trusted at the moment.
    fn trust_bundle(&self) -> Arc<TrustBundle>;

    /// Hears of another bundle. Whoever holds a certificate should then ask for a new one.
    fn changes(&self) -> watch::Receiver<Arc<TrustBundle>>;

    /// Whether a request must carry the names that are to be certified, because the authority takes them from there.
    fn wants_names_in_requests(&self) -> bool {
        false
    }
}

/// A certificate that is asked for.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// The checked request; only its key is used.
    pub request: SigningRequest,
    /// The names to be certified, as the caller proved them.
    pub names: LeafNames,
    /// How long the certificate is to be valid. It may get less: no certificate outlives its issuer.
    pub validity: Duration,
}

/// The names of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafNames {
    /// Common name; also the first DNS name.
    pub common_name: String,
    /// Further DNS names.
    pub dns: Vec<String>,
    /// `spiffe://…`, at most one.
    pub spiffe: Option<String>,
    /// Addresses; only control's own server certificate has some.
    pub addresses: Vec<IpAddr>,
}

impl LeafNames {
    /// All DNS names, the common name first, each once.
    pub fn all_dns(&self) -> impl Iterator<Item = &str> {
        let others = self.dns.iter().filter(|&name| *name != self.common_name);
        std::iter::once(&self.common_name).chain(others).map(String::as_str)
    }

    /// The names of a workload: `<sa>.<ns>.<trust domain>` as FSM has it, and the SPIFFE id.
    pub fn of_workload(identity: &Identity, trust_domain: &str) -> Self {
        Self {
            common_name: identity.principal(trust_domain),
            dns: Vec::new(),
            spiffe: Some(identity.spiffe_id(trust_domain)),
            addresses: Vec::new(),
        }
    }
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// PEM: the leaf and intermediates, without the root.
    pub chain: String,
    /// Beginning of its validity, clock skew included.
    pub not_before: SystemTime,
    /// End of its validity.
    pub not_after: SystemTime,
}

/// The roots of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    /// PEM, one root after the other; the one that signs comes first.
    pub pem: String,
    /// Since when the bundle is this one, or since when another of its roots signs. Certificates from before should be
    /// replaced.
    pub since: SystemTime,
}

/// Why no certificate was issued.
#[derive(Debug, Error)]
pub enum IssueError {
    /// The names cannot be written into a certificate.
    #[error("a certificate for {name} cannot be made: {source}")]
    Names {
        /// Common name.
        name: String,
        /// What the encoder says.
        source: rcgen::Error,
    },
    /// The authority does not want to, and will not want to until somebody changes something.
    #[error("the certificate authority does not sign a certificate for {name}: {reason}")]
    Refused {
        /// Common name.
        name: String,
        /// What it says, and what to do.
        reason: String,
    },
    /// The authority cannot sign at the moment.
    #[error("the certificate authority cannot sign a certificate for {name} ({reason}); it is worth another try")]
    Unavailable {
        /// Common name.
        name: String,
        /// What it says.
        reason: String,
    },
}

/// After how long a certificate with so much validity should be replaced: between 60 % and two thirds of it, so that
/// pods that started together do not come back together. `random` is from 0 to 1.
pub fn renew_after(validity: Duration, random: f64) -> Duration {
    let random = if random.is_finite() { random.clamp(0.0, 1.0) } else { 0.0 };
    validity.mul_f64(2.0 / 3.0 - random / 15.0)
}

#[cfg(test)]
mod tests;
