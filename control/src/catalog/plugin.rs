//! Stages of the proxy's chains: built-in ones in FSM's order, and plugins between them.

use super::problems::Problems;
use super::view::View;
use crate::world::Stage;
use std::collections::BTreeMap;

/// The stages of every chain by name, those with the highest priority first.
pub(super) fn chains(view: &View<'_>, _problems: &mut Problems) -> BTreeMap<String, Vec<String>> {
    let chains = view.mesh.plugin_chains.stages.iter();
    chains
        .map(|(chain, stages)| (chain.clone(), ordered(stages.iter().map(|stage| built_in(chain, stage)).collect())))
        .collect()
}

/// The script of a built-in stage: `modules/<direction>-<stage>.js`.
fn built_in(chain: &str, stage: &Stage) -> (f64, String) {
    let direction = chain.split('-').next().unwrap_or(chain);
    (stage.priority, format!("modules/{direction}-{}.js", stage.name))
}

/// By falling priority; of equal ones the first stays first.
fn ordered(mut stages: Vec<(f64, String)>) -> Vec<String> {
    stages.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    stages.into_iter().map(|(_, script)| script).collect()
}
