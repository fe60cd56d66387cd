#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Admin, Vitals, is_foreign};
use crate::auth::TokenDirectory;
use crate::catalog::explain::CannotExplain;
use crate::cert::tresor::TresorSettings;
use crate::cert::{Identity, Tresor};
use crate::controller::Query;
use crate::http::{Ask, Peer, Reply};
use crate::push::{Board, PodKey, Publication, Push, Roster, Settings, Tenant};
use crate::telemetry::Telemetry;
use crate::world::{Problem, Severity};
use arc_swap::ArcSwap;
use fsm_api::config::{Certificate, Config};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

struct Fixture {
    admin: Admin,
    queries: mpsc::Receiver<Query>,
    ready: watch::Sender<bool>,
    _directory: TempDir,
}

fn fixture() -> Fixture {
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
    let (sender, queries) = mpsc::channel(1);
    let (ready, is_ready) = watch::channel(false);
    let waits_for = "the source has not been read yet";
    let vitals = Vitals { telemetry: push.telemetry.clone(), ready: is_ready, waits_for };
    let authority = Arc::new(super::Authority::of_tresor(tresor));
    let admin = Admin { push, authority, problems: Arc::default(), queries: sender, vitals };
    Fixture { admin, queries, ready, _directory: directory }
}

async fn ask(admin: &Admin, method: Method, path: &str) -> (StatusCode, String) {
    ask_from(admin, [127, 0, 0, 1], method, path).await
}

async fn ask_from(admin: &Admin, from: [u8; 4], method: Method, path: &str) -> (StatusCode, String) {
    let ask = Request::builder().method(method).uri(path).header("host", "127.0.0.1:9091").body(None);
    let mut ask: Ask = ask.unwrap();
    ask.extensions_mut().insert(Peer(from.into()));
    read(admin.answer(ask).await).await
}

async fn read(reply: Reply) -> (StatusCode, String) {
    let status = reply.status();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn ready_is_said_only_once_documents_are_published() {
    let fixture = fixture();
    let get = async |path| ask(&fixture.admin, Method::GET, path).await;
    assert_eq!(get("/health/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get("/health/alive").await, (StatusCode::OK, "Service is alive".into()));
    fixture.ready.send_replace(true);
    assert_eq!(get("/health/ready").await, (StatusCode::OK, "Service is ready".into()));
}

#[tokio::test]
async fn everything_in_the_index_is_there() {
    let mut fixture = fixture();
    tokio::spawn(async move {
        while let Some(query) = fixture.queries.recv().await {
            match query {
                Query::World(answer) => answer.send(json!({"synced": true})).unwrap(),
                Query::Explain { question, answer } => {
                    answer.send(Err(CannotExplain::NoService(question.to))).unwrap();
                }
                Query::View(..) | Query::Snapshot(..) | Query::Injection { .. } => {}
            }
        }
    });
    fixture.ready.send_replace(true);
    let (_, index) = ask(&fixture.admin, Method::GET, "/").await;
    let mut seen = 0;
    for line in index.lines().skip(1).filter(|line| line.contains('/')) {
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let expected = match path {
            "/config?pod=NS/NAME" | "/explain?from=NS/POD&to=NS/SERVICE" => StatusCode::NOT_FOUND,
            "/ca/rotate" => StatusCode::ACCEPTED,
            _ => StatusCode::OK,
        };
        let (status, body) = ask(&fixture.admin, method.parse().unwrap(), path).await;
        assert_eq!(status, expected, "{path}: {body}");
        let other = if method == "GET" { Method::POST } else { Method::GET };
        assert_eq!(ask(&fixture.admin, other, path).await.0, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        seen += 1;
    }
    assert_eq!(seen, 12);
    assert_eq!(ask(&fixture.admin, Method::GET, "/nothing").await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&fixture.admin, Method::GET, "/config").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn documents_are_shown_without_secrets() {
    let fixture = fixture();
    let certificate = Certificate { private_key: "-----BEGIN PRIVATE KEY-----".into(), ..Certificate::default() };
    let config = Config { certificate: Some(certificate), ..Config::default() };
    let published = Publication::make(config, None, Instant::now(), SystemTime::now()).unwrap().unwrap();
    let identity = Identity::new("bookstore", "buyer").unwrap();
    let tenant = Tenant { identity, uid: String::new(), proxy_uuid: String::new() };
    fixture.admin.push.board.publish(&PodKey::new("bookstore", "buyer-0"), &tenant, &Arc::new(published));
    for path in ["/config?pod=bookstore/buyer-0", "/config?x=1&pod=bookstore%2Fbuyer-0"] {
        let (status, body) = ask(&fixture.admin, Method::GET, path).await;
        assert_eq!(status, StatusCode::OK);
        let shown: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(shown["Certificate"]["PrivateKey"], "");
        assert!(shown["Version"].is_string());
    }
}

#[tokio::test]
async fn problems_name_their_objects() {
    let fixture = fixture();
    let problem = Problem {
        severity: Severity::Error,
        objects: vec!["Egress a/x".into(), "Egress b/y".into()],
        reason: "HostConflict",
        text: "both have h".into(),
    };
    fixture.admin.problems.store(Arc::new(vec![problem]));
    let (_, body) = ask(&fixture.admin, Method::GET, "/problems").await;
    let expected = json!([{
        "severity": "error", "reason": "HostConflict", "objects": ["Egress a/x", "Egress b/y"], "text": "both have h",
    }]);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
}

#[tokio::test]
async fn a_rotation_can_be_begun_once() {
    let fixture = fixture();
    let (status, body) = ask(&fixture.admin, Method::POST, "/ca/rotate").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let shown: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&shown["phase"], shown["roots"].as_array().unwrap().len()), (&json!("announced"), 2));
    assert!(!body.contains("BEGIN"), "fingerprints only");
    let (status, text) = ask(&fixture.admin, Method::POST, "/ca/rotate").await;
    let expected = format!("(announced until {})", shown["until"].as_str().unwrap());
    assert!(status == StatusCode::CONFLICT && text.contains(&expected), "{text}");
}

#[test]
fn requests_of_web_pages_are_told_from_those_of_programs() {
    let with = |name: &str, value: &str| -> Ask { Request::builder().header(name, value).body(None).unwrap() };
    for host in
        ["127.0.0.1:9091", "[::1]:9091", "[::1]", "localhost", "localhost:9091", "10.0.0.1", "fsm.fsm-system.svc:9091"]
    {
        assert!(!is_foreign(&with("host", host)), "{host}");
    }
    assert!(!is_foreign(&with("accept", "*/*")), "HTTP/1.0");
    for host in ["evil.example", "evil.example:9091", "localhost.evil.example", "127.0.0.1.evil.example:80"] {
        assert!(is_foreign(&with("host", host)), "{host}");
    }
    assert!(is_foreign(&with("origin", "https://evil.example")));
}

#[tokio::test]
async fn from_another_machine_only_vitals_are_shown() {
    let fixture = fixture();
    let from_pod = [10, 1, 2, 3];
    for path in ["/health/alive", "/healthz", "/metrics", "/version", "/smi/version"] {
        assert_eq!(ask_from(&fixture.admin, from_pod, Method::GET, path).await.0, StatusCode::OK, "{path}");
    }
    for (method, path) in [(Method::GET, "/proxies"), (Method::GET, "/config?pod=a/b"), (Method::POST, "/ca/rotate")] {
        let (status, text) = ask_from(&fixture.admin, from_pod, method, path).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        assert!(text.contains("kubectl port-forward"), "{text}");
    }
}
