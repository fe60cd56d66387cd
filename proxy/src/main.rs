//! `fsm-proxy`: the sidecar. Also installed as `pipy`, `wait-pipy` and `gkill`, the names that FSM's pods call.

use fsm_proxy::app::App;
use fsm_proxy::modes;
use fsm_proxy::options::{Invocation, Options, UsageError};
use std::process::ExitCode;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Options::parse(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(Invocation::Serve(options)) => serve(*options),
        Ok(Invocation::WaitReady(options)) => report(modes::wait::run(&options), "the proxy is ready"),
        Ok(Invocation::Drain(options)) => report(modes::drain::run(&options), "the proxy has drained"),
        Ok(Invocation::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fsm-proxy: {error}");
            ExitCode::from(UsageError::EXIT_CODE)
        }
    }
}

fn serve(options: Options) -> ExitCode {
    match App::build(options).and_then(App::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fsm-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn report<E: std::fmt::Display>(outcome: Result<std::time::Duration, E>, success: &str) -> ExitCode {
    match outcome {
        Ok(took) => {
            println!("{success} after {:.1} s", took.as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
