//! Which buckets the histograms of the page have.

use crate::telemetry::signals::{BOUNDS_US, Totals};

/// A preset of buckets. What is counted is finer than all of them, so they can be changed at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Buckets {
    /// FSM's: 5 ms to an hour, 17 bounds.
    #[default]
    Fsm,
    /// FSM's and four below, from 0.25 ms on.
    Fine,
    /// Six bounds from 10 ms to 30 s, for meshes with very many pairs.
    Coarse,
}

const FSM: &[u64] = BOUNDS_US.split_at(4).1;
const COARSE: &[u64] = &[10_000, 50_000, 100_000, 500_000, 1_000_000, 30_000_000];

impl Buckets {
    /// The preset of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "" | "fsm" => Some(Self::Fsm),
            "fine" => Some(Self::Fine),
            "coarse" => Some(Self::Coarse),
            _ => None,
        }
    }

    /// Upper bounds in microseconds.
    pub const fn bounds(self) -> &'static [u64] {
        match self {
            Self::Fsm => FSM,
            Self::Fine => &BOUNDS_US,
            Self::Coarse => COARSE,
        }
    }

    /// Upper bound in milliseconds and count of each bucket, the last one without a bound; not cumulative.
    pub(super) fn counts(self, totals: &Totals) -> Vec<(f64, u64)> {
        let bounds = self.bounds();
        let mut counts = vec![0; bounds.len() + 1];
        for (index, count) in totals.buckets.iter().enumerate() {
            let bucket =
                BOUNDS_US.get(index).map_or(bounds.len(), |bound| bounds.partition_point(|upper| upper < bound));
            counts[bucket] += count;
        }
        let upper = bounds.iter().map(|bound| *bound as f64 / 1_000.0).chain([f64::INFINITY]);
        upper.zip(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_is_one_that_is_counted() {
        for preset in [Buckets::Fsm, Buckets::Fine, Buckets::Coarse] {
            assert!(preset.bounds().iter().all(|bound| BOUNDS_US.contains(bound)), "{preset:?}");
        }
    }

    #[test]
    fn coarser_buckets_hold_what_finer_ones_do() {
        let mut totals = Totals::default();
        totals.buckets.fill(1);
        let counts = |preset: Buckets| preset.counts(&totals).into_iter().map(|(_, count)| count).collect::<Vec<_>>();
        assert_eq!(counts(Buckets::Fine), [1; 22]);
        assert_eq!(counts(Buckets::Fsm)[..2], [5, 1]);
        assert_eq!(counts(Buckets::Coarse), [6, 2, 1, 2, 1, 4, 6]);
    }
}
