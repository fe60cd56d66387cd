//! How long a container that has ended waits for its next start.
//!
//! Kubernetes waits 10 s, doubles up to 5 min and forgets after 10 min of running. On one machine somebody sits and
//! waits, and a container that starts before the Service that it needs is the common case: so the first wait is 1 s and
//! the longest 30 s, and 1 min of running is enough to begin anew.

use std::time::Duration;

/// The first wait.
pub const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(30);
/// After running for so long, the next end counts as the first.
pub const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// The wait after `failures` earlier ones.
pub fn delay(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(LONGEST)
}

/// Counts the ends of one container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackOff {
    failures: u32,
}

impl BackOff {
    /// The container has ended after running for so long: how long it waits now.
    pub fn after_end(&mut self, ran: Duration) -> Duration {
        if ran >= FORGIVEN_AFTER {
            self.failures = 0;
        }
        let wait = delay(self.failures);
        self.failures = self.failures.saturating_add(1);
        wait
    }
}
