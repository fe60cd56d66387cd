//! `fsm-control`: the control plane.

mod heap;

use fsm_control::app;
use fsm_control::log;
use fsm_control::options::{Program, Role};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Program { role } = Program::of_process();
    match log::start(role.log()).map_err(Into::into).and_then(|()| serve(role)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fsm-control: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(role: Role) -> anyhow::Result<()> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("fsm-control").build()?;
    let outcome = runtime.block_on(app::run(role, heap::profiler()));
    // What blocks (a file, a name) is not waited for.
    runtime.shutdown_background();
    outcome
}

/// Each proxy is a descriptor, and the usual soft limit of 1,024 is a small mesh.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::warn!("the limit of open files cannot be raised: {error}");
    }
}
