//! A17: no spelling of a path or host gets around a rule.

use super::Entrance;
use fsm_tests::{Pair, Recorder, Scene, TlsClient};
use serde_json::json;

/// Everybody may ask below `/public`, `admin.ops` also below `/admin`.
async fn start() -> Option<(Pair, Recorder)> {
    let mut scene = Scene::new()?;
    let raw = scene.raw.clone();
    let rules = vec![
        json!({"Path": "/admin(/.*)?", "Type": "Regex", "AllowedServices": ["admin.ops"]}),
        json!({"Path": "/public", "Type": "Prefix"}),
    ];
    scene.server_document = scene.server_document.clone().serve_rules(&raw, rules);
    let recorder = Recorder::start(&scene.server, ([127, 0, 0, 1], 8081).into());
    Some((scene.start().await, recorder))
}

/// What the most forgiving application makes of a target: decoded, and decoded again, both slashes, no parameters,
/// no empty or dot segments.
fn forgiving(target: &str) -> String {
    let mut path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
    for _ in 0..3 {
        path = decoded(&path);
    }
    let path = path.replace('\\', "/").to_ascii_lowercase();
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment.split(';').next().unwrap_or_default().trim_matches('\0') {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

fn decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (bytes[at], pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

const WAYS_TO_ADMIN: &[&str] = &[
    "/admin",
    "/admin/",
    "//admin",
    "/./admin",
    "/public/../admin",
    "/public/./../admin/x",
    "/public//../admin",
    "/public/..//admin",
    "/public/%2e%2e/admin",
    "/public/%2E%2E/admin",
    "/public/.%2e/admin",
    "/public%2f..%2fadmin",
    "/public%2F%2E%2E%2Fadmin",
    "/public/..%2fadmin",
    "/public\\..\\admin",
    "/public/..\\admin",
    "/public%5c..%5cadmin",
    "/public/..%5Cadmin",
    "/%61dmin",
    "/%2561dmin",
    "/public/%252e%252e/admin",
    "/public/..;/admin",
    "/public/..;x=y/admin",
    "/public/;/../admin",
    "/admin;x",
    "/admin?x",
    "/admin#x",
    "/public#/../admin",
    "/public?/../admin",
    "/public/%00/../../admin",
    "/public/..%00/admin",
    "/publicx/../admin",
    "/public/x/../../admin",
    "/public/%2e/%2e%2e/admin",
    "/ADMIN/../admin",
    "/public/%u002e%u002e/admin",
    "/public/%c0%ae%c0%ae/admin",
    "/public/%zz/../admin",
    "http://raw.shop/admin",
    "http://raw.shop//admin",
    "http://raw.shop/public/../admin",
    "http://other.shop/admin",
];

#[tokio::test]
async fn a17_no_spelling_reaches_a_path_that_is_not_allowed() {
    let Some((pair, recorder)) = start().await else {
        return;
    };
    let leaf = pair.leaf("web.shop");
    let mut failures = Vec::new();
    for entrance in Entrance::BOTH {
        for target in WAYS_TO_ADMIN {
            recorder.clear();
            let mut wire = entrance.open(&pair, &leaf).await;
            wire.offer(format!("GET {target} HTTP/1.1\r\nhost: raw.shop\r\n\r\n")).await;
            let reply = wire.try_response("GET").await;
            for seen in recorder.requests() {
                let meant = forgiving(seen.target());
                if !meant.starts_with("/public") {
                    failures.push(format!("{entrance:?} {target}: arrived as {} ({meant})", seen.target()));
                }
            }
            match reply {
                Ok(reply) if reply.status() == 200 => {
                    assert_eq!(recorder.requests().len(), 1, "{target}")
                }
                Ok(reply) if matches!(reply.status(), 400 | 403) => {}
                other => failures.push(format!("{entrance:?} {target}: {other:?}")),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // The rules do work.
    let admin = TlsClient::new(&pair.leaf("admin.ops"));
    let wire = admin.connect(&pair.scene.stranger, pair.inbound(&pair.scene.raw)).await;
    assert_eq!(wire.unwrap().get("raw.shop", "/admin/x").await.status(), 200);
    let mut wire = pair.dial(&pair.scene.raw).await;
    for target in ["/public", "/public/x", "/public/x?y=/../admin", "/public/a%20b"] {
        assert_eq!(wire.get("raw.shop", target).await.status(), 200, "{target}");
    }
    for target in ["/publicity", "/other", "/x?y=/public", "/x?/admin", "/"] {
        let reply = wire.get("raw.shop", target).await;
        assert_eq!((reply.status(), reply.reason()), (403, Some("no-route")), "{target}");
    }
}

#[tokio::test]
async fn a17_no_spelling_of_the_host_gets_around_its_rules() {
    let Some((pair, recorder)) = start().await else {
        return;
    };
    let leaf = pair.leaf("web.shop");
    for host in [
        "raw.shop",
        "RAW.SHOP",
        "Raw.Shop.",
        "raw.shop.",
        "raw.shop:81",
        "raw.shop:80",
        "raw.shop:99999",
        "raw.shop:",
        "raw",
        "raw.shop.svc.cluster.local.",
        "api.shop",
        "10.244.1.11",
        "10.244.1.11:81",
        "127.0.0.1",
        "localhost",
        "*",
        "",
        "raw.shop\t",
        "raw%2eshop",
        "[::1]",
    ] {
        recorder.clear();
        let mut wire = pair.intrude(&pair.scene.raw, &leaf).await;
        wire.offer(format!("GET /admin HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        let reply = wire.try_response("GET").await.unwrap_or_else(|fault| panic!("{host:?}: {fault}"));
        assert!(matches!(reply.status(), 400 | 403), "{host:?}: {}", reply.start);
        assert!(recorder.requests().is_empty(), "{host:?}");
    }
}

#[tokio::test]
async fn a17_a_fragment_is_no_part_of_a_request() {
    let Some((pair, recorder)) = start().await else {
        return;
    };
    let mut wire = pair.dial(&pair.scene.raw).await;
    let reply = wire.get("raw.shop", "/public#fragment").await;
    assert!(matches!(reply.status(), 200 | 400), "{}", reply.start);
    assert!(!recorder.received(b"#"), "CVE-2021-39156");
}
