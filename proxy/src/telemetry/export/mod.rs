//! Sends spans and remote logs to their collectors, beside the data path.
//!
//! Records wait in bounded queues ([`Queue`]); what does not fit is dropped and counted. One task for each kind takes what
//! has come within a second, sends it, and throws it away, sent or not: a collector that is down costs its records, a line
//! in the log when it goes and when it comes back, and nothing else. It sleeps through that second: a task that is woken
//! for each record takes the CPU from the requests that they tell of, a hundred times what a record itself costs.

pub mod post;
pub mod remote_log;

use super::Telemetry;
use super::counters::Counter;
use super::record::Draft;
use super::trace::{Protocol, otlp, zipkin};
use super::workload::Workload;
use crate::limits;
use parking_lot::Mutex;
use post::{Collector, PostError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// Records that wait to be sent.
#[derive(Debug)]
pub struct Queue {
    sender: mpsc::Sender<Arc<Draft>>,
    receiver: Mutex<Option<mpsc::Receiver<Arc<Draft>>>>,
    /// Told when a batch is waiting.
    full: Notify,
    bytes: AtomicUsize,
    /// Records that were sent.
    pub sent: Counter,
    /// Records that no longer fitted.
    pub dropped: Counter,
    /// Records that a collector did not take.
    pub failed: Counter,
}

impl Default for Queue {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(limits::EXPORT_QUEUE);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
            full: Notify::new(),
            bytes: AtomicUsize::new(0),
            sent: Counter::default(),
            dropped: Counter::default(),
            failed: Counter::default(),
        }
    }
}

impl Queue {
    /// Takes a record if there is room for it.
    pub fn offer(&self, draft: &Arc<Draft>) {
        let weight = draft.weight();
        if self.bytes.fetch_add(weight, Relaxed) + weight > limits::EXPORT_QUEUE_BYTES
            || self.sender.try_send(Arc::clone(draft)).is_err()
        {
            self.bytes.fetch_sub(weight, Relaxed);
            self.dropped.increment();
        } else if self.waiting() >= limits::EXPORT_BATCH {
            self.full.notify_one();
        }
    }

    fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// Waits for the first record, and then for what else comes within a second, or for a batch.
    async fn fill(&self, receiver: &mut mpsc::Receiver<Arc<Draft>>, batch: &mut Vec<Arc<Draft>>) {
        batch.extend(receiver.recv().await);
        if self.waiting() + batch.len() < limits::EXPORT_BATCH {
            let _ = tokio::time::timeout(limits::EXPORT_INTERVAL, self.full.notified()).await;
        }
    }

    /// Takes what waits, up to a batch.
    fn take(&self, receiver: &mut mpsc::Receiver<Arc<Draft>>, batch: &mut Vec<Arc<Draft>>) {
        let room = limits::EXPORT_BATCH.saturating_sub(batch.len());
        batch.extend(std::iter::from_fn(|| receiver.try_recv().ok()).take(room));
        let weight = batch.iter().map(|draft| draft.weight()).sum();
        self.bytes.fetch_sub(weight, Relaxed);
    }
}

/// Whose records are sent, and how connections are made.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The workload.
    pub workload: Workload,
    /// `POD_IP`
    pub ip: String,
    /// `POD_UID`
    pub uid: String,
    /// `HOSTNAME`
    pub host: String,
    /// `MESH_NAME`
    pub mesh: String,
    /// Packet mark of the proxy's own sockets.
    pub mark: Option<u32>,
}

impl Origin {
    /// Reads the environment of this process.
    pub fn from_environment(mark: Option<u32>) -> Self {
        let value = |name| std::env::var(name).unwrap_or_default();
        Self {
            workload: Workload::from_environment(),
            ip: value("POD_IP"),
            uid: value("POD_UID"),
            host: value("HOSTNAME"),
            mesh: value("MESH_NAME"),
            mark,
        }
    }

    /// Name of the service in traces: FSM's, the service account.
    pub fn service(&self) -> &str {
        if self.workload.name.is_empty() { "fsm-proxy" } else { &self.workload.name }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// Spans of traces.
    Spans,
    /// FSM's remote log.
    Logs,
}

/// Sends one kind of records until `stop` is cancelled, then what is left, once.
pub async fn send(kind: Export, telemetry: Arc<Telemetry>, origin: Origin, stop: CancellationToken) {
    let queue = match kind {
        Export::Spans => &telemetry.observers.spans,
        Export::Logs => &telemetry.observers.remote_log,
    };
    let Some(mut receiver) = queue.receiver.lock().take() else { return };
    let mut backoff = Duration::ZERO;
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = queue.fill(&mut receiver, &mut batch) => {}
        }
        queue.take(&mut receiver, &mut batch);
        let last = stop.is_cancelled() && queue.waiting() == 0;
        // A new configuration may name another collector in the middle of a batch.
        for part in batch.chunk_by(|one, next| kind.collector(one) == kind.collector(next)) {
            let count = part.len() as u64;
            match kind.post(part, &origin).await {
                Ok(()) => {
                    queue.sent.add(count);
                    if !std::mem::take(&mut backoff).is_zero() {
                        tracing::info!("the collector takes {} again", kind.name());
                    }
                }
                Err(error) => {
                    queue.failed.add(count);
                    if backoff.is_zero() {
                        tracing::warn!("{} are lost until this is mended: {error}", kind.name());
                    }
                    backoff = (backoff * 2).clamp(limits::EXPORT_BACKOFF.0, limits::EXPORT_BACKOFF.1);
                }
            }
        }
        if last {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = stop.cancelled() => {}
        }
    }
}

impl Export {
    const fn name(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Logs => "entries of the remote log",
        }
    }

    fn collector(self, draft: &Draft) -> Option<&Collector> {
        match self {
            Self::Spans => draft.observe.tracing.as_ref().map(|tracing| &tracing.collector),
            Self::Logs => draft.observe.remote_log.as_ref().map(|log| &log.collector),
        }
    }

    async fn post(self, batch: &[Arc<Draft>], origin: &Origin) -> Result<(), PostError> {
        let Some(observe) = batch.first().map(|draft| &draft.observe) else { return Ok(()) };
        match (self, &observe.tracing, &observe.remote_log) {
            (Self::Spans, Some(tracing), _) => match tracing.protocol {
                Protocol::Zipkin => {
                    let body = zipkin::body(batch, origin);
                    post::post(&tracing.collector, &[], body.into(), origin.mark).await
                }
                Protocol::Otlp => otlp::send(&tracing.collector, batch, origin).await,
            },
            (Self::Logs, _, Some(log)) => {
                let body = remote_log::body(batch, origin);
                post::post(&log.collector, &log.headers, body.into(), origin.mark).await
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
