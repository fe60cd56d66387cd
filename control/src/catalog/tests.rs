//! Tests of the catalog: golden documents ([`golden`]), random worlds ([`random`]).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod explain;
mod golden;
mod pieces;
mod random;

use crate::world::{Settings, World};
use fsm_api::resources::{Object, manifest};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the cases.
fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/catalog/testdata")
}

/// Names of all cases.
fn cases() -> Vec<String> {
    let entries = fs::read_dir(testdata()).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The objects of a case: those of the case that its file `base` names, then its own. Every document must be readable.
fn objects(case: &str) -> Vec<Object> {
    let folder = testdata().join(case);
    let mut objects = match fs::read_to_string(folder.join("base")) {
        Ok(base) => self::objects(base.trim()),
        Err(_) => Vec::new(),
    };
    let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "yaml")) {
        let (found, errors) = manifest::read(&fs::read_to_string(file).unwrap(), &file.display().to_string());
        assert!(errors.is_empty(), "{errors:?}");
        assert!(!found.is_empty(), "{} holds no objects", file.display());
        objects.extend(found.into_iter().map(|found| found.value));
    }
    objects
}

fn world(objects: impl IntoIterator<Item = Object>) -> World {
    let mut world = World::new(Settings::default());
    for object in objects {
        world.apply(object);
    }
    world
}

/// The document of every group, by its first pod (`<namespace>.<pod>`), and all problems.
fn documents(world: &World) -> (BTreeMap<String, String>, Vec<String>) {
    let mut documents = BTreeMap::new();
    let mut problems = Vec::new();
    let shared = super::Shared::default();
    for (id, group) in world.groups() {
        let first = world.members(id).next().expect("a group has pods");
        let built = super::build_with(world, group, &shared);
        assert_eq!(built, super::build(world, group), "what groups have in common is theirs");
        let mut text = serde_json::to_string_pretty(&built.config).unwrap();
        text.push('\n');
        documents.insert(format!("{}.{}", first.namespace, first.name), text);
        problems.extend(
            built.problems.iter().map(|problem| format!("{:?} {} {problem}", problem.severity, problem.reason)),
        );
    }
    problems.sort();
    problems.dedup();
    (documents, problems)
}
