//! The two threads that live as long as a node: one starts containers, one answers names and relays.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::NodeError;
use super::container::{self, Container, ContainerProcess};
use super::dns::{self, Forwarder, Sockets, Zone};
use super::place::{self, Place};
use super::pod::PodFiles;
use super::record::Record;
use super::uplink::Uplink;

type Job = Box<dyn FnOnce() + Send>;

/// Starts containers, one at a time, on a thread that lives until this is dropped. Containers die with that thread, so
/// also when the program is killed.
pub(super) struct Spawner {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Spawner {
    pub(super) fn start(name: &str) -> Result<Self, NodeError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new()
            .name(format!("fsm-start-{name}"))
            .spawn(move || {
                while let Ok(job) = queue.recv() {
                    job();
                }
            })
            .map_err(|why| NodeError::kernel("start a thread", why))?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), thread: Some(thread) })
    }

    pub(super) fn start_container(
        &self,
        place: &Place,
        files: &PodFiles,
        record: &Record,
        process: ContainerProcess,
    ) -> Result<Container, NodeError> {
        let (answer, answered) = mpsc::channel();
        let (place, files, record) = (place.clone(), files.clone(), record.clone());
        let job = Box::new(move || {
            let _ = answer.send(start_and_return(&place, &files, &record, process));
        });
        let gone = || NodeError::kernel("start a container", std::io::Error::other("the node is closed"));
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().and_then(|jobs| jobs.send(job).ok()).ok_or_else(gone)?;
        drop(jobs);
        answered.recv().map_err(|_| gone())?
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        *self.jobs.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Starts a container and brings the thread back to where it was.
fn start_and_return(
    place: &Place,
    files: &PodFiles,
    record: &Record,
    process: ContainerProcess,
) -> Result<Container, NodeError> {
    let kinds = place::ALL_KINDS;
    let home = place::own_namespaces()
        .and_then(|namespaces| Place::here("the machine", &namespaces, kinds))
        .map_err(|why| NodeError::kernel("look at this thread", why))?;
    let started = container::start(place, files, record, process);
    home.enter().map_err(|why| NodeError::kernel("leave a container", why))?;
    started
}

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
