//! What groups have in common, computed once for all documents of one state of the world.
//!
//! In permissive mode everybody may call everybody, so that all groups of a namespace have the same outbound part but for
//! those whose account has policies of its own. In a mesh of many services that part is nearly all of a document, and nearly all
//! of the work.

use super::problems::Problems;
use super::view::View;
use crate::world::Problem;
use fsm_api::config::Outbound;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// What was computed for some groups and holds for others too. To be thrown away when the world changes.
#[derive(Debug, Default)]
pub struct Shared {
    /// By the namespace of those who call.
    outbound: Mutex<HashMap<String, Common>>,
}

/// What is computed by the first who wants it, with what was found on the way.
type Common = Arc<OnceLock<(Outbound, Vec<Problem>)>>;

impl Shared {
    /// The group's outbound part: the common one where there is one, else what `build` makes.
    pub(super) fn outbound(
        &self,
        view: &View<'_>,
        problems: &mut Problems,
        build: impl Fn(&View<'_>, &mut Problems) -> Outbound,
    ) -> Outbound {
        if !is_common(view) {
            return build(view, problems);
        }
        let cell = self.outbound.lock().entry(view.group.namespace().to_owned()).or_default().clone();
        let (outbound, found) = cell.get_or_init(|| {
            let mut problems = Problems::default();
            let outbound = build(view, &mut problems);
            (outbound, problems.into_sorted())
        });
        problems.extend(found);
        outbound.clone()
    }
}

/// Whether nothing but its namespace decides what a group may call, and how.
fn is_common(view: &View<'_>) -> bool {
    let account = &view.group.account;
    view.mesh.permissive && view.world.retries_of(account).is_empty() && view.world.egress_of(account).is_empty()
}
