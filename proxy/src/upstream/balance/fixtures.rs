//! Endpoints for the tests of this folder.

use super::*;
use std::time::Duration;

/// Endpoints `10.0.0.<i>:80` with these weights, and the moment at which they were made.
pub(super) fn candidates(weights: &[u32]) -> (Vec<Candidate>, Instant) {
    let epoch = Instant::now();
    let cluster = Arc::new(ClusterLoad::default());
    let candidate = |(index, &weight): (usize, &u32)| Candidate {
        id: EndpointId::of(&format!("10.0.0.{index}:80")),
        weight,
        remote: false,
        warming_since: None,
        load: Arc::new(EndpointLoad::new(Arc::clone(&cluster), epoch)),
    };
    (weights.iter().enumerate().map(candidate).collect(), epoch)
}

/// A view in which all of them may be chosen.
pub(super) fn all(candidates: &[Candidate]) -> View<'_> {
    View { candidates, available: &|_| true, warm_up: None }
}

/// A small generator of random numbers (SplitMix64): the same numbers for the same seed everywhere.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix::scramble(self.0)
    }

    /// In 0..1, never 0.
    pub(super) fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// A time with this mean, as between independent events.
    pub(super) fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-self.unit().ln())
    }

    pub(super) fn draw(&mut self, now: Instant) -> Draw {
        Draw { key: None, random: self.next(), now }
    }
}
