//! The ways between the machine and the node's network: pods reach the API server, and the API server reaches them.
//!
//! An API server on the machine's loopback has no route to Services and pods. It asks for each connection by CONNECT on a
//! Unix socket (its `--egress-selector-config-file`, cluster, HTTPConnect), and gets it from the node's own address. Whoever
//! may open the socket may connect to every pod, so only its owner may.

use crate::local::node::Node;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Config;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixListener};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Pause after an accept has failed: most likely for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Relays connections of pods to the API server.
pub(super) fn relay_api_server(node: &Node, port: u16, config: &Config) -> io::Result<()> {
    let url = &config.cluster_url;
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let server = (host, url.port_u16().unwrap_or(443));
    let listener = node.listen(SocketAddr::new(IpAddr::V4(node.address()), port))?;
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let server = server.clone();
            tokio::spawn(async move {
                // Whoever connects sees a server that is away as a connection that ends.
                let connecting = tokio::time::timeout(CONNECT, TcpStream::connect((server.0.as_str(), server.1)));
                if let Ok(Ok(mut upstream)) = connecting.await {
                    let _ = copy_bidirectional(&mut stream, &mut upstream).await;
                }
            });
        }
    });
    Ok(())
}

/// Serves CONNECT on a Unix socket. One that a dead process has left is replaced.
pub(super) fn serve_connections(node: Node, path: &Path) -> io::Result<()> {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let node = node.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| connect(node.clone(), request));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                let _ = connection.with_upgrades().await;
            });
        }
    });
    Ok(())
}

async fn connect(node: Node, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = |status, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        Ok(response)
    };
    let target = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    if request.method() != Method::CONNECT {
        return answer(StatusCode::METHOD_NOT_ALLOWED, "only CONNECT is served here\n".to_owned());
    }
    let Ok(address) = target.parse::<SocketAddr>() else {
        return answer(StatusCode::BAD_REQUEST, format!("{target:?} is no address with a port\n"));
    };
    match node.connect(address, CONNECT).await {
        Err(error) => answer(StatusCode::BAD_GATEWAY, format!("no connection to {address}: {error}\n")),
        Ok(mut upstream) => {
            tokio::spawn(async move {
                if let Ok(upgraded) = hyper::upgrade::on(request).await {
                    let _ = copy_bidirectional(&mut TokioIo::new(upgraded), &mut upstream).await;
                }
            });
            answer(StatusCode::OK, String::new())
        }
    }
}
