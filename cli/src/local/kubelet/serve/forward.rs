//! Connections to ports of a pod's loopback, two streams of a WebSocket for each: what goes over it, and what went wrong.

use super::channel::{self, Piece, Receiver, Sender};
use super::{Reply, Service, Target, parameters, text};
use crate::local::node::PodKey;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes read at once.
const PIECE: usize = 32 * 1024;
/// Two streams for each, and a byte to tell them apart.
const MOST_PORTS: usize = 100;

pub(super) fn answer(service: &Service, target: Target, request: Request<Incoming>) -> Reply {
    let named = ["port", "ports"].iter().flat_map(|name| parameters(&request, name)).collect::<Vec<_>>();
    let ports: Result<Vec<u16>, _> = named.iter().flat_map(|list| list.split(',')).map(str::parse).collect();
    let ports = match ports {
        Ok(ports) if !ports.is_empty() && ports.len() <= MOST_PORTS => ports,
        _ => return text(StatusCode::BAD_REQUEST, format!("{named:?} are no ports; name one to {MOST_PORTS}\n")),
    };
    let Some(pod) = service.node.pod(&PodKey::new(&target.namespace, &target.pod)) else {
        return text(StatusCode::NOT_FOUND, format!("pod {}/{} does not run here\n", target.namespace, target.pod));
    };
    channel::upgrade(request, move |sender, receiver| async move {
        let mut writers = Vec::new();
        let mut readers = Vec::new();
        for (index, port) in ports.into_iter().enumerate() {
            let stream = u8::try_from(2 * index).unwrap_or(u8::MAX);
            for one in [stream, stream + 1] {
                sender.send(one, &port.to_le_bytes()).await?;
            }
            match pod.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), CONNECT).await {
                Ok(connected) => {
                    let (reader, writer) = connected.into_split();
                    writers.push((stream, writer));
                    readers.push((stream, reader));
                }
                Err(error) => {
                    let why = format!("nothing answers on port {port} in the pod: {error}");
                    sender.send(stream + 1, why.as_bytes()).await?;
                }
            }
        }
        let sending =
            futures_util::future::join_all(readers.into_iter().map(|(stream, from)| send(from, stream, &sender)));
        tokio::select! {
            _ = sending => {}
            () = receive(receiver, writers) => {}
        }
        sender.close().await
    })
}

async fn send(mut from: OwnedReadHalf, stream: u8, sender: &Sender) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(()),
            count => sender.send(stream, &buffer[..count]).await?,
        }
    }
}

async fn receive(mut receiver: Receiver, mut writers: Vec<(u8, OwnedWriteHalf)>) {
    while let Some(piece) = receiver.next().await {
        match piece {
            Piece::Bytes(stream, bytes) => {
                if let Some((_, to)) = writers.iter_mut().find(|(of, _)| *of == stream) {
                    // A connection that is closed says so on its other half.
                    let _ = to.write_all(&bytes).await;
                }
            }
            // Dropping it says that there is no more.
            Piece::End(stream) => writers.retain(|(of, _)| *of != stream),
        }
    }
}
