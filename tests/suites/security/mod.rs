//! The attack corpus. Row names (A1 …) are those of the checklist in the project's field survey.
//!
//! Every attack is followed by an ordinary request: an attacker may lose their own connection, nobody else anything.

mod desync;
mod detection;
mod http2;
mod identity;
mod listeners;
mod paths;
mod requests;
mod responses;

use fsm_tests::{Leaf, Pair, Wire};

/// Where an attacker comes in.
#[derive(Clone, Copy, Debug)]
enum Entrance {
    /// The client's own application attacks its sidecar.
    Outbound,
    /// A pod with a certificate of the mesh attacks the server's sidecar.
    Inbound,
}

impl Entrance {
    const BOTH: [Self; 2] = [Self::Outbound, Self::Inbound];

    /// A connection to the raw HTTP service.
    async fn open(self, pair: &Pair, leaf: &Leaf) -> Wire {
        match self {
            Self::Outbound => pair.dial(&pair.scene.raw).await,
            Self::Inbound => pair.intrude(&pair.scene.raw, leaf).await,
        }
    }
}
