//! Rules of the workspace that no compiler keeps: who may depend on whom, what must never be linked, and that every
//! file begins by saying what it is for. `docs/architecture.md` says why.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which packages of the workspace each package may depend on, in whatever role (normal, build, dev). Packages that do
/// not exist yet are named already: the rule is older than they are.
const MAY_USE: &[(&str, &[&str])] = &[
    ("fsm-api", &[]),
    ("fsm-proxy", &["fsm-api"]),
    ("fsm-control", &["fsm-api"]),
    ("fsm-init", &["fsm-api"]),
    ("fsm-cli", &["fsm-api", "fsm-control", "fsm-init"]),
    ("fsm-tests", &["fsm-api", "fsm-proxy", "fsm-control", "fsm-init", "fsm-cli"]),
    ("fsm-benches", &["fsm-api", "fsm-proxy", "fsm-control", "fsm-init", "fsm-cli"]),
];

/// Crates that bring a second implementation of cryptography into the programs: all TLS is rustls on aws-lc-rs.
const NEVER_LINKED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls"];

#[test]
fn packages_use_only_those_that_they_may() {
    let used = uses_within_the_workspace();
    assert!(used.contains_key("fsm-proxy") && used.contains_key("fsm-init"), "this is not the workspace: {used:?}");
    for (package, uses) in &used {
        let rule = MAY_USE.iter().find(|(name, _)| name == package);
        let (_, may_use) = rule.unwrap_or_else(|| panic!("package {package} is new: say in MAY_USE what it may use"));
        for dependency in uses {
            assert!(
                may_use.contains(&dependency.as_str()),
                "{package} must not depend on {dependency}; it may depend on {may_use:?}"
            );
        }
    }
}

#[test]
fn there_is_one_implementation_of_cryptography() {
    // Not Cargo.lock: it also has what optional features would bring that nobody turns on.
    let tree = cargo(&["tree", "--workspace", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let linked = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    assert!(linked("aws-lc-rs"), "the programs lack what they are known to use: {tree}");
    for name in NEVER_LINKED {
        assert!(
            !linked(name),
            "{name} is linked; `cargo tree --workspace --invert {name}` says whose dependency it is"
        );
    }
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    let mut silent = Vec::new();
    let mut seen = 0;
    for package in ["api", "benches", "control", "cli", "init", "proxy", "tests"] {
        for file in rust_files(&root().join(package).join("src")) {
            if file.ends_with("tests.rs") || file.parent().is_some_and(|parent| parent.ends_with("tests")) {
                continue; // Unit tests say what they are for by their place.
            }
            seen += 1;
            let text = fs::read_to_string(&file).expect("source files are readable");
            if !text.starts_with("//! ") {
                silent.push(file);
            }
        }
    }
    assert!(seen > 100, "only {seen} files were found");
    assert!(silent.is_empty(), "these files do not begin with a module doc (`//! …`): {silent:#?}");
}

/// Package → packages of this workspace that its manifest names.
fn uses_within_the_workspace() -> BTreeMap<String, Vec<String>> {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--no-deps"]))
        .expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let name = |value: &Value| value["name"].as_str().expect("everything has a name").to_owned();
    let members: Vec<String> = packages.iter().map(name).collect();
    let uses = |package: &Value| -> Vec<String> {
        let dependencies = package["dependencies"].as_array().expect("a list of dependencies");
        dependencies.iter().map(name).filter(|dependency| members.contains(dependency)).collect()
    };
    packages.iter().map(|package| (name(package), uses(package))).collect()
}

/// What this cargo prints when it is asked about the workspace; never asks the network.
fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).arg("--offline").current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("the directory is readable").path());
    paths
        .flat_map(|path| match path.extension() {
            _ if path.is_dir() => rust_files(&path),
            Some(extension) if extension == "rs" => vec![path],
            _ => Vec::new(),
        })
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}
