#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::config::compile::{Environment, compile};
use crate::config::snapshot::Snapshot;
use crate::telemetry::access_log::{Format, Sink};
use crate::telemetry::families::Buckets;
use crate::telemetry::trace::Protocol;
use fsm_api::config::{AccessLog, Config, Metrics, RemoteLogging, Tracing};
use std::sync::Arc;

fn compiled(change: impl FnOnce(&mut fsm_api::config::Observability)) -> Snapshot {
    let mut document = Config::default();
    change(&mut document.spec.observability);
    compile(Arc::new(document), Vec::new(), None, Environment::default())
}

fn problems(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.problems.iter().map(|problem| problem.path.as_str()).collect()
}

#[test]
fn without_settings_nothing_is_told() {
    let snapshot = compiled(|_| ());
    let observe = &snapshot.observe;
    assert!(observe.trace.is_none() && observe.tracing.is_none() && observe.access_log.is_none());
    assert_eq!((observe.buckets, observe.pods), (Buckets::Fsm, false));
}

#[test]
fn tracing_is_zipkin_with_fsms_path_unless_it_says_otherwise() {
    let tracing = |protocol: &str, endpoint: &str| Tracing {
        protocol: protocol.to_owned(),
        address: "jaeger.fsm-system:9411".to_owned(),
        endpoint: endpoint.to_owned(),
        sampled_fraction: Some(0.5),
    };
    let url = |wanted: Tracing| {
        let snapshot = compiled(|observability| observability.tracing = Some(wanted));
        let tracing = snapshot.observe.tracing.clone().unwrap();
        (tracing.protocol, tracing.collector.url(), snapshot.observe.trace.unwrap())
    };
    let (protocol, address, rules) = url(tracing("", ""));
    assert_eq!((protocol, address.as_str()), (Protocol::Zipkin, "http://jaeger.fsm-system:9411/api/v2/spans"));
    assert!(rules.shared && rules.forms.b3_multi && rules.threshold == Some(1 << 63));
    let (protocol, address, rules) = url(tracing("otlp", ""));
    assert_eq!((protocol, address.as_str()), (Protocol::Otlp, "http://jaeger.fsm-system:9411/v1/traces"));
    assert!(!rules.shared && rules.forms.w3c);
    assert_eq!(url(tracing("zipkin", "/x?y=1")).1, "http://jaeger.fsm-system:9411/x?y=1");

    let wrong = compiled(|observability| observability.tracing = Some(tracing("jaeger", "")));
    assert_eq!(problems(&wrong), ["Spec.Observability.tracing.protocol"]);
    assert!(wrong.observe.trace.is_none());
}

#[test]
fn a_collector_without_a_port_is_reported_and_off() {
    let tracing = Tracing { address: "jaeger".to_owned(), ..Tracing::default() };
    let logging = RemoteLogging { address: "x:0".to_owned(), ..RemoteLogging::default() };
    let snapshot = compiled(|observability| {
        observability.tracing = Some(tracing);
        observability.remote_logging = Some(logging);
    });
    assert_eq!(problems(&snapshot), ["Spec.Observability.tracing", "Spec.Observability.remoteLogging"]);
    assert!(snapshot.observe.tracing.is_none() && snapshot.observe.remote_log.is_none());
}

#[test]
fn an_authorization_that_is_no_header_is_reported_without_its_value() {
    let authorization = "s3cret\n".to_owned();
    let logging = RemoteLogging { address: "x:80".to_owned(), authorization, ..RemoteLogging::default() };
    let snapshot = compiled(|observability| observability.remote_logging = Some(logging));
    assert_eq!(problems(&snapshot), ["Spec.Observability.remoteLogging.authorization"]);
    assert!(!snapshot.problems[0].message.contains("s3cret"));
}

#[test]
fn the_remote_log_makes_trace_headers_from_level_one_on() {
    let of_level = |level| {
        let logging = RemoteLogging { level, address: "x:80".to_owned(), ..RemoteLogging::default() };
        compiled(|observability| observability.remote_logging = Some(logging)).observe.trace
    };
    assert!(of_level(0).is_none());
    assert!(of_level(1).is_some_and(|rules| !rules.always_new));
    assert!(of_level(2).is_some_and(|rules| rules.always_new));
}

#[test]
fn an_access_log_with_a_broken_template_is_json() {
    let log = |path: &str, format: &str, template: &str| AccessLog {
        path: path.to_owned(),
        format: format.to_owned(),
        template: template.to_owned(),
        ..AccessLog::default()
    };
    let of = |log: AccessLog| compiled(|observability| observability.access_log = Some(log));
    let plain = of(log("", "", ""));
    let compiled_log = plain.observe.access_log.as_ref().unwrap();
    assert!(matches!((&compiled_log.sink, &compiled_log.format), (Sink::Stdout, Format::Json)));
    let text = of(log("/var/log/fsm/access.log", "text", "{method} {path}"));
    assert!(matches!(text.observe.access_log.as_ref().unwrap().format, Format::Text(_)));
    assert!(text.problems.is_empty());
    let broken = of(log("", "text", "{method} {nonsense}"));
    assert_eq!(problems(&broken), ["Spec.Observability.accessLog.template"]);
    assert!(matches!(broken.observe.access_log.as_ref().unwrap().format, Format::Json));
    let nowhere = of(log("relative", "", ""));
    assert_eq!(problems(&nowhere), ["Spec.Observability.accessLog.path"]);
    assert!(nowhere.observe.access_log.is_none());
}

#[test]
fn metrics_have_presets() {
    let of = |buckets: &str| {
        let metrics = Metrics { buckets: buckets.to_owned(), pod_labels: true };
        compiled(|observability| observability.metrics = Some(metrics))
    };
    let fine = of("fine");
    assert_eq!((fine.observe.buckets, fine.observe.pods, fine.problems.len()), (Buckets::Fine, true, 0));
    assert_eq!(problems(&of("huge")), ["Spec.Observability.metrics.buckets"]);
}
