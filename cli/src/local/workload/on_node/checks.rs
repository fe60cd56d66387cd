//! Looks at containers, for their probes.

use super::super::runtime::{Check, ContainerId, Process};
use super::{Inner, Prober, key_of};
use crate::local::node::{ExecIo, ExecRequest};
use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// Takes one look.
pub(super) async fn look(inner: &Arc<Inner>, id: &ContainerId, check: Check, timeout: Duration) -> Result<(), String> {
    let late = || format!("no answer within {} s", timeout.as_secs());
    match check {
        // As FSM's own health check: that the port accepts is all that is known of TLS.
        Check::Tcp { address } | Check::Http { address, tls: true, .. } => {
            connect(inner, id, address, timeout).await.map(drop)
        }
        Check::Http { address, path, headers, tls: false } => {
            let stream = connect(inner, id, address, timeout).await?;
            tokio::time::timeout(timeout, get(stream, address, &path, &headers)).await.map_err(|_| late())?
        }
        Check::Exec(process) => tokio::time::timeout(timeout, exec(inner, id, *process)).await.map_err(|_| late())?,
    }
}

async fn connect(inner: &Inner, id: &ContainerId, address: SocketAddr, timeout: Duration) -> Result<TcpStream, String> {
    let pod = inner.options.node.pod(&key_of(&id.pod)).ok_or("the pod is gone")?;
    let connected = match inner.options.probes {
        Prober::Pod => pod.connect(address, timeout).await,
        Prober::Node => inner.options.node.connect(address, timeout).await,
    };
    connected.map_err(|error| format!("cannot connect to {address}: {error}"))
}

async fn get(stream: TcpStream, address: SocketAddr, path: &str, headers: &[(String, String)]) -> Result<(), String> {
    let wrong = |error: &dyn std::fmt::Display| format!("GET {path} at {address}: {error}");
    let mut all = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(|error| wrong(&error))?;
        all.append(name, HeaderValue::try_from(value).map_err(|error| wrong(&error))?);
    }
    let host = HeaderValue::try_from(address.to_string()).map_err(|error| wrong(&error))?;
    all.entry(HOST).or_insert(host);
    all.entry(USER_AGENT).or_insert(HeaderValue::from_static("fsm-probe"));
    all.insert(CONNECTION, HeaderValue::from_static("close"));
    let mut request = Request::get(path).body(Empty::<Bytes>::new()).map_err(|error| wrong(&error))?;
    *request.headers_mut() = all;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        // So that the application's write does not fail, which it might log; a part of it does.
        let _ = response.into_body().frame().await;
        Ok::<StatusCode, hyper::Error>(status)
    };
    let (mut exchange, mut connection) = (std::pin::pin!(exchange), std::pin::pin!(connection));
    let status = tokio::select! {
        biased;
        status = exchange.as_mut() => status,
        // The connection may end as soon as the whole answer has been read from it.
        ended = connection.as_mut() => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error),
        },
    };
    let status = status.map_err(|error| wrong(&error))?;
    if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(wrong(&format!("status {}", status.as_u16()))) }
}

async fn exec(inner: &Arc<Inner>, id: &ContainerId, process: Process) -> Result<(), String> {
    let container = inner.container(id).ok_or("the container does not run")?;
    let command = process.command.join(" ");
    let request = ExecRequest {
        command: process.command,
        env: Vec::new(),
        directory: process.directory.map(PathBuf::from),
        user: None,
        io: ExecIo::Null,
    };
    let start = move || container.exec(request).map_err(|error| error.to_string());
    let program = tokio::task::spawn_blocking(start).await.map_err(|error| error.to_string())??;
    let ended = program.wait().await.map_err(|error| error.to_string())?;
    if ended.success() { Ok(()) } else { Err(format!("{command}: {ended}")) }
}
