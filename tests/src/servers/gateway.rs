//! An egress gateway: accepts HTTP/2 `CONNECT` without TLS and opens the connection asked for, from its own pod.

use crate::Pod;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The gateway.
#[derive(Clone)]
pub struct Gateway {
    targets: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    /// Starts a gateway in a pod. `names` are the names it can resolve.
    pub fn start(pod: &Pod, at: SocketAddr, names: &[(&str, SocketAddr)]) -> Self {
        let gateway = Self { targets: Arc::default() };
        let listener = pod.listen(at);
        let targets = Arc::clone(&gateway.targets);
        let names: Vec<_> = names.iter().map(|&(name, at)| (name.to_owned(), at)).collect();
        let pod = pod.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let context = (pod.clone(), Arc::clone(&targets), names.clone());
                tokio::spawn(serve(stream, context));
            }
        });
        gateway
    }

    /// What was asked for, in order: `host:port`.
    pub fn targets(&self) -> Vec<String> {
        self.targets.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

type Context = (Pod, Arc<Mutex<Vec<String>>>, Vec<(String, SocketAddr)>);

async fn serve(stream: TcpStream, (pod, targets, names): Context) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted?;
        let target = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        targets.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(target.clone());
        let address = names.iter().find(|(name, _)| *name == target).map(|(_, at)| *at).or_else(|| target.parse().ok());
        let upstream = match address {
            Some(address) if request.method() == http::Method::CONNECT => pod.connect(address).await.ok(),
            _ => None,
        };
        let mut response = http::Response::new(());
        let Some(upstream) = upstream else {
            *response.status_mut() = http::StatusCode::BAD_GATEWAY;
            respond.send_response(response, true)?;
            continue;
        };
        let sender = respond.send_response(response, false)?;
        tokio::spawn(tunnel(upstream, request.into_body(), sender));
    }
    Ok(())
}

async fn tunnel(upstream: TcpStream, mut from_client: h2::RecvStream, mut to_client: h2::SendStream<Bytes>) {
    let (mut read, mut write) = upstream.into_split();
    let upload = async {
        while let Some(Ok(chunk)) = from_client.data().await {
            let _ = from_client.flow_control().release_capacity(chunk.len());
            if write.write_all(&chunk).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    let download = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            match read.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    // Test traffic is far below the windows: sending without asking for capacity only queues.
                    let chunk = Bytes::copy_from_slice(&buffer[..length]);
                    if to_client.send_data(chunk, false).is_err() {
                        return;
                    }
                }
            }
        }
        let _ = to_client.send_data(Bytes::new(), true);
    };
    tokio::join!(upload, download);
}
