//! Where the processor time of this process goes, in pprof's format (protobuf), as `go tool pprof` reads it.
//!
//! The crate `pprof` samples by a timer signal and walks the stacks. It is used for nothing else, and costs nothing while no
//! profile is taken.

use std::time::Duration;

/// Without the feature `profiles` there are none.
///
/// # Errors
/// Always.
#[cfg(not(feature = "profiles"))]
pub(super) async fn of_processor(_: Duration) -> Result<Vec<u8>, String> {
    Err("this program was built without the feature `profiles`".to_owned())
}

/// Samples a second: not a divisor of anything that runs by the clock.
#[cfg(feature = "profiles")]
const FREQUENCY: i32 = 99;

/// Samples for so long.
///
/// # Errors
/// A sentence that says what the system refused.
#[cfg(feature = "profiles")]
pub(super) async fn of_processor(time: Duration) -> Result<Vec<u8>, String> {
    use pprof::ProfilerGuardBuilder;
    use pprof::protos::Message;
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
