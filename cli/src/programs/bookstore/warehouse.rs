//! `fsm program bookwarehouse`: restocks the stores and counts.

use super::super::Usage;
use super::super::arguments::Arguments;
use super::super::serve::{self, Reply};
use super::{PORT, json, page, text};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) fn run(arguments: &[String]) -> Result<(), Usage> {
    let mut arguments = Arguments::new(arguments);
    let mut port = PORT;
    while let Some(flag) = arguments.flag()? {
        match flag.as_str() {
            "--port" => port = arguments.port(&flag)?,
            _ => return Err(Usage::unknown(&flag, "[--port PORT]")),
        }
    }
    let restocked = Arc::new(AtomicU64::new(0));
    serve::until_told_to_end(async move {
        let server = serve::http(serve::everywhere(port), move |request| {
            // Says who has asked, if the mesh tells.
            let identity = request.headers().get("serviceidentity").and_then(|identity| identity.to_str().ok());
            let reply = answer(request.method(), request.uri().path(), identity, &restocked);
            async move { reply }
        })?;
        serve::all(vec![server]).await;
        Ok(())
    })
}

pub(super) fn answer(method: &Method, path: &str, identity: Option<&str>, restocked: &AtomicU64) -> Reply {
    match (method, path) {
        (&Method::POST, "/restock-books") => {
            let total = restocked.fetch_add(1, Ordering::Relaxed) + 1;
            println!("restocked a book for {}: {total} so far", identity.unwrap_or("somebody"));
            json(&serde_json::json!({"restocked": total}))
        }
        (&Method::GET, "/") => page("bookwarehouse", &[("Books restocked", restocked.load(Ordering::Relaxed))]),
        (&Method::GET, "/json") => json(&serde_json::json!({"restocked": restocked.load(Ordering::Relaxed)})),
        (&Method::GET, "/reset") => {
            restocked.store(0, Ordering::Relaxed);
            text(StatusCode::OK, "the counter is 0\n")
        }
        (&Method::GET, "/liveness" | "/readiness" | "/startup") => text(StatusCode::OK, "OK\n"),
        _ => text(StatusCode::NOT_FOUND, "there is no such page\n"),
    }
}
