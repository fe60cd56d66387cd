//! Who may ask: a certificate of the mesh, or, where that is permitted, an address of the mesh.

use super::EgressGateway;
use crate::config::snapshot::Snapshot;
use crate::http::reply::Refusal;
use crate::limits;
use crate::listen::ConnInfo;
use crate::reason::Reason;
use crate::route::ranges::{Ranges, parse_range};
use crate::shared::Proxy;
use crate::tls::{Alpn, ClientCertificate, Identity, ServerTls};
use crate::upstream::gateway::Mode;
use fsm_api::config::Config;
use std::sync::Arc;
use tokio::net::TcpStream;

/// First byte of a TLS connection; neither HTTP nor SOCKS begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// What one document says about clients of the gateway.
#[derive(Debug)]
pub(super) struct Admission {
    document: Arc<Config>,
    identity: Option<Arc<Identity>>,
    /// `None`: the document has no usable certificate.
    tls: Option<ServerTls>,
    addresses: Ranges<()>,
}

/// How an admitted client speaks.
pub(super) enum Way {
    Plaintext,
    Tls(ServerTls),
}

impl EgressGateway {
    /// Step 1. Looks at the first byte and takes nothing of it.
    pub(super) async fn admit(&self, proxy: &Proxy, stream: &TcpStream, info: &ConnInfo) -> Result<Way, Refusal> {
        let admission = self.admission(proxy).ok_or_else(|| {
            Refusal::explained(Reason::UnknownPort, "no configuration says yet who belongs to the mesh")
        })?;
        let listed = admission.addresses.find(info.peer.ip()).is_some();
        // With certificates an empty list leaves the decision to them, as for every port of the mesh.
        let certificates_decide = admission.addresses.is_empty() && admission.tls.is_some();
        if !listed && !certificates_decide {
            return Err(Reason::SourceNotAllowed.into());
        }
        let mut first = [0];
        let peeked = tokio::time::timeout(limits::DETECT_TIMEOUT, stream.peek(&mut first)).await;
        if !matches!(peeked, Ok(Ok(1))) {
            return Err(Refusal::explained(Reason::DownstreamTimeout, "the client asked for nothing"));
        }
        match (first[0] == TLS_HANDSHAKE, &admission.tls) {
            (true, Some(tls)) => Ok(Way::Tls(tls.clone())),
            (true, None) => {
                Err(Refusal::explained(Reason::DownstreamTls, "the gateway has no certificate of the mesh"))
            }
            (false, _) if self.plaintext && listed => Ok(Way::Plaintext),
            (false, _) => Err(Reason::MtlsRequired.into()),
        }
    }

    /// What the document in force says; worked out once for each document.
    fn admission(&self, proxy: &Proxy) -> Option<Arc<Admission>> {
        let snapshot = proxy.store.snapshot()?;
        let known = self.admission.load_full();
        if let Some(known) = known.filter(|known| known.is_of(&snapshot)) {
            return Some(known);
        }
        let admission = Arc::new(Admission::of(&snapshot, self.mode));
        self.admission.store(Some(Arc::clone(&admission)));
        Some(admission)
    }
}

impl Admission {
    /// Whether nothing has changed since. A certificate that is issued later makes another identity of the same document.
    fn is_of(&self, snapshot: &Snapshot) -> bool {
        let same_identity = match (&self.identity, &snapshot.identity) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        same_identity && Arc::ptr_eq(&self.document, &snapshot.document)
    }

    fn of(snapshot: &Snapshot, mode: Mode) -> Self {
        let alpn = if mode == Mode::Socks5 { Alpn::ANY } else { Alpn::HTTP };
        let tls = snapshot.identity.as_ref().and_then(|identity| {
            let tls = ServerTls::new(identity, ClientCertificate::Required, alpn);
            tls.inspect_err(|error| tracing::error!("{error}; the gateway admits nobody over TLS")).ok()
        });
        let mut addresses = Ranges::default();
        for address in snapshot.document.allowed_endpoints.keys() {
            match parse_range(address) {
                Ok(range) => addresses.insert(range, ()),
                Err(error) => tracing::warn!("AllowedEndpoints: {error}; it admits nobody"),
            }
        }
        Self { document: Arc::clone(&snapshot.document), identity: snapshot.identity.clone(), tls, addresses }
    }
}
