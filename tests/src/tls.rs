//! TLS ends of the tests: servers that stand in for another sidecar, clients with any certificate.

use crate::{Leaf, Pod, Wire, within};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

static VERSIONS_ALL: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
static VERSIONS_12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// The server's end: demands a client certificate of one authority.
#[derive(Clone)]
pub struct TlsServer {
    acceptor: TlsAcceptor,
}

impl TlsServer {
    /// Like a sidecar's inbound side: own certificate, clients of the same authority.
    pub fn new(leaf: &Leaf) -> Self {
        Self::with(leaf, VERSIONS_ALL)
    }

    /// Like an old Pipy: TLS 1.2 at most.
    pub fn tls12(leaf: &Leaf) -> Self {
        Self::with(leaf, VERSIONS_12)
    }

    fn with(leaf: &Leaf, versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(&leaf.authority)), provider())
            .build()
            .expect("one root is enough");
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("the provider has them")
            .with_client_cert_verifier(clients)
            .with_single_cert(chain(&leaf.certificate), key(&leaf.key))
            .expect("the leaf's key fits");
        Self { acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// Shakes hands with a client.
    ///
    /// # Errors
    /// Those of the handshake.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<tokio_rustls::server::TlsStream<TcpStream>> {
        within("a client's TLS handshake", self.acceptor.accept(stream)).await
    }
}

/// The client's end. Never checks the server: attackers do not either.
#[derive(Clone, Default)]
pub struct TlsClient {
    leaf: Option<Leaf>,
    alpn: Vec<Vec<u8>>,
    tls12: bool,
}

impl TlsClient {
    /// Without a certificate.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// With a certificate.
    pub fn new(leaf: &Leaf) -> Self {
        Self { leaf: Some(leaf.clone()), ..Self::default() }
    }

    /// Offering these protocols.
    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Speaking TLS 1.2 at most.
    pub fn tls12(mut self) -> Self {
        self.tls12 = true;
        self
    }

    /// Connects from a pod and shakes hands.
    ///
    /// # Errors
    /// Those of the handshake. A TLS 1.3 server that refuses the client's certificate says so only afterwards: the
    /// first read fails.
    pub async fn connect(&self, pod: &Pod, to: SocketAddr) -> std::io::Result<Wire> {
        self.wrap(pod.connect(to).await?).await.map(|(wire, _)| wire)
    }

    /// Shakes hands on a connected stream; returns the server's certificate too.
    ///
    /// # Errors
    /// Those of the handshake.
    pub async fn wrap(&self, stream: TcpStream) -> std::io::Result<(Wire, CertificateDer<'static>)> {
        let versions = if self.tls12 { VERSIONS_12 } else { VERSIONS_ALL };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("the provider has them")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider())));
        let mut config = match &self.leaf {
            Some(leaf) => {
                builder.with_client_auth_cert(chain(&leaf.certificate), key(&leaf.key)).expect("the leaf's key fits")
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.clone();
        config.enable_sni = false;
        let name = ServerName::try_from("sidecar.invalid").expect("a name");
        let stream =
            within("the server's TLS handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await?;
        let certificate = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(<[_]>::first)
            .expect("a server has a certificate")
            .clone()
            .into_owned();
        Ok((Wire::new(stream), certificate))
    }
}

#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(pem: &str) -> RootCertStore {
    let mut store = RootCertStore::empty();
    for certificate in chain(pem) {
        store.add(certificate).expect("an authority's certificate");
    }
    store
}

fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("PEM of the harness's own making")
}

fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("PEM of the harness's own making")
}
