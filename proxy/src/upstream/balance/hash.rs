//! Hashing: requests with the same key meet the same endpoint.
//!
//! A ring of points (consistent hashing): every endpoint has points in proportion to its share, a key belongs to the
//! next point after it. The points depend on the endpoint's own address only, so when an endpoint comes or goes only the
//! keys that it gains or loses move, and every proxy finds the same endpoint for a key.
//!
//! A popular key could overload its endpoint. Therefore the load is bounded: an endpoint that already has more than its
//! fair part of the requests in flight passes the next one on to its successor on the ring, the same for every proxy.

use super::mix::combine;
use super::{Candidate, Draw, View};

/// Points of an endpoint with an average share: enough for an even spread (about 8 % deviation).
const POINTS: usize = 160;

/// Points of a whole ring; more endpoints than it can serve have fewer points each, but never none. 16 bytes a point.
const MOST_POINTS: usize = 65_536;

/// Points that a pick steps over before it compares the endpoints themselves.
const STEPS: usize = 64;

/// How much more than its fair part an endpoint may bear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundedLoad {
    /// Times the fair part of the requests in flight, 1 at least; infinite: no bound.
    pub factor: f64,
    /// So many requests in flight are always allowed: with few requests, "fair" would be less than one and every second
    /// request of a client would leave its endpoint.
    pub always: usize,
}

/// A ring of endpoints.
#[derive(Clone, Debug)]
pub struct Ring {
    points: Box<[Point]>,
    shares: Box<[u32]>,
    total: u64,
    bound: BoundedLoad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    hash: u64,
    index: usize,
}

impl Default for BoundedLoad {
    fn default() -> Self {
        Self { factor: 1.25, always: 16 }
    }
}

impl Ring {
    /// A ring over `candidates` with `shares[i]` for the i-th; 0 leaves it out.
    pub fn new(candidates: &[Candidate], shares: &[u32], bound: BoundedLoad) -> Self {
        let total: u64 = shares.iter().map(|&share| u64::from(share)).sum();
        let mut points = Vec::new();
        for (index, (candidate, &share)) in candidates.iter().zip(shares).enumerate() {
            let count = points_for(share, total, shares.iter().filter(|share| **share > 0).count());
            let hash = |number: usize| combine(candidate.id.0, number as u64);
            points.extend((0..count).map(|number| Point { hash: hash(number), index }));
        }
        points.sort_unstable();
        Self { points: points.into(), shares: shares.into(), total, bound }
    }

    /// The index of the endpoint to use, or `None` if none of those with a share is available. Without a key any
    /// endpoint is as good as another, by share.
    pub fn pick(&self, view: &View<'_>, draw: Draw) -> Option<usize> {
        let key = draw.key.unwrap_or(draw.random);
        // Rather an endpoint that is still cold or has too much to do than none.
        self.owner(key, view, |index| {
            (view.available)(index) && view.admits(index, key, draw.now) && self.has_room(index, view)
        })
        .or_else(|| self.owner(key, view, view.available))
    }

    /// The first endpoint from `key` on that is accepted.
    fn owner(&self, key: u64, view: &View<'_>, accepts: impl Fn(usize) -> bool) -> Option<usize> {
        let start = self.points.partition_point(|point| point.hash < key);
        let (before, after) = self.points.split_at(start);
        let mut refused = None;
        for point in after.iter().chain(before).take(STEPS) {
            if refused == Some(point.index) {
                continue;
            }
            if accepts(point.index) {
                return Some(point.index);
            }
            refused = Some(point.index);
        }
        // Nearly all of the ring is unavailable. Highest hash of endpoint and key: consistent too, but looks at all.
        let members = (0..self.shares.len()).filter(|&index| self.shares[index] > 0 && accepts(index));
        members.max_by_key(|&index| combine(key, view.candidates[index].id.0))
    }

    fn has_room(&self, index: usize, view: &View<'_>) -> bool {
        let load = &view.candidates[index].load;
        let in_flight = load.in_flight();
        if in_flight < self.bound.always {
            return true;
        }
        let part = f64::from(self.shares[index]) / self.total as f64;
        let fair = (load.cluster_in_flight() + 1) as f64 * part;
        (in_flight as f64) < (fair * self.bound.factor.max(1.0)).ceil()
    }
}

fn points_for(share: u32, total: u64, endpoints: usize) -> usize {
    if share == 0 {
        return 0;
    }
    let ring = (POINTS * endpoints).min(MOST_POINTS) as u64;
    usize::try_from(u64::from(share) * ring / total).unwrap_or(MOST_POINTS).max(1)
}

#[cfg(test)]
mod tests;
