//! Small programs that stand in for the container images of the demos: `fsm program NAME …`.
//!
//! They are ordinary servers and clients: they know nothing of the mesh, end within a second of SIGTERM, and print one
//! line per event that a reader of `fsm logs` wants to see.

use std::process::ExitCode;

/// The programs' names, in the order in which the help lists them.
pub const NAMES: [&str; 0] = [];

/// Runs a program to its end. `arguments` are those after its name.
///
/// The exit code is 0 after SIGTERM or SIGINT, 1 when the program could not do its work, 2 for wrong usage.
pub fn run(name: &str, arguments: &[String]) -> ExitCode {
    let _ = arguments;
    eprintln!("fsm program: there is no program {name:?}; there are {}", NAMES.join(", "));
    ExitCode::from(2)
}
