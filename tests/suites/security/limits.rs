//! Headers that are too large or too many: refused as such, early, and without cost to others.

use super::Entrance;
use fsm_tests::{Fault, Message, Pair, Recorder, Wire, empty, http2, request};
use std::net::SocketAddr;

const RAW: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);

/// Bytes of header that are let through, and that are not.
const SMALL: usize = 60 << 10;
const LARGE: usize = 70 << 10;

fn fields(count: usize, size: usize) -> Vec<(String, String)> {
    (0..count).map(|number| (format!("x-field-{number}"), "v".repeat(size / count))).collect()
}

async fn http1(mut wire: Wire, fields: &[(String, String)]) -> Result<Message, Fault> {
    let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    wire.offer(format!("GET /limits HTTP/1.1\r\nhost: raw.shop\r\n{lines}\r\n")).await;
    wire.try_response("GET").await
}

#[tokio::test]
async fn http1_headers_within_the_limits_pass_and_larger_ones_are_a_431() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let recorder = Recorder::start(&pair.scene.server, RAW);
    let leaf = pair.leaf("web.shop");
    for entrance in Entrance::BOTH {
        for (what, fields, passes) in [
            ("one large field", fields(1, SMALL), true),
            ("many small fields", fields(80, SMALL), true),
            ("one field that is too large", fields(1, LARGE), false),
            ("small fields that are too large together", fields(80, LARGE), false),
            ("too many fields", fields(101, 101), false),
            ("far too many fields", fields(4000, 40_000), false),
            ("a megabyte", fields(1, 1 << 20), false),
        ] {
            recorder.clear();
            let reply = http1(entrance.open(&pair, &leaf).await, &fields).await;
            let reply = reply.unwrap_or_else(|fault| panic!("{entrance:?}, {what}: {fault}"));
            assert_eq!(reply.status(), if passes { 200 } else { 431 }, "{entrance:?}, {what}: {:?}", reply.reason());
            let seen = recorder.requests();
            assert_eq!(seen.len(), usize::from(passes), "{entrance:?}, {what}");
            if passes {
                let arrived = seen[0].headers.iter().filter(|(name, _)| name.starts_with("x-field-")).count();
                assert_eq!(arrived, fields.len(), "{entrance:?}, {what}");
            }
        }
        pair.assert_healthy().await;
    }
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut_off_at_the_limit() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let leaf = pair.leaf("web.shop");
    for entrance in Entrance::BOTH {
        let mut wire = entrance.open(&pair, &leaf).await;
        wire.send("GET / HTTP/1.1\r\nhost: raw.shop\r\nx: ").await;
        // No line end, and never more than is read: what is not read blocks the sender, or ends it.
        for _ in 0..32 {
            wire.offer("v".repeat(4 << 10)).await;
        }
        assert_eq!(wire.response("GET").await.status(), 431, "{entrance:?}");
    }
    pair.assert_healthy().await;
}

#[tokio::test]
async fn http2_headers_within_the_limit_pass_and_larger_ones_are_refused() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let recorder = Recorder::start(&pair.scene.server, RAW);
    let leaf = pair.leaf("web.shop");
    for entrance in Entrance::BOTH {
        let mut client = http2(entrance.open(&pair, &leaf).await).await;
        for (what, fields, passes) in [
            ("one large field", fields(1, SMALL), true),
            ("many small fields", fields(300, 30_000), true),
            ("one field that is too large", fields(1, LARGE), false),
            ("small fields that are too large together", fields(300, LARGE), false),
        ] {
            recorder.clear();
            let mut ask = request("GET", "", "http://raw.shop/limits", empty());
            for (name, value) in &fields {
                let name: http::HeaderName = name.parse().unwrap();
                ask.headers_mut().insert(name, value.parse().unwrap());
            }
            let reply = client.try_send(ask).await;
            let status = reply.as_ref().map_or(0, |reply| reply.status().as_u16());
            match passes {
                true => assert_eq!(status, 200, "{entrance:?}, {what}: {reply:?}"),
                // The stream alone suffers: by a 431, or by a reset.
                false => assert!(matches!(status, 0 | 431), "{entrance:?}, {what}: {status}"),
            }
            assert_eq!(recorder.requests().len(), usize::from(passes), "{entrance:?}, {what}");
        }
        // A reset of the whole connection would have cost other streams.
        assert_eq!(client.get("raw.shop", "/after").await.status, 200, "{entrance:?}");
    }
}

#[tokio::test]
async fn a_target_beyond_the_limit_is_refused() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let recorder = Recorder::start(&pair.scene.server, RAW);
    let leaf = pair.leaf("web.shop");
    for entrance in Entrance::BOTH {
        for (length, passes) in [(16_000, true), (17_000, false), (60_000, false), (70_000, false)] {
            recorder.clear();
            let mut wire = entrance.open(&pair, &leaf).await;
            wire.offer(format!("GET /{} HTTP/1.1\r\nhost: raw.shop\r\n\r\n", "p".repeat(length))).await;
            let status = wire.response("GET").await.status();
            match passes {
                true => assert_eq!(status, 200, "{entrance:?}, {length}"),
                false => assert!(matches!(status, 400 | 414 | 431), "{entrance:?}, {length}: {status}"),
            }
            assert_eq!(recorder.requests().len(), usize::from(passes), "{entrance:?}, {length}");
        }
    }
    pair.assert_healthy().await;
}
