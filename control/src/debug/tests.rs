#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::auth::TokenDirectory;
use crate::cert::Tresor;
use crate::cert::tresor::TresorSettings;
use crate::push::{Board, Roster, Settings};
use crate::telemetry::Telemetry;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::json as object;
use std::time::SystemTime;
use tempfile::TempDir;

/// An allocator that remembers whether it is watched.
#[derive(Debug, Default)]
struct Fake(std::sync::atomic::AtomicBool);

impl Heap for Fake {
    fn watch(&self, on: bool) -> Result<(), String> {
        self.0.store(on, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    fn profile(&self) -> Result<Vec<u8>, String> {
        let watched = self.0.load(std::sync::atomic::Ordering::Relaxed);
        if watched { Ok(b"profile".to_vec()) } else { Err("nobody watches".to_owned()) }
    }
}

fn debug() -> (Arc<Debug>, TempDir) {
    let directory = TempDir::new().unwrap();
    let tresor =
        Arc::new(Tresor::open(directory.path(), TresorSettings::default(), Arc::new(SystemTime::now)).unwrap());
    let roster = Arc::new(Roster::default());
    let push = Arc::new(Push {
        board: Arc::new(Board::default()),
        telemetry: Arc::new(Telemetry::new(&roster)),
        roster,
        issuer: tresor.clone(),
        tokens: Arc::new(TokenDirectory::new("/nonexistent")),
        trust_domain: "cluster.local".into(),
        settings: ArcSwap::from_pointee(Settings::default()),
    });
    let (queries, mut asked) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(query) = asked.recv().await {
            if let Query::View(view, answer) = query {
                let _ = answer.send(object!({"view": format!("{view:?}")}));
            }
        }
    });
    let problems = Arc::default();
    let authority = Arc::new(Authority::of_tresor(tresor));
    (Arc::new(Debug { push, authority, problems, queries, heap: Some(Arc::new(Fake::default())) }), directory)
}

async fn ask(debug: &Debug, method: Method, path: &str, host: &str) -> (StatusCode, Vec<u8>) {
    let ask: Ask = Request::builder().method(method).uri(path).header("host", host).body(None).unwrap();
    let reply = debug.answer(ask).await;
    (reply.status(), reply.into_body().collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn everything_in_the_index_is_there_and_nothing_can_be_changed() {
    let (debug, _directory) = debug();
    let paths: Vec<&str> = INDEX.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(paths.len(), 13 + 1, "{paths:?}");
    // Of profiles there is one at a time, and the test below takes it.
    for path in paths.into_iter().filter(|path| path.starts_with('/') && !path.contains("pprof/")) {
        let expected = match path {
            "/debug/proxy?pod=NS/NAME" => StatusCode::NOT_FOUND,
            _ => StatusCode::OK,
        };
        let (status, body) = ask(&debug, Method::GET, path, "localhost:9092").await;
        assert_eq!(status, expected, "{path}: {}", String::from_utf8_lossy(&body));
        let (status, _) = ask(&debug, Method::POST, path, "localhost:9092").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let (status, _) = ask(&debug, Method::GET, path, "evil.example").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[cfg(feature = "profiles")]
#[tokio::test]
async fn a_profile_has_samples_of_what_runs() {
    let (debug, _directory) = debug();
    let end = CancellationToken::new();
    let ended = end.clone();
    let busy = std::thread::spawn(move || {
        let mut sum = 0_u64;
        while !ended.is_cancelled() {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        sum
    });
    let (status, profile) = ask(&debug, Method::GET, "/debug/pprof/profile?seconds=1", "localhost").await;
    end.cancel();
    busy.join().unwrap();
    assert_eq!(status, StatusCode::OK);
    use pprof::protos::Message;
    let profile = pprof::protos::Profile::decode(profile.as_slice()).unwrap();
    assert!(!profile.sample.is_empty() && !profile.string_table.is_empty());
    assert_eq!(
        ask(&debug, Method::GET, "/debug/pprof/profile?seconds=0", "localhost").await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn the_heap_is_watched_only_while_the_port_is_open() {
    let (debug, _directory) = debug();
    let heap = debug.heap.clone().unwrap();
    let (want, wanted) = watch::channel(true);
    let (address, mut told) = watch::channel(None);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve_while_wanted(0, debug, wanted, stop.clone(), address));
    told.wait_for(Option::is_some).await.unwrap();
    assert_eq!(heap.profile(), Ok(b"profile".to_vec()));
    want.send_replace(false);
    told.wait_for(Option::is_none).await.unwrap();
    while heap.profile().is_ok() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn the_port_is_open_only_while_it_is_wanted() {
    let (debug, _directory) = debug();
    let (want, wanted) = watch::channel(false);
    let (address, mut told) = watch::channel(None);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve_while_wanted(0, debug, wanted, stop.clone(), address));
    for _ in 0..2 {
        want.send_replace(true);
        let here = told.wait_for(Option::is_some).await.unwrap().unwrap();
        assert!(here.ip().is_loopback());
        tokio::net::TcpStream::connect(here).await.unwrap();
        want.send_replace(false);
        told.wait_for(Option::is_none).await.unwrap();
        while tokio::net::TcpStream::connect(here).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
    stop.cancel();
    serving.await.unwrap();
}
