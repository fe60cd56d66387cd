//! Rate limits: a bucket of tokens for new connections of a port, requests of a service or requests of a route.
//!
//! The bucket is FSM's (its `Quota`), and its refill is that of Envoy's local rate limit, which FSM had before: it
//! starts full with [`RateLimit::capacity`] tokens; the first token taken from a full bucket starts a window; when the
//! window ends, [`RateLimit::amount`] tokens come back at once, never above the capacity, and windows follow one
//! another until the bucket is full again. So "3 per minute" never lets a fourth one pass in the minute that begins
//! with the first. (The other common bucket, GCRA as in the crate `governor`, drips one token back every 20 seconds
//! and lets five pass in that minute: smoother, but not what FSM's users have configured.)
//!
//! The whole bucket is one 64-bit word, changed by compare-and-swap: exact to the token with any number of workers,
//! without a lock, and a refusal writes nothing, so a flood does not make the workers fight over a cache line.
//!
//! Never reads a clock, waits or allocates. A clock that steps back neither panics nor yields a token.

use fsm_api::config::{HttpLocalRateLimit, TcpLocalRateLimit};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How much may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Tokens that come back at the end of each window. 0: none ever.
    pub amount: u32,
    /// Length of a window. Zero: no token ever comes back (FSM sends it for a unit that it does not know).
    pub window: Duration,
    /// Size of the bucket, which starts full. 0 blocks everything.
    pub capacity: u32,
}

impl RateLimit {
    /// The limit of requests that `limit` asks for.
    ///
    /// # Errors
    /// The window is no time (negative, infinite or not a number).
    pub fn from_http(limit: &HttpLocalRateLimit) -> Result<Self, String> {
        Self::from_parts("Requests", limit.requests, limit.stat_time_window, limit.burst)
    }

    /// The limit of new connections that `limit` asks for.
    ///
    /// # Errors
    /// As [`RateLimit::from_http`].
    pub fn from_tcp(limit: &TcpLocalRateLimit) -> Result<Self, String> {
        Self::from_parts("Connections", limit.connections, limit.stat_time_window, limit.burst)
    }

    /// `burst` is the size of the bucket and not an addition to `amount` (FSM: "`Burst` or else `Requests`", where 0
    /// counts as unset). An amount of 0 blocks everything, whatever the burst: nobody means "ten, then never again".
    fn from_parts(name: &str, amount: u32, window: f64, burst: Option<u32>) -> Result<Self, String> {
        let window = Duration::try_from_secs_f64(window).map_err(|error| {
            format!(
                "the rate limit of {amount} {name} has the window {window}, which is no time ({error}); \
                 give StatTimeWindow in seconds: 1, 60 or 3600"
            )
        })?;
        let burst = burst.filter(|&burst| burst > 0).unwrap_or(amount);
        Ok(Self { amount, window, capacity: if amount == 0 { 0 } else { burst } })
    }
}

/// What to do with a connection or request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision {
    /// It may pass, and has taken a token.
    Allowed,
    /// It must be refused. Nothing was taken.
    Limited {
        /// Until tokens come back; `None`: they never do.
        retry_after: Option<Duration>,
    },
}

/// A limit and the state of its bucket. Shared by all workers; kept across updates with [`RateLimiter::carry_over`].
#[derive(Debug)]
pub struct RateLimiter {
    limit: RateLimit,
    layout: Layout,
    /// Moment 0 of the bucket: its first use.
    epoch: OnceLock<Instant>,
    bucket: AtomicU64,
}

impl RateLimiter {
    /// A full bucket.
    pub fn new(limit: RateLimit) -> Self {
        let layout = Layout::of(&limit);
        let full = Bucket { due: 0, tokens: u64::from(limit.capacity) };
        Self { limit, layout, epoch: OnceLock::new(), bucket: AtomicU64::new(layout.pack(full)) }
    }

    /// The limiter for `limit` after an update: `previous` itself, with the tokens it has left, if its limit is the
    /// same, else a new full one. (FSM filled every bucket at every update of anything.)
    pub fn carry_over(limit: RateLimit, previous: Option<&Arc<Self>>) -> Arc<Self> {
        match previous {
            Some(previous) if previous.limit == limit => Arc::clone(previous),
            _ => Arc::new(Self::new(limit)),
        }
    }

    /// The limit that is kept.
    pub const fn settings(&self) -> &RateLimit {
        &self.limit
    }

    /// Takes one token. `now` may differ between workers by what their clock readings differ.
    pub fn take(&self, now: Instant) -> Decision {
        let now = self.moment(now);
        let mut word = self.bucket.load(Relaxed);
        loop {
            let bucket = self.layout.refilled(self.layout.unpack(word), now);
            let Some(rest) = self.layout.less_one(bucket, now) else {
                return Decision::Limited { retry_after: self.layout.until_due(bucket, now) };
            };
            // Relaxed: the word is all the state there is, nothing else is published with it.
            match self.bucket.compare_exchange_weak(word, self.layout.pack(rest), Relaxed, Relaxed) {
                Ok(_) => return Decision::Allowed,
                Err(newer) => word = newer,
            }
        }
    }

    /// Tokens left at `now`, for people to look at.
    pub fn available(&self, now: Instant) -> u32 {
        let bucket = self.layout.unpack(self.bucket.load(Relaxed));
        let tokens = match self.epoch.get() {
            Some(_) => self.layout.refilled(bucket, self.moment(now)).tokens,
            None => bucket.tokens,
        };
        u32::try_from(tokens).unwrap_or(u32::MAX)
    }

    fn moment(&self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_init(|| now);
        self.layout.ticks(now.saturating_duration_since(epoch))
    }
}

/// Answer to a request that the limit refuses. Its body is empty, as FSM's.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitedAnswer {
    /// `ResponseStatusCode`, or 429.
    pub status: StatusCode,
    /// `ResponseHeadersToAdd`.
    pub headers: HeaderMap,
}

impl LimitedAnswer {
    /// The answer that `limit` asks for, and what is wrong with it. A header that cannot be sent is left out.
    pub fn from_http(limit: &HttpLocalRateLimit) -> (Self, Vec<String>) {
        let mut problems = Vec::new();
        let wanted = limit.response_status_code.unwrap_or(StatusCode::TOO_MANY_REQUESTS.as_u16());
        // 1xx would never end the exchange.
        let status = StatusCode::from_u16(wanted).ok().filter(|_| (200..600).contains(&wanted)).unwrap_or_else(|| {
            problems.push(format!("{wanted} is no status of an answer (200 to 599); limited requests get 429"));
            StatusCode::TOO_MANY_REQUESTS
        });
        let mut headers = HeaderMap::new();
        for header in &limit.response_headers_to_add {
            match header_of(&header.name, &header.value) {
                Ok((name, value)) => {
                    headers.append(name, value);
                }
                Err(why) => problems.push(why),
            }
        }
        (Self { status, headers }, problems)
    }
}

/// Limit of requests to a service or a route.
#[derive(Clone, Debug)]
pub struct RequestLimit {
    /// The tokens.
    pub limiter: Arc<RateLimiter>,
    /// The answer when there are none.
    pub answer: Arc<LimitedAnswer>,
}

/// Headers that belong to the message framing and to the connection: the proxy sets them itself, and a second opinion
/// about where a response ends is how responses are split.
const FRAMING: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

fn header_of(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let dropped = "limited answers do not carry it";
    let parsed: HeaderName = name.parse().map_err(|_| format!("{name:?} is no header name; {dropped}"))?;
    let per_connection = ["keep-alive", "proxy-connection"].contains(&parsed.as_str());
    if per_connection || FRAMING.contains(&parsed) {
        return Err(format!("the header {name} belongs to the connection and is set by the proxy; {dropped}"));
    }
    let value =
        value.parse().map_err(|_| format!("the value of the header {name} has a forbidden character; {dropped}"))?;
    Ok((parsed, value))
}

/// Tokens left, and the tick at which the running window ends. A full bucket has no running window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    due: u64,
    tokens: u64,
}

/// A bucket in one word: the lower bits hold the tokens, the others the tick.
///
/// A tick is 2^`tick_shift` nanoseconds, as short as 36 years of them fit beside the tokens: one nanosecond up to 15
/// tokens, 64 ns for a thousand, 65 µs for a million. Tokens never come early; a window is
/// less than three ticks longer than asked.
#[derive(Clone, Copy, Debug)]
struct Layout {
    capacity: u64,
    amount: u64,
    /// Ticks of a window, rounded up, or `None` if tokens never come back.
    window: Option<u64>,
    token_bits: u32,
    tick_shift: u32,
}

impl Layout {
    /// 2^60 ns are 36 years.
    const TIME_BITS: u32 = 60;

    fn of(limit: &RateLimit) -> Self {
        let token_bits = u32::BITS - limit.capacity.leading_zeros();
        let tick_shift = (token_bits + Self::TIME_BITS).saturating_sub(u64::BITS);
        let nanoseconds = u64::try_from(limit.window.as_nanos()).unwrap_or(u64::MAX);
        let window = nanoseconds.div_ceil(1 << tick_shift);
        Self {
            capacity: limit.capacity.into(),
            amount: limit.amount.into(),
            window: (window > 0 && limit.amount > 0).then_some(window),
            token_bits,
            tick_shift,
        }
    }

    /// A tick that never comes: the end of time as far as it fits.
    const fn never(self) -> u64 {
        u64::MAX >> self.token_bits
    }

    fn ticks(self, since_epoch: Duration) -> u64 {
        let nanoseconds = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        (nanoseconds >> self.tick_shift).min(self.never() - 1)
    }

    const fn pack(self, bucket: Bucket) -> u64 {
        bucket.due << self.token_bits | bucket.tokens
    }

    const fn unpack(self, word: u64) -> Bucket {
        Bucket { due: word >> self.token_bits, tokens: word & ((1 << self.token_bits) - 1) }
    }

    /// The bucket after every window that has ended by `now`.
    fn refilled(self, bucket: Bucket, now: u64) -> Bucket {
        match self.window {
            Some(window) if bucket.tokens < self.capacity && bucket.due <= now => {
                let windows = (now - bucket.due) / window + 1;
                Bucket {
                    due: self.later(bucket.due, windows.saturating_mul(window)),
                    tokens: bucket.tokens.saturating_add(self.amount.saturating_mul(windows)).min(self.capacity),
                }
            }
            _ => bucket,
        }
    }

    /// The bucket with one token less, or `None` if it is empty. Taking from a full one starts its window.
    fn less_one(self, bucket: Bucket, now: u64) -> Option<Bucket> {
        let tokens = bucket.tokens.checked_sub(1)?;
        if bucket.tokens < self.capacity {
            return Some(Bucket { tokens, ..bucket });
        }
        // `now` was rounded down to its tick, and the window must not end early for that.
        let start = now + u64::from(self.tick_shift > 0);
        let due = self.window.map_or(self.never(), |window| self.later(start, window));
        Some(Bucket { due, tokens })
    }

    fn until_due(self, bucket: Bucket, now: u64) -> Option<Duration> {
        let due = self.window.map(|_| bucket.due).filter(|&due| due < self.never() && self.capacity > 0)?;
        Some(Duration::from_nanos(due.saturating_sub(now).saturating_mul(1 << self.tick_shift)))
    }

    fn later(self, tick: u64, ticks: u64) -> u64 {
        tick.saturating_add(ticks).min(self.never())
    }
}

#[cfg(test)]
mod tests;
