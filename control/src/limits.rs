//! Every timeout, size and cap of fsm-control, in one table, with units and reasons.

use std::time::Duration;

// --- connections of proxies ---------------------------------------------------------------------------------------

/// Open connections of the stream's port. Beyond it new ones wait in the kernel's backlog.
pub const MAX_CONNECTIONS: usize = 50_000;

/// Pending connections in the kernel: after a restart all proxies of a mesh come at once.
pub const LISTEN_BACKLOG: u32 = 4096;

/// Pause after `accept` failed for want of a resource.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// From accept to the end of the TLS handshake. Generous, because after a restart thousands of handshakes queue.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection without any request in progress is closed after so long …
pub const CONNECTION_IDLE: Duration = Duration::from_secs(60);

/// … and has so long to come to its end; also how long everything may take to end when the program stops.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// A proxy's connection is probed after so much silence …
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// … and given up when the probe is not answered.
pub const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Requests at once on one connection: the stream, a certificate, and some to spare.
pub const MAX_STREAMS: u32 = 8;

/// Flow-control window of what a proxy sends: acknowledgements.
pub const UPWARD_WINDOW: u32 = 64 << 10;

/// Bytes of a request header section.
pub const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Bytes of one message of a proxy. The longest is a refusal that quotes problems.
pub const MAX_UPWARD_BYTES: usize = 256 << 10;

// --- one stream ---------------------------------------------------------------------------------------------------

/// From the request to the proxy's `Hello`.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(8);

/// A pod may ask before its object has arrived here: it is waited for so long. fsm-proxy gives up after ten seconds.
pub const UNKNOWN_POD_WAIT: Duration = Duration::from_secs(7);

/// From sending a document to its acknowledgement. A proxy that takes longer is hung, or nothing reaches it: its stream
/// ends, and it comes back with the version it has.
pub const ACKNOWLEDGEMENT_TIMEOUT: Duration = Duration::from_secs(60);

// --- certificates and admin ---------------------------------------------------------------------------------------

/// Bytes of a request for a certificate.
pub const MAX_IDENTITY_BYTES: usize = 64 << 10;

/// Before a request for a certificate is refused, the rest of it is waited for so long.
pub const REFUSED_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// From the beginning of a request for a certificate to its answer.
pub const IDENTITY_TIMEOUT: Duration = Duration::from_secs(15);

/// One request to the admin port or the repository, and one idle connection of either.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A kept-alive connection of the repository: its clients ask every five seconds.
pub const REPO_IDLE: Duration = Duration::from_secs(60);

/// Bytes of a status report that are read for the version in it; what is longer is not looked at.
pub const MAX_STATUS_BYTES: usize = 1 << 20;

/// How often the certificate authority is asked whether something is due.
pub const AUTHORITY_TICK: Duration = Duration::from_secs(5);

/// How often roots that are shared are read again, although their Secret is watched: watches may fall silent.
pub const AUTHORITY_LOOK: Duration = Duration::from_secs(60);

/// At its start fsm-control waits so long for the API server to say what the roots are …
pub const AUTHORITY_PATIENCE: Duration = Duration::from_secs(60);

/// … with such pauses.
pub const AUTHORITY_RETRY: Duration = Duration::from_secs(2);

/// Questions at once to an authority outside: after an outage all proxies of a mesh come together.
pub const ISSUER_AT_ONCE: usize = 32;

/// One question to an authority outside.
pub const ISSUER_TIMEOUT: Duration = Duration::from_secs(5);

/// One certificate from an authority outside, with everything that is tried again: a proxy waits for ten seconds
/// and is to hear the reason.
pub const ISSUER_PATIENCE: Duration = Duration::from_secs(8);

/// Pause after an authority outside did not answer, twice as long after each time in a row …
pub const ISSUER_RETRY: Duration = Duration::from_millis(250);

/// … up to this.
pub const ISSUER_LONGEST_RETRY: Duration = Duration::from_secs(4);

/// How often a Vault is asked for its issuers, and its token is looked after. A new issuer is to be imported much longer
/// before it signs.
pub const VAULT_LOOK: Duration = Duration::from_secs(30);

/// How often cert-manager is asked for a certificate, to see what its root is.
pub const CERT_MANAGER_LOOK: Duration = Duration::from_secs(600);

// --- the injector's webhook ---------------------------------------------------------------------------------------

/// Open connections of the webhook: each API server keeps a few.
pub const MAX_WEBHOOK_CONNECTIONS: usize = 128;

/// Bytes of a review. API servers take objects of up to 3 MiB, and a review is one object with a frame around it.
pub const MAX_REVIEW_BYTES: usize = 4 << 20;

/// From accept to the end of the TLS handshake: FSM's webhook is given up after 20 s in all.
pub const WEBHOOK_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A kept-alive connection of an API server without a request.
pub const WEBHOOK_IDLE: Duration = Duration::from_secs(90);

/// The owner of the world answers between two batches of changes; it is waited for so long.
pub const FACTS_TIMEOUT: Duration = Duration::from_secs(5);

/// Judging one change of a policy; API servers wait for ten seconds.
pub const JUDGEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long API servers wait for the validator.
pub const VALIDATOR_TIMEOUT: Duration = Duration::from_secs(10);

/// The API server is asked for its version: for so long …
pub const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// … again after a failure …
pub const VERSION_PAUSE: Duration = Duration::from_secs(2);

/// … and again when it is known.
pub const VERSION_LOOK: Duration = Duration::from_secs(600);

// --- the owner task -----------------------------------------------------------------------------------------------

/// Changes are collected until there were none for so long …
pub const QUIET: Duration = Duration::from_millis(10);

/// … but never longer than this.
pub const COLLECT_AT_MOST: Duration = Duration::from_millis(50);

// --- objects that are kept here ---------------------------------------------------------------------------------------

/// Writing or removing one object.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long other writers may hold the directory of objects; each holds it for one object …
pub const OBJECTS_LOCK: Duration = Duration::from_secs(5);

/// … and the pause between two looks at its lock.
pub const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// An object is written again after so long at the soonest, twice as long after each time in a row …
pub const KEEPER_PAUSE: Duration = Duration::from_secs(1);

/// … up to this.
pub const KEEPER_LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// All certificates are looked at this often, whatever timers say: clocks are set, and machines sleep.
pub const KEEPER_LOOK: Duration = Duration::from_secs(30);

// --- objects that a role keeps in the cluster -------------------------------------------------------------------------

/// Between attempts to write a webhook configuration or a definition, and between two restorations in a row, at first …
pub const UPKEEP_PAUSE: Duration = Duration::from_millis(250);

/// … and at most.
pub const UPKEEP_LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Whoever does not lead after so long leaves the work to another replica: longer than taking a Lease over takes.
pub const UPKEEP_STANDBY: Duration = Duration::from_secs(20);

/// After so long without a restoration the next one is again at once.
pub const UPKEEP_PEACE: Duration = Duration::from_secs(300);
