//! The access log: one line for each request and for each connection that carries no HTTP, to standard output, standard error or a file.
//!
//! Lines are worded and written by a thread of its own, from a bounded queue, a few together. A sink that is slow or full loses lines, which
//! are counted (`fsm_proxy_access_log_dropped_total`), and never delays a request. What comes from clients is escaped, so
//! that nobody can forge a line; what is secret is hidden (see [`super::record::redact`]).

use super::counters::Counter;
use super::observe::falls_below;
use super::record::Draft;
use super::record::connection::ConnectionDraft;
use super::record::fields::{self, Field, Subject};
use crate::limits;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::iter;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use thiserror::Error;

/// What is logged, how, and where.
#[derive(Debug)]
pub struct AccessLog {
    /// Where lines go.
    pub sink: Sink,
    /// How they look.
    pub format: Format,
    /// Only requests that failed.
    pub errors_only: bool,
    /// Share of requests, as [`Rules::threshold`](super::trace::span::Rules::threshold) has it.
    pub threshold: Option<u64>,
}

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error, among the lines of the proxy's own log.
    Stderr,
    /// A file, appended to; opened anew when it was moved away.
    File(PathBuf),
}

/// How lines look.
#[derive(Debug)]
pub enum Format {
    /// A JSON object with every field that says something.
    Json,
    /// Text with fields in it.
    Text(Template),
}

/// Text with fields in braces; `{{` is a brace.
#[derive(Debug)]
pub struct Template(Vec<Piece>);

enum Piece {
    Text(String),
    Field(&'static Field),
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Field(field) => write!(f, "{{{}}}", field.name),
        }
    }
}

/// A template that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadTemplate {
    /// No such field.
    #[error("there is no field {0:?}; docs/access-logs.md lists them")]
    Unknown(String),
    /// A brace that nothing closes.
    #[error("a brace is not closed; `{{{{` stands for a brace itself")]
    Open,
}

/// The usual template.
pub const TEMPLATE: &str = "{time} {direction} {method} {host} {path} {protocol} {status} {reason} {durationMs} \
    {requestBytes} {responseBytes} {attempts} {cluster} {endpoint} {peer} {identity} {traceId} {requestId} {userAgent}";

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`BadTemplate`].
    pub fn parse(text: &str) -> Result<Self, BadTemplate> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let (brace, after) = (&rest[at..=at], &rest[at + 1..]);
            if after.starts_with(brace) {
                literal.push_str(brace);
                rest = &after[1..];
                continue;
            }
            if brace == "}" {
                literal.push('}');
                rest = after;
                continue;
            }
            let end = after.find('}').ok_or(BadTemplate::Open)?;
            let name = &after[..end];
            let field = fields::field(name).ok_or_else(|| BadTemplate::Unknown(name.chars().take(64).collect()))?;
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Field(field));
            rest = &after[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    fn write(&self, subject: Subject<'_>, line: &mut String) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Field(field) => field.write(subject, line),
            }
        }
    }
}

impl AccessLog {
    /// Whether the next request or connection belongs to the share that is logged.
    pub fn is_chosen(&self) -> bool {
        falls_below(self.threshold)
    }

    /// The line of a request or a connection, with its end.
    pub fn line(&self, subject: Subject<'_>) -> String {
        let mut line = match &self.format {
            Format::Json => serde_json::Value::Object(fields::json(subject)).to_string(),
            Format::Text(template) => {
                let mut line = String::with_capacity(256);
                template.write(subject, &mut line);
                // A template may have breaks of its own.
                line.retain(|character| character != '\n' && character != '\r');
                line
            }
        };
        line.push('\n');
        line
    }
}

/// Hands requests to the thread that writes.
#[derive(Debug, Default)]
pub struct Writer {
    queue: OnceLock<SyncSender<Entry>>,
    counts: Arc<Counts>,
}

/// What became of lines.
#[derive(Debug, Default)]
pub struct Counts {
    /// Lines written.
    pub written: Counter,
    /// Lines lost because the sink was slow, full or absent.
    pub dropped: Counter,
}

#[derive(Debug)]
enum Entry {
    Request(Arc<Draft>),
    Connection(Box<ConnectionDraft>),
    Flush(mpsc::Sender<()>),
}

impl Writer {
    /// Starts the thread, if it does not run yet.
    ///
    /// # Errors
    /// When the kernel refuses a thread.
    pub fn start(&self) -> io::Result<()> {
        if self.queue.get().is_some() {
            return Ok(());
        }
        let (sender, receiver) = mpsc::sync_channel(limits::ACCESS_LOG_QUEUE);
        let counts = Arc::clone(&self.counts);
        let run = move || write_lines(&receiver, &counts);
        std::thread::Builder::new().name("fsm-access-log".into()).spawn(run)?;
        let _ = self.queue.set(sender);
        Ok(())
    }

    /// Takes a request, or loses it.
    pub fn offer(&self, draft: &Arc<Draft>) {
        self.enqueue(Entry::Request(Arc::clone(draft)));
    }

    /// Takes a connection that has ended, or loses it.
    pub fn offer_connection(&self, draft: ConnectionDraft) {
        self.enqueue(Entry::Connection(Box::new(draft)));
    }

    fn enqueue(&self, entry: Entry) {
        let taken = self.queue.get().is_some_and(|queue| queue.try_send(entry).is_ok());
        if !taken {
            self.counts.dropped.increment();
        }
    }

    /// What became of lines.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Waits until everything taken before is written, but no longer than `patience`.
    pub fn flush(&self, patience: Duration) -> bool {
        let Some(queue) = self.queue.get() else { return true };
        let deadline = Instant::now() + patience;
        let (done, written) = mpsc::channel();
        while Instant::now() < deadline {
            if queue.try_send(Entry::Flush(done.clone())).is_ok() {
                return written.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }
}

/// An open sink.
struct Open {
    sink: Sink,
    output: Box<dyn Write + Send>,
    /// The file that was opened, to notice that another one has taken its place.
    file: Option<(u64, u64)>,
    checked: Instant,
}

impl Open {
    fn new(sink: &Sink) -> io::Result<Self> {
        let (output, file): (Box<dyn Write + Send>, _) = match sink {
            Sink::Stdout => (Box::new(io::stdout()), None),
            Sink::Stderr => (Box::new(io::stderr()), None),
            Sink::File(path) => {
                let file = OpenOptions::new().append(true).create(true).open(path)?;
                let identity = identity(&file.metadata()?);
                (Box::new(file), Some(identity))
            }
        };
        Ok(Self { sink: sink.clone(), output, file, checked: Instant::now() })
    }

    /// Whether lines for `sink` still belong here. A file that was moved away or deleted, as programs that rotate logs do,
    /// is noticed within a second.
    fn serves(&mut self, sink: &Sink) -> bool {
        if self.sink != *sink {
            return false;
        }
        let (Sink::File(path), Some(file)) = (sink, self.file) else { return true };
        if self.checked.elapsed() < limits::ACCESS_LOG_REOPEN {
            return true;
        }
        self.checked = Instant::now();
        fs::metadata(path).is_ok_and(|metadata| identity(&metadata) == file)
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Lines that are written together.
#[derive(Default)]
struct Lines {
    sink: Sink,
    text: String,
    count: u64,
}

/// Where lines go now, and whether it works.
#[derive(Default)]
struct Output {
    open: Option<Open>,
    complained: bool,
}

/// Runs until the writer is gone. What comes meanwhile is written together, so a busy proxy is not interrupted for each line.
fn write_lines(queue: &Receiver<Entry>, counts: &Counts) {
    let mut output = Output::default();
    let mut lines = Lines::default();
    while let Ok(first) = queue.recv() {
        for entry in iter::once(first).chain(queue.try_iter()).take(limits::ACCESS_LOG_QUEUE) {
            let (observe, subject) = match &entry {
                Entry::Request(draft) => (&draft.observe, Subject::Request(draft)),
                Entry::Connection(draft) => (&draft.observe, Subject::Connection(draft)),
                Entry::Flush(done) => {
                    output.write(&mut lines, counts);
                    output.flush();
                    let _ = done.send(());
                    continue;
                }
            };
            let Some(log) = &observe.access_log else { continue };
            let line = log.line(subject);
            if log.sink != lines.sink || lines.text.len() + line.len() > limits::ACCESS_LOG_WRITE {
                output.write(&mut lines, counts);
                lines.sink.clone_from(&log.sink);
            }
            lines.text.push_str(&line);
            lines.count += 1;
        }
        output.write(&mut lines, counts);
        std::thread::sleep(limits::ACCESS_LOG_PAUSE);
    }
}

impl Output {
    /// Writes the lines, or loses them.
    fn write(&mut self, lines: &mut Lines, counts: &Counts) {
        let count = std::mem::take(&mut lines.count);
        if count == 0 {
            return;
        }
        match self.try_write(&lines.sink, &lines.text) {
            Ok(()) => {
                counts.written.add(count);
                self.complained = false;
            }
            Err(error) => {
                counts.dropped.add(count);
                self.open = None;
                if !std::mem::replace(&mut self.complained, true) {
                    let sink = &lines.sink;
                    tracing::warn!(
                        "the access log cannot be written to {sink:?}: {error}; lines are lost until it can"
                    );
                }
            }
        }
        lines.text.clear();
    }

    fn try_write(&mut self, sink: &Sink, text: &str) -> io::Result<()> {
        let open = match self.open.take_if(|open| !open.serves(sink)) {
            None if self.open.is_some() => self.open.as_mut(),
            _ => Some(self.open.insert(Open::new(sink)?)),
        };
        open.map_or(Ok(()), |open| open.output.write_all(text.as_bytes()))
    }

    fn flush(&mut self) {
        if let Some(open) = &mut self.open {
            let _ = open.output.flush();
        }
    }
}

#[cfg(test)]
mod tests;
