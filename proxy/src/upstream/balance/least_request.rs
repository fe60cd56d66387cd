//! Least request: of two endpoints taken at random, the one that is likely to answer sooner.
//!
//! "Likely to answer sooner" is latency × (requests in flight + 1) ÷ share, with the latency of [`EndpointLoad`]. Two
//! random candidates are enough (the power of two choices): the cost does not depend on the number of endpoints, and
//! many proxies that know little of each other do not all run to the same endpoint.
//!
//! An endpoint that has not answered yet is taken to be as fast as the one it is compared with, so a new endpoint is
//! tried at once and still not flooded.
//!
//! [`EndpointLoad`]: super::EndpointLoad

use super::mix::{fraction_of, scramble};
use super::{Draw, View};
use std::time::Instant;

/// Chooses by load among the endpoints with a share.
#[derive(Clone, Debug)]
pub struct LeastRequest {
    members: Box<[Member]>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    index: usize,
    share: f64,
}

impl LeastRequest {
    /// `shares[i]` is the share of the i-th endpoint: one with twice the share is expected to bear twice the load.
    pub fn new(shares: &[u32]) -> Self {
        let with_share = shares.iter().enumerate().filter(|(_, share)| **share > 0);
        Self { members: with_share.map(|(index, &share)| Member { index, share: f64::from(share) }).collect() }
    }

    /// The index of the endpoint to use, or `None` if none of those with a share is available.
    pub fn pick(&self, view: &View<'_>, draw: Draw) -> Option<usize> {
        let available = |member: &Member| (view.available)(member.index);
        match &*self.members {
            [] => None,
            [only] => available(only).then_some(only.index),
            members => {
                let (first, second) = two_of(members, draw.random);
                if available(&first) && available(&second) {
                    return Some(better(first, second, view, draw.now));
                }
                match two_available(members, available, draw.random) {
                    (None, _) => None,
                    (Some(only), None) => Some(only.index),
                    (Some(first), Some(second)) => Some(better(first, second, view, draw.now)),
                }
            }
        }
    }
}

/// Two different members, each pair with the same probability. There are at least two.
fn two_of(members: &[Member], random: u64) -> (Member, Member) {
    let count = members.len() as u64;
    let first = fraction_of(random, count) as usize;
    let second = fraction_of(scramble(random), count - 1) as usize;
    (members[first], members[if second >= first { second + 1 } else { second }])
}

/// Up to two different ones of those that are available, each pair with the same probability (reservoir sampling).
/// Looks at all members, but only when one of the first two was not available.
fn two_available(
    members: &[Member],
    available: impl Fn(&Member) -> bool,
    random: u64,
) -> (Option<Member>, Option<Member>) {
    let (mut chosen, mut seen, mut random) = ([None, None], 0_u64, random);
    for member in members.iter().filter(|member| available(member)) {
        seen += 1;
        random = scramble(random ^ seen);
        match seen {
            1 | 2 => chosen[seen as usize - 1] = Some(*member),
            _ => {
                let place = fraction_of(random, seen) as usize;
                if place < 2 {
                    chosen[place] = Some(*member);
                }
            }
        }
    }
    let [first, second] = chosen;
    // Equal costs go to the first of the two, which must not always be the earlier one.
    if second.is_some() && random & 1 == 1 { (second, first) } else { (first, second) }
}

fn better(first: Member, second: Member, view: &View<'_>, now: Instant) -> usize {
    let latency = |member: Member| view.candidates[member.index].load.latency_seconds(now).map(f64::from);
    let (first_latency, second_latency) = match (latency(first), latency(second)) {
        (Some(one), Some(other)) => (one, other),
        (Some(known), None) | (None, Some(known)) => (known, known),
        (None, None) => (1.0, 1.0),
    };
    let cost = |member: Member, latency: f64| {
        let share = member.share * view.warmth(member.index, now);
        latency * (view.candidates[member.index].load.in_flight() + 1) as f64 / share
    };
    if cost(first, first_latency) <= cost(second, second_latency) { first.index } else { second.index }
}

#[cfg(test)]
mod tests;
