#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

#[test]
fn the_start_time_is_found_whatever_the_program_is_called() {
    let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 123 45";
    assert_eq!(start_time(stat), Some(4711));
    assert_eq!(start_time("7 (a) S 1"), None);
    assert_eq!(start_time(""), None);
}

#[test]
fn a_process_is_alive_until_it_has_ended_and_another_of_its_id_is_a_stranger() {
    let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let process = ProcessId::of(child.id().try_into().unwrap()).unwrap();
    assert!(process.is_alive());
    assert!(!ProcessId { started: process.started + 1, ..process }.is_alive());
    assert!(process.signal(nix::sys::signal::Signal::SIGTERM));
    child.wait().unwrap();
    assert!(!process.is_alive() && !process.signal(nix::sys::signal::Signal::SIGTERM));
}

#[test]
fn what_runs_is_read_as_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.json");
    assert_eq!(Run::read(&path).unwrap(), None);
    let mut run = Run::new("fsm", "1", ProcessId::current().unwrap());
    run.rootless = true;
    run.failure = Some("no".to_owned());
    run.write(&path).unwrap();
    assert_eq!(Run::read(&path).unwrap(), Some(run));
    fs::write(&path, "{").unwrap();
    assert!(matches!(Run::read(&path), Err(StateError::Damaged { .. })));
}
