//! Plugin, PluginChain, PluginConfig.

use super::Faults;
use crate::world::World;
use fsm_api::resources::plugin::Plugin;

pub(super) fn plugin(world: &World, plugin: &Plugin, faults: &mut Faults) {
    allowed(world, faults);
    if plugin.spec.pipyscript.trim().is_empty() {
        faults.add("spec.pipyscript", "pipy script should not be empty");
    }
}

pub(super) fn allowed(world: &World, faults: &mut Faults) {
    if !world.mesh().features.plugin_policy {
        faults.add(
            "kind",
            "FSM is prohibited to apply plugin policy: set spec.featureFlags.enablePluginPolicy of the MeshConfig to true first",
        );
    }
}
