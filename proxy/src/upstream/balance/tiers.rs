//! Whom to prefer: endpoints with a weight first, failover endpoints only when none of those is available.
//!
//! FSM's controller expresses multi-cluster balancing in weights. *Locality*: the document has local endpoints only.
//! *Active-active*: local and remote ones (`Key`) have weights and share the traffic. *Failover*: remote ones have weight
//! 0 as long as there are local ones. So there are up to three tiers: endpoints with a weight, wherever they are; local
//! ones with weight 0; remote ones with weight 0. Within the two failover tiers all are equal.

use super::sticky::ShortId;
use super::{Algorithm, Balancer, Candidate, Draw, SessionTable, View, WarmUp};

/// How a cluster balances.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// How an endpoint is chosen among its tier.
    pub algorithm: Algorithm,
    /// How new endpoints are warmed up; `None`: not at all.
    pub warm_up: Option<WarmUp>,
}

/// The endpoints of a cluster in order of preference.
#[derive(Debug)]
pub struct Tiers {
    settings: Settings,
    candidates: Box<[Candidate]>,
    balancers: Vec<Balancer>,
    weighted: usize,
    /// Of the candidates: short id and index, sorted by id.
    by_id: Box<[(u32, usize)]>,
}

impl Tiers {
    /// Lays out the tiers. Picks are indices into `candidates`. `start`, any number, spreads the beginnings of many
    /// proxies over the round; with `previous` the round continues where the shares did not change.
    pub fn new(settings: Settings, candidates: Vec<Candidate>, start: usize, previous: Option<&Self>) -> Self {
        let mut tiers: Vec<Vec<u32>> = Vec::new();
        for tier in [Tier::Weighted, Tier::LocalFailover, Tier::RemoteFailover] {
            let share = |candidate: &Candidate| if tier_of(candidate) == tier { candidate.weight.max(1) } else { 0 };
            let shares: Vec<u32> = candidates.iter().map(share).collect();
            if shares.iter().any(|share| *share > 0) {
                tiers.push(shares);
            }
        }
        let mut balancers: Vec<Balancer> =
            tiers.iter().map(|shares| Balancer::new(settings.algorithm, &candidates, shares, start)).collect();
        if let Some(previous) = previous {
            let continued = |(tier, balancer): (usize, Balancer)| match previous.balancers.get(tier) {
                Some(previous) => balancer.continuing(previous),
                None => balancer,
            };
            balancers = balancers.into_iter().enumerate().map(continued).collect();
        }
        let mut by_id: Vec<(u32, usize)> = candidates
            .iter()
            .enumerate()
            .map(|(index, candidate)| (ShortId::from(candidate.id).number(), index))
            .collect();
        by_id.sort_unstable();
        let weighted = candidates.iter().filter(|candidate| candidate.weight > 0).count();
        Self { settings, candidates: candidates.into(), balancers, weighted, by_id: by_id.into() }
    }

    /// The endpoints, in the order that picks refer to.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// How many endpoints have a weight, and how many are there for failover only.
    pub fn counts(&self) -> (usize, usize) {
        (self.weighted, self.candidates.len() - self.weighted)
    }

    /// The index of the endpoint to use: of the first tier that has one available. `None` if no endpoint is.
    ///
    /// The caller decides what `available` means, and may ask again with less strict a rule (ejected endpoints
    /// included) when it gets `None`.
    pub fn pick(&self, draw: Draw, available: impl Fn(usize) -> bool) -> Option<usize> {
        self.balancers.iter().find_map(|balancer| balancer.pick(&self.view(&available), draw))
    }

    /// Like [`pick`](Self::pick), but among the failover endpoints only: for what an endpoint with a weight has failed
    /// at. `None` if the cluster has no failover endpoint beside others, or none of them is available.
    pub fn pick_failover(&self, draw: Draw, available: impl Fn(usize) -> bool) -> Option<usize> {
        if self.counts().0 == 0 {
            return None;
        }
        self.balancers[1..].iter().find_map(|balancer| balancer.pick(&self.view(&available), draw))
    }

    /// Like [`pick`](Self::pick), but a session stays where it was, as long as that endpoint is available. Another
    /// endpoint then takes over the session for good.
    pub fn pick_for_session(
        &self,
        sessions: &SessionTable,
        session: u64,
        draw: Draw,
        available: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let known = sessions.find(session, draw.now).and_then(|id| self.index_of(id));
        if let Some(index) = known.filter(|&index| available(index)) {
            return Some(index);
        }
        let index = self.pick(draw, available)?;
        sessions.remember(session, self.candidates[index].id, draw.now);
        Some(index)
    }

    fn view<'a>(&'a self, available: &'a dyn Fn(usize) -> bool) -> View<'a> {
        View { candidates: &self.candidates, available, warm_up: self.settings.warm_up.as_ref() }
    }

    fn index_of(&self, id: ShortId) -> Option<usize> {
        let found = self.by_id.binary_search_by_key(&id.number(), |(number, _)| *number).ok()?;
        Some(self.by_id[found].1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Weighted,
    LocalFailover,
    RemoteFailover,
}

const fn tier_of(candidate: &Candidate) -> Tier {
    match candidate {
        Candidate { weight: 1.., .. } => Tier::Weighted,
        Candidate { remote: false, .. } => Tier::LocalFailover,
        Candidate { remote: true, .. } => Tier::RemoteFailover,
    }
}

#[cfg(test)]
mod tests;
