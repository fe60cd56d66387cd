#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

const KUBECONFIG: &str = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}], "users": [{"name": "u", "user": {}}]}"#;

/// A directory with the state of a mesh `fsm` that does not run, and a kubeconfig beside it.
fn machine() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    Home::new(Some(directory.path())).mesh("fsm").unwrap().create().unwrap();
    std::fs::write(directory.path().join("kubeconfig"), KUBECONFIG).unwrap();
    directory
}

fn choice(machine: &tempfile::TempDir, name: Option<&str>, kubeconfig: bool) -> MeshChoice {
    let kubeconfig = kubeconfig.then(|| machine.path().join("kubeconfig"));
    MeshChoice {
        name: name.map(str::to_owned),
        state_dir: Some(machine.path().to_owned()),
        fsm_namespace: "fsm-system".to_owned(),
        access: Access { kubeconfig, ..Access::default() },
    }
}

#[test]
fn a_mesh_of_this_machine_that_is_named_is_meant_unless_a_cluster_is() {
    let machine = machine();
    assert!(matches!(choice(&machine, Some("fsm"), false).place(), Ok(Place::Local(_))));
    assert!(matches!(choice(&machine, Some("fsm"), true).place(), Ok(Place::Cluster(_))));
    assert!(matches!(choice(&machine, None, true).place(), Ok(Place::Cluster(_))));
    let cluster = choice(&machine, Some("other"), true).place();
    assert!(matches!(cluster, Ok(Place::Cluster(_))), "a mesh of the cluster may have any name");
}

#[test]
fn a_mesh_that_runs_is_meant_where_nothing_is_named() {
    let machine = machine();
    let lock = std::fs::File::create(machine.path().join("fsm/lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(choice(&machine, None, false).place(), Ok(Place::Local(_))));
}
