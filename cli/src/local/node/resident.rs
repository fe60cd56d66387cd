//! The thread that lives as long as a node: it answers names, and relays what leaves the mesh.

use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::NodeError;
use super::dns::{self, Forwarder, Sockets, Zone};
use super::uplink::Uplink;

/// Answers names, and relays what leaves the mesh, on a thread in the machine's own network.
pub(super) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(
        name: &str,
        sockets: Sockets,
        zone: Arc<RwLock<Zone>>,
        forwarder: Option<Forwarder>,
        uplink: Option<Uplink>,
    ) -> Result<Self, NodeError> {
        let failed = |why| NodeError::kernel("start the DNS server", why);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name(format!("fsm-names-{name}"))
            .spawn(move || {
                runtime.block_on(async move {
                    if let Some(uplink) = uplink {
                        tokio::spawn(uplink.serve());
                    }
                    tokio::select! {
                        () = dns::serve(sockets, zone, forwarder) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(failed)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
