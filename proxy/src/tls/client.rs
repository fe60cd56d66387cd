//! Connecting with TLS: what we show, what we expect, one deadline.
//!
//! Fails, with a reason, when the server's chain does not verify, when its identity is not the expected one, or when it
//! is too slow. Never resumes a session and never sends early data.
//!
//! With TLS 1.3 a client is done before the server has looked at the client's certificate: a server that refuses us
//! shows as an alert on the first read, not here.

use super::Alpn;
use super::identity::{Identity, IdentityError, Material};
use super::provider::{VERSIONS, provider};
use super::verify::{Expect, IdentityMismatch, MeshServerVerifier, Peer};
use crate::limits;
use crate::reason::Reason;
use arc_swap::ArcSwap;
use arcstr::ArcStr;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A TLS client for one kind of server; cheap to clone.
#[derive(Clone)]
pub struct ClientTls(Arc<Inner>);

struct Inner {
    built: Built,
    expect: Expect,
    trust_domain: Option<ArcStr>,
}

/// What handshakes are made with.
enum Built {
    /// The same for ever.
    Fixed(TlsConnector),
    /// Whatever the identity has at the moment.
    Following { identity: Identity, alpn: &'static [&'static [u8]], latest: ArcSwap<(Arc<Material>, TlsConnector)> },
}

/// A finished handshake.
#[derive(Debug)]
pub struct Connected<IO> {
    /// The connection.
    pub stream: TlsStream<IO>,
    /// The server, verified.
    pub peer: Peer,
    /// What both sides agreed on.
    pub alpn: Alpn,
    /// Whether the server's identity was named in advance; `false` under [`Expect::AnyOfMesh`].
    pub named: bool,
}

/// Why a handshake with a server failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server did not finish in time.
    #[error("the server did not finish the TLS handshake within {0:?}")]
    Timeout(Duration),
    /// The server's certificate is valid but names somebody else.
    #[error("the server's certificate names {presented:?}, expected one of {expected:?}")]
    Identity {
        /// Any of these would have done.
        expected: Vec<ArcStr>,
        /// What the certificate names.
        presented: Vec<ArcStr>,
    },
    /// The server's certificate does not verify.
    #[error("the server's certificate is refused: {detail}")]
    Certificate {
        /// What is wrong with it.
        detail: String,
    },
    /// Anything else that is wrong with the handshake, for instance that the server speaks no TLS or refused *our*
    /// certificate.
    #[error("the TLS handshake with the server failed: {detail}")]
    Protocol {
        /// What is wrong.
        detail: String,
    },
    /// The server went away.
    #[error("the server closed the connection during the TLS handshake")]
    Closed,
}

impl ConnectError {
    /// The stable code of this failure.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Timeout(_) => Reason::UpstreamConnectTimeout,
            Self::Identity { .. } => Reason::UpstreamIdentity,
            Self::Certificate { .. } | Self::Protocol { .. } | Self::Closed => Reason::UpstreamTls,
        }
    }

    fn from_io(error: &io::Error) -> Self {
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
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                match other.0.downcast_ref::<IdentityMismatch>() {
                    Some(mismatch) => {
                        Self::Identity { expected: mismatch.expected.clone(), presented: mismatch.presented.clone() }
                    }
                    None => Self::Certificate { detail: other.to_string() },
                }
            }
            rustls::Error::InvalidCertificate(problem) => Self::Certificate { detail: problem.to_string() },
            rustls::Error::AlertReceived(alert) => {
                Self::Protocol { detail: format!("the server ended it with the alert {alert:?}") }
            }
            other => Self::Protocol { detail: other.to_string() },
        }
    }
}

impl ClientTls {
    /// What is expected of servers beyond a valid chain.
    pub fn expected(&self) -> &Expect {
        &self.0.expect
    }

    /// A client of the mesh: shows `identity`'s certificate and trusts its roots, also after they were renewed. `alpn` is
    /// what we offer, best first.
    ///
    /// # Errors
    /// [`IdentityError::Unusable`].
    pub fn of_mesh(identity: &Identity, expect: Expect, alpn: &'static [&'static [u8]]) -> Result<Self, IdentityError> {
        let trust_domain = Some(identity.trust_domain().clone());
        let material = identity.material();
        let connector = Self::following(&material, expect.clone(), trust_domain.clone(), alpn)?;
        let latest = ArcSwap::from_pointee((Arc::clone(&material), connector));
        let built = Built::Following { identity: identity.clone(), alpn, latest };
        Ok(Self(Arc::new(Inner { built, expect, trust_domain })))
    }

    /// A client that trusts `roots` for ever. `identity` is what we show if the server asks; `None` shows nothing. `alpn`
    /// is what we offer, best first.
    ///
    /// # Errors
    /// [`IdentityError::Unusable`].
    pub fn new(
        identity: Option<&Identity>,
        roots: Arc<RootCertStore>,
        expect: Expect,
        alpn: &'static [&'static [u8]],
    ) -> Result<Self, IdentityError> {
        let trust_domain = identity.map(|identity| identity.trust_domain().clone());
        let key = identity.map(Identity::certified_key);
        let config = Self::config(key, roots, expect.clone(), trust_domain.clone(), alpn)?;
        let built = Built::Fixed(TlsConnector::from(Arc::new(config)));
        Ok(Self(Arc::new(Inner { built, expect, trust_domain })))
    }

    /// Shakes hands within `deadline`. `server_name` is a host name (sent as SNI) or an IP address; `None` sends no
    /// SNI, which is what Pipy does, and is an error under [`Expect::HostName`].
    pub async fn connect<IO>(
        &self,
        io: IO,
        server_name: Option<&str>,
        deadline: Duration,
    ) -> Result<Connected<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let server_name = self.server_name(server_name)?;
        let mut stream = match timeout(deadline, self.connector().connect(server_name, io)).await {
            Err(_) => return Err(ConnectError::Timeout(deadline)),
            Ok(Err(error)) => return Err(ConnectError::from_io(&error)),
            Ok(Ok(stream)) => stream,
        };
        stream.get_mut().1.set_buffer_limit(Some(limits::TLS_WRITE_BUFFER));
        let (_, session) = stream.get_ref();
        let alpn = Alpn::negotiated(session.alpn_protocol());
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let trust_domain = self.0.trust_domain.as_deref();
        let peer = leaf.map(|leaf| Peer::from_leaf(leaf, trust_domain)).unwrap_or_default();
        Ok(Connected { stream, peer, alpn, named: self.0.expect != Expect::AnyOfMesh })
    }

    /// Whether a server of this account may be at the other end.
    pub fn expects(&self, account: &str, namespace: &str) -> bool {
        let is = |name: &ArcStr| {
            let rest = name.strip_prefix(account).and_then(|rest| rest.strip_prefix('.'));
            let rest = rest.and_then(|rest| rest.strip_prefix(namespace));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match &self.0.expect {
            Expect::AnyOfMesh => true,
            Expect::Principals(names) => names.iter().any(is),
            Expect::HostName => false,
        }
    }

    fn server_name(&self, name: Option<&str>) -> Result<ServerName<'static>, ConnectError> {
        match name {
            Some(name) => ServerName::try_from(name.to_owned()).map_err(|_| ConnectError::Protocol {
                detail: format!("{name:?} is neither a host name nor an IP address"),
            }),
            None if self.0.expect == Expect::HostName => Err(ConnectError::Protocol {
                detail: "there is no server name to compare the certificate with".to_owned(),
            }),
            // An address is never sent as SNI (RFC 6066 §3), and the verifier looks at it under `HostName` only.
            None => Ok(ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED))),
        }
    }

    fn connector(&self) -> TlsConnector {
        let (identity, alpn, latest) = match &self.0.built {
            Built::Fixed(connector) => return connector.clone(),
            Built::Following { identity, alpn, latest } => (identity, alpn, latest),
        };
        let (material, built) = (identity.material(), latest.load());
        if Arc::ptr_eq(&material, &built.0) {
            return built.1.clone();
        }
        match Self::following(&material, self.0.expect.clone(), self.0.trust_domain.clone(), alpn) {
            Ok(connector) => {
                latest.store(Arc::new((Arc::clone(&material), connector.clone())));
                connector
            }
            Err(error) => {
                tracing::warn!(
                    "the renewed certificate cannot be used towards servers: {error}; the one before is shown"
                );
                built.1.clone()
            }
        }
    }

    fn following(
        material: &Material,
        expect: Expect,
        trust_domain: Option<ArcStr>,
        alpn: &[&[u8]],
    ) -> Result<TlsConnector, IdentityError> {
        let (key, roots) = (Arc::clone(&material.certified_key), Arc::clone(&material.roots));
        let config = Self::config(Some(key), roots, expect, trust_domain, alpn)?;
        Ok(TlsConnector::from(Arc::new(config)))
    }

    pub(super) fn config(
        key: Option<Arc<CertifiedKey>>,
        roots: Arc<RootCertStore>,
        expect: Expect,
        trust_domain: Option<ArcStr>,
        alpn: &[&[u8]],
    ) -> Result<ClientConfig, IdentityError> {
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let verifier = MeshServerVerifier { roots, expect, trust_domain, algorithms };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(VERSIONS)
            .map_err(|error| IdentityError::Unusable { path: "Certificate".to_owned(), detail: error.to_string() })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match key {
            Some(key) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        // A resumed session would skip the certificate checks.
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(config)
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("expect", &self.0.expect).finish_non_exhaustive()
    }
}
