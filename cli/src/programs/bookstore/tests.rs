#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::client::Answer;
use super::buyer::{Role, Tally};
use super::*;
use http::HeaderMap;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Result<Answer, String> {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
    Ok(Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from_static(body.as_bytes()) })
}

async fn shown(reply: Reply) -> Value {
    serde_json::from_slice(&reply.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn the_buyer_counts_by_store() {
    let mut tally = Tally::default();
    let path = "/buy-a-book/new";
    for store in ["bookstore-v1", "bookstore-v2", "bookstore-v1"] {
        tally.note(Role::Buyer, path, answer(200, &[("identity", store)], "{}"));
    }
    let line = tally.note(Role::Buyer, path, answer(200, &[("identity", "bookstore-v1")], "{}"));
    assert_eq!(line, "bought a book from bookstore-v1: 3 so far");
    let line = tally.note(Role::Buyer, "/books-bought", answer(200, &[("identity", "s"), ("booksbought", "9")], ""));
    assert_eq!(line, "s has sold 9 books");
    let json = shown(buyer::answer(Role::Buyer, &http::Method::GET, "/json", &mut tally)).await;
    assert_eq!(
        json,
        serde_json::json!({"books": 4, "byStore": {"bookstore-v1": 3, "bookstore-v2": 1}, "denied": 0, "failed": 0})
    );
    buyer::answer(Role::Buyer, &http::Method::GET, "/reset", &mut tally);
    assert_eq!(tally, Tally::default());
}

#[test]
fn the_thief_is_told_why_not() {
    let mut tally = Tally::default();
    let denied = answer(403, &[("x-fsm-reason", "access-denied")], "Access denied");
    let line = tally.note(Role::Thief, "/buy-a-book/new", denied);
    assert_eq!(line, "no book: 403 Access denied (reason: access-denied)");
    tally.note(Role::Thief, "/buy-a-book/new", answer(503, &[], ""));
    let line = tally.note(Role::Thief, "/buy-a-book/new", Err("cannot connect".to_owned()));
    assert_eq!(line, "no book: cannot connect");
    assert_eq!((tally.denied, tally.failed), (1, 2));
}

#[tokio::test]
async fn the_warehouse_counts_what_it_restocks() {
    let restocked = AtomicU64::new(0);
    for _ in 0..2 {
        warehouse::answer(&http::Method::POST, "/restock-books", Some("bookstore.bookstore"), &restocked);
    }
    let json = shown(warehouse::answer(&http::Method::GET, "/json", None, &restocked)).await;
    assert_eq!(json["restocked"], 2);
    assert_eq!(warehouse::answer(&http::Method::GET, "/restock-books", None, &restocked).status(), 404);
}

#[tokio::test]
async fn the_store_says_which_one_it_is() {
    let store = Arc::new(store::Store {
        identity: "bookstore-v2".to_owned(),
        sold: AtomicU64::new(7),
        restocked: AtomicU64::new(5),
        warehouse: None,
    });
    let json = shown(store.show("/json")).await;
    assert_eq!(json, serde_json::json!({"identity": "bookstore-v2", "sold": 7, "restocked": 5}));
}
