#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::Leadership;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

const MOMENT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn leadership_that_nobody_disputes_is_there_at_once_and_stays() {
    let mut leadership = Leadership::always();
    assert!(leadership.leads() && leadership.changed().await);
    assert!(timeout(MOMENT, leadership.changed()).await.is_err());
    assert!(leadership.leads());
}

#[tokio::test]
async fn leadership_runs_out_by_itself() {
    let (until, receiver) = watch::channel(None);
    let mut leadership = Leadership { until: receiver, said: false };
    assert!(!leadership.leads());
    assert!(timeout(MOMENT, leadership.changed()).await.is_err());
    until.send_replace(Some(Instant::now() + MOMENT));
    assert!(leadership.changed().await);
    // The candidate hangs: nothing arrives any more.
    assert!(!leadership.changed().await);
    assert!(!leadership.leads());
    // Renewed in time, nothing changes.
    until.send_replace(Some(Instant::now() + Duration::from_secs(60)));
    assert!(leadership.changed().await);
    until.send_replace(Some(Instant::now() + Duration::from_secs(120)));
    assert!(timeout(MOMENT, leadership.changed()).await.is_err());
    // It ends for good when the candidate is gone.
    until.send_replace(Some(Instant::now() + MOMENT));
    drop(until);
    assert!(!leadership.changed().await);
    assert!(timeout(MOMENT, leadership.changed()).await.is_err());
}
