//! A9: applications that answer with what is no answer.

use fsm_tests::{Fault, Pair, Wire};

/// (name, bytes after a request, whether a clean answer may be made of them)
const ANSWERS: &[(&str, &str, bool)] = &[
    ("not HTTP", "hello\r\n\r\n", false),
    ("a request", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", false),
    ("HTTP/2 words", "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n", false),
    ("status 99", "HTTP/1.1 99 Low\r\ncontent-length: 0\r\n\r\n", false),
    ("status 1000", "HTTP/1.1 1000 High\r\ncontent-length: 0\r\n\r\n", false),
    ("status without digits", "HTTP/1.1 abc No\r\ncontent-length: 0\r\n\r\n", false),
    ("length and chunked", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", true),
    ("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", false),
    ("negative length", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", false),
    ("signed length", "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab", false),
    ("odd encoding", "HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", false),
    ("carriage return in a value", "HTTP/1.1 200 OK\r\nx: a\rset-cookie: b\r\ncontent-length: 0\r\n\r\n", false),
    ("NUL in a value", "HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 0\r\n\r\n", false),
    ("space before a colon", "HTTP/1.1 200 OK\r\ncontent-length : 0\r\n\r\n", true),
    ("204 with a body", "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello", true),
    ("204 with chunks", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true),
    ("304 with a body", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nhello", true),
    (
        "103 with a body",
        "HTTP/1.1 103 Hints\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        true,
    ),
    ("nothing", "", false),
];

#[tokio::test]
async fn a9_malformed_answers_become_one_clean_answer_or_502() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let upstream = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    let mut failures = Vec::new();
    for (name, answer, may_pass) in ANSWERS {
        let mut client = pair.dial(&pair.scene.raw).await;
        client.send("GET /a HTTP/1.1\r\nhost: raw.shop\r\n\r\n").await;
        let serve = async {
            // A retry on a fresh connection is allowed, and must meet the same answer.
            loop {
                let mut server = Wire::accept(&upstream).await;
                server.request().await;
                server.offer(answer).await;
                server.finish().await;
            }
        };
        let reply = async {
            loop {
                match client.try_response("GET").await {
                    Ok(reply) if reply.status() < 200 => {}
                    other => return other,
                }
            }
        };
        let reply = tokio::select! {
            () = serve => unreachable!("it serves for ever"),
            reply = reply => reply,
        };
        match reply {
            Ok(reply) if reply.status() == 502 => {
                if !matches!(reply.reason(), Some("upstream-protocol" | "upstream-reset")) {
                    failures.push(format!("{name}: 502 with reason {:?}", reply.reason()));
                }
            }
            Ok(reply) if *may_pass => {
                if reply.header("set-cookie").is_some() {
                    failures.push(format!("{name}: a field was injected"));
                }
            }
            Ok(reply) => failures.push(format!("{name}: passed as {}", reply.start)),
            Err(Fault::Ended(_, bytes)) if bytes.is_empty() && *may_pass => {}
            Err(fault) => failures.push(format!("{name}: {fault}")),
        }
    }
    pair.assert_healthy().await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[tokio::test]
async fn a9_a_body_after_a_head_response_is_not_the_next_answer() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let listener = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    tokio::spawn(async move {
        while let Ok(accepted) = listener.accept().await {
            let mut wire = Wire::of(accepted).0.without_deadline();
            tokio::spawn(async move {
                while let Ok(request) = wire.try_request().await {
                    let answer = match request.method() {
                        "HEAD" => {
                            "HTTP/1.1 200 OK\r\ncontent-length: 45\r\n\r\n\
                                   HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
                        }
                        _ => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood",
                    };
                    wire.offer(answer).await;
                }
            });
        }
    });
    let mut client = pair.dial(&pair.scene.raw).await;
    for _ in 0..5 {
        client.send("HEAD /a HTTP/1.1\r\nhost: raw.shop\r\n\r\n").await;
        assert_eq!(client.response("HEAD").await.status(), 200);
        assert_eq!(client.get("raw.shop", "/b").await.text(), "good");
        let mut other = pair.dial(&pair.scene.raw).await;
        assert_eq!(other.get("raw.shop", "/c").await.text(), "good");
    }
}

#[tokio::test]
async fn a9_a_flood_of_interim_responses_is_cut_off() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let upstream = pair.scene.server.listen(([127, 0, 0, 1], 8081).into());
    let mut client = pair.dial(&pair.scene.raw).await;
    client.send("GET /a HTTP/1.1\r\nhost: raw.shop\r\n\r\n").await;
    let mut server = Wire::accept(&upstream).await;
    server.request().await;
    tokio::spawn(async move {
        for _ in 0..10_000 {
            server.offer("HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n").await;
        }
        server.offer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        server.rest().await;
    });
    let mut interim = 0;
    let last = loop {
        match client.try_response("GET").await {
            Ok(reply) if reply.status() < 200 => interim += 1,
            other => break other,
        }
    };
    assert!(interim < 100, "{interim} interim responses were passed on");
    match last {
        // Dropping them all costs nothing and may go on for ever.
        Ok(reply) => assert!(matches!(reply.status(), 200 | 502), "{}", reply.start),
        Err(fault) => assert!(matches!(fault, Fault::Ended(..)), "{fault}"),
    }
    pair.assert_healthy().await;
}
