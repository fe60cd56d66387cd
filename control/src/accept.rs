//! Accepting connections whose number is bounded: while all places are taken, the next ones wait in the kernel's queue.
//!
//! Never fails: an error of one connection is passed over, any other one is logged and tried again after a pause.

use crate::limits;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

/// Serves each connection, at most so many at a time, until `stop`; what is in progress then has
/// [`limits::SHUTDOWN_GRACE`] to end. `whose` says for the log who connects.
pub(crate) async fn serve_each<S, F>(
    listener: TcpListener,
    whose: &'static str,
    most: usize,
    stop: &CancellationToken,
    serve: S,
) where
    S: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most));
    let connections = TaskTracker::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, from)) => {
                let _ = socket.set_nodelay(true);
                let connection = serve(socket, from);
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept a connection of {whose}; trying again");
                sleep(limits::ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    connections.close();
    let _ = timeout(limits::SHUTDOWN_GRACE, connections.wait()).await;
}

/// Errors of `accept` that concern one connection only.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
