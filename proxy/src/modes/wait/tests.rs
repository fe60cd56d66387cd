#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::modes::scripted::{Answer, Scripted};

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn waits_until_the_proxy_is_ready() {
    let proxy = Scripted::start(vec![
        Answer::Status(503, "config: missing\n"),
        Answer::Close,
        Answer::Garbage,
        Answer::Status(200, "LIVE\n"),
    ]);
    run(&WaitOptions { admin: proxy.address, timeout: PATIENCE }).unwrap();
    assert_eq!(proxy.finish(), ["GET /ready"; 4]);
}

#[test]
fn gives_up_with_the_last_answer() {
    let proxy = Scripted::start(vec![Answer::Status(503, "NOT READY\nconfig: missing\n"), Answer::Silence]);
    let options = WaitOptions { admin: proxy.address, timeout: Duration::from_secs(1) };
    let error = run(&options).unwrap_err();
    assert!(error.timeout == options.timeout && error.admin == options.admin);
    let text = error.to_string();
    assert!(text.contains("was not ready within 1 s: it answered 503 NOT READY, config: missing; "), "{text}");
}

#[test]
fn nobody_listening_is_waited_for_as_well() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = listener.local_addr().unwrap();
    drop(listener);
    let text = run(&WaitOptions { admin, timeout: Duration::from_millis(150) }).unwrap_err().to_string();
    assert!(text.contains("refused"), "{text}");
}
