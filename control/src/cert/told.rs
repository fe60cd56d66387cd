//! What is wrong with an authority, told when it changes and not each time that it is looked at.

use crate::source::Event;
use crate::world::Problem;
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::warn;

/// Problems of one origin, as they were told last.
pub(super) struct Told {
    origin: Arc<str>,
    events: Option<mpsc::Sender<Event>>,
    last: Vec<Problem>,
}

impl Told {
    /// Nothing was told yet. Without `events` problems are only logged.
    pub(super) fn new(origin: &str, events: Option<mpsc::Sender<Event>>) -> Self {
        Self { origin: origin.into(), events, last: Vec::new() }
    }

    /// All that is wrong now; nothing happens if that is what was told before.
    pub(super) async fn tell(&mut self, problems: Vec<Problem>) {
        if problems == self.last {
            return;
        }
        problems.iter().for_each(|problem| warn!("{problem}"));
        self.last.clone_from(&problems);
        if let Some(events) = &self.events {
            // Nobody listens any more when the program ends.
            let _ = events.send(Event::Problems { origin: self.origin.clone(), problems }).await;
        }
    }
}
