//! Order does not matter, and nothing that changes is missed.

use super::super::{GroupId, PodKey, Settings, World};
use super::universe::{KINDS, document, everything, strict_world, thing};
use fsm_api::resources::{Object, ObjectKey};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
struct Step {
    kind: u8,
    name: u8,
    appearance: u64,
    removes: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..KINDS, 0..9_u8, any::<u64>(), prop::bool::weighted(0.2))
        .prop_map(|(kind, name, appearance, removes)| Step { kind, name, appearance, removes });
    prop::collection::vec(step, 1..120)
}

/// What every group's document is made from, and who is in it.
fn documents(world: &World) -> BTreeMap<GroupId, (String, BTreeSet<PodKey>)> {
    let groups = world.groups();
    groups.map(|(id, group)| (id, (document(world, group), world.members(id).cloned().collect()))).collect()
}

/// What the catalog makes of every group.
fn built(world: &World) -> BTreeMap<GroupId, String> {
    let text = |group| serde_json::to_string(&crate::catalog::build(world, group).config).unwrap();
    world.groups().map(|(id, group)| (id, text(group))).collect()
}

fn take(world: &mut World, step: &Step, there: &mut BTreeMap<ObjectKey, Object>) -> super::Dirty {
    let object = thing(step.kind, step.name, step.appearance);
    if step.removes {
        there.remove(&object.key());
        return world.remove(&object.key());
    }
    there.insert(object.key(), object.clone());
    world.apply(object)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_document_that_changes_is_named(steps in steps()) {
        let mut world = strict_world();
        let mut there = BTreeMap::new();
        let mut before = documents(&world);
        for step in &steps {
            let dirty = take(&mut world, step, &mut there);
            let after = documents(&world);
            for (id, (text, members)) in &after {
                match before.get(id) {
                    None => prop_assert!(dirty.groups.contains(id), "new group {id} is not named after {step:?}"),
                    Some((old, old_members)) => {
                        prop_assert!(
                            old == text || dirty.groups.contains(id),
                            "{id} changed unnamed by {step:?}\nbefore: {old}\nafter: {text}"
                        );
                        for pod in members.symmetric_difference(old_members) {
                            prop_assert!(dirty.pods.contains(pod), "{pod} moved unnamed by {step:?}");
                        }
                    }
                }
            }
            let gone: BTreeSet<GroupId> = before.keys().filter(|id| !after.contains_key(id)).copied().collect();
            prop_assert_eq!(&dirty.gone, &gone);
            prop_assert!(dirty.groups.iter().all(|id| after.contains_key(id)), "a group that is not there is named");
            before = after;
        }
    }

    #[test]
    fn every_document_of_the_catalog_that_changes_is_named(steps in steps()) {
        let mut world = strict_world();
        let mut there = BTreeMap::new();
        let mut before = built(&world);
        for step in &steps {
            let dirty = take(&mut world, step, &mut there);
            let after = built(&world);
            for (id, text) in &after {
                let same = before.get(id) == Some(text);
                prop_assert!(same || dirty.groups.contains(id), "{id} changed unnamed by {step:?}: {:?}\n{text}", before.get(id));
            }
            before = after;
        }
    }

    #[test]
    fn any_order_ends_in_the_same_world(steps in steps(), shuffle in any::<u64>()) {
        let mut world = World::new(Settings::default());
        let mut there = BTreeMap::new();
        for step in &steps {
            take(&mut world, step, &mut there);
        }
        world.check_invariants().map_err(TestCaseError::fail)?;
        let mut objects: Vec<Object> = there.into_values().collect();
        let mut seed = shuffle | 1;
        for last in (1..objects.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            objects.swap(last, (seed >> 33) as usize % (last + 1));
        }
        let mut anew = World::new(Settings::default());
        for object in objects {
            anew.apply(object);
        }
        anew.check_invariants().map_err(TestCaseError::fail)?;
        prop_assert_eq!(everything(&world), everything(&anew));
    }

    #[test]
    fn what_is_said_twice_asks_for_nothing(steps in steps()) {
        let mut world = World::new(Settings::default());
        let mut there = BTreeMap::new();
        for step in &steps {
            take(&mut world, step, &mut there);
            let again = match step.removes {
                true => world.remove(&thing(step.kind, step.name, step.appearance).key()),
                false => world.apply(thing(step.kind, step.name, step.appearance)),
            };
            prop_assert!(again.is_empty(), "{step:?} asks twice: {again:?}");
        }
        for key in there.keys() {
            world.remove(key);
        }
        world.check_invariants().map_err(TestCaseError::fail)?;
        prop_assert_eq!(everything(&world), everything(&World::new(Settings::default())));
    }
}
