//! Whom a proxy does not believe, and what it survives.

use super::*;
use crate::config::source::stream::frames::Received;
use bytes::Bytes;
use fsm_api::stream::frame::MAX_PAYLOAD_BYTES;
use http::StatusCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn refusal(proxy: &Proxy) -> String {
    let status = proxy.link(|status| status.certificate_failure.is_some()).await;
    assert!(status.certificate.is_none() && !status.connected);
    assert!(proxy.store.snapshot().is_none());
    let message = status.certificate_failure.unwrap().message;
    assert_eq!(proxy.store.failure().as_deref(), Some(message.as_str()), "also where every source's failures are");
    message
}

#[tokio::test]
async fn a_server_with_another_name_is_refused() {
    let authority = Arc::new(Authority::new());
    let control = Double::start_at("127.0.0.1:0".parse().unwrap(), &authority, "somebody.else").await;
    let message = refusal(&Proxy::start(control.address, &authority)).await;
    assert!(message.contains("somebody.else") && message.contains("--control-name"), "{message}");
    assert_eq!(control.behaviour.lock().issued, 0, "the token was not sent");
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let control = Double::start(&Arc::new(Authority::new())).await;
    let message = refusal(&Proxy::start(control.address, &Authority::new())).await;
    assert!(message.contains("cannot be trusted") && message.contains("--control-ca"), "{message}");
    assert_eq!(control.behaviour.lock().issued, 0, "the token was not sent");
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_named_but_never_shown() {
    let authority = Arc::new(Authority::new());
    let mut control = Double::start(&authority).await;
    let (options, files) = options(control.address, &authority);
    std::fs::write(&options.token, "stale-token").unwrap();
    let proxy = Proxy::start_with(options.clone(), files, None);
    let message = refusal(&proxy).await;
    assert!(message.contains("401") && message.contains("the token is not known"), "{message}");
    assert!(message.contains(&options.token.display().to_string()) && !message.contains("stale-token"), "{message}");

    std::fs::write(&options.token, TOKEN).unwrap();
    control.stream().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_their_flag() {
    let authority = Arc::new(Authority::new());
    let control = Double::start(&authority).await;
    type Spoil = fn(&ControlOptions);
    let cases: [(Spoil, &str); 5] = [
        (|options| std::fs::remove_file(&options.token).unwrap(), "(--control-token) cannot be read"),
        (|options| std::fs::write(&options.token, " \n").unwrap(), "(--control-token) is no token: it is empty"),
        (|options| std::fs::write(&options.token, "two\nlines").unwrap(), "it must be one line of text"),
        (|options| std::fs::remove_file(&options.ca).unwrap(), "(--control-ca) cannot be read"),
        (|options| std::fs::write(&options.ca, "no PEM").unwrap(), "(--control-ca) cannot be used"),
    ];
    for (spoil, expected) in cases {
        let (options, files) = options(control.address, &authority);
        spoil(&options);
        let message = refusal(&Proxy::start_with(options, files, None)).await;
        assert!(message.contains(expected) && !message.contains("two"), "{message}");
    }
}

#[tokio::test]
async fn answers_that_are_no_certificates_are_refused() {
    let authority = Arc::new(Authority::new());
    let foreign = serde_json::to_vec(&json!({
        "certificateChain": authority.issue(&crate::tls::fixtures::Leaf::fsm("web.shop", &[])).cert_chain,
        "trustBundle": authority.pem(), "renewAfterSeconds": 60,
    }))
    .unwrap();
    let cases: [(StatusCode, Bytes, &str); 6] = [
        (StatusCode::OK, "not JSON".into(), "cannot be used: expected"),
        (StatusCode::OK, "{}".into(), "missing field"),
        (StatusCode::OK, foreign.into(), "does not belong to the first certificate"),
        (StatusCode::OK, vec![b' '; limits_answer() + 1].into(), "it has more than"),
        (StatusCode::FORBIDDEN, "".into(), "403 Forbidden: without an explanation"),
        (StatusCode::INTERNAL_SERVER_ERROR, "a\u{1b}[31m\nb".into(), "500 Internal Server Error to the request"),
    ];
    for (status, body, expected) in cases {
        let control = Double::start(&authority).await;
        control.behaviour.lock().instead = Some((status, body));
        let message = refusal(&Proxy::start(control.address, &authority)).await;
        assert!(message.contains(expected), "{message}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
    }
}

const fn limits_answer() -> usize {
    crate::limits::CONTROL_ANSWER_BYTES
}

#[tokio::test]
async fn nobody_listens_and_nobody_is_there() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let message = refusal(&Proxy::start(address, &authority)).await;
    assert!(
        message.contains("does not accept connections") && message.contains("check that fsm-control runs"),
        "{message}"
    );

    let (mut options, files) = options(address, &authority);
    options.address.host = "nowhere.invalid".into();
    let message = refusal(&Proxy::start_with(options, files, None)).await;
    assert!(message.contains("nowhere.invalid does not resolve"), "{message}");
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let message = refusal(&Proxy::start(address, &Authority::new())).await;
    assert!(message.contains("TLS with 127.0.0.1:"), "{message}");
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let begun = tokio::time::Instant::now();
    let message = refusal(&Proxy::start(address, &Authority::new())).await;
    assert!(message.contains("within 10"), "{message}");
    assert!(begun.elapsed() < Duration::from_secs(12));
    serving.abort();
}

/// The stream is refused or breaks: the configuration stays, the proxy comes again.
async fn after_breaking(break_it: impl Fn(&Double, &Opened)) -> String {
    let (_, mut control, proxy, mut stream) = connected().await;
    stream.publish("v1", &document("10.0.0.1:80")).await;
    break_it(&control, &stream);
    let status = proxy.link(|status| status.last_failure.is_some()).await;
    assert_eq!(proxy.store.snapshot().unwrap().version, "v1");
    control.behaviour.lock().stream_instead = None;
    let stream = control.stream().await;
    assert_eq!(stream.hello.version.as_deref(), Some("v1"));
    status.last_failure.unwrap().message
}

#[tokio::test]
async fn garbage_on_the_stream_ends_it_and_changes_nothing() {
    let huge = u32::try_from(MAX_PAYLOAD_BYTES + 1).unwrap().to_be_bytes();
    for (bytes, expected) in [
        ([&huge[..], &[16]].concat(), "a message of 67108865 bytes is announced"),
        (vec![255; 64], "bytes is announced"),
        (vec![0, 0, 0, 3, 16, b'{', b'}', b'}'], "a message of kind 16 cannot be read"),
        (vec![0, 0, 0, 0, 20], "a message of kind 20 cannot be read"),
    ] {
        let message = after_breaking(|_, stream| stream.send_bytes(bytes.clone())).await;
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("the last good configuration stays in force"), "{message}");
    }
}

#[tokio::test]
async fn an_unexpected_status_is_reported_and_asked_again() {
    let authority = Arc::new(Authority::new());
    let mut control = Double::start(&authority).await;
    control.behaviour.lock().stream_instead = Some(StatusCode::SERVICE_UNAVAILABLE);
    let proxy = Proxy::start(control.address, &authority);
    let status = proxy.link(|status| status.last_failure.is_some()).await;
    let message = status.last_failure.unwrap().message;
    assert!(message.contains("503 Service Unavailable to the request for the stream: not today"), "{message}");
    assert_eq!(status.streams, 0);
    control.behaviour.lock().stream_instead = None;
    control.stream().await;
}

#[tokio::test]
async fn a_stream_that_is_refused_for_the_certificate_brings_another_certificate() {
    let authority = Arc::new(Authority::new());
    let mut control = Double::start(&authority).await;
    control.behaviour.lock().stream_instead = Some(StatusCode::FORBIDDEN);
    let proxy = Proxy::start(control.address, &authority);
    control.asked().await;
    let status = proxy.link(|status| status.last_failure.is_some()).await;
    let message = status.last_failure.unwrap().message;
    assert!(message.contains("refuses our certificate (403 Forbidden: not today)"), "{message}");
    control.asked().await;
    control.behaviour.lock().stream_instead = None;
    control.stream().await;
}

/// A body that a test feeds.
struct Fed(tokio::sync::mpsc::UnboundedReceiver<Bytes>);

impl hyper::body::Body for Fed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx).map(|next| next.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_message_is_given_up_in_time_and_silence_between_messages_is_not() {
    let (feed, body) = tokio::sync::mpsc::unbounded_channel();
    let mut received = Received::new("control:1".into(), Fed(body));
    let bytes = update("v1", &document("10.0.0.1:80")).encode();
    let day = Duration::from_secs(86_400);
    assert!(tokio::time::timeout(day, received.next()).await.is_err(), "nobody needs to say anything");

    feed.send(bytes[..100].to_vec().into()).unwrap();
    let begun = tokio::time::Instant::now();
    // Being cancelled in the middle loses nothing, and starts no deadline anew.
    assert!(tokio::time::timeout(Duration::from_secs(30), received.next()).await.is_err());
    feed.send(bytes[100..].to_vec().into()).unwrap();
    assert!(matches!(received.next().await.unwrap(), ControlMessage::Update(_)));
    assert_eq!(begun.elapsed(), Duration::from_secs(30));

    feed.send(bytes[..4].to_vec().into()).unwrap();
    let begun = tokio::time::Instant::now();
    assert!(tokio::time::timeout(Duration::from_secs(30), received.next()).await.is_err());
    feed.send(bytes[4..50].to_vec().into()).unwrap();
    let error = received.next().await.unwrap_err().to_string();
    assert!(error.contains("control:1 did not complete a message within 60 s"), "{error}");
    assert_eq!(begun.elapsed(), crate::limits::CONTROL_MESSAGE_TIMEOUT);
}

#[tokio::test]
async fn a_control_plane_that_vanished_without_a_word_is_noticed() {
    let authority = Arc::new(Authority::new());
    let mut control = Double::start(&authority).await;
    // Between the two: a wire that can be cut without either side hearing of it.
    let wire = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, target) = (wire.local_addr().unwrap(), control.address);
    let cut = tokio_util::sync::CancellationToken::new();
    let cutting = cut.clone();
    let carrying = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut near, _)) = wire.accept().await {
            let cut = cutting.clone();
            held.push(tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
                let carried = tokio::io::copy_bidirectional(&mut near, &mut far);
                if cut.run_until_cancelled(carried).await.is_none() {
                    // Swallows everything, answers nothing, hangs up never.
                    let mut sink = [0; 1024];
                    while near.read(&mut sink).await.is_ok_and(|length| length > 0) {}
                    std::future::pending::<()>().await;
                }
            }));
        }
    });
    let proxy = Proxy::start(address, &authority);
    let mut stream = control.stream().await;
    stream.publish("v1", &document("10.0.0.1:80")).await;
    cut.cancel();
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let status = proxy.link(|status| status.last_failure.is_some()).await;
    let message = status.last_failure.unwrap().message;
    assert!(message.contains("nothing was heard"), "{message}");
    let noticed = begun.elapsed();
    let most = crate::limits::CONTROL_KEEP_ALIVE_INTERVAL + crate::limits::CONTROL_KEEP_ALIVE_TIMEOUT;
    assert!(noticed <= most + Duration::from_secs(1), "{noticed:?}");
    assert_eq!(proxy.store.snapshot().unwrap().version, "v1");
    carrying.abort();
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_is_away_is_asked_ever_more_rarely() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let attempts = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Relaxed);
            drop(stream);
        }
    });
    let telemetry = Arc::new(Telemetry::new());
    let store = Arc::new(Store::new(Arc::clone(&telemetry)));
    let (mut options, files) = options(address, &authority);
    let keepsake_home = tempfile::tempdir().unwrap();
    let directory = keepsake_home.path().join("cache");
    options.pod.uid = "u-9".into();
    // With a certificate it is the stream that is tried; its schedule runs on the paused clock.
    let cache = Arc::new(Cache::open(&directory, &options.cache_owner()).unwrap());
    let issued = authority.issue(&crate::tls::fixtures::Leaf::fsm("web.shop", &[]));
    Keepsake::new(Arc::clone(&cache)).keep_identity(&issued, SystemTime::now() + Duration::from_secs(3600));
    let following = tokio::spawn(follow(options, store, telemetry, Some(cache)));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let asked = attempts.load(Relaxed);
    // Every 5 to 10 seconds after the first few; certificates are asked for on the wall clock, which stands still.
    assert!((55..=150).contains(&asked), "asked {asked} times in ten minutes");
    following.abort();
    serving.abort();
    drop(files);
}
