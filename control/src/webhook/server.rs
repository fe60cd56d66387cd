//! The port that the API server asks: HTTP/1 over TLS 1.3, with a certificate of the mesh's own authority.
//!
//! Connections, header sections and bodies are bounded, and every phase has a deadline. When the program stops, requests
//! in progress have a moment to end.

use super::{Reviewer, answer};
use crate::accept;
use crate::cert::server::ServerTls;
use crate::http::{PortLimits, serve_connection};
use crate::limits;
use rustls::ServerConfig;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

const LIMITS: PortLimits = PortLimits {
    connections: limits::MAX_WEBHOOK_CONNECTIONS,
    body: limits::MAX_REVIEW_BYTES,
    idle: limits::WEBHOOK_IDLE,
};

/// Serves until `stop`.
pub async fn serve<R: Reviewer>(listener: TcpListener, webhook: Arc<R>, tls: Arc<ServerTls>, stop: CancellationToken) {
    let connection = |socket, _| secure(socket, webhook.clone(), tls.clone(), stop.clone());
    accept::serve_each(listener, "the API server", LIMITS.connections, &stop, connection).await;
}

async fn secure<R: Reviewer>(socket: TcpStream, webhook: Arc<R>, tls: Arc<ServerTls>, stop: CancellationToken) {
    let handshake = TlsAcceptor::from(speaking_http1(&tls.config())).accept(socket);
    let secured = tokio::select! {
        () = stop.cancelled() => return,
        secured = timeout(limits::WEBHOOK_HANDSHAKE_TIMEOUT, handshake) => secured,
    };
    match secured {
        Ok(Ok(secured)) => {
            let handler = move |ask| {
                let webhook = webhook.clone();
                async move { answer(webhook.as_ref(), ask).await }
            };
            serve_connection(secured, handler, LIMITS, stop).await;
        }
        Ok(Err(error)) => debug!("a TLS handshake with the webhook failed: {error}"),
        Err(_) => debug!("a TLS handshake with the webhook took too long"),
    }
}

/// API servers and kubelets offer HTTP/1, whatever else they speak.
fn speaking_http1(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}
