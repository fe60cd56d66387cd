//! Where the processor time of this process goes, in pprof's format (protobuf), as `go tool pprof` reads it.
//!
//! The crate `pprof` samples by a timer signal and walks the stacks. It is used for nothing else, and costs nothing while no
//! profile is taken.

use pprof::ProfilerGuardBuilder;
use pprof::protos::Message;
use std::time::Duration;

/// Samples a second: not a divisor of anything that runs by the clock.
const FREQUENCY: i32 = 99;

/// Samples for so long.
///
/// # Errors
/// A sentence that says what the system refused.
pub(super) async fn of_processor(time: Duration) -> Result<Vec<u8>, String> {
    // Walking a stack that is just inside of these libraries may deadlock.
    let builder =
        ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&["libc", "libgcc", "pthread", "vdso"]);
    let guard = builder.build().map_err(|error| error.to_string())?;
    tokio::time::sleep(time).await;
    let made = tokio::task::spawn_blocking(move || {
        let report = guard.report().build().map_err(|error| error.to_string())?;
        let profile = report.pprof().map_err(|error| error.to_string())?;
        Ok(profile.encode_to_vec())
    });
    made.await.map_err(|error| error.to_string())?
}
