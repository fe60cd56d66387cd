//! Live views of requests: somebody at the admin port watches, with filters.
//!
//! While nobody watches, a request pays one relaxed load. A watcher who reads too slowly loses lines and is told how many;
//! requests never wait. There are at most [`limits::TAP_WATCHERS`] at a time.

use super::record::Draft;
use super::record::fields::{self, Subject};
use super::record::texts::Text;
use crate::limits;
use http::StatusCode;
use parking_lot::Mutex;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use thiserror::Error;
use tokio::sync::mpsc;

/// Everybody who watches.
#[derive(Debug, Default)]
pub struct Tap {
    watchers: AtomicUsize,
    list: Mutex<Vec<Watcher>>,
}

#[derive(Debug)]
struct Watcher {
    filter: Filter,
    lines: mpsc::Sender<String>,
    lost: Arc<AtomicU64>,
}

/// What a watcher gets.
#[derive(Debug)]
pub struct Watch {
    /// JSON objects, one for each request, each with a line's end.
    pub lines: mpsc::Receiver<String>,
    lost: Arc<AtomicU64>,
}

/// There are as many watchers as there may be.
#[derive(Debug, Error)]
#[error("{} others are watching already; end one of them", limits::TAP_WATCHERS)]
pub struct TooMany;

/// Which requests somebody wants to see. Everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `inbound` or `outbound`.
    pub direction: Option<String>,
    /// Method, in any case.
    pub method: Option<String>,
    /// The path begins with this.
    pub path: Option<String>,
    /// The status is this, or of this class, or in this range.
    pub status: Option<Statuses>,
    /// Host, service, cluster or endpoint contains this.
    pub to: Option<String>,
    /// Identity or address of the client contains this.
    pub from: Option<String>,
    /// Reason code, of this proxy or the one at the other end; `any`: some reason.
    pub reason: Option<String>,
}

/// Statuses: `503`, `5xx` or `500-504`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses(u16, u16);

/// The text names no statuses.
#[derive(Debug, Error)]
#[error("{0:?} names no statuses: use 503, 5xx or 500-504")]
pub struct NoStatuses(String);

impl FromStr for Statuses {
    type Err = NoStatuses;

    fn from_str(text: &str) -> Result<Self, NoStatuses> {
        let unknown = || NoStatuses(text.chars().take(32).collect());
        let number = |text: &str| text.parse::<u16>().ok().filter(|number| (100..1_000).contains(number));
        if let Some(class) = text.strip_suffix("xx") {
            let class: u16 = class.parse().ok().filter(|class| (1..=9).contains(class)).ok_or_else(unknown)?;
            return Ok(Self(class * 100, class * 100 + 99));
        }
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        number(from)
            .zip(number(to))
            .filter(|(from, to)| from <= to)
            .map(|(from, to)| Self(from, to))
            .ok_or_else(unknown)
    }
}

impl Statuses {
    fn contain(self, status: StatusCode) -> bool {
        (self.0..=self.1).contains(&status.as_u16())
    }
}

impl Filter {
    /// Whether this request is to be shown.
    pub fn admits(&self, draft: &Draft) -> bool {
        let is = |wanted: &Option<String>, holds: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(holds);
        is(&self.direction, &|direction| draft.direction.name() == direction)
            && is(&self.method, &|method| draft.method.as_str().eq_ignore_ascii_case(method))
            && is(&self.path, &|path| path_of(draft).starts_with(path))
            && self.status.is_none_or(|statuses| statuses.contain(draft.outcome().status))
            && is(&self.to, &|to| leads_to(draft, to))
            && is(&self.from, &|from| comes_from(draft, from))
            && is(&self.reason, &|reason| has_reason(draft, reason))
    }
}

fn path_of(draft: &Draft) -> &str {
    let target = fields::target(draft);
    target.split_once('?').map_or(target, |(path, _)| path)
}

fn leads_to(draft: &Draft, to: &str) -> bool {
    draft.cluster.as_ref().is_some_and(|cluster| cluster.contains(to))
        || draft.service.as_ref().is_some_and(|service| service.name.contains(to))
        || fields::text_of(draft, Text::Host).contains(to)
        || draft.outcome().endpoint.as_ref().is_some_and(|endpoint| endpoint.target.to_string().contains(to))
}

fn comes_from(draft: &Draft, from: &str) -> bool {
    draft.session.ends.identity.as_ref().is_some_and(|identity| identity.contains(from))
        || draft.session.ends.peer.to_string().contains(from)
}

fn has_reason(draft: &Draft, wanted: &str) -> bool {
    let own = draft.outcome().reason.map(|reason| reason.code());
    let other = draft.rare().upstream_reason.as_ref().and_then(|reason| reason.to_str().ok());
    own.or(other).is_some_and(|reason| wanted == "any" || reason == wanted)
}

impl Tap {
    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.watchers.load(Relaxed) > 0
    }

    /// Shows what `filter` admits from now on, until the [`Watch`] is dropped.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn watch(&self, filter: Filter) -> Result<Watch, TooMany> {
        let mut list = self.list.lock();
        list.retain(|watcher| !watcher.lines.is_closed());
        if list.len() >= limits::TAP_WATCHERS {
            return Err(TooMany);
        }
        let (sender, lines) = mpsc::channel(limits::TAP_QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        list.push(Watcher { filter, lines: sender, lost: Arc::clone(&lost) });
        self.watchers.store(list.len(), Relaxed);
        Ok(Watch { lines, lost })
    }

    /// Shows a request to those who want to see it.
    pub fn show(&self, draft: &Draft) {
        let mut list = self.list.lock();
        let mut line = None;
        list.retain(|watcher| {
            if watcher.lines.is_closed() {
                return false;
            }
            if watcher.filter.admits(draft) {
                let line = line.get_or_insert_with(|| {
                    format!("{}\n", serde_json::Value::Object(fields::json(Subject::Request(draft))))
                });
                if watcher.lines.try_send(line.clone()).is_err() {
                    watcher.lost.fetch_add(1, Relaxed);
                }
            }
            true
        });
        self.watchers.store(list.len(), Relaxed);
    }
}

impl Watch {
    /// Lines that were lost since this was asked last.
    pub fn lost(&self) -> u64 {
        self.lost.swap(0, Relaxed)
    }
}

#[cfg(test)]
mod tests;
