//! Admin ports on loopback, and a raw client that sends exactly the bytes of a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{AdminState, Listeners, Readiness};
use crate::config::store::{Origin, Store};
use crate::options::{LogFormat, LogLevel};
use crate::telemetry::{Telemetry, fixtures::workload, log};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// No test waits so long unless it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn state() -> Arc<AdminState> {
    let telemetry = Arc::new(Telemetry::new());
    let (_, log) = log::build(LogLevel::Warn, LogFormat::Text, Box::new(std::io::sink())).unwrap();
    Arc::new(AdminState {
        store: Arc::new(Store::new(telemetry.clone())),
        telemetry,
        workload: Arc::new(workload()),
        readiness: Arc::new(Readiness::new()),
        listeners: Arc::new(Listeners::default()),
        log,
        drain: CancellationToken::new(),
        quit: CancellationToken::new(),
    })
}

pub(super) fn apply(store: &Store, document: &Value) {
    let origin = Origin::File(PathBuf::from("config.json"));
    store.apply(document.to_string().as_bytes(), &origin).unwrap();
}

pub(super) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An answer: status, head (lower case) and body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Sends bytes on a new connection and reads until the peer closes it; `None` when it closes without an answer.
pub(super) async fn send(address: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that has answered already may have closed its side.
    let _ = stream.write_all(bytes).await;
    read(&mut stream).await
}

pub(super) async fn read(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    let _ = tokio::time::timeout(PATIENCE, reading).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}

/// A request without a body from a well-behaved client; `extra` are whole header lines.
pub(super) async fn ask(address: SocketAddr, method: &str, target: &str, extra: &str) -> Answer {
    let request = format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{extra}\r\n");
    send(address, request.as_bytes()).await.unwrap()
}

pub(super) async fn get(address: SocketAddr, target: &str) -> Answer {
    ask(address, "GET", target, "").await
}
