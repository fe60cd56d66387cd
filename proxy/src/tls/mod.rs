//! All TLS of the data plane: who we are, who the peer is, and the two handshakes.
//!
//! [`identity`] holds our own certificate and the roots we trust, [`own`] makes the key for one that fsm-control issues,
//! [`verify`] reads a peer's identity from its *verified* certificate and nothing else, [`server`] accepts, [`client`]
//! connects, [`mod@provider`] fixes the cryptography. TLS 1.3, and 1.2 for Pipy sidecars.
//!
//! Every handshake has a deadline and every failure a [`Reason`](crate::reason::Reason). Nothing here resumes sessions,
//! issues tickets or sends early data: a resumed session would skip the certificate checks, so a peer whose
//! certificate expired or whose roots were withdrawn would get in again. Connection pools amortise handshakes instead.

pub mod client;
pub mod identity;
pub mod lenient;
pub mod own;
pub mod provider;
pub mod read_ahead;
pub mod server;
mod summary;
pub mod verify;

pub use client::{ClientTls, ConnectError, Connected};
pub use identity::{Identity, IdentityError, roots_from_pem};
pub use lenient::Lenient;
pub use own::{OwnKey, OwnKeyError};
pub use provider::provider;
pub use read_ahead::ReadAhead;
pub use server::{AcceptError, Accepted, ClientCertificate, ServerTls};
pub use summary::{CertificateSummary, CertificateUse};
pub use verify::{Expect, Peer};

/// The application protocol that both sides agreed on (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alpn {
    /// None: one side did not offer any. Pipy never does.
    #[default]
    None,
    /// `h2`
    H2,
    /// `http/1.1`
    Http1,
    /// `fsm-tcp`: bytes between two of our own sidecars.
    MeshTcp,
    /// Something else.
    Other,
}

impl Alpn {
    /// The offer of a port or cluster that speaks HTTP.
    pub const HTTP: &'static [&'static [u8]] = &[b"h2", b"http/1.1"];
    /// The offer of a cluster that must speak HTTP/2 (gRPC).
    pub const H2_ONLY: &'static [&'static [u8]] = &[b"h2"];
    /// The offer of a cluster that must speak HTTP/1.1.
    pub const HTTP1_ONLY: &'static [&'static [u8]] = &[b"http/1.1"];
    /// The offer for bytes between our own sidecars, which say goodbye as TLS wants it.
    pub const MESH_TCP: &'static [&'static [u8]] = &[b"fsm-tcp"];
    /// No opinion: any client is accepted, whatever it offers.
    pub const ANY: &'static [&'static [u8]] = &[];

    fn negotiated(protocol: Option<&[u8]>) -> Self {
        match protocol {
            None => Self::None,
            Some(b"h2") => Self::H2,
            Some(b"http/1.1") => Self::Http1,
            Some(b"fsm-tcp") => Self::MeshTcp,
            Some(_) => Self::Other,
        }
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
