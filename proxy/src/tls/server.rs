//! Accepting TLS: our identity, the client's verified certificate, one deadline.
//!
//! Fails, with a reason, when the peer speaks no TLS, shows no certificate or one that does not verify, or is too slow.
//! Never resumes a session, never issues a ticket, never takes early data.

use super::Alpn;
use super::identity::{Identity, IdentityError, Material};
use super::provider::{VERSIONS, provider};
use super::read_ahead::NotTls;
use super::verify::Peer;
use crate::limits;
use crate::reason::Reason;
use crate::tcp::Resettable;
use arc_swap::ArcSwap;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{InvalidMessage, ServerConfig};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// A certificate of the trusted roots, or no connection.
    Required,
    /// Asked for; a certificate that is shown must verify.
    Optional,
    /// Not asked for.
    NotAsked,
}

/// A TLS server; cheap to clone.
#[derive(Clone)]
pub struct ServerTls(Arc<Inner>);

struct Inner {
    identity: Identity,
    client: ClientCertificate,
    alpn: Vec<Vec<u8>>,
    /// Built from what the identity had at that time.
    latest: ArcSwap<(Arc<Material>, TlsAcceptor)>,
}

/// A finished handshake.
#[derive(Debug)]
pub struct Accepted<IO> {
    /// The connection. In a box: its state is over a kilobyte, and it is handed on from step to step.
    pub stream: Box<TlsStream<IO>>,
    /// The client, when it showed a certificate (which then is verified).
    pub peer: Option<Peer>,
    /// What both sides agreed on.
    pub alpn: Alpn,
}

/// Why a handshake with a client failed.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The client did not finish in time.
    #[error("the client did not finish the TLS handshake within {0:?}")]
    Timeout(Duration),
    /// The first bytes are no TLS record.
    #[error("the client speaks no TLS")]
    Plaintext,
    /// A certificate is required and the client has none.
    #[error("the client showed no certificate")]
    NoCertificate,
    /// The client's certificate does not verify.
    #[error("the client's certificate is refused: {detail}")]
    BadCertificate {
        /// What is wrong with it.
        detail: String,
    },
    /// Anything else that is wrong with the handshake, for instance that the client refused *our* certificate.
    #[error("the TLS handshake with the client failed: {detail}")]
    Protocol {
        /// What is wrong.
        detail: String,
    },
    /// The client went away.
    #[error("the client closed the connection during the TLS handshake")]
    Closed,
}

impl AcceptError {
    /// The stable code of this failure.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Timeout(_) => Reason::DownstreamTimeout,
            Self::Plaintext => Reason::MtlsRequired,
            Self::NoCertificate | Self::BadCertificate { .. } | Self::Protocol { .. } | Self::Closed => {
                Reason::DownstreamTls
            }
        }
    }

    fn from_io(error: &io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<NotTls>()) {
            return Self::Plaintext;
        }
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotConnected => Self::Closed,
                _ => Self::Protocol { detail: error.to_string() },
            };
        };
        match error {
            // A record that starts with neither a TLS content type nor a TLS version was never meant to be one.
            rustls::Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::Plaintext,
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::InvalidCertificate(problem) => Self::BadCertificate { detail: problem.to_string() },
            rustls::Error::AlertReceived(alert) => {
                Self::Protocol { detail: format!("the client ended it with the alert {alert:?}") }
            }
            other => Self::Protocol { detail: other.to_string() },
        }
    }
}

impl ServerTls {
    /// `alpn` is what we offer, best first; empty means that we have no opinion and accept any client. A client
    /// that offers only protocols outside a non-empty list is refused (RFC 7301 §3.2). What the identity is renewed with
    /// serves from the next handshake on.
    pub fn new(identity: &Identity, client: ClientCertificate, alpn: &[&[u8]]) -> Result<Self, IdentityError> {
        let alpn: Vec<Vec<u8>> = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let material = identity.material();
        let acceptor = TlsAcceptor::from(Arc::new(Self::config(&material, client, alpn.clone())?));
        let latest = ArcSwap::from_pointee((Arc::clone(&material), acceptor));
        Ok(Self(Arc::new(Inner { identity: identity.clone(), client, alpn, latest })))
    }

    /// Shakes hands within `deadline`. A client that speaks no TLS is reset: it understands no alert, and takes an
    /// orderly end for an empty answer.
    pub async fn accept<IO>(&self, io: IO, deadline: Duration) -> Result<Accepted<IO>, AcceptError>
    where
        IO: AsyncRead + AsyncWrite + Resettable + Unpin,
    {
        let mut stream = match timeout(deadline, self.acceptor().accept(io).into_fallible()).await {
            Err(_) => return Err(AcceptError::Timeout(deadline)),
            Ok(Err((error, io))) => {
                let error = AcceptError::from_io(&error);
                if matches!(error, AcceptError::Plaintext) {
                    io.reset_on_close();
                }
                return Err(error);
            }
            Ok(Ok(stream)) => Box::new(stream),
        };
        stream.get_mut().1.set_buffer_limit(Some(limits::TLS_WRITE_BUFFER));
        let (_, session) = stream.get_ref();
        let alpn = Alpn::negotiated(session.alpn_protocol());
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let peer = leaf.map(|leaf| Peer::from_leaf(leaf, Some(self.0.identity.trust_domain())));
        Ok(Accepted { stream, peer, alpn })
    }

    fn acceptor(&self) -> TlsAcceptor {
        let Inner { identity, client, alpn, latest } = &*self.0;
        let (material, built) = (identity.material(), latest.load());
        if Arc::ptr_eq(&material, &built.0) {
            return built.1.clone();
        }
        match Self::config(&material, *client, alpn.clone()) {
            Ok(config) => {
                let acceptor = TlsAcceptor::from(Arc::new(config));
                latest.store(Arc::new((Arc::clone(&material), acceptor.clone())));
                acceptor
            }
            Err(error) => {
                tracing::warn!(
                    "the renewed certificate cannot be used towards clients: {error}; the one before is shown"
                );
                built.1.clone()
            }
        }
    }

    pub(super) fn config(
        material: &Material,
        client: ClientCertificate,
        alpn: Vec<Vec<u8>>,
    ) -> Result<ServerConfig, IdentityError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(|error| unusable("Certificate", &error))?;
        let resolver = SingleCertAndKey::from(Arc::clone(&material.certified_key));
        let mut config =
            builder.with_client_cert_verifier(verifier(material, client)?).with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = alpn;
        // Ours is the cheaper order (see `provider.rs`), and every suite in it is safe.
        config.ignore_client_order = true;
        // A resumed session would skip the certificate checks.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(config)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("client", &self.0.client).finish_non_exhaustive()
    }
}

fn verifier(material: &Material, client: ClientCertificate) -> Result<Arc<dyn ClientCertVerifier>, IdentityError> {
    let builder = || WebPkiClientVerifier::builder_with_provider(Arc::clone(&material.roots), provider());
    let verifier = match client {
        ClientCertificate::Required => builder().build(),
        ClientCertificate::Optional => builder().allow_unauthenticated().build(),
        ClientCertificate::NotAsked => return Ok(Arc::new(NoClientAuth)),
    };
    match verifier {
        Ok(verifier) => Ok(verifier),
        Err(error) => Err(unusable("Certificate.IssuingCA", &error)),
    }
}

fn unusable(path: &str, error: &dyn fmt::Display) -> IdentityError {
    IdentityError::Unusable { path: path.to_owned(), detail: error.to_string() }
}
