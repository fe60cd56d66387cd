//! Worlds that nobody would write: any part of the cases' objects, in any order, with any field changed.

use super::{cases, documents, objects, world};
use fsm_api::resources::Object;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::OnceLock;

/// All objects of all cases.
fn pool() -> &'static [Object] {
    static POOL: OnceLock<Vec<Object>> = OnceLock::new();
    POOL.get_or_init(|| cases().iter().flat_map(|case| objects(case)).collect())
}

/// What a field may become.
fn oddity(kind: u8) -> Value {
    match kind % 10 {
        0 => json!(""),
        1 => json!(0),
        2 => json!(65_535),
        3 => json!(4_294_967_295_u32),
        4 => json!("*"),
        5 => json!("httpbin"),
        6 => json!("::1"),
        7 => json!("("),
        8 => json!([]),
        _ => Value::Null,
    }
}

/// Changes the leaf that `choice` points at, counted through the whole object.
fn change(value: &mut Value, choice: usize, kind: u8) {
    fn leaves<'v>(value: &'v mut Value, found: &mut Vec<&'v mut Value>) {
        let is_leaf = !(value.is_object() || value.as_array().is_some_and(|list| !list.is_empty()));
        match value {
            leaf if is_leaf => found.push(leaf),
            Value::Object(map) => map.values_mut().for_each(|value| leaves(value, found)),
            Value::Array(list) => list.iter_mut().for_each(|value| leaves(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    leaves(value, &mut found);
    let count = found.len();
    if count > 0 {
        *found.swap_remove(choice % count) = oddity(kind);
    }
}

fn changed(object: &Object, changes: &[(usize, u8)]) -> Object {
    let mut value = object.to_json().unwrap();
    for (choice, kind) in changes {
        change(&mut value["spec"], *choice, *kind);
    }
    Object::from_json(value).unwrap_or_else(|_| object.clone())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_arrival_does_not_matter(
        chosen in proptest::collection::btree_map(0..1_000_usize, any::<u32>(), 20..120),
    ) {
        // One object for each key: two of the same key are an update, which the later one wins.
        let mut objects = std::collections::BTreeMap::new();
        for (&choice, &rank) in &chosen {
            let object = &pool()[choice % pool().len()];
            objects.insert(object.key(), (rank, object.clone()));
        }
        let in_order: Vec<Object> = objects.values().map(|(_, object)| object.clone()).collect();
        let mut shuffled: Vec<(u32, Object)> = objects.into_values().collect();
        shuffled.sort_by_key(|(rank, _)| *rank);
        let one = documents(&world(in_order));
        let other = documents(&world(shuffled.into_iter().map(|(_, object)| object)));
        prop_assert_eq!(one, other);
    }

    #[test]
    fn no_world_stops_the_catalog(
        chosen in proptest::collection::vec(
            (0..1_000_usize, proptest::collection::vec((0..64_usize, any::<u8>()), 0..3)),
            10..120,
        ),
    ) {
        let objects = chosen.iter().map(|(choice, changes)| changed(&pool()[choice % pool().len()], changes));
        let world = world(objects);
        let (one, _) = documents(&world);
        let (again, _) = documents(&world);
        prop_assert_eq!(one, again);
    }
}
