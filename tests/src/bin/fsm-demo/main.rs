//! `make demo`: two pods, two sidecars, and proof that what passes between them is encrypted and authenticated.
//!
//! Everything is real: network namespaces as pods, `fsm-init` for the redirection, `fsm-proxy` as sidecar, certificates
//! of an authority made for this run, curl and bash as clients. Every command is printed as it is run, so that it can
//! be repeated by hand (`FSM_DEMO_KEEP=1` keeps the pods until Ctrl-C).
//!
//! Ends by itself, with exit code 0 if everything was as expected, 1 if not, 2 if the machine lacks something, 130 on
//! Ctrl-C. However it ends, nothing stays behind: no process, no namespace, no file. Nothing outside its own
//! namespaces is changed, and nothing listens outside them.

/// Prints a line. Whoever reads it may be gone (`make demo | head`): that must not keep the demo from cleaning up.
macro_rules! say {
    ($($line:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($line)*);
    }};
}

mod application;
mod capture;
mod documents;
mod ground;
mod pods;
mod shell;
mod story;

use ground::Ground;
use shell::Workshop;
use std::process::ExitCode;
use std::time::Duration;

/// The demo takes some seconds; a machine that needs longer than this has a problem that waiting does not solve.
const LONGEST: Duration = Duration::from_secs(55);

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        None => demonstrate(),
        Some("application") => match application::serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("fsm-demo application: {error:#}");
                ExitCode::FAILURE
            }
        },
        Some(other) => {
            eprintln!("fsm-demo: unknown argument `{other}`; it is run without any: make demo");
            ExitCode::from(2)
        }
    }
}

fn demonstrate() -> ExitCode {
    // First of all, while there is one thread: a user namespace cannot be entered with more.
    let ground = match Ground::prepare() {
        Ok(ground) => ground,
        Err(error) => return cannot(&error),
    };
    let workshop = match Workshop::open() {
        Ok(workshop) => workshop,
        Err(error) => return cannot(&error),
    };
    let outcome = story::tell(&ground, &workshop);
    let code = match &outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say!("\nThe demo could not go on: {error:#}");
            ExitCode::FAILURE
        }
    };
    if !matches!(outcome, Ok(true)) {
        workshop.show_logs();
    }
    if outcome.is_ok() && std::env::var_os("FSM_DEMO_KEEP").is_some_and(|keep| keep != "0" && !keep.is_empty()) {
        story::how_to_look_around(&ground);
        workshop.wait_for_the_end();
    }
    workshop.clean();
    say!("Cleaned up: the pods, their processes and their files are gone.");
    code
}

fn cannot(error: &anyhow::Error) -> ExitCode {
    eprintln!("fsm-demo: {error:#}");
    ExitCode::from(2)
}
