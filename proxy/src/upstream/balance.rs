//! Choosing by weight: FSM's weighted round robin, exact and without a lock.
//!
//! The order of a whole round is computed once (smooth weighted round robin, as nginx does it: 3:1 gives a-a-b-a, not
//! a-a-a-b); choosing is then one atomic increment, so 75/25 means exactly 3 and 1 of any 4 picks, with any number of
//! workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Longest round that is laid out exactly; weights that need a longer one are scaled down (an error below 0.03 %).
const LONGEST_ROUND: u64 = 4096;

/// A laid-out round over `weights`. Weight 0 is never chosen.
#[derive(Clone, Debug)]
pub struct Rotation {
    order: Box<[u16]>,
    position: Arc<AtomicUsize>,
}

impl Rotation {
    /// Lays out a round. `start` spreads many proxies over the round, so that they do not all begin with the same
    /// target. At most 65,536 weights are considered.
    pub fn new(weights: &[u32], start: usize) -> Self {
        Self { order: layout(weights), position: Arc::new(AtomicUsize::new(start)) }
    }

    /// The same position in a new layout: used when the weights did not change, so that an update does not restart
    /// the round.
    pub fn continuing(self, previous: &Self) -> Self {
        if self.order == previous.order { Self { position: Arc::clone(&previous.position), ..self } } else { self }
    }

    /// The next index, or `None` when every weight is 0.
    pub fn next(&self) -> Option<usize> {
        match &*self.order {
            [] => None,
            [only] => Some(usize::from(*only)),
            order => Some(usize::from(order[self.position.fetch_add(1, Relaxed) % order.len()])),
        }
    }
}

fn layout(weights: &[u32]) -> Box<[u16]> {
    let weights = &weights[..weights.len().min(usize::from(u16::MAX) + 1)];
    let divisor = weights.iter().fold(0, |divisor, &weight| greatest_common_divisor(divisor, u64::from(weight)));
    if divisor == 0 {
        return Box::default();
    }
    let mut shares: Vec<u64> = weights.iter().map(|&weight| u64::from(weight) / divisor).collect();
    let total: u64 = shares.iter().sum();
    if total > LONGEST_ROUND {
        // A target with the least weight still gets its place.
        let scale = |share: &mut u64| *share = (*share * LONGEST_ROUND / total).max(u64::from(*share > 0));
        shares.iter_mut().for_each(scale);
    }
    smooth_order(&shares)
}

fn smooth_order(shares: &[u64]) -> Box<[u16]> {
    let total: i64 = shares.iter().map(|&share| share.cast_signed()).sum();
    let mut credit = vec![0_i64; shares.len()];
    let mut order = Vec::with_capacity(usize::try_from(total).unwrap_or(0));
    for _ in 0..total {
        let mut best = 0;
        for (index, share) in shares.iter().enumerate() {
            credit[index] += share.cast_signed();
            if credit[index] > credit[best] {
                best = index;
            }
        }
        credit[best] -= total;
        order.push(u16::try_from(best).unwrap_or(u16::MAX));
    }
    order.into_boxed_slice()
}

const fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests;
