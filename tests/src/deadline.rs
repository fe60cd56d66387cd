//! Every wait of a test has an end.

use std::time::{Duration, Instant};

/// How long anything may take that takes milliseconds when it works. Long, because test machines stall.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Awaits `future`; a test fails with `what` when it does not come within [`DEADLINE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: did not happen within {DEADLINE:?}"),
    }
}

/// Asks `condition` again and again until it holds; a test fails with `what` when it does not within [`DEADLINE`].
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < give_up, "{what}: did not become true within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
