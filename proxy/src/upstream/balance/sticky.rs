//! Sessions: which endpoint a client was sent to before, remembered within bounds.
//!
//! Hashing moves some keys whenever endpoints come or go. Where a session must stay although a better endpoint has
//! appeared (FSM's `session-sticky`), the endpoint is remembered. The memory is fixed: at most [`SESSION_CAPACITY`]
//! sessions, each forgotten some time after its last use; a flood of new clients replaces the sessions that were used
//! least recently among those that share a row with them, and costs no memory.
//!
//! No lock: a session is two atomic words, of which the first is the key mixed with the second, so a reader that sees
//! halves of two different writes finds a key that nobody asked for, and treats the session as unknown.

use super::EndpointId;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Sessions that a table remembers.
pub const SESSION_CAPACITY: usize = 10_000;

/// A session is forgotten so long after its last use, when the configuration says nothing. Kubernetes' default for
/// `sessionAffinityConfig.clientIP.timeoutSeconds`.
pub const SESSION_TTL: Duration = Duration::from_secs(10_800);

/// Sessions of one row: all that a lookup looks at.
const ROW: usize = 8;

/// Which endpoint each session uses.
#[derive(Debug)]
pub struct SessionTable {
    rows: Box<[[Session; ROW]]>,
    time_to_live: u32,
    epoch: Instant,
}

/// An empty one has the value 0.
#[derive(Debug, Default)]
struct Session {
    /// The session's key XOR the value.
    check: AtomicU64,
    /// Half of the endpoint's id, and the second of the last use (counted from 1).
    value: AtomicU64,
}

impl SessionTable {
    /// An empty table for at most `capacity` sessions, rounded down to whole rows of 8 but at least one row. `epoch` is
    /// any moment before the first use. Times are kept in whole seconds.
    pub fn new(capacity: usize, time_to_live: Duration, epoch: Instant) -> Self {
        let rows = (capacity / ROW).max(1);
        let time_to_live = u32::try_from(time_to_live.as_secs()).unwrap_or(u32::MAX);
        Self { rows: (0..rows).map(|_| Default::default()).collect(), time_to_live, epoch }
    }

    /// The endpoint that the session `key` was sent to before. Finding a session counts as its use.
    pub(super) fn find(&self, key: u64, now: Instant) -> Option<ShortId> {
        let now = self.seconds(now);
        let (session, value) = self.row(key).iter().find_map(|session| {
            let value = session.value.load(Relaxed);
            (value != 0 && session.check.load(Relaxed) ^ value == key).then_some((session, value))
        })?;
        if self.is_over(value, now) {
            return None;
        }
        let endpoint = ShortId((value >> 32) as u32);
        if last_use(value) != now {
            session.write(key, endpoint, now);
        }
        Some(endpoint)
    }

    /// From now on the session `key` belongs to `endpoint`.
    pub fn remember(&self, key: u64, endpoint: EndpointId, now: Instant) {
        let now = self.seconds(now);
        let age = |session: &Session| {
            let value = session.value.load(Relaxed);
            let is_same = value != 0 && session.check.load(Relaxed) ^ value == key;
            match value {
                _ if is_same => u64::MAX,
                0 => u64::MAX - 1,
                value => u64::from(now.saturating_sub(last_use(value))),
            }
        };
        if let Some(session) = self.row(key).iter().max_by_key(|session| age(session)) {
            session.write(key, ShortId::from(endpoint), now);
        }
    }

    /// Sessions that are remembered and not over, for people. Looks at the whole table.
    pub fn len(&self, now: Instant) -> usize {
        let now = self.seconds(now);
        let is_live = |session: &&Session| {
            let value = session.value.load(Relaxed);
            value != 0 && !self.is_over(value, now)
        };
        self.rows.iter().flatten().filter(is_live).count()
    }

    /// Whether no session is remembered.
    pub fn is_empty(&self, now: Instant) -> bool {
        self.len(now) == 0
    }

    fn row(&self, key: u64) -> &[Session; ROW] {
        // The key is a hash already, but its low bits may have chosen the proxy's worker or the client's port.
        let row = super::mix::fraction_of(super::mix::scramble(key), self.rows.len() as u64);
        &self.rows[row as usize]
    }

    fn is_over(&self, value: u64, now: u32) -> bool {
        now.saturating_sub(last_use(value)) > self.time_to_live
    }

    fn seconds(&self, now: Instant) -> u32 {
        let seconds = now.saturating_duration_since(self.epoch).as_secs();
        u32::try_from(seconds).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// Half of an [`EndpointId`]: enough to tell the endpoints of one cluster apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShortId(u32);

impl From<EndpointId> for ShortId {
    fn from(id: EndpointId) -> Self {
        Self((id.0 >> 32) as u32)
    }
}

impl ShortId {
    pub(super) const fn number(self) -> u32 {
        self.0
    }
}

impl Session {
    fn write(&self, key: u64, endpoint: ShortId, now: u32) {
        let value = (u64::from(endpoint.0) << 32) | u64::from(now);
        self.value.store(value, Relaxed);
        self.check.store(key ^ value, Relaxed);
    }
}

const fn last_use(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests;
