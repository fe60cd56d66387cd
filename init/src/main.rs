//! The init container's program: parse, run, report. Exit codes are listed in `--help`.

use std::process::ExitCode;

use clap::Parser;
use fsm_init::{Action, Flags, InitError, Options, Outcome};

fn main() -> ExitCode {
    match redirect(Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fsm-init: {}: {error}", error.code());
            ExitCode::from(error.exit_code())
        }
    }
}

fn redirect(flags: Flags) -> Result<(), InitError> {
    let options = Options::try_from(flags)?;
    if options.dry_run {
        print!("{}", fsm_init::dry_run(&options)?);
        return Ok(());
    }
    let outcome = fsm_init::run(&options)?;
    report(&options, &outcome);
    Ok(())
}

fn report(options: &Options, outcome: &Outcome) {
    for note in &outcome.notes {
        eprintln!("fsm-init: note: {note}");
    }
    match (options.action, outcome.backend) {
        (Action::Apply, Some(backend)) => eprintln!(
            "fsm-init: TCP over {} is redirected ({backend} backend): inbound to port {}, outbound to port {}",
            if outcome.ipv6 { "IPv4 and IPv6" } else { "IPv4" },
            options.inbound_port,
            options.outbound_port,
        ),
        _ => eprintln!("fsm-init: no rule of the mesh is left in this network namespace"),
    }
}
