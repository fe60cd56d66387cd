//! `fsm`: the operator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    fsm_cli::commands::main()
}
