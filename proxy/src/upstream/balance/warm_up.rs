//! Warm-up (slow start): a new endpoint gets its share little by little.
//!
//! A process that has just started has cold caches, unfilled pools and code that is not compiled yet; its full share at
//! once makes it slow or kills it. FSM's controller (1.5) does this with weights and republishes the configuration until
//! the pod is warm; here it is a function of time, with the same curve, and no update is needed.

use std::time::Duration;

/// How a new endpoint is warmed up. FSM's `TrafficWarmup`: `duration`, `aggression`, `minWeight`/`maxWeight`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WarmUp {
    window: Duration,
    aggression: f64,
    least: f64,
}

impl WarmUp {
    /// FSM's default window.
    pub const WINDOW: Duration = Duration::from_secs(90);

    /// `window`: from the endpoint's start to its full share. `aggression` bends the curve: 1 is a straight line, more
    /// gives more at the beginning; values below 1 (and no numbers) count as 1. `least` is the share to begin with, of
    /// 1; values outside 0.1..=1 are brought into it, since an endpoint without traffic never warms up.
    pub fn new(window: Duration, aggression: f64, least: f64) -> Self {
        let aggression = if aggression.is_finite() { aggression.max(1.0) } else { 1.0 };
        let least = if least.is_finite() { least.clamp(LEAST, 1.0) } else { LEAST };
        Self { window, aggression, least }
    }

    /// The part of its weight that an endpoint of this age gets: `least` to 1, never falling with age.
    pub fn factor(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let part = age.as_secs_f64() / self.window.as_secs_f64();
        part.powf(self.aggression.recip()).clamp(self.least, 1.0)
    }
}

impl Default for WarmUp {
    fn default() -> Self {
        Self::new(Self::WINDOW, 1.0, LEAST)
    }
}

/// FSM's `minWeight` 10 of `maxWeight` 100.
const LEAST: f64 = 0.1;

#[cfg(test)]
mod tests;
