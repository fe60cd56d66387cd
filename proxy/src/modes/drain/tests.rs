#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::modes::scripted::{Answer, Scripted};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn orders_the_drain_and_waits_for_the_end() {
    let proxy = Scripted::start(vec![
        Answer::Status(202, "draining\n"),
        Answer::Status(503, "draining\n"),
        Answer::Close,
        Answer::Status(503, "draining\n"),
    ]);
    run(&DrainOptions { admin: proxy.address, timeout: PATIENCE }).unwrap();
    assert_eq!(proxy.finish(), ["POST /drain", "GET /ready", "GET /ready", "GET /ready"]);
}

#[test]
fn proxy_that_is_gone_already_is_a_success() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = listener.local_addr().unwrap();
    drop(listener);
    run(&DrainOptions { admin, timeout: PATIENCE }).unwrap();
}

#[test]
fn refusal_is_told() {
    let proxy = Scripted::start(vec![Answer::Status(404, "Not Found\n")]);
    let error = run(&DrainOptions { admin: proxy.address, timeout: PATIENCE }).unwrap_err();
    assert!(matches!(&error, NotDrained::Refused { why, .. } if why == "it answered 404 Not Found"), "{error}");
}

#[test]
fn proxy_that_does_not_end_in_time_is_told() {
    let proxy = Scripted::start(vec![Answer::Status(200, ""), Answer::Silence]);
    let options = DrainOptions { admin: proxy.address, timeout: Duration::from_secs(1) };
    let error = run(&options).unwrap_err();
    assert!(matches!(error, NotDrained::Late { .. }), "{error}");
    assert!(error.to_string().contains("still draining after 1 s"), "{error}");
}
