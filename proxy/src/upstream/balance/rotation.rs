//! Choosing by weight: FSM's weighted round robin, exact and without a lock.
//!
//! The order of a whole round is computed once (smooth weighted round robin, as nginx does it: 3:1 gives a-a-b-a, not
//! a-a-a-b); choosing is then one atomic increment, so 75/25 means exactly 3 and 1 of any 4 picks, with any number of
//! workers.
//!
//! Members that are not available at the moment lose their places in the round and nothing else: the others keep their
//! proportions among themselves, and the round goes on where it was when the member is back.

use super::mix::{fraction_of, spread};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Longest round that is laid out exactly; weights that need a longer one are scaled down (an error below 0.03 %).
const LONGEST_ROUND: u64 = 4096;

/// Places of unavailable members that one pick steps over before it looks at the members instead: a dead member that
/// has nearly all the weight would otherwise cost thousands of steps for each pick.
const STEPS: usize = 8;

/// A laid-out round over `weights`. Weight 0 is never chosen.
#[derive(Clone, Debug)]
pub struct Rotation {
    order: Box<[u16]>,
    /// Places of each index in the round.
    shares: Box<[u32]>,
    position: Arc<AtomicUsize>,
    detours: Arc<AtomicUsize>,
}

impl Rotation {
    /// Lays out a round. `start` spreads many proxies over the round, so that they do not all begin with the same
    /// target. At most 65,536 weights are considered.
    pub fn new(weights: &[u32], start: usize) -> Self {
        let (order, shares) = layout(weights);
        Self { order, shares, position: Arc::new(AtomicUsize::new(start)), detours: Arc::new(AtomicUsize::new(start)) }
    }

    /// The same position in a new layout: used when the weights did not change, so that an update does not restart
    /// the round.
    pub fn continuing(self, previous: &Self) -> Self {
        if self.order != previous.order {
            return self;
        }
        let (position, detours) = (Arc::clone(&previous.position), Arc::clone(&previous.detours));
        Self { position, detours, ..self }
    }

    /// The next index, or `None` when every weight is 0.
    pub fn next(&self) -> Option<usize> {
        match &*self.order {
            [] => None,
            [only] => Some(usize::from(*only)),
            order => Some(usize::from(order[self.position.fetch_add(1, Relaxed) % order.len()])),
        }
    }

    /// The next index that is available, or `None` when none of those with a weight is.
    ///
    /// While all are available this is [`next`](Self::next): exact, one atomic increment.
    pub fn pick(&self, available: impl Fn(usize) -> bool) -> Option<usize> {
        for _ in 0..self.order.len().min(STEPS) {
            let index = self.next()?;
            if available(index) {
                return Some(index);
            }
        }
        self.pick_among_available(available)
    }

    /// Chooses by share among those that are available, without the laid-out round. Successive positions are spread
    /// evenly over the shares (multiples of the golden ratio), so that even a few picks come close to the proportions.
    fn pick_among_available(&self, available: impl Fn(usize) -> bool) -> Option<usize> {
        let share = |index: usize| if available(index) { u64::from(self.shares[index]) } else { 0 };
        let total: u64 = (0..self.shares.len()).map(share).sum();
        if total == 0 {
            return None;
        }
        let turn = self.detours.fetch_add(1, Relaxed) as u64;
        let mut target = fraction_of(spread(turn), total);
        for index in 0..self.shares.len() {
            let share = share(index);
            if target < share {
                return Some(index);
            }
            target -= share;
        }
        // Availability changed between the two passes: any that is available now will do.
        (0..self.shares.len()).find(|&index| share(index) > 0)
    }
}

/// The order of a round, and the places of each index in it.
fn layout(weights: &[u32]) -> (Box<[u16]>, Box<[u32]>) {
    let weights = &weights[..weights.len().min(usize::from(u16::MAX) + 1)];
    let divisor = weights.iter().fold(0, |divisor, &weight| greatest_common_divisor(divisor, u64::from(weight)));
    if divisor == 0 {
        return (Box::default(), vec![0; weights.len()].into());
    }
    let mut shares: Vec<u64> = weights.iter().map(|&weight| u64::from(weight) / divisor).collect();
    let total: u64 = shares.iter().sum();
    if total > LONGEST_ROUND {
        // A target with the least weight still gets its place.
        let scale = |share: &mut u64| *share = (*share * LONGEST_ROUND / total).max(u64::from(*share > 0));
        shares.iter_mut().for_each(scale);
    }
    let places = shares.iter().map(|&share| u32::try_from(share).unwrap_or(u32::MAX)).collect();
    (smooth_order(&shares), places)
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
