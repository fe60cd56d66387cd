//! Budgets: how much retrying a cluster bears, and how much memory replaying may take.
//!
//! Retries multiply load exactly when a service can bear it least: with five retries, a service that fails under its
//! load gets six times that load. A [`RetryBudget`] bounds the multiplication whatever the policies say: retries may be
//! a fifth of the requests of the last seconds, and ten a second always, so that a rarely used service can be retried
//! too. An [`Allowance`] is a plain bound on something held for a while: retries under way, bytes kept for a replay.
//!
//! Atomics only. Nothing here can fail; what is not granted is not done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What one request may keep of its body for a replay. linkerd's limit; longer bodies are sent once.
pub const REPLAY_BYTES_PER_REQUEST: u64 = 64 << 10;

/// What all requests of the proxy together may keep for replays: 512 of the longest.
pub const REPLAY_BYTES: u64 = 32 << 20;

/// A request may be retried so long after it earned the retry (e⁻¹ of what was earned is left by then).
pub const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// How many retries are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSettings {
    /// Retries for each 100 requests, 1,000 at most.
    pub percent: u32,
    /// Retries granted in each second whatever the number of requests, 100,000 at most. Up to [`BUDGET_WINDOW`]'s worth
    /// of them can be saved up.
    pub minimum_per_second: u32,
    /// Retries under way at a time (`MaxRetries`); `None`: no limit of its own.
    pub most_at_a_time: Option<u32>,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self { percent: 20, minimum_per_second: 10, most_at_a_time: None }
    }
}

/// The retries that the requests to a cluster have earned. One for each cluster, shared by all workers, kept over
/// configuration updates that do not change its settings.
#[derive(Debug)]
pub struct RetryBudget {
    settings: BudgetSettings,
    epoch: Instant,
    /// Earned by requests, fading.
    earned: Tokens,
    /// Granted by time, up to a cap.
    minimum: Tokens,
    under_way: Arc<Allowance>,
}

/// Something of which there is a limited amount.
#[derive(Debug)]
pub struct Allowance {
    limit: u64,
    used: AtomicU64,
}

/// A part of an [`Allowance`], returned when dropped.
#[derive(Debug)]
#[must_use = "dropping it returns the share at once"]
pub struct Share {
    allowance: Arc<Allowance>,
    amount: u64,
}

/// Why a retry is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The requests of the last seconds have not earned another retry.
    NotEarned,
    /// As many retries as `MaxRetries` allows are under way.
    TooManyUnderWay,
}

impl RetryBudget {
    /// A budget that has saved up its minimum.
    pub fn new(settings: BudgetSettings, now: Instant) -> Self {
        let settings = BudgetSettings {
            percent: settings.percent.min(1_000),
            minimum_per_second: settings.minimum_per_second.min(100_000),
            ..settings
        };
        let limit = settings.most_at_a_time.map_or(u64::MAX, u64::from);
        Self {
            settings,
            epoch: now,
            earned: Tokens::new(0),
            minimum: Tokens::new(most_saved(&settings)),
            under_way: Arc::new(Allowance::new(limit)),
        }
    }

    /// The settings in force.
    pub const fn settings(&self) -> &BudgetSettings {
        &self.settings
    }

    /// Counts a request (not a retry): it earns its part of a retry.
    pub fn deposit(&self, now: Instant) {
        let earned = self.settings.percent * (TOKEN / 100);
        self.earned.update(self.ticks(now), fade, |tokens| Some(tokens.saturating_add(earned)));
    }

    /// Takes one retry. Keep the share until the retry has ended.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken then.
    pub fn withdraw(&self, now: Instant) -> Result<Share, Denied> {
        let share = self.under_way.take(1).ok_or(Denied::TooManyUnderWay)?;
        let now = self.ticks(now);
        let take = |tokens: u32| tokens.checked_sub(TOKEN);
        let granted = self.minimum.update(now, |tokens, ticks| refill(&self.settings, tokens, ticks), take)
            || self.earned.update(now, fade, take);
        if granted { Ok(share) } else { Err(Denied::NotEarned) }
    }

    /// Retries under way.
    pub fn under_way(&self) -> u64 {
        self.under_way.used()
    }

    fn ticks(&self, now: Instant) -> u32 {
        let ticks = now.saturating_duration_since(self.epoch).as_millis() / TICK.as_millis();
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }
}

impl Allowance {
    /// An allowance of which nothing is used.
    pub const fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }

    /// A share of `amount`, or `None` when less than that is left.
    pub fn take(self: &Arc<Self>, amount: u64) -> Option<Share> {
        self.reserve(amount).then(|| Share { allowance: Arc::clone(self), amount })
    }

    /// How much is used.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    fn reserve(&self, amount: u64) -> bool {
        let grown = |used: u64| used.checked_add(amount).filter(|used| *used <= self.limit);
        self.used.fetch_update(Relaxed, Relaxed, grown).is_ok()
    }
}

impl Share {
    /// How much it is.
    pub const fn amount(&self) -> u64 {
        self.amount
    }

    /// Makes it larger; false, with nothing changed, when less than that is left.
    #[must_use = "nothing was taken if this is false"]
    pub fn grow(&mut self, amount: u64) -> bool {
        let granted = self.allowance.reserve(amount);
        if granted {
            self.amount += amount;
        }
        granted
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.allowance.used.fetch_sub(self.amount, Relaxed);
    }
}

/// One token: one retry. Tokens are kept in thousandths.
const TOKEN: u32 = 1_000;

/// The grain of time. Coarse, so that fading by many small steps does not drown in rounding.
const TICK: Duration = Duration::from_millis(100);

/// An amount of tokens and the tick it belongs to, in one word: all updates are exact among workers.
#[derive(Debug)]
struct Tokens(AtomicU64);

impl Tokens {
    const fn new(tokens: u32) -> Self {
        Self(AtomicU64::new(tokens as u64))
    }

    /// Brings the amount to `now` and changes it; false, and unchanged, if `change` refuses.
    fn update(&self, now: u32, age: impl Fn(u32, u32) -> u32, change: impl Fn(u32) -> Option<u32>) -> bool {
        let updated = |packed: u64| {
            let (then, tokens) = ((packed >> 32) as u32, packed as u32);
            // A worker that took the time a moment earlier must not turn it back.
            let now = now.max(then);
            let aged = if now > then { age(tokens, now - then) } else { tokens };
            Some((u64::from(now) << 32) | u64::from(change(aged)?))
        };
        self.0.fetch_update(Relaxed, Relaxed, updated).is_ok()
    }
}

fn fade(tokens: u32, ticks: u32) -> u32 {
    let window = BUDGET_WINDOW.as_secs_f64() / TICK.as_secs_f64();
    (f64::from(tokens) * (-f64::from(ticks) / window).exp()).round() as u32
}

fn refill(settings: &BudgetSettings, tokens: u32, ticks: u32) -> u32 {
    let each_tick = u64::from(settings.minimum_per_second) * u64::from(TOKEN) * TICK.as_millis() as u64 / 1_000;
    let refilled = u64::from(tokens) + each_tick * u64::from(ticks);
    u32::try_from(refilled).unwrap_or(u32::MAX).min(most_saved(settings))
}

fn most_saved(settings: &BudgetSettings) -> u32 {
    let window = u32::try_from(BUDGET_WINDOW.as_secs()).unwrap_or(u32::MAX);
    settings.minimum_per_second.saturating_mul(window).saturating_mul(TOKEN)
}

#[cfg(test)]
mod tests;
