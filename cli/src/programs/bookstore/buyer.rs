//! `fsm program bookbuyer` and `fsm program bookthief`: get books, twice a second.
//!
//! Environment: `BOOKSTORE_SVC` and `BOOKSTORE_NAMESPACE` (both `bookstore`) say where. The buyer also asks for the
//! number of books from time to time, which FSM's sample policy allows to it alone.

use super::super::arguments::Arguments;
use super::super::serve::{self, Reply};
use super::super::{Usage, client};
use super::{IDENTITY, PORT, json, page, text, variable};
use http::{Method, StatusCode};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// From one attempt to the next.
const INTERVAL: Duration = Duration::from_millis(500);

/// Who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Pays.
    Buyer,
    /// Does not.
    Thief,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Buyer => "bookbuyer",
            Role::Thief => "bookthief",
        }
    }
}

/// What has happened so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Books by the store that gave them.
    pub(super) books: BTreeMap<String, u64>,
    /// Refusals by the mesh or the store (status 4xx).
    pub(super) denied: u64,
    /// Everything else that went wrong.
    pub(super) failed: u64,
}

pub(crate) fn run(role: Role, arguments: &[String]) -> Result<(), Usage> {
    let mut arguments = Arguments::new(arguments);
    let (mut port, mut interval) = (PORT, INTERVAL);
    while let Some(flag) = arguments.flag()? {
        match flag.as_str() {
            "--port" => port = arguments.port(&flag)?,
            "--every-ms" => interval = Duration::from_millis(arguments.number::<u64>(&flag)?.max(1)),
            _ => return Err(Usage::unknown(&flag, "[--port PORT] [--every-ms MILLISECONDS]")),
        }
    }
    let (service, namespace) = (variable("BOOKSTORE_SVC", "bookstore"), variable("BOOKSTORE_NAMESPACE", "bookstore"));
    let store = format!("{service}.{namespace}:{PORT}");
    let tally = Arc::new(Mutex::new(Tally::default()));
    serve::until_told_to_end(async move {
        let shown = Arc::clone(&tally);
        serve::http(serve::everywhere(port), move |request| {
            let reply = answer(role, request.method(), request.uri().path(), &mut lock(&shown));
            async move { reply }
        })?;
        let mut clock = tokio::time::interval(interval);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for turn in 0_u64.. {
            clock.tick().await;
            // Looks at the counter now and then; the rest of the time it gets books.
            let path = if turn % 4 == 3 && role == Role::Buyer { "/books-bought" } else { "/buy-a-book/new" };
            let headers =
                [("user-agent", format!("{}-http-client/1.0", role.name())), ("client-app", role.name().to_owned())];
            let outcome = client::ask(Method::GET, &store, path, &headers).await;
            println!("{}", lock(&tally).note(role, path, outcome));
        }
        Ok(())
    })
}

impl Tally {
    /// Counts an outcome; gives the line for the log.
    pub(super) fn note(&mut self, role: Role, path: &str, outcome: Result<client::Answer, String>) -> String {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(why) => {
                self.failed += 1;
                return format!("no book: {why}");
            }
        };
        let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !answer.status.is_success() {
            let reason = header("x-fsm-reason");
            let reason = if reason.is_empty() { String::new() } else { format!(" (reason: {reason})") };
            let text = String::from_utf8_lossy(&answer.body);
            let text = text.lines().next().unwrap_or_default();
            match answer.status.is_client_error() {
                true => self.denied += 1,
                false => self.failed += 1,
            }
            return format!("no book: {} {text}{reason}", answer.status.as_u16());
        }
        let store = header(IDENTITY).to_owned();
        if path == "/books-bought" {
            return format!("{store} has sold {} books", header(super::BOOKS_BOUGHT));
        }
        let verb = if role == Role::Buyer { "bought" } else { "stole" };
        let number = self.books.entry(store.clone()).or_default();
        *number += 1;
        format!("{verb} a book from {store}: {number} so far")
    }
}

pub(super) fn answer(role: Role, method: &Method, path: &str, tally: &mut Tally) -> Reply {
    if method != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    }
    let total: u64 = tally.books.values().sum();
    match path {
        "/" => {
            let name = if role == Role::Buyer { "Books bought" } else { "Books stolen" };
            let mut lines = vec![(name, total)];
            lines.extend(tally.books.iter().map(|(store, number)| (store.as_str(), *number)));
            lines.extend([("Denied", tally.denied), ("Failed", tally.failed)]);
            page(role.name(), &lines)
        }
        "/json" => json(&serde_json::json!({
            "books": total, "byStore": tally.books, "denied": tally.denied, "failed": tally.failed,
        })),
        "/reset" => {
            *tally = Tally::default();
            text(StatusCode::OK, "the counters are 0\n")
        }
        "/liveness" | "/readiness" | "/startup" => text(StatusCode::OK, "OK\n"),
        _ => text(StatusCode::NOT_FOUND, "there is no such page\n"),
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
