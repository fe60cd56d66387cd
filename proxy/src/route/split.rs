//! Weighted choice among the clusters of a route.

use crate::upstream::balance::Rotation;
use crate::upstream::cluster::Cluster;
use std::sync::Arc;

/// The clusters of a route with their shares. Weight 0 marks a failover cluster, which is never picked here.
#[derive(Clone, Debug)]
pub struct Split {
    targets: Vec<(Arc<Cluster>, u32)>,
    rotation: Rotation,
}

impl Split {
    /// Lays out the shares; continues `previous`'s round if the shares are the same.
    pub fn new(targets: Vec<(Arc<Cluster>, u32)>, start: usize, previous: Option<&Split>) -> Self {
        let weights: Vec<u32> = targets.iter().map(|(_, weight)| *weight).collect();
        let rotation = Rotation::new(&weights, start);
        let rotation = match previous {
            Some(previous) => rotation.continuing(&previous.rotation),
            None => rotation,
        };
        Self { targets, rotation }
    }

    /// The next cluster by weight; `None` when the route has no cluster with a weight.
    pub fn pick(&self) -> Option<&Arc<Cluster>> {
        self.rotation.next().map(|index| &self.targets[index].0)
    }

    /// The cluster that stands in when the one picked fails: the first of those with weight 0, if others have weights.
    pub fn failover(&self) -> Option<&Arc<Cluster>> {
        let weighted = self.targets.iter().any(|(_, weight)| *weight > 0);
        let standing_by = self.targets.iter().find(|(_, weight)| *weight == 0);
        standing_by.filter(|_| weighted).map(|(cluster, _)| cluster)
    }

    /// Every cluster with its weight.
    pub fn targets(&self) -> &[(Arc<Cluster>, u32)] {
        &self.targets
    }
}
