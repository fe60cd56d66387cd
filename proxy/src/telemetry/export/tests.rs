#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::http::body::ResponseBody;
use crate::telemetry::Direction;
use crate::telemetry::export::remote_log::RemoteLog;
use crate::telemetry::fixtures::session;
use crate::telemetry::observe::Observe;
use crate::telemetry::record::Record;
use crate::telemetry::trace::Tracing;
use crate::telemetry::trace::context::Forms;
use crate::telemetry::trace::span::Rules;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use serde_json::Value;
use std::net::SocketAddr;
use std::task::{Context, Wake, Waker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(20);

fn observe(address: SocketAddr, protocol: Protocol) -> Observe {
    let collector = Collector::new(&address.to_string(), "", "/take").unwrap();
    let rules = Rules {
        threshold: None,
        shared: true,
        w3c_first: false,
        forms: Forms { b3_multi: true, ..Forms::default() },
        names_all: true,
        always_new: false,
    };
    let headers = vec![(header::AUTHORIZATION, HeaderValue::from_static("Basic abc"))];
    Observe {
        trace: Some(rules),
        tracing: Some(Arc::new(Tracing { collector: collector.clone(), protocol })),
        remote_log: Some(Arc::new(RemoteLog { collector, headers, threshold: None })),
        ..Observe::default()
    }
}

fn request(telemetry: &Arc<Telemetry>, observe: &Arc<Observe>) {
    let request = Request::builder()
        .uri("/pay?token=x")
        .header("host", "pay.shop")
        .header("authorization", "Bearer s3cret")
        .header("x-request-id", "abc")
        .body(())
        .unwrap();
    let record =
        Record::begin(telemetry, Some(observe), Direction::Outbound, &request, false, || session(telemetry, None));
    record.answered(&mut Response::new(ResponseBody::full("text")), false);
}

fn origin() -> Origin {
    Origin {
        workload: crate::telemetry::fixtures::workload(),
        ip: "10.0.0.1".into(),
        mesh: "fsm".into(),
        ..Origin::default()
    }
}

/// Takes one request and answers 202; gives its head and body.
async fn take_one(listener: TcpListener) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await.unwrap();
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if bytes.len() >= end + 4 + length.parse::<usize>().unwrap() {
            stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            return (head, bytes[end + 4..].to_vec());
        }
    }
}

async fn exported(kind: Export, protocol: Protocol) -> (String, Vec<u8>, Arc<Telemetry>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let observe = Arc::new(observe(listener.local_addr().unwrap(), protocol));
    let telemetry = Arc::new(Telemetry::new());
    request(&telemetry, &observe);
    request(&telemetry, &observe);
    let stop = CancellationToken::new();
    let sending = tokio::spawn(send(kind, Arc::clone(&telemetry), origin(), stop.clone()));
    let (head, body) = tokio::time::timeout(PATIENCE, take_one(listener)).await.unwrap();
    stop.cancel();
    sending.await.unwrap();
    (head, body, telemetry)
}

#[tokio::test]
async fn spans_go_to_zipkin_as_fsm_words_them() {
    let (head, body, telemetry) = exported(Export::Spans, Protocol::Zipkin).await;
    assert!(head.starts_with("post /take http/1.1") && head.contains("content-type: application/json"), "{head}");
    let spans: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(spans.as_array().unwrap().len(), 2);
    let span = &spans[0];
    assert_eq!((&span["name"], &span["kind"]), (&"pay.shop".into(), &"CLIENT".into()));
    assert_eq!(span["localEndpoint"]["serviceName"], "web");
    assert_eq!(span["tags"]["http.url"], "http://pay.shop/pay?token=[hidden]");
    assert_eq!((&span["tags"]["guid:x-request-id"], &span["tags"]["response_size"]), (&"abc".into(), &"4".into()));
    assert_eq!((span["traceId"].as_str().unwrap().len(), span["id"].as_str().unwrap().len()), (32, 16));
    assert_eq!(telemetry.observers.spans.sent.get(), 2);
}

#[tokio::test]
async fn spans_go_to_otlp_as_protobuf() {
    let (head, body, telemetry) = exported(Export::Spans, Protocol::Otlp).await;
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("service.name") && text.contains("pay.shop") && !text.contains("s3cret"));
    assert_eq!(telemetry.observers.spans.sent.get(), 2);
}

#[tokio::test]
async fn remote_log_entries_have_fsms_fields_and_no_secrets() {
    let (head, body, _) = exported(Export::Logs, Protocol::Zipkin).await;
    assert!(head.contains("authorization: basic abc"), "{head}");
    let entries: Value = serde_json::from_slice(&body).unwrap();
    let entry = &entries[0];
    assert_eq!((&entry["type"], &entry["meshName"]), (&"outbound".into(), &"fsm".into()));
    assert_eq!((&entry["remoteAddr"], &entry["localPort"]), (&"10.0.0.2".into(), &4000.into()));
    assert_eq!((&entry["req"]["body"], &entry["res"]["resSize"]), (&"".into(), &4.into()));
    assert_eq!(entry["req"]["headers"]["authorization"], "[hidden]");
    assert!(!String::from_utf8_lossy(&body).contains("s3cret"));
}

#[tokio::test]
async fn a_collector_that_is_down_costs_its_spans_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let observe = Arc::new(observe(listener.local_addr().unwrap(), Protocol::Zipkin));
    drop(listener);
    let telemetry = Arc::new(Telemetry::new());
    let all = limits::EXPORT_QUEUE as u64 + 100;
    for _ in 0..all {
        request(&telemetry, &observe);
    }
    let spans = &telemetry.observers.spans;
    assert_eq!(spans.dropped.get(), 100);
    let stop = CancellationToken::new();
    stop.cancel();
    // What is left is tried once.
    let sending = send(Export::Spans, Arc::clone(&telemetry), origin(), stop);
    tokio::time::timeout(PATIENCE, sending).await.unwrap();
    assert_eq!((spans.sent.get(), spans.failed.get()), (0, all - 100));
}

/// The buffer that a connection is read into.
struct Buffer {
    text: &'static str,
    _in_use: Arc<()>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

#[test]
fn what_waits_for_a_collector_holds_nothing_of_the_buffer_that_it_came_in() {
    let observe = Arc::new(observe("127.0.0.1:9".parse().unwrap(), Protocol::Zipkin));
    let telemetry = Arc::new(Telemetry::new());
    let buffer = Arc::new(());
    let part = |text| Bytes::from_owner(Buffer { text, _in_use: Arc::clone(&buffer) });
    let mut request = Request::new(());
    *request.uri_mut() = http::Uri::from_maybe_shared(part("/pay?x=y")).unwrap();
    for name in ["host", "user-agent", "x-request-id", "x-forwarded-for", "x-other"] {
        let value = HeaderValue::from_maybe_shared(part("said-by-the-client")).unwrap();
        request.headers_mut().insert(http::HeaderName::from_static(name), value);
    }
    let record =
        Record::begin(&telemetry, Some(&observe), Direction::Outbound, &request, false, || session(&telemetry, None));
    let mut response = Response::new(ResponseBody::full("text"));
    response.headers_mut().insert("x-said", HeaderValue::from_maybe_shared(part("by-the-server")).unwrap());
    record.answered(&mut response, false);
    assert!(Arc::strong_count(&buffer) > 1);
    drop((request, response));
    assert_eq!(Arc::strong_count(&buffer), 1, "a record holds a part of the buffer");
    assert_eq!((telemetry.observers.spans.waiting(), telemetry.observers.remote_log.waiting()), (1, 1));
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_record_and_a_full_batch_wake_the_exporter_and_none_between() {
    let observe = Arc::new(observe("127.0.0.1:9".parse().unwrap(), Protocol::Zipkin));
    let telemetry = Arc::new(Telemetry::new());
    let queue = &telemetry.observers.spans;
    let mut receiver = queue.receiver.lock().take().unwrap();
    let mut batch = Vec::new();
    let mut filling = Box::pin(queue.fill(&mut receiver, &mut batch));
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);

    assert!(filling.as_mut().poll(&mut context).is_pending());
    request(&telemetry, &observe);
    assert_eq!(woken.0.load(Relaxed), 1);
    assert!(filling.as_mut().poll(&mut context).is_pending());
    for _ in 0..limits::EXPORT_BATCH - 1 {
        request(&telemetry, &observe);
    }
    assert_eq!(woken.0.load(Relaxed), 1, "woken for a record among others");
    request(&telemetry, &observe);
    assert_eq!(woken.0.load(Relaxed), 2, "not woken for a batch");
    assert!(filling.as_mut().poll(&mut context).is_ready());
    drop(filling);

    queue.take(&mut receiver, &mut batch);
    assert_eq!((batch.len(), queue.waiting()), (limits::EXPORT_BATCH, 1));
    tokio::time::timeout(limits::EXPORT_INTERVAL * 2, queue.fill(&mut receiver, &mut batch)).await.unwrap();
}
