#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::tcp::{relay_or_reset, reset_on_close};
use crate::tls::fixtures::Authority;
use crate::tls::{Alpn, ClientCertificate, ClientTls, Expect, ServerTls};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const IDLE: Duration = Duration::from_secs(100);

/// A relay that runs, and what its two peers hold.
struct Running<A, B> {
    client: A,
    server: B,
    counters: Arc<[Counter; 2]>,
    task: JoinHandle<Relayed>,
}

fn start<A, B, C, D>(client: C, mut downstream: A, mut upstream: B, server: D) -> Running<C, D>
where
    A: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let counters = Arc::new([Counter::default(), Counter::default()]);
    let ours = Arc::clone(&counters);
    let task = tokio::spawn(async move {
        let options = RelayOptions { idle: IDLE, sent: &ours[0], received: &ours[1], moved: None };
        relay(&mut downstream, &mut upstream, options).await
    });
    Running { client, server, counters, task }
}

fn start_duplex(size: usize) -> Running<DuplexStream, DuplexStream> {
    let (client, downstream) = duplex(size);
    let (upstream, server) = duplex(size);
    start(client, downstream, upstream, server)
}

async fn socket_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (one, other) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (one.unwrap(), other.unwrap().0)
}

/// A relay between real sockets; on failure it resets the other side, as its callers do.
async fn start_sockets() -> Running<TcpStream, TcpStream> {
    let (client, mut downstream) = socket_pair().await;
    let (mut upstream, server) = socket_pair().await;
    let counters = Arc::new([Counter::default(), Counter::default()]);
    let ours = Arc::clone(&counters);
    let task = tokio::spawn(async move {
        let options = RelayOptions { idle: IDLE, sent: &ours[0], received: &ours[1], moved: None };
        relay_or_reset(&mut downstream, &mut upstream, options).await
    });
    Running { client, server, counters, task }
}

/// A small generator of pseudo-random numbers (xorshift64*), so that every run is the same.
#[derive(Clone)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % limit
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

/// A stream that reads and writes in pieces of random size and sometimes is not ready at all.
struct Ragged<T> {
    inner: T,
    numbers: Numbers,
}

impl<T> Ragged<T> {
    fn pauses(&mut self, cx: &Context<'_>) -> bool {
        let pause = self.numbers.below(4) == 0;
        if pause {
            cx.waker().wake_by_ref();
        }
        pause
    }

    fn piece(&mut self) -> usize {
        let largest = [1, 100, 5_000, 100_000][self.numbers.below(4)];
        1 + self.numbers.below(largest)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Ragged<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.pauses(cx) {
            return Poll::Pending;
        }
        let length = self.piece().min(buffer.remaining());
        let mut piece = ReadBuf::new(buffer.initialize_unfilled_to(length));
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece))?;
        let filled = piece.filled().len();
        buffer.advance(filled);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Ragged<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.pauses(cx) {
            return Poll::Pending;
        }
        let length = self.piece().min(bytes.len());
        Pin::new(&mut self.inner).poll_write(cx, &bytes[..length])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pauses(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pauses(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Writes `total` pseudo-random bytes in random pieces and closes.
async fn produce(mut writer: impl AsyncWrite + Unpin, seed: u64, total: usize) {
    let (mut numbers, mut sizes) = (Numbers(seed), Numbers(seed + 1));
    let mut piece = vec![0; 1 << 17];
    let mut left = total;
    while left > 0 {
        // Whole numbers, so that the sequence does not depend on the pieces.
        let length = (8 + sizes.below(piece.len() - 8) / 8 * 8).min(left);
        numbers.fill(&mut piece[..length]);
        writer.write_all(&piece[..length]).await.unwrap();
        left -= length;
    }
    writer.shutdown().await.unwrap();
}

/// Reads to the end and compares every byte with what [`produce`] wrote.
async fn consume(mut reader: impl AsyncRead + Unpin, seed: u64, total: usize) {
    let mut numbers = Numbers(seed);
    let (mut piece, mut expected) = (vec![0; 1 << 17], vec![0; 1 << 17]);
    let (mut seen, mut pending) = (0, 0);
    loop {
        let length = reader.read(&mut piece[pending..]).await.unwrap();
        let available = pending + length;
        let whole = if length == 0 { available } else { available / 8 * 8 };
        numbers.fill(&mut expected[..whole]);
        assert!(piece[..whole] == expected[..whole], "difference within {whole} bytes after {seen}");
        seen += whole;
        piece.copy_within(whole..available, 0);
        pending = available - whole;
        if length == 0 {
            break;
        }
    }
    assert_eq!(seen, total);
}

fn assert_finished(relayed: &Relayed) {
    assert!(matches!(relayed.end, RelayEnd::Finished), "{relayed:?}");
}

#[tokio::test(start_paused = true)]
async fn bytes_and_both_ends_pass_whichever_side_ends_first() {
    for client_first in [true, false] {
        let Running { mut client, mut server, counters, task } = start_duplex(64);
        let (first, second): (&mut DuplexStream, &mut DuplexStream) =
            if client_first { (&mut client, &mut server) } else { (&mut server, &mut client) };
        first.write_all(b"question").await.unwrap();
        first.shutdown().await.unwrap();
        let mut read = Vec::new();
        second.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"question");
        // The other direction still works after the first has ended.
        second.write_all(b"an answer").await.unwrap();
        second.shutdown().await.unwrap();
        read.clear();
        first.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"an answer");
        let relayed = task.await.unwrap();
        assert_finished(&relayed);
        let expected = if client_first { (8, 9) } else { (9, 8) };
        assert_eq!((relayed.sent, relayed.received), expected);
        assert_eq!((counters[0].get(), counters[1].get()), expected);
    }
}

#[tokio::test]
async fn half_close_passes_between_real_sockets() {
    let Running { mut client, mut server, task, .. } = start_sockets().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut read = Vec::new();
    server.read_to_end(&mut read).await.unwrap();
    server.write_all(b"answer").await.unwrap();
    drop(server);
    read.clear();
    client.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"answer");
    assert_finished(&task.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn counters_move_while_the_connection_lives() {
    let Running { mut client, mut server, counters, task } = start_duplex(64);
    client.write_all(b"12345").await.unwrap();
    server.read_exact(&mut [0; 5]).await.unwrap();
    assert_eq!((counters[0].get(), counters[1].get()), (5, 0));
    server.write_all(b"123").await.unwrap();
    client.read_exact(&mut [0; 3]).await.unwrap();
    assert_eq!((counters[0].get(), counters[1].get()), (5, 3));
    assert!(!task.is_finished());
}

#[tokio::test]
async fn a_reset_of_one_side_becomes_a_reset_of_the_other() {
    for reset_client in [true, false] {
        let Running { mut client, mut server, task, .. } = start_sockets().await;
        // Both ends are served before one breaks.
        client.write_all(b"x").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
        server.write_all(b"y").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        let (broken, mut other, side) = match reset_client {
            true => (client, server, Side::Downstream),
            false => (server, client, Side::Upstream),
        };
        reset_on_close(&broken);
        drop(broken);
        // At once, not when the idle time is over.
        let read = tokio::time::timeout(IDLE / 4, other.read(&mut [0])).await.unwrap();
        let error = read.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let relayed = task.await.unwrap();
        let RelayEnd::Failed { side: failed, error } = relayed.end else { panic!("{relayed:?}") };
        assert_eq!((failed, error.kind()), (side, io::ErrorKind::ConnectionReset));
    }
}

#[tokio::test]
async fn a_server_that_resets_before_it_has_said_anything_is_an_empty_answer() {
    let Running { mut client, mut server, task, .. } = start_sockets().await;
    client.write_all(b"x").await.unwrap();
    server.read_exact(&mut [0]).await.unwrap();
    reset_on_close(&server);
    drop(server);
    let read = tokio::time::timeout(IDLE / 4, client.read(&mut [0])).await.unwrap();
    assert_eq!(read.unwrap(), 0);
    assert_eq!(task.await.unwrap().broken_off, Some(Side::Upstream));
}

#[tokio::test(start_paused = true)]
async fn what_a_server_said_before_it_went_away_still_arrives() {
    let (mut client, downstream) = duplex(16);
    let (upstream, mut server) = duplex(1 << 10);
    let said = [b'!'; 1_000];
    server.write_all(&said).await.unwrap();
    drop(server);
    let running = start((), downstream, upstream, ());
    // The client goes on sending what nobody wants, and only then reads.
    for _ in 0..10 {
        let _ = tokio::time::timeout(Duration::from_millis(1), client.write_all(&[0; 16])).await;
    }
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer == said, "{} bytes", answer.len());
    let relayed = running.task.await.unwrap();
    assert!(matches!(relayed.end, RelayEnd::Failed { side: Side::Upstream, .. }), "{relayed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends_after_the_idle_time() {
    let start = Instant::now();
    let running = start_duplex(64);
    assert!(matches!(running.task.await.unwrap().end, RelayEnd::Idle));
    assert!(start.elapsed() >= IDLE && start.elapsed() <= IDLE + IDLE / 4, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_byte_in_either_direction_keeps_the_connection() {
    let Running { mut client, mut server, task, .. } = start_duplex(64);
    for round in 0..20 {
        tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
        assert!(!task.is_finished(), "round {round}");
        if round < 10 {
            client.write_all(b"x").await.unwrap();
            server.read_exact(&mut [0]).await.unwrap();
        } else {
            server.write_all(b"x").await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
        }
    }
    let last = Instant::now();
    assert!(matches!(task.await.unwrap().end, RelayEnd::Idle));
    assert!(last.elapsed() >= IDLE && last.elapsed() <= IDLE + IDLE / 4, "{:?}", last.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_connection_is_still_subject_to_the_idle_time() {
    let Running { mut client, server, task, .. } = start_duplex(64);
    client.shutdown().await.unwrap();
    assert!(matches!(task.await.unwrap().end, RelayEnd::Idle));
    drop(server);
}

#[tokio::test(start_paused = true)]
async fn bytes_are_flushed_when_nothing_more_comes() {
    let (mut client, downstream) = duplex(1 << 10);
    let (upstream, mut server) = duplex(1 << 10);
    let running = start((), downstream, BufStream::new(upstream), ());
    client.write_all(b"small").await.unwrap();
    let mut read = [0; 5];
    server.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"small");
    assert!(!running.task.is_finished());
}

#[tokio::test]
async fn a_hundred_megabytes_arrive_unchanged_over_ragged_sockets() {
    const TOTAL: usize = 100 << 20;
    let (client, downstream) = socket_pair().await;
    let (upstream, server) = socket_pair().await;
    let downstream = Ragged { inner: downstream, numbers: Numbers(11) };
    let upstream = Ragged { inner: upstream, numbers: Numbers(12) };
    let running = start((), downstream, upstream, ());
    let (from_client, to_client) = (tokio::io::split(client), tokio::io::split(server));
    tokio::join!(
        produce(from_client.1, 1, TOTAL),
        consume(to_client.0, 1, TOTAL),
        produce(to_client.1, 2, TOTAL / 10),
        consume(from_client.0, 2, TOTAL / 10),
    );
    let relayed = running.task.await.unwrap();
    assert_finished(&relayed);
    assert_eq!((relayed.sent, relayed.received), (TOTAL as u64, TOTAL as u64 / 10));
}

#[tokio::test]
async fn ragged_streams_of_any_seed_lose_nothing() {
    const TOTAL: usize = 300_000;
    for seed in 1..=30 {
        let (client, downstream) = duplex(1 + Numbers(seed).below(50_000));
        let (upstream, server) = duplex(1 + Numbers(seed + 100).below(50_000));
        let downstream = Ragged { inner: downstream, numbers: Numbers(seed) };
        let upstream = BufStream::new(Ragged { inner: upstream, numbers: Numbers(seed + 50) });
        let running = start((), downstream, upstream, ());
        let (client, server) = (tokio::io::split(client), tokio::io::split(server));
        tokio::join!(
            produce(client.1, seed, TOTAL),
            consume(server.0, seed, TOTAL),
            produce(server.1, seed + 1, TOTAL),
            consume(client.0, seed + 1, TOTAL),
        );
        assert_finished(&running.task.await.unwrap());
    }
}

async fn tls_pair() -> (tokio_rustls::client::TlsStream<TcpStream>, tokio_rustls::server::TlsStream<TcpStream>) {
    let identity = Authority::new().identity("a.b");
    let server = ServerTls::new(&identity, ClientCertificate::Required, Alpn::ANY).unwrap();
    let client = ClientTls::new(Some(&identity), identity.roots(), Expect::AnyOfMesh, Alpn::ANY).unwrap();
    let (one, other) = socket_pair().await;
    let deadline = crate::limits::TLS_HANDSHAKE_TIMEOUT;
    let (connected, accepted) = tokio::join!(client.connect(one, None, deadline), server.accept(other, deadline));
    (connected.unwrap().stream, *accepted.unwrap().stream)
}

#[tokio::test]
async fn tls_on_either_side_carries_bytes_and_half_close() {
    const TOTAL: usize = 3_000_000;
    let (client, downstream) = tls_pair().await;
    let (upstream, server) = tls_pair().await;
    let running = start((), downstream, upstream, ());
    let (client, server) = (tokio::io::split(client), tokio::io::split(server));
    let client_side = async {
        produce(client.1, 1, TOTAL).await;
        consume(client.0, 2, 1_000).await;
    };
    let server_side = async {
        consume(server.0, 1, TOTAL).await;
        produce(server.1, 2, 1_000).await;
    };
    tokio::join!(client_side, server_side);
    assert_finished(&running.task.await.unwrap());
}

#[tokio::test]
async fn tls_that_is_cut_without_a_farewell_is_a_failure() {
    let (client, downstream) = tls_pair().await;
    let (upstream, mut server) = duplex(64);
    let running = start((), downstream, upstream, ());
    let (mut client, _session) = client.into_inner();
    client.shutdown().await.unwrap();
    let relayed = running.task.await.unwrap();
    let RelayEnd::Failed { side: Side::Downstream, error } = &relayed.end else { panic!("{relayed:?}") };
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
}

/// An endless source that counts what is taken from it.
struct Endless(u64);

impl AsyncRead for Endless {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = buffer.remaining();
        buffer.initialize_unfilled();
        buffer.advance(length);
        self.0 += length as u64;
        Poll::Ready(Ok(()))
    }
}

/// A source that has nothing to say for now.
struct Silent;

impl AsyncRead for Silent {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_slow_reader_holds_the_source_up_within_the_buffer() {
    const CAPACITY: usize = 10_000;
    let counter = Counter::default();
    let (mut source, mut failure) = (Endless(0), None);
    let (mut sink, mut reader) = duplex(CAPACITY);
    let mut direction = Direction::new(Side::Downstream, &counter, None);
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut taken = 0;
    let mut piece = vec![0; 3_333];
    for _ in 0..100 {
        for _ in 0..3 {
            direction.poll(&mut context, &mut source, &mut sink, &mut failure);
        }
        let ahead = usize::try_from(source.0).unwrap() - taken;
        assert!(ahead <= COPY_BUFFER_LARGE + CAPACITY, "{ahead} bytes ahead of the reader");
        assert!(direction.held.buffer.len() <= COPY_BUFFER_LARGE);
        assert_eq!(counter.get(), direction.moved);
        reader.read_exact(&mut piece).await.unwrap();
        taken += piece.len();
    }
    assert!(direction.moved > COPY_BUSY_BYTES && !direction.held.buffer.is_empty());
    // The reader catches up and the source falls silent: nothing is kept.
    while direction.held.start < direction.held.end {
        assert!(reader.read(&mut piece).await.unwrap() > 0);
        direction.poll(&mut context, &mut Silent, &mut sink, &mut failure);
    }
    assert!(direction.held.buffer.is_empty(), "an idle direction owns no buffer");
}

#[tokio::test]
async fn a_torrent_in_one_direction_does_not_starve_the_other() {
    let counter = Counter::default();
    let woken = Arc::new(Woken::default());
    let waker = std::task::Waker::from(Arc::clone(&woken));
    let mut direction = Direction::new(Side::Downstream, &counter, None);
    let (mut source, mut sink) = (Endless(0), tokio::io::sink());
    direction.poll(&mut Context::from_waker(&waker), &mut source, &mut sink, &mut None);
    assert_eq!(counter.get(), u64::from(ROUNDS) * COPY_BUFFER_LARGE as u64);
    assert!(woken.0.load(std::sync::atomic::Ordering::Relaxed), "it goes on at its next turn");
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_small_remainder_is_kept_in_a_small_buffer() {
    let counter = Counter::default();
    let (mut sink, _reader) = duplex(1_000);
    let mut direction = Direction::new(Side::Downstream, &counter, None);
    let mut context = Context::from_waker(std::task::Waker::noop());
    direction.poll(&mut context, &mut [7_u8; 1_500].as_slice(), &mut sink, &mut None);
    assert_eq!((direction.held.end, direction.held.buffer.len()), (500, COPY_BUFFER_SMALL));
}

#[test]
fn the_state_of_a_relayed_connection_is_small() {
    let counter = Counter::default();
    let (mut a, mut b) = (duplex(1).0, duplex(1).0);
    let options = RelayOptions { idle: IDLE, sent: &counter, received: &counter, moved: None };
    let size = size_of_val(&relay(&mut a, &mut b, options));
    assert!(size <= 768, "{size} bytes");
}

/// The kernel tells a reset once. Whoever writes first hears of it, and the reader gets what looks like an end.
#[tokio::test]
async fn half_an_answer_is_not_whole_because_a_write_has_heard_of_the_reset() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut upstream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let (mut client, mut downstream) = tokio::io::duplex(64);
    let (sent, received) = (Counter::default(), Counter::default());
    let options = RelayOptions { idle: Duration::from_secs(60), sent: &sent, received: &received, moved: None };
    let mut relaying = Box::pin(relay(&mut downstream, &mut upstream, options));
    server.write_all(b"half").await.unwrap();
    let mut half = [0; 4];
    tokio::select! {
        _ = &mut relaying => panic!("it goes on"),
        read = client.read_exact(&mut half) => assert_eq!(read.unwrap(), 4),
    }
    server.set_zero_linger().unwrap();
    drop(server);
    // From here on the relay has not looked: its first look is that of a write.
    client.write_all(b"more").await.unwrap();
    let relayed = relaying.await;
    assert_eq!(relayed.broken_off, Some(Side::Upstream), "{relayed:?}");
}
