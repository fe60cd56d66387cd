//! Copies bytes both ways between two connections until both are done, one breaks, or nothing moves.
//!
//! Half-close is passed on: the end of one direction becomes the end of that direction on the other side, and the
//! opposite direction goes on. A side that breaks ends both directions, after what it had sent before was handed on.
//! Nothing is ever reordered, changed or dropped while both sides live.
//!
//! Memory: a connection that is not held up by its reader owns no buffer at all. Bytes are read into a buffer that
//! belongs to the worker thread and written on in the same poll. Only what the other side does not take at once goes
//! to a buffer of the connection, at most [`COPY_BUFFER_LARGE`] for each direction, which stays while the direction is
//! held up and is freed when it falls idle. Reading goes on until the socket is empty or the buffer is full, so that
//! a busy connection needs one read and one write for 128 KiB.

use crate::limits::{COPY_BUFFER_LARGE, COPY_BUFFER_SMALL, COPY_BUSY_BYTES};
use crate::telemetry::counters::Counter;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Limits and counters of one relayed connection.
#[derive(Clone, Copy, Debug)]
pub struct RelayOptions<'a> {
    /// The connection ends after so long without a byte in either direction, or up to a quarter later.
    pub idle: Duration,
    /// Counts bytes as they are written upstream.
    pub sent: &'a Counter,
    /// Counts bytes as they are written downstream.
    pub received: &'a Counter,
    /// Told at the end, also of a relay that is dropped, how much this one connection moved.
    pub moved: Option<&'a Moved>,
}

/// Bytes that one connection moved; told when it has ended.
#[derive(Debug, Default)]
pub struct Moved {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Moved {
    /// Bytes from downstream to upstream, and back.
    pub fn totals(&self) -> (u64, u64) {
        (self.sent.load(Relaxed), self.received.load(Relaxed))
    }
}

/// What was relayed and how it ended.
#[derive(Debug)]
pub struct Relayed {
    /// Bytes from downstream to upstream.
    pub sent: u64,
    /// Bytes from upstream to downstream.
    pub received: u64,
    /// Why it ended.
    pub end: RelayEnd,
    /// The side that could not be read to its end. What the other side got is not complete: it should be reset
    /// ([`relay_or_reset`](super::relay_or_reset) does) rather than closed.
    pub broken_off: Option<Side>,
}

/// Why a relayed connection ended.
#[derive(Debug)]
pub enum RelayEnd {
    /// Both sides closed in an orderly way, and every byte was handed on.
    Finished,
    /// No byte moved for too long.
    Idle,
    /// One side broke: it could not be read, or would not take what was written.
    ///
    /// A TLS peer that closes without `close_notify` breaks too, with [`io::ErrorKind::UnexpectedEof`]: it cannot be
    /// told from an attacker who cuts the connection (RFC 8446 §6.1).
    Failed {
        /// The side that broke.
        side: Side,
        /// What the kernel or TLS said.
        error: io::Error,
    },
}

/// One of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who connected to us; the first stream.
    Downstream,
    /// Whom we connected to; the second stream.
    Upstream,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Downstream => Self::Upstream,
            Self::Upstream => Self::Downstream,
        }
    }
}

/// Full buffers that one direction moves before the other one, and other connections, get their turn.
const ROUNDS: u32 = 4;

/// Copies bytes between `downstream` and `upstream`, both ways. Both are left for the caller to drop (or reset).
pub async fn relay<A, B>(downstream: &mut A, upstream: &mut B, options: RelayOptions<'_>) -> Relayed
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut sending = Direction::new(Side::Downstream, options.sent, options.moved.map(|moved| &moved.sent));
    let mut receiving = Direction::new(Side::Upstream, options.received, options.moved.map(|moved| &moved.received));
    let mut idle = IdleTimer::new(options.idle);
    let mut timer = pin!(sleep(idle.tick));
    let mut failure = None;
    let timed_out = poll_fn(|cx| {
        sending.poll(cx, downstream, upstream, &mut failure);
        receiving.source_was_reset |= sending.sink_was_reset;
        receiving.poll(cx, upstream, downstream, &mut failure);
        sending.source_was_reset |= receiving.sink_was_reset;
        if sending.source_failed || receiving.source_failed || (sending.is_done() && receiving.is_done()) {
            return Poll::Ready(false);
        }
        let active = sending.take_activity() | receiving.take_activity();
        idle.poll(cx, timer.as_mut(), active).map(|()| true)
    })
    .await;
    let end = match failure {
        Some((side, error)) => RelayEnd::Failed { side, error },
        None if timed_out => RelayEnd::Idle,
        None => RelayEnd::Finished,
    };
    let broken_off = match (sending.source_failed, receiving.source_failed) {
        (true, _) => Some(Side::Downstream),
        (false, true) => Some(Side::Upstream),
        (false, false) => None,
    };
    Relayed { sent: sending.moved, received: receiving.moved, end, broken_off }
}

type Failure = Option<(Side, io::Error)>;

/// One direction of a relayed connection.
struct Direction<'a> {
    source: Side,
    sink: Side,
    counter: &'a Counter,
    moved: u64,
    total: Option<&'a AtomicU64>,
    phase: Phase,
    /// Set when reading failed: the source is broken both ways.
    source_failed: bool,
    /// Set when the sink turned out to be reset as it was written to.
    sink_was_reset: bool,
    /// The other direction has found that our source was reset. The kernel tells each error once: whoever reads now is told
    /// of an end that was none.
    source_was_reset: bool,
    /// What the sink did not take at once.
    held: Held,
    /// Bytes were written since the last flush; TLS may still hold some of them.
    unflushed: bool,
    active: bool,
}

enum Phase {
    Copying,
    /// The source ended, in order or with an error; what it sent before is still to be written.
    Ending(Option<io::Error>),
    Done,
}

impl Drop for Direction<'_> {
    fn drop(&mut self) {
        if let Some(total) = self.total {
            total.store(self.moved, Relaxed);
        }
    }
}

/// A buffer of this direction, with the bytes that wait to be written. Empty (no allocation) unless the sink held us up.
#[derive(Default)]
struct Held {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

/// What reading came to an end with.
enum Stop {
    Full,
    Empty,
    End(Option<io::Error>),
}

impl<'a> Direction<'a> {
    fn new(source: Side, counter: &'a Counter, total: Option<&'a AtomicU64>) -> Self {
        Self {
            source,
            sink: source.other(),
            counter,
            moved: 0,
            total,
            phase: Phase::Copying,
            source_failed: false,
            sink_was_reset: false,
            source_was_reset: false,
            held: Held::default(),
            unflushed: false,
            active: false,
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    fn take_activity(&mut self) -> bool {
        std::mem::take(&mut self.active)
    }

    /// Moves what can be moved now. The wakers of whatever it waits for are registered. The first failure of either
    /// direction is kept in `failure`.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, reader: &mut R, writer: &mut W, failure: &mut Failure)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.is_done() {
            return;
        }
        let Poll::Ready(result) = self.advance(cx, reader, writer) else {
            return;
        };
        // A sink that broke ends this direction only: what it sent before can still be read from it, and then its end.
        if let Err((side, error)) = result {
            self.source_failed = side == self.source;
            self.sink_was_reset = side == self.sink && error.kind() == io::ErrorKind::ConnectionReset;
            failure.get_or_insert((side, error));
        }
        self.phase = Phase::Done;
        self.held = Held::default();
    }

    fn advance<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
        writer: &mut W,
    ) -> Poll<Result<(), (Side, io::Error)>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let sink = self.sink;
        let broken = |error| (sink, error);
        ready!(self.poll_drain(cx, writer)).map_err(broken)?;
        if matches!(self.phase, Phase::Copying) {
            ready!(self.poll_copy(cx, reader, writer)).map_err(broken)?;
        }
        if let Phase::Ending(error) = &mut self.phase
            && let Some(error) = error.take()
        {
            // The last bytes may still be with TLS. One try: the connection is over anyway.
            let _ = Pin::new(writer).poll_flush(cx);
            return Poll::Ready(Err((self.source, error)));
        }
        Pin::new(writer).poll_shutdown(cx).map_err(broken)
    }

    /// Writes what is held.
    fn poll_drain<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<()>> {
        while self.held.start < self.held.end {
            let bytes = &self.held.buffer[self.held.start..self.held.end];
            let written = ready!(poll_write(cx, writer, bytes))?;
            self.held.start += written;
            self.wrote(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and writes until one of them has to wait (pending) or the source ends (ready). Nothing is held before.
    fn poll_copy<R, W>(&mut self, cx: &mut Context<'_>, reader: &mut R, writer: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        // While it is held up again and again, a busy direction reads straight into its own buffer.
        let own = std::mem::take(&mut self.held).buffer;
        let (mut buffer, is_own) = if own.len() == COPY_BUFFER_LARGE { (own, true) } else { (thread_buffer(), false) };
        let mut rounds = 0;
        let result = loop {
            let (filled, stop) = self.read(cx, reader, &mut buffer);
            let (written, result) = self.write(cx, writer, &buffer[..filled]);
            match result {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => {
                    if let Stop::End(error) = stop {
                        self.phase = Phase::Ending(error);
                    }
                    if is_own {
                        self.held = Held { buffer, start: written, end: filled };
                        return Poll::Pending;
                    }
                    self.hold(&buffer[written..filled]);
                    break Poll::Pending;
                }
            }
            match stop {
                Stop::Full => {
                    rounds += 1;
                    if rounds == ROUNDS {
                        cx.waker().wake_by_ref();
                        break Poll::Pending;
                    }
                }
                Stop::Empty => break self.poll_flush(cx, writer),
                Stop::End(error) => {
                    self.phase = Phase::Ending(error);
                    break Poll::Ready(Ok(()));
                }
            }
        };
        if !is_own {
            give_back(buffer);
        }
        result
    }

    /// Fills `buffer` until it is full, nothing is there, or the source ends.
    fn read<R: AsyncRead + Unpin>(&mut self, cx: &mut Context<'_>, reader: &mut R, buffer: &mut [u8]) -> (usize, Stop) {
        let mut buffer = ReadBuf::new(buffer);
        let stop = loop {
            let before = buffer.filled().len();
            match Pin::new(&mut *reader).poll_read(cx, &mut buffer) {
                Poll::Pending => break Stop::Empty,
                Poll::Ready(Err(error)) => break Stop::End(Some(error)),
                Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                    break Stop::End(self.source_was_reset.then(|| io::ErrorKind::ConnectionReset.into()));
                }
                Poll::Ready(Ok(())) if buffer.remaining() == 0 => break Stop::Full,
                Poll::Ready(Ok(())) => {}
            }
        };
        let filled = buffer.filled().len();
        self.active |= filled > 0;
        (filled, stop)
    }

    fn write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        writer: &mut W,
        bytes: &[u8],
    ) -> (usize, Poll<io::Result<()>>) {
        let mut written = 0;
        while written < bytes.len() {
            match poll_write(cx, writer, &bytes[written..]) {
                Poll::Ready(Ok(length)) => {
                    written += length;
                    self.wrote(length);
                }
                Poll::Ready(Err(error)) => return (written, Poll::Ready(Err(error))),
                Poll::Pending => return (written, Poll::Pending),
            }
        }
        (written, Poll::Ready(Ok(())))
    }

    fn wrote(&mut self, length: usize) {
        self.moved += length as u64;
        self.counter.add(length as u64);
        self.unflushed = true;
        self.active = true;
    }

    /// The source has nothing more for now: whatever TLS keeps back must go out. Never ready but with an error.
    fn poll_flush<W: AsyncWrite + Unpin>(&mut self, cx: &mut Context<'_>, writer: &mut W) -> Poll<io::Result<()>> {
        if self.unflushed
            && let Poll::Ready(result) = Pin::new(writer).poll_flush(cx)
        {
            if result.is_err() {
                return Poll::Ready(result);
            }
            self.unflushed = false;
        }
        Poll::Pending
    }

    /// Keeps what the sink did not take. A direction that has shown to be busy gets a buffer that it can go on with.
    fn hold(&mut self, bytes: &[u8]) {
        let busy = self.moved >= COPY_BUSY_BYTES;
        let capacity = if busy { COPY_BUFFER_LARGE } else { bytes.len().max(COPY_BUFFER_SMALL) };
        let mut buffer = vec![0; capacity].into_boxed_slice();
        buffer[..bytes.len()].copy_from_slice(bytes);
        self.held = Held { buffer, start: 0, end: bytes.len() };
    }
}

/// Writing nothing counts as an error, as in [`std::io::Write::write_all`].
fn poll_write<W: AsyncWrite + Unpin>(cx: &mut Context<'_>, writer: &mut W, bytes: &[u8]) -> Poll<io::Result<usize>> {
    match Pin::new(writer).poll_write(cx, bytes) {
        Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => other,
    }
}

thread_local! {
    static THREAD_BUFFER: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// The thread's buffer, taken for the length of one poll.
fn thread_buffer() -> Box<[u8]> {
    THREAD_BUFFER.take().unwrap_or_else(|| vec![0; COPY_BUFFER_LARGE].into_boxed_slice())
}

fn give_back(buffer: Box<[u8]>) {
    THREAD_BUFFER.set(Some(buffer));
}

/// Ends a connection after `4 × tick` without activity. One coarse timer: nothing is reset when bytes move.
struct IdleTimer {
    tick: Duration,
    quiet_ticks: u32,
    active: bool,
}

impl IdleTimer {
    const TICKS: u32 = 4;
    const LONGEST_TICK: Duration = Duration::from_secs(24 * 3600);

    fn new(idle: Duration) -> Self {
        let tick = (idle / Self::TICKS).clamp(Duration::from_millis(1), Self::LONGEST_TICK);
        Self { tick, quiet_ticks: 0, active: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>, active: bool) -> Poll<()> {
        self.active |= active;
        while timer.as_mut().poll(cx).is_ready() {
            self.quiet_ticks = if std::mem::take(&mut self.active) { 0 } else { self.quiet_ticks + 1 };
            if self.quiet_ticks == Self::TICKS {
                return Poll::Ready(());
            }
            timer.as_mut().reset(Instant::now() + self.tick);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
