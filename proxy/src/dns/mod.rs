//! Answers the application's questions about names, where the mesh has names of its own (MeshConfig
//! `sidecar.localDNSProxy`): fixed records, and an address for names that nobody knows.
//!
//! `fsm-init` redirects the pod's questions to a port on loopback; the pod keeps its search list and resolvers. A name with
//! a fixed record is answered here. Everything else is asked of the resolvers that the document names, else of the pod's
//! own, and passed on as it came, but for a name that nobody knows: it gets the wildcard's addresses, if there are any.
//!
//! Without a document every question is passed on, so that nothing waits for the control plane. A resolver that is silent
//! costs its own questions only: they get SERVFAIL. Never caches, never answers anybody but this pod (only datagrams, only
//! on loopback; what is too large for one comes by TCP, which nobody redirects here).

mod answer;
mod forward;

use crate::config::store::Store;
use crate::limits;
use crate::runtime;
use answer::{Question, Step};
use forward::Resolvers;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Where FSM's rules (1.3.0 to 1.3.8) send questions that a pod asks of 127.0.0.153.
pub const PIPY_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 153)), 5300);

/// What answering needs.
pub struct Names {
    store: Arc<Store>,
    pod: Resolvers,
    /// The pod's search list, lower-case, without dots at the ends.
    searches: Vec<String>,
    /// Packet mark of the proxy's own questions.
    mark: Option<u32>,
    places: Arc<Semaphore>,
}

impl Names {
    /// Reads the pod's `/etc/resolv.conf`.
    pub fn of_pod(store: Arc<Store>, mark: Option<u32>) -> Self {
        let file = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        Self::new(store, &file, mark)
    }

    fn new(store: Arc<Store>, resolv_conf: &str, mark: Option<u32>) -> Self {
        let places = Arc::new(Semaphore::new(limits::DNS_QUESTIONS));
        let (pod, searches) = (Resolvers::of_file(resolv_conf), answer::searches(resolv_conf));
        Self { store, pod, searches, mark, places }
    }

    /// Answers until `stop` is cancelled.
    pub async fn serve(self: Arc<Self>, socket: std::net::UdpSocket, stop: CancellationToken) -> io::Result<()> {
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let mut buffer = vec![0; limits::DNS_DATAGRAM];
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = socket.recv_from(&mut buffer) => received,
            };
            // An error of the socket is that of an answer which nobody took.
            let Ok((length, from)) = received else { continue };
            // Beyond the cap questions are dropped, and asked again: that is what clients of DNS do.
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { continue };
            let (names, socket, question) = (Arc::clone(&self), Arc::clone(&socket), buffer[..length].to_vec());
            runtime::spawn(async move {
                if let Some(reply) = names.reply(&question).await {
                    let _ = socket.send_to(&reply, from).await;
                }
                drop(place);
            });
        }
    }

    /// The reply to a datagram; none to what is no question.
    async fn reply(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let question = Question::read(datagram)?;
        let snapshot = self.store.snapshot();
        let document = snapshot.as_ref().map(|snapshot| &*snapshot.document);
        match answer::first(&question, document, &self.searches) {
            Step::Reply(reply) => Some(reply),
            Step::Ask => {
                let named = document.and_then(Resolvers::of_document);
                let asked = named.as_ref().unwrap_or(&self.pod).ask(datagram, self.mark).await;
                Some(answer::then(&question, asked, document, &self.searches))
            }
        }
    }
}

#[cfg(test)]
mod tests;
