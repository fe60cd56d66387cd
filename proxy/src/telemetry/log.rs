//! The console log: readable lines or JSON, a level that can be changed at run time, and never a wait.
//!
//! Events go through a bounded queue to one thread that writes them. When the queue is full (a full pipe, a slow disk)
//! lines are dropped and counted, and the log says so as soon as it can: the data path never waits for its own log.
//! Text from outside (header values, server names, names in certificates) is escaped, so that nobody can forge a line
//! or drive the reader's terminal. Secrets are the caller's duty: what is not logged needs no redaction.
//!
//! Text lines read `2026-03-02 09:14:07.512 [INF] message key=value` (UTC, Pipy's form); JSON is one object a line with
//! `time`, `level`, `target`, `message` and the event's own fields. The level applies to this program; libraries are
//! heard from `warn` on, since they log every frame at `debug`.

mod line;

use super::counters::Counter;
use crate::options::{LogFormat, LogLevel};
use line::LineLayer;
use parking_lot::Mutex;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant};
use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

/// Lines that may wait for the writer. With [`line::MAX_LINE_BYTES`] this bounds the queue to 16 MiB.
const QUEUE_LINES: usize = 2048;

/// Logging could not be set up or changed.
#[derive(Debug, Error)]
pub enum LogError {
    /// The name is none of the levels.
    #[error("log level {0:?} is unknown: use trace, debug, info, warn, error or disabled")]
    UnknownLevel(String),
    /// Logging was installed before.
    #[error("the log is already set up")]
    Installed,
    /// The writer's thread did not start.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(#[from] std::io::Error),
}

/// Changes the level while the proxy runs.
#[derive(Clone, Debug)]
pub struct LogControl {
    level: Arc<Mutex<LogLevel>>,
    filter: reload::Handle<Targets, Registry>,
    queue: Queue,
}

/// Sends every event of this process to standard error from now on.
///
/// # Errors
/// [`LogError`]: a log exists already, or no thread can be started.
pub fn install(level: LogLevel, format: LogFormat) -> Result<LogControl, LogError> {
    let (subscriber, control) = build(level, format, Box::new(std::io::stderr()))?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Installed)?;
    Ok(control)
}

/// A log that writes to `sink`, for those who do not want it to be the process's only one.
///
/// # Errors
/// [`LogError`]: no thread can be started.
pub fn build(
    level: LogLevel,
    format: LogFormat,
    sink: Box<dyn Write + Send>,
) -> Result<(impl Subscriber + Send + Sync + use<>, LogControl), LogError> {
    let (sender, receiver) = mpsc::sync_channel(QUEUE_LINES);
    let queue = Queue { sender, dropped: Arc::default() };
    let dropped = Arc::clone(&queue.dropped);
    std::thread::Builder::new().name("fsm-log".into()).spawn(move || write_lines(&receiver, sink, format, &dropped))?;
    let (filter, handle) = reload::Layer::new(targets(level));
    let subscriber = Registry::default().with(filter).with(LineLayer::new(format, queue.clone()));
    let control = LogControl { level: Arc::new(Mutex::new(level)), filter: handle, queue };
    Ok((subscriber, control))
}

impl LogControl {
    /// Changes the level by its name: `trace`, `debug`, `info`, `warn`, `error` or `disabled`, and FSM's and Pipy's
    /// other spellings.
    ///
    /// # Errors
    /// [`LogError::UnknownLevel`]; the level then stays as it was.
    pub fn set(&self, level: &str) -> Result<(), LogError> {
        let parsed = level.trim().parse();
        let known = parsed.map_err(|_| LogError::UnknownLevel(level.chars().take(32).collect()))?;
        self.set_level(known);
        Ok(())
    }

    /// Changes the level.
    pub fn set_level(&self, level: LogLevel) {
        let mut current = self.level.lock();
        // Fails only if the subscriber is gone, and then there is nothing to filter.
        let _ = self.filter.reload(targets(level));
        *current = level;
    }

    /// The level in force.
    pub fn get(&self) -> LogLevel {
        *self.level.lock()
    }

    /// Lines lost so far because the writer could not keep up.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped.get()
    }

    /// Waits until everything logged before this call is written, but no longer than `patience`. For the end of the
    /// process; returns whether it was achieved.
    pub fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let (done, written) = mpsc::channel();
        let mut entry = Entry::Flush(done);
        loop {
            match self.queue.sender.try_send(entry) {
                Ok(()) => {
                    return written.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok();
                }
                Err(TrySendError::Full(back)) if Instant::now() < deadline => entry = back,
                Err(_) => return false,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn targets(level: LogLevel) -> Targets {
    let level = level.filter();
    Targets::new().with_target("fsm", level).with_default(level.min(LevelFilter::WARN))
}

#[derive(Clone, Debug)]
struct Queue {
    sender: SyncSender<Entry>,
    dropped: Arc<Counter>,
}

impl Queue {
    fn push(&self, line: String) {
        if self.sender.try_send(Entry::Line(line)).is_err() {
            self.dropped.increment();
        }
    }
}

#[derive(Debug)]
enum Entry {
    Line(String),
    Flush(mpsc::Sender<()>),
}

/// Runs until every sender is gone.
fn write_lines(queue: &Receiver<Entry>, mut sink: Box<dyn Write + Send>, format: LogFormat, dropped: &Counter) {
    let mut reported = 0;
    while let Ok(entry) = queue.recv() {
        match entry {
            // A sink that fails (closed pipe, full disk) must not end the thread: it may recover.
            Entry::Line(line) if sink.write_all(line.as_bytes()).is_err() => dropped.increment(),
            Entry::Line(_) => {}
            Entry::Flush(done) => {
                let _ = sink.flush();
                let _ = done.send(());
            }
        }
        let lost = dropped.get();
        if lost > reported && sink.write_all(line::lost_lines(format, lost - reported).as_bytes()).is_ok() {
            reported = lost;
        }
    }
}

#[cfg(test)]
mod tests;
