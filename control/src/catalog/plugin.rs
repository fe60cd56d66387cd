//! Stages of the proxy's chains: built-in ones in FSM's order, and plugins between them; and the plugins' settings for
//! single services.

use super::problems::{Problems, described, object};
use super::view::View;
use crate::world::{ServiceKey, Stage};
use fsm_api::resources::{Kind, ObjectKey};
use std::collections::BTreeMap;

/// The stages of every chain by name, those with the highest priority first.
pub(super) fn chains(view: &View<'_>, problems: &mut Problems) -> BTreeMap<String, Vec<String>> {
    let mut chains: BTreeMap<String, Vec<(f64, String)>> = BTreeMap::new();
    for (chain, stages) in &view.mesh.plugin_chains.stages {
        chains.insert(chain.clone(), stages.iter().map(|stage| built_in(chain, stage)).collect());
    }
    if view.mesh.features.plugin_policy {
        for key in &view.group.chains {
            if let Some(policy) = view.world.plugin_chain(key) {
                for entry in &policy.spec.chains {
                    let Some(stages) = chains.get_mut(&entry.name) else {
                        let text = format!(
                            "chain `{}` is none of inbound-tcp, inbound-http, outbound-tcp and outbound-http; its plugins \
                             are not run",
                            entry.name
                        );
                        problems.error(vec![object(Kind::PluginChain, key)], "UnknownChain", text);
                        continue;
                    };
                    for name in &entry.plugins {
                        match view.world.plugin(name) {
                            Some(plugin) => {
                                let script = format!("plugins/{name}.js");
                                if !stages.iter().any(|(_, known)| *known == script) {
                                    stages.push((plugin.spec.priority.unwrap_or_default(), script));
                                }
                            }
                            None => {
                                let objects =
                                    vec![object(Kind::PluginChain, key), ObjectKey::new(Kind::Plugin, "", name)];
                                let text = format!("{} does not exist; the stage is left out", objects[1]);
                                problems.error(objects, "MissingPlugin", text);
                            }
                        }
                    }
                }
            }
        }
    }
    chains.into_iter().map(|(chain, stages)| (chain, ordered(stages))).collect()
}

/// The settings of plugins for a service. Of several for one plugin the oldest holds.
pub(super) fn settings(
    view: &View<'_>,
    service: &ServiceKey,
    problems: &mut Problems,
) -> BTreeMap<String, serde_json::Value> {
    let mut settings: BTreeMap<String, (serde_json::Value, ObjectKey)> = BTreeMap::new();
    for config in view.world.plugin_configs_of(service) {
        let name = described(Kind::PluginConfig, &config.metadata);
        if !view.mesh.features.plugin_policy {
            problems.switched_off(name, view.mesh_config(), "enablePluginPolicy");
            continue;
        }
        if let Some((_, first)) = settings.get(&config.spec.plugin) {
            let text = format!(
                "{first} is older and has the settings of plugin `{}` for {}; this one has no effect on it",
                config.spec.plugin,
                object(Kind::Service, service)
            );
            problems.error(vec![name, first.clone()], "PluginConfigConflict", text);
            continue;
        }
        let value = serde_json::Value::Object(config.spec.config.clone());
        settings.insert(config.spec.plugin.clone(), (value, name));
    }
    settings.into_iter().map(|(plugin, (value, _))| (plugin, value)).collect()
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
