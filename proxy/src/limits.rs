//! Every timeout, size and cap of the proxy, in one table, with units and reasons.
//!
//! What the configuration can set (connect timeout, idle timeout, …) overrides the default here; the rest is fixed
//! because no user has a reason to weaken it.

use std::time::Duration;

// --- downstream connections ---------------------------------------------------------------------------------------

/// Open downstream connections of one listener. Beyond it new connections wait in the kernel's backlog, so that a
/// flood costs neither memory nor file descriptors that live connections need.
pub const MAX_DOWNSTREAM_CONNECTIONS: usize = 50_000;

/// Pending connections in the kernel, for each listener and worker.
pub const LISTEN_BACKLOG: u32 = 4096;

/// Pause after `accept` failed for want of a resource (`EMFILE`, `ENOMEM`): retrying at once would only burn CPU.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// From accept to the end of the TLS handshake. A mesh handshake takes single-digit milliseconds; ten seconds cover a
/// badly overloaded peer and still end a stalled attacker.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a refused connection may keep us waiting for its first byte before it is reset. Clients that speak first
/// send it within a round trip; the others need not wait for their refusal.
pub const REFUSAL_GRACE: Duration = Duration::from_millis(100);

/// From accept (or handshake) to enough bytes for telling the protocol.
pub const DETECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that protocol detection looks at: a TLS ClientHello with post-quantum key shares fits in 4 KiB; 16 KiB is one
/// whole TLS record.
pub const DETECT_BYTES: usize = 16 << 10;

/// From the moment an HTTP/1 connection waits for a request to the end of that request's header. It is also how long
/// an idle keep-alive connection lives, and must exceed [`POOL_IDLE_TIMEOUT`] so that a peer's pool gives up first.
pub const HTTP1_HEADER_TIMEOUT: Duration = Duration::from_secs(90);

/// Bytes that are read at once from a busy TLS connection: eight full records. Quiet connections hold no such buffer.
pub const TLS_READ_AHEAD: usize = 128 << 10;

/// Encrypted bytes that wait for a peer that does not take them, for each connection; what is copied at once fits, records'
/// own bytes included.
pub const TLS_WRITE_BUFFER: usize = COPY_BUFFER_LARGE + (4 << 10);

// --- HTTP -----------------------------------------------------------------------------------------------------------

/// Header fields of one HTTP/1 message. hyper's default; nginx and Envoy allow 100 too.
pub const HTTP1_MAX_HEADERS: usize = 100;

/// Bytes of one HTTP/1 header section, request line included (431 beyond it).
pub const HTTP1_MAX_HEADER_BYTES: usize = 64 << 10;

/// Decoded bytes of one HTTP/2 header section.
pub const HTTP2_MAX_HEADER_BYTES: u32 = 64 << 10;

/// Concurrent streams that one downstream HTTP/2 connection may open.
pub const HTTP2_MAX_STREAMS: u32 = 250;

/// Flow-control window of one HTTP/2 stream.
pub const HTTP2_STREAM_WINDOW: u32 = 256 << 10;

/// Flow-control window of one HTTP/2 connection.
pub const HTTP2_CONNECTION_WINDOW: u32 = 1 << 20;

/// Bytes buffered for sending on one HTTP/2 stream.
pub const HTTP2_SEND_BUFFER: usize = 256 << 10;

/// Streams that a peer may reset before the connection is closed (CVE-2023-44487).
pub const HTTP2_MAX_PENDING_RESETS: usize = 20;

/// Streams that we may have to reset for a peer's errors before the connection is closed (CVE-2025-8671).
pub const HTTP2_MAX_LOCAL_RESETS: usize = 512;

/// Bytes of the request target.
pub const MAX_TARGET_BYTES: usize = 16 << 10;

/// An HTTP/2 connection with open streams is probed after so much silence …
pub const HTTP2_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// … and given up when the probe is not answered.
pub const HTTP2_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

// --- upstream -------------------------------------------------------------------------------------------------------

/// TCP connect, when the configuration names none.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// From the request to the head of its response, when the configuration names none (`SidecarTimeout` 0).
/// Progress of the request body starts it anew.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Idle upstream connections are closed after so long.
pub const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Idle HTTP/1 connections kept for each endpoint and worker.
pub const POOL_IDLE_CONNECTIONS: usize = 256;

/// Streams put on one upstream HTTP/2 connection before another one is opened.
pub const POOL_STREAMS_PER_CONNECTION: usize = 100;

/// Open upstream connections of one cluster, when the configuration names no limit.
pub const MAX_UPSTREAM_CONNECTIONS: usize = 16_384;

/// Requests that wait for a connection of a cluster whose connections are all busy (Envoy's default).
pub const MAX_PENDING_REQUESTS: usize = 1024;

/// Endpoints that a request is offered to, one after another, while none has taken any of it.
pub const ENDPOINTS_PER_REQUEST: usize = 3;

/// How long the addresses of an external name are used before it is resolved again.
pub const RESOLVE_TTL: Duration = Duration::from_secs(30);

/// Beyond that they still serve while they are resolved again, up to this age; older ones are resolved first.
pub const RESOLVE_STALE: Duration = Duration::from_secs(300);

/// Names below one wildcard whose addresses are kept: clients choose them.
pub const CHOSEN_NAMES: usize = 1024;

/// Addresses of one name that a connection attempt tries.
pub const ADDRESSES_PER_CONNECT: usize = 8;

/// The next address of a name is tried when the one before has been silent for so long (RFC 8305 §5).
pub const CONNECT_STAGGER: Duration = Duration::from_millis(250);

/// Resolving an external name.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Interim (1xx) responses tolerated before one final response.
pub const MAX_INTERIM_RESPONSES: usize = 8;

// --- names ----------------------------------------------------------------------------------------------------------

/// Questions of the application that wait for an answer; more are dropped, and asked again by the client.
pub const DNS_QUESTIONS: usize = 256;

/// Bytes of a question or an answer: what EDNS allows on paths with any MTU is 1,232, resolvers send up to 4,096.
pub const DNS_DATAGRAM: usize = 4096;

/// How long one resolver may take. Clients wait for five seconds, and there may be a second one.
pub const DNS_RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);

// --- TCP ------------------------------------------------------------------------------------------------------------

/// A TCP connection without a byte in *either* direction for so long is closed. `SidecarTimeout` does not shorten it:
/// with FSM's default of 60 s, idle database connections and WebSockets would die (weakness C-12). The kernel's
/// keep-alive finds dead peers long before.
pub const TCP_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Keep-alive probes start after so much silence, on both sides.
pub const TCP_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Copy buffer at first, for each direction: most connections move little.
pub const COPY_BUFFER_SMALL: usize = 4 << 10;

/// Copy buffer of a connection that has shown to be busy.
pub const COPY_BUFFER_LARGE: usize = 128 << 10;

/// Bytes after which a direction counts as busy.
pub const COPY_BUSY_BYTES: u64 = 64 << 10;

// --- workers --------------------------------------------------------------------------------------------------------

/// A data worker that has nothing to do looks up so often. Nearly all deadlines of the data path are farther away, so that
/// setting one never has to wake the worker that sets it.
pub const WORKER_PULSE: Duration = Duration::from_secs(1);

/// How much nicer than the data workers the threads are that read, compile and free configurations: on a CPU that both want,
/// a request goes first. 19 would stop them for long where an application never rests.
pub const BACKGROUND_NICENESS: i32 = 10;

/// A configuration that is not in force any more, but was still read, is looked at again after so long.
pub const RETIRED_LOOK: Duration = Duration::from_secs(5);

// --- lifecycle ------------------------------------------------------------------------------------------------------

/// SIGTERM: how long new connections are still accepted, so that clients who have not heard yet are served.
pub const DRAIN_MIN: Duration = Duration::from_secs(5);

/// SIGTERM: everything that still runs is cut off after so long. Below Kubernetes' default grace of 30 s.
pub const DRAIN_MAX: Duration = Duration::from_secs(25);

/// Every peer of the admin ports gets so long for a request.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);

// --- configuration --------------------------------------------------------------------------------------------------

/// FSM's repository is asked for changes so often (Pipy's own interval).
pub const REPO_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// One request to the repository.
pub const REPO_TIMEOUT: Duration = Duration::from_secs(10);

/// fsm-control: one request for a certificate, from the first packet to the last byte of the answer; and, for the stream,
/// each of connecting, TLS, and the head of the response.
pub const CONTROL_TIMEOUT: Duration = Duration::from_secs(10);

/// A message of fsm-control that has begun to arrive is complete after so long: [`MAX_PAYLOAD_BYTES`] at 1 MB/s.
///
/// [`MAX_PAYLOAD_BYTES`]: fsm_api::stream::frame::MAX_PAYLOAD_BYTES
pub const CONTROL_MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Silence of fsm-control after which it is asked whether it is still there (HTTP/2 ping) …
pub const CONTROL_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// … and how long it may take to answer. So a peer that vanished without a word is noticed within 20 s.
pub const CONTROL_KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// First and longest step of the back-off between streams, and between requests for the first certificate.
pub const CONTROL_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// A stream that stood for so long was a good one: the back-off begins anew. Shorter ones would let a control plane that
/// accepts and hangs up be asked ten times a second.
pub const CONTROL_STEADY: Duration = Duration::from_secs(10);

/// First and longest step of the back-off between requests for a certificate while there is a valid one.
pub const RENEWAL_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// No certificate is renewed sooner, whatever fsm-control asks for.
pub const RENEW_AT_LEAST: Duration = Duration::from_secs(1);

/// After other roots were announced, every proxy of the mesh wants a new certificate; they spread over this time.
pub const RENEWAL_HASTE: Duration = Duration::from_secs(2);

/// When streams break without a word, a new certificate may help, and thousands of proxies may think so at the same time: they
/// spread over this time.
pub const RENEWAL_LEISURE: Duration = Duration::from_secs(30);

/// The wall clock is looked at so often while a renewal is awaited: machines are suspended and clocks are set.
pub const RENEWAL_CHECK: Duration = Duration::from_secs(30);

/// Streams that break after the handshake and before their first message, after which the certificate may be the reason and a
/// new one is asked for …
pub const CONTROL_SUSPICIOUS_FAILURES: u32 = 3;

/// … but not again before the first of these pauses, which double up to the second: a control plane that is ill must not have to
/// sign for its whole fleet.
pub const CONTROL_SUSPICIONS: (Duration, Duration) = (Duration::from_secs(5 * 60), Duration::from_secs(3600));

/// Bytes of an answer with a certificate: a chain and a few roots have some 10 KiB.
pub const CONTROL_ANSWER_BYTES: usize = 1 << 20;

/// Bytes of a service-account token; Kubernetes' have some 1 KiB.
pub const CONTROL_TOKEN_BYTES: u64 = 64 << 10;

/// Bytes of the file with the roots for fsm-control.
pub const CONTROL_CA_BYTES: u64 = 1 << 20;

/// Problems of a document that are told to fsm-control; `/config_status` has them all.
pub const CONTROL_TOLD_PROBLEMS: usize = 50;

/// What deltas have made of the document is written to the cache at most so often: endpoints change far more often than a
/// disk should be asked, and each time the whole document is written.
pub const CONTROL_CACHE_INTERVAL: Duration = Duration::from_secs(5);

/// Other workloads that one cluster's responses are counted for by name; the rest is counted together.
pub const EDGES_PER_CLUSTER: usize = 64;

/// Callers and reasons that refusals are counted for by name; the rest is counted together.
pub const REFUSAL_EDGES: usize = 256;

/// Lines of the access log that wait for the sink; more are lost, and counted.
pub const ACCESS_LOG_QUEUE: usize = 4096;

/// Of the responses on a connection between two of our sidecars, the first says which workload the server is, and again each
/// one after so many.
pub const INTRODUCED_EVERY: u32 = 32;

/// Bytes of the access log that are written at a time: what a pipe takes as a whole, so that no other line gets in between. (A
/// longer line is written alone.)
pub const ACCESS_LOG_WRITE: usize = 4096;

/// Lines are collected for so long before they are written.
pub const ACCESS_LOG_PAUSE: Duration = Duration::from_millis(10);

/// A file that the access log goes to is opened anew so often: somebody may have moved it away.
pub const ACCESS_LOG_REOPEN: Duration = Duration::from_secs(1);

/// Spans, or entries of the remote log, that wait to be sent; more are lost, and counted.
pub const EXPORT_QUEUE: usize = 4096;

/// Bytes that they may take altogether.
pub const EXPORT_QUEUE_BYTES: usize = 16 << 20;

/// Spans or entries that are sent at a time, and how long others are waited for.
pub const EXPORT_BATCH: usize = 512;

/// How long others are waited for: FSM's second.
pub const EXPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A collector has so long to take a batch.
pub const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// What still waits when the proxy ends is sent within this, or lost.
pub const EXPORT_LAST_WORD: Duration = Duration::from_secs(1);

/// First and longest pause after a batch that a collector has not taken.
pub const EXPORT_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Bytes of a collector's answer that are read.
pub const EXPORT_ANSWER_BYTES: usize = 64 << 10;

/// Series of one family on the metrics page; the rest is added up in one series. A mesh of a thousand services stays below.
pub const SERIES_PER_FAMILY: usize = 10_000;

/// Live views of requests at a time (`/tap`).
pub const TAP_WATCHERS: usize = 8;

/// Lines that wait for one of them to read; more are lost, and counted.
pub const TAP_QUEUE: usize = 1024;

/// The configuration file is looked at so often even if no change was notified: inotify can lose events.
pub const FILE_POLL_INTERVAL: Duration = Duration::from_secs(5);
