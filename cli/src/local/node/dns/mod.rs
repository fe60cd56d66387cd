//! Names of a local mesh: what a name stands for ([`NameRecord`]), and the server that says so.
//!
//! UDP and TCP (RFC 1035, 7766), EDNS(0) sizes (RFC 6891). Authoritative for the cluster's domain and for every name it
//! was given, whatever its domain; other names exist only where the node has a way out, and are asked of the machine's
//! own resolvers then. Never blocks on a client; what a client can make it hold is bounded.

mod forward;
mod server;
mod zone;

use std::net::IpAddr;

pub(super) use forward::Forwarder;
pub(super) use server::{Sockets, serve};
pub(super) use zone::Zone;
pub use zone::{NameData, NameRecord};

use super::NodeError;

/// # Errors
///
/// [`NodeError::Setting`] if this cannot be the last part of names.
pub(super) fn check_domain(domain: &str) -> Result<(), NodeError> {
    let legal = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.len() <= 63 && label.chars().all(inner) && !label.starts_with('-')
    };
    if domain.len() <= 128 && domain.split('.').all(legal) {
        return Ok(());
    }
    let why = "must be lower-case labels with dots between them, as cluster.local".to_owned();
    Err(NodeError::Setting { what: "the cluster's domain", value: domain.to_owned(), why })
}

/// A `resolv.conf` as Kubernetes writes it: names are completed by the pod's namespace first.
pub(super) fn resolver_file(server: IpAddr, namespace: Option<&str>, domain: &str) -> String {
    let own = namespace.map(|namespace| format!("{namespace}.svc.{domain} ")).unwrap_or_default();
    format!("nameserver {server}\nsearch {own}svc.{domain} {domain}\noptions ndots:5\n")
}

#[cfg(test)]
mod tests;
