//! `fsm program bookstore`: sells books.
//!
//! `GET /buy-a-book/new` sells one and has the warehouse restock; `GET /books-bought` tells how many were sold; `POST
//! /books-bought` with a number sets it. Environment: `IDENTITY` (its name in answers), `BOOKWAREHOUSE_NAMESPACE`
//! (empty: it never restocks).

use super::super::arguments::Arguments;
use super::super::serve::{self, Reply};
use super::super::{Usage, client};
use super::{BOOKS_BOUGHT, IDENTITY, PORT, json, page, text, trace_headers, variable};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longest body of a `POST`.
const BODY_BYTES: usize = 64;

/// How long it may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run(arguments: &[String]) -> Result<(), Usage> {
    let mut arguments = Arguments::new(arguments);
    let mut port = PORT;
    while let Some(flag) = arguments.flag()? {
        match flag.as_str() {
            "--port" => port = arguments.port(&flag)?,
            // FSM's sample has it; there is nothing more to say here.
            "--path" => drop(arguments.value(&flag)?),
            _ => return Err(Usage::unknown(&flag, "[--port PORT]")),
        }
    }
    let warehouse = std::env::var("BOOKWAREHOUSE_NAMESPACE").ok().filter(|namespace| !namespace.is_empty());
    let store = Arc::new(Store {
        identity: variable("IDENTITY", "bookstore"),
        sold: AtomicU64::new(0),
        restocked: AtomicU64::new(0),
        warehouse: warehouse.map(|namespace| format!("bookwarehouse.{namespace}:{PORT}")),
    });
    serve::until_told_to_end(async move {
        let server = serve::http(serve::everywhere(port), move |request| {
            let store = Arc::clone(&store);
            async move { store.answer(request).await }
        })?;
        serve::all(vec![server]).await;
        Ok(())
    })
}

pub(super) struct Store {
    pub(super) identity: String,
    pub(super) sold: AtomicU64,
    pub(super) restocked: AtomicU64,
    /// Authority of the warehouse.
    pub(super) warehouse: Option<String>,
}

impl Store {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        let trace = trace_headers(request.headers());
        let mut reply = match (request.method(), path.as_str()) {
            (&Method::POST, "/books-bought") => {
                let body = Limited::new(request.into_body(), BODY_BYTES).collect();
                let body = tokio::time::timeout(BODY_TIMEOUT, body).await;
                let number = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
                let number = number.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.trim().parse().ok());
                self.set(number)
            }
            (&Method::GET | &Method::HEAD, "/buy-a-book/new") => self.sell(trace),
            (&Method::GET | &Method::HEAD, path) => self.show(path),
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
        };
        if let Ok(identity) = HeaderValue::try_from(&self.identity) {
            reply.headers_mut().insert(IDENTITY, identity);
        }
        let sold = HeaderValue::from(self.sold.load(Ordering::Relaxed));
        reply.headers_mut().insert(BOOKS_BOUGHT, sold);
        reply
    }

    pub(super) fn show(&self, path: &str) -> Reply {
        let (sold, restocked) = (self.sold.load(Ordering::Relaxed), self.restocked.load(Ordering::Relaxed));
        match path {
            "/" => page(&self.identity, &[("Books sold", sold), ("Books restocked", restocked)]),
            "/json" => json(&serde_json::json!({"identity": self.identity, "sold": sold, "restocked": restocked})),
            "/books-bought" => json(&serde_json::json!({"identity": self.identity, "booksBought": sold})),
            "/reset" => {
                self.sold.store(0, Ordering::Relaxed);
                self.restocked.store(0, Ordering::Relaxed);
                text(StatusCode::OK, "the counters are 0\n")
            }
            "/liveness" | "/readiness" | "/startup" => text(StatusCode::OK, "OK\n"),
            _ => text(StatusCode::NOT_FOUND, "there is no such page\n"),
        }
    }

    fn set(&self, number: Option<u64>) -> Reply {
        let Some(number) = number else { return text(StatusCode::BAD_REQUEST, "the body is not a number\n") };
        self.sold.store(number, Ordering::Relaxed);
        text(StatusCode::OK, format!("{number} books were bought\n"))
    }

    fn sell(self: &Arc<Self>, trace: Vec<(&'static str, String)>) -> Reply {
        let sold = self.sold.fetch_add(1, Ordering::Relaxed) + 1;
        println!("sold a book: {sold} so far");
        if let Some(warehouse) = self.warehouse.clone() {
            let store = Arc::clone(self);
            // The buyer does not wait for the warehouse.
            tokio::spawn(async move { store.restock(&warehouse, &trace).await });
        }
        json(&serde_json::json!({"identity": self.identity, "booksBought": sold}))
    }

    async fn restock(&self, warehouse: &str, trace: &[(&'static str, String)]) {
        match client::ask(Method::POST, warehouse, "/restock-books", trace).await {
            Ok(answer) if answer.status.is_success() => drop(self.restocked.fetch_add(1, Ordering::Relaxed)),
            Ok(answer) => println!("{warehouse} does not restock: {}", answer.status),
            Err(why) => println!("not restocked: {why}"),
        }
    }
}
