//! One request of the bookstore across four proxies: one trace, right parents, right names, in Zipkin's form and in OTLP's.

use fsm_tests::LocalMesh;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A collector: writes the body of every `POST` in hexadecimal, after its path.
const COLLECTOR: &str = r#"apiVersion: v1
kind: Namespace
metadata:
  name: tracing
---
apiVersion: v1
kind: Service
metadata:
  name: collector
  namespace: tracing
spec:
  selector:
    app: collector
  ports:
    - name: http
      port: 9411
---
apiVersion: v1
kind: Pod
metadata:
  name: collector
  namespace: tracing
  labels:
    app: collector
spec:
  containers:
    - name: collector
      image: python
      command: [python3, -u, -c]
      args:
        - |
          import threading
          from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
          one_line_at_a_time = threading.Lock()
          class Collector(BaseHTTPRequestHandler):
              def do_POST(self):
                  body = self.rfile.read(int(self.headers["content-length"]))
                  with one_line_at_a_time:
                      print("BATCH", self.path, body.hex(), flush=True)
                  self.send_response(202)
                  self.send_header("content-length", "0")
                  self.end_headers()
              def log_message(self, *_):
                  pass
          ThreadingHTTPServer(("0.0.0.0", 9411), Collector).serve_forever()
      ports:
        - containerPort: 9411
"#;

/// How long the first whole trace may take: a sidecar that meets no collector yet waits up to half a minute to try again.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(75);

/// What every protocol says of a span.
#[derive(Clone, Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    server: bool,
    service: String,
    method: String,
    path: String,
    status: String,
}

fn of_zipkin(body: &[u8]) -> Vec<Span> {
    let spans: Vec<Value> = serde_json::from_slice(body).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let read = |span: &Value| Span {
        trace: text(&span["traceId"]),
        id: text(&span["id"]),
        parent: text(&span["parentId"]),
        server: span["kind"] == "SERVER",
        service: text(&span["localEndpoint"]["serviceName"]),
        method: text(&span["tags"]["http.method"]),
        path: text(&span["tags"]["http.url"]),
        status: text(&span["tags"]["http.status_code"]),
    };
    spans.iter().map(read).collect()
}

fn of_otlp(body: &[u8]) -> Vec<Span> {
    let batch = ExportTraceServiceRequest::decode(body).unwrap();
    let mut found = Vec::new();
    let text =
        |value: Option<&opentelemetry_proto::tonic::common::v1::AnyValue>| match value.and_then(|v| v.value.as_ref()) {
            Some(Any::StringValue(text)) => text.clone(),
            _ => String::new(),
        };
    for resource in batch.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = attributes.iter().find(|pair| pair.key == "service.name").and_then(|pair| pair.value.as_ref());
        let service = text(service);
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let tag = |name: &str| {
                text(span.attributes.iter().find(|pair| pair.key == name).and_then(|pair| pair.value.as_ref()))
            };
            found.push(Span {
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                server: span.kind == 2,
                service: service.clone(),
                method: tag("http.method"),
                path: tag("http.url"),
                status: tag("http.status_code"),
            });
        }
    }
    found
}

/// Spans that the collector got on this path so far.
async fn spans(mesh: &LocalMesh, path: &str, read: fn(&[u8]) -> Vec<Span>) -> Vec<Span> {
    let log = mesh.shows("kubectl logs collector -n tracing").await;
    let wanted = format!("BATCH {path} ");
    // What has no end yet is still being written.
    let lines = log.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let batches = lines.filter_map(|line| line.strip_prefix(&wanted));
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len() / 2).map(|index| u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).unwrap()).collect()
    };
    batches.flat_map(|batch| read(&bytes(batch))).collect()
}

/// The spans of a trace that went from the buyer through a store to the warehouse: all four of them.
async fn whole_trace(mesh: &LocalMesh, path: &str, read: fn(&[u8]) -> Vec<Span>) -> Vec<Span> {
    let started = std::time::Instant::now();
    loop {
        let mut traces: BTreeMap<String, Vec<Span>> = BTreeMap::new();
        for span in spans(mesh, path, read).await {
            traces.entry(span.trace.clone()).or_default().push(span);
        }
        let seen: Vec<Vec<String>> = traces
            .values()
            .rev()
            .take(8)
            .map(|spans| spans.iter().map(|span| span.service.clone()).collect())
            .collect();
        let services = |spans: &[Span]| -> BTreeSet<String> { spans.iter().map(|span| span.service.clone()).collect() };
        let whole = traces.into_values().find(|spans| spans.len() == 4 && services(spans).contains("bookwarehouse"));
        if let Some(mut whole) = whole {
            whole.sort_by_key(|span| (span.path.contains("restock"), span.server));
            return whole;
        }
        if started.elapsed() > PATIENCE {
            panic!("no whole trace has come, but of these: {seen:#?}");
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// `buyer → store → warehouse`: names, kinds and results, whatever the protocol.
fn assert_hops(spans: &[Span]) {
    let [buyer, store_in, store_out, warehouse] = spans else { panic!("{spans:#?}") };
    assert_eq!(buyer.service, "bookbuyer");
    assert!(store_in.service.starts_with("bookstore-v") && store_in.service == store_out.service, "{spans:#?}");
    assert_eq!(warehouse.service, "bookwarehouse");
    assert_eq!(spans.iter().map(|span| span.server).collect::<Vec<_>>(), [false, true, false, true]);
    for span in [buyer, store_in] {
        assert_eq!((span.method.as_str(), span.status.as_str()), ("GET", "200"), "{span:?}");
        assert!(span.path.ends_with("/buy-a-book/new"), "{span:?}");
    }
    for span in [store_out, warehouse] {
        assert_eq!((span.method.as_str(), span.status.as_str()), ("POST", "200"), "{span:?}");
    }
    assert_eq!(buyer.parent, "");
}

async fn trace_to(mesh: &LocalMesh, settings: &str) {
    super::super::local::patch(mesh, &format!(r#"{{"observability":{{"tracing":{settings}}}}}"#)).await;
}

#[tokio::test]
async fn one_request_is_one_trace_across_four_proxies() {
    let Some(mesh) = LocalMesh::up_example("examples/bookstore").await else { return };
    std::fs::write(mesh.path("collector.yaml"), COLLECTOR).unwrap();
    let apply = format!(
        "kubectl apply -f {} && kubectl wait --for=condition=ready pod -n tracing -l app=collector --timeout=60s",
        mesh.path("collector.yaml").display()
    );
    mesh.shows(&apply).await;

    // As page 7.1 patches it.
    trace_to(&mesh, r#"{"enable":true,"address":"collector.tracing","port":9411,"endpoint":"/api/v2/spans"}"#).await;
    let zipkin = whole_trace(&mesh, "/api/v2/spans", of_zipkin).await;
    assert_hops(&zipkin);
    // Zipkin's way: a server's span is its client's.
    assert_eq!((&zipkin[1].id, &zipkin[3].id), (&zipkin[0].id, &zipkin[2].id), "{zipkin:#?}");
    assert_eq!(zipkin[2].parent, zipkin[1].id, "{zipkin:#?}");

    trace_to(&mesh, r#"{"enable":true,"protocol":"otlp","address":"collector.tracing","port":9411,"endpoint":null}"#)
        .await;
    let otlp = whole_trace(&mesh, "/v1/traces", of_otlp).await;
    assert_hops(&otlp);
    for pair in otlp.windows(2) {
        assert_eq!(pair[1].parent, pair[0].id, "{otlp:#?}");
    }
}
