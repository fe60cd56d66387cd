//! What balancing knows about an endpoint: requests in flight, and how fast it answers.
//!
//! Lives in the endpoint, so it outlasts configuration updates and changes of the other endpoints. All of it is atomics;
//! a value that is a moment old does no harm, because every pick compares anew.
//!
//! The latency is a *peak* moving average: an answer slower than the average replaces it at once, faster ones bring it
//! down little by little, and time without answers lets it fade. So a slow endpoint is avoided from its first slow
//! answer on, and tried again later without anybody asking for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// After so long an old latency counts e⁻¹ (37 %) of what it did.
pub const LATENCY_DECAY: Duration = Duration::from_secs(10);

/// A failed attempt counts like an answer that took at least this long. Otherwise an endpoint that refuses everything
/// within a millisecond would look like the fastest of all and attract the whole traffic.
pub const FAILURE_LATENCY: Duration = Duration::from_secs(1);

/// Requests in flight to all endpoints of a cluster.
#[derive(Debug, Default)]
pub struct ClusterLoad {
    in_flight: AtomicUsize,
}

impl ClusterLoad {
    /// Requests in flight to all endpoints.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }
}

/// Requests in flight to one endpoint, and its latency.
#[derive(Debug)]
pub struct EndpointLoad {
    cluster: Arc<ClusterLoad>,
    epoch: Instant,
    in_flight: AtomicUsize,
    /// Milliseconds since `epoch` (high half, wrapping) and the average in seconds as an `f32` (low half), in one word
    /// so that they always belong together. 0: never measured.
    latency: AtomicU64,
}

/// How an attempt ended, as far as balancing cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The head of a response that is no failure.
    Good,
    /// A failure of the endpoint: status 5xx, no connection, a reset, a timeout.
    Failed,
}

/// One request in flight. Dropping it ends the request.
#[derive(Debug)]
#[must_use = "dropping it ends the request"]
pub struct InFlight {
    load: Arc<EndpointLoad>,
    started: Instant,
}

impl EndpointLoad {
    /// An endpoint that was never used. `epoch` is any moment before the first request.
    pub fn new(cluster: Arc<ClusterLoad>, epoch: Instant) -> Self {
        Self { cluster, epoch, in_flight: AtomicUsize::new(0), latency: AtomicU64::new(0) }
    }

    /// Requests in flight to this endpoint.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Requests in flight to all endpoints of its cluster.
    pub fn cluster_in_flight(&self) -> usize {
        self.cluster.in_flight()
    }

    /// The average latency as of `now`; `None` before the first answer.
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        self.latency_seconds(now).map(|seconds| Duration::from_secs_f32(seconds.clamp(0.0, MAX_SECONDS)))
    }

    /// Starts a request; keep the result until the response's body has ended.
    pub fn begin(self: &Arc<Self>, now: Instant) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.cluster.in_flight.fetch_add(1, Relaxed);
        InFlight { load: Arc::clone(self), started: now }
    }

    pub(super) fn latency_seconds(&self, now: Instant) -> Option<f32> {
        let (then, average) = unpack(self.latency.load(Relaxed))?;
        Some(average * remaining(milliseconds_between(then, self.milliseconds(now))))
    }

    fn record(&self, elapsed: Duration, now: Instant) {
        let (seconds, now) = (elapsed.as_secs_f32().min(MAX_SECONDS), self.milliseconds(now));
        // A lost race would lose a peak; the loop ends as soon as no other worker answers at the very same moment.
        let _ = self.latency.fetch_update(Relaxed, Relaxed, |packed| {
            let average = match unpack(packed) {
                Some((then, average)) if average > seconds => {
                    let old = remaining(milliseconds_between(then, now));
                    (average * old + seconds * (1.0 - old)).max(seconds)
                }
                _ => seconds,
            };
            Some(pack(now, average))
        });
    }

    fn milliseconds(&self, now: Instant) -> u32 {
        // Wraps after 49 days, which `milliseconds_between` allows for.
        now.saturating_duration_since(self.epoch).as_millis() as u32
    }
}

impl InFlight {
    /// Measures the attempt: call it once, when the head of the response is there or the attempt has failed. A request
    /// that its client gave up is not measured; just drop it.
    pub fn answered(&self, answer: Answer, now: Instant) {
        let elapsed = now.saturating_duration_since(self.started);
        let counted = match answer {
            Answer::Good => elapsed,
            Answer::Failed => elapsed.max(FAILURE_LATENCY),
        };
        self.load.record(counted, now);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Relaxed);
        self.load.cluster.in_flight.fetch_sub(1, Relaxed);
    }
}

/// Longer answers count as this: keeps every product finite.
const MAX_SECONDS: f32 = 3600.0;

/// Shorter averages count as this, so that the number of requests in flight still decides between fast endpoints.
const MIN_SECONDS: f32 = 1e-6;

fn pack(milliseconds: u32, seconds: f32) -> u64 {
    (u64::from(milliseconds) << 32) | u64::from(seconds.max(MIN_SECONDS).to_bits())
}

fn unpack(packed: u64) -> Option<(u32, f32)> {
    (packed != 0).then(|| ((packed >> 32) as u32, f32::from_bits(packed as u32)))
}

/// Time from `then` to `now`, of which either may have wrapped. 0 if `then` is the later one, as it can be when two
/// workers took the time at almost the same moment.
fn milliseconds_between(then: u32, now: u32) -> u32 {
    let elapsed = now.wrapping_sub(then);
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

fn remaining(elapsed_milliseconds: u32) -> f32 {
    if elapsed_milliseconds == 0 {
        return 1.0;
    }
    (-(elapsed_milliseconds as f32) / LATENCY_DECAY.as_millis() as f32).exp()
}

#[cfg(test)]
mod tests;
