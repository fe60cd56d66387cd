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
    /// `fsm-h2`: HTTP/2 between two of our own sidecars.
    MeshH2,
    /// `fsm-http/1.1`: HTTP/1.1 between two of our own sidecars.
    MeshHttp1,
    /// `fsm-tcp`: bytes between two of our own sidecars.
    MeshTcp,
    /// Something else.
    Other,
}

impl Alpn {
    /// The offer of a port or cluster that speaks HTTP.
    pub const HTTP: &'static [&'static [u8]] = &[b"h2", b"http/1.1"];
    /// The offer of a port of the mesh that speaks HTTP, to our own sidecars first.
    pub const MESH_HTTP: &'static [&'static [u8]] = &[b"fsm-h2", b"fsm-http/1.1", b"h2", b"http/1.1"];
    /// The offer of our own sidecars for HTTP/2. Where it is agreed on, the client's sidecar has decided about every trace: a
    /// request that says nothing of one belongs to none that is recorded.
    pub const MESH_H2: &'static [&'static [u8]] = &[b"fsm-h2", b"h2"];
    /// The same for HTTP/1.1.
    pub const MESH_HTTP1: &'static [&'static [u8]] = &[b"fsm-http/1.1", b"http/1.1"];
    /// The offer of a client that must speak HTTP/2.
    pub const H2_ONLY: &'static [&'static [u8]] = &[b"h2"];
    /// The offer of a client that must speak HTTP/1.1.
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
            Some(b"fsm-h2") => Self::MeshH2,
            Some(b"fsm-http/1.1") => Self::MeshHttp1,
            Some(b"fsm-tcp") => Self::MeshTcp,
            Some(_) => Self::Other,
        }
    }

    /// Whether one of our own sidecars is at the other end, and knows that we are one.
    pub const fn is_between_sidecars(self) -> bool {
        matches!(self, Self::MeshH2 | Self::MeshHttp1 | Self::MeshTcp)
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
