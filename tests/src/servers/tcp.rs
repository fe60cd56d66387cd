//! Plain TCP applications.

use crate::Pod;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An echo, optionally one that speaks first.
#[derive(Clone)]
pub struct TcpApplication {
    connections: Arc<AtomicUsize>,
    peers: Arc<Mutex<Vec<SocketAddr>>>,
}

impl TcpApplication {
    /// Echoes what comes; after the client's end of stream says `bye` and closes.
    pub fn echo(pod: &Pod, at: SocketAddr) -> Self {
        Self::start(pod, at, b"")
    }

    /// Says `banner` first and then echoes.
    pub fn banner(pod: &Pod, at: SocketAddr, banner: &'static [u8]) -> Self {
        Self::start(pod, at, banner)
    }

    fn start(pod: &Pod, at: SocketAddr, banner: &'static [u8]) -> Self {
        let application = Self { connections: Arc::default(), peers: Arc::default() };
        let listener = pod.listen(at);
        let connections = Arc::clone(&application.connections);
        let peers = Arc::clone(&application.peers);
        tokio::spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                peers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(peer);
                tokio::spawn(echo(stream, banner));
            }
        });
        application
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Who connected, in order.
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.peers.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

async fn echo(mut stream: TcpStream, banner: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(banner).await?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
    stream.write_all(b"bye").await?;
    stream.shutdown().await
}
