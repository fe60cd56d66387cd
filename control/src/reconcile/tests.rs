#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Keeper, Upkeep};
use crate::leader::Leadership;
use crate::push::Roster;
use crate::telemetry::{Kind, Telemetry};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Says when it was asked, and answers what it is told.
struct Scripted {
    answers: Vec<Result<usize, &'static str>>,
    asked: mpsc::Sender<Instant>,
}

impl Upkeep for Scripted {
    type Error = &'static str;

    fn kind(&self) -> &'static str {
        "Scripted"
    }

    async fn bring(&mut self) -> Result<usize, &'static str> {
        self.asked.send(Instant::now()).await.unwrap();
        if self.answers.is_empty() { Ok(0) } else { self.answers.remove(0) }
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_and_restorations_are_counted_and_slow_down() {
    let telemetry = Arc::new(Telemetry::new(&Arc::new(Roster::default())));
    let (asked, mut times) = mpsc::channel(64);
    let answers = vec![Err("away"), Err("away"), Ok(2), Ok(1), Ok(1), Ok(1), Ok(0)];
    let wake = Arc::new(Notify::new());
    let upkeep = Scripted { answers, asked };
    let (keeper, mut kept) = Keeper::new(upkeep, wake.clone(), Leadership::always(), telemetry.clone());
    let stop = CancellationToken::new();
    let running = tokio::spawn(keeper.run(stop.clone()));
    let mut next = async || timeout(Duration::from_secs(100), times.recv()).await.unwrap().unwrap();
    let (first, second, third) = (next().await, next().await, next().await);
    assert!(second - first >= Duration::from_millis(125) && third - second >= Duration::from_millis(250));
    kept.wait_for(|kept| *kept).await.unwrap();
    let counted = || telemetry.reconciliations.get_or_create(&Kind { kind: "Scripted" }).get();
    assert_eq!(counted(), 0, "what was made at the start is not restored");
    let mut before = third;
    for (least, at_most) in [(0, 1), (125, 300), (250, 600), (500, 1100)] {
        wake.notify_one();
        let now = next().await;
        let pause = (now - before).as_millis();
        assert!(pause >= least && pause <= at_most, "{pause} ms, not from {least} to {at_most}");
        before = now;
    }
    assert_eq!(counted(), 3);
    stop.cancel();
    running.await.unwrap();
}
