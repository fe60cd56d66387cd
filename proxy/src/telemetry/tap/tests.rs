#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::http::body::ResponseBody;
use crate::telemetry::fixtures::session;
use crate::telemetry::observe::Observe;
use crate::telemetry::record::Record;
use crate::telemetry::{Direction, Telemetry};
use http::{Request, Response};
use serde_json::Value;

fn request(telemetry: &Arc<Telemetry>, target: &str, status: u16) {
    let request = Request::builder().uri(target).header("host", "pay.shop").header("user-agent", "x\ny").body(());
    let Ok(request) = request.or_else(|_| Request::builder().uri(target).header("host", "pay.shop").body(())) else {
        panic!("{target}")
    };
    let session = || session(telemetry, Some("web.shop.cluster.local"));
    let observe = Arc::new(Observe::default());
    let record = Record::begin(telemetry, Some(&observe), Direction::Inbound, &request, false, session);
    let mut response = Response::new(ResponseBody::full("denied"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    record.answered(&mut response, false);
}

#[test]
fn while_nobody_watches_nothing_is_written_down() {
    let telemetry = Arc::new(Telemetry::new());
    let observe = Arc::new(Observe::default());
    let request = Request::new(());
    let begin = || {
        Record::begin(&telemetry, Some(&observe), Direction::Inbound, &request, false, || {
            panic!("nobody wants to know")
        })
    };
    assert!(!begin().is_kept());
    let watch = telemetry.observers.tap.watch(Filter::default()).unwrap();
    assert!(telemetry.observers.tap.is_watched());
    drop(watch);
    // Who has gone is noticed with the next request.
    self::request(&telemetry, "/", 200);
    assert!(!begin().is_kept());
}

#[test]
fn a_watcher_sees_requests_as_lines_without_secrets() {
    let telemetry = Arc::new(Telemetry::new());
    let mut watch = telemetry.observers.tap.watch(Filter::default()).unwrap();
    request(&telemetry, "/pay?token=s3cret&a=1", 403);
    let line = watch.lines.try_recv().unwrap();
    assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
    let shown: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(shown["path"], "/pay?token=[hidden]&a=1");
    assert_eq!((&shown["status"], &shown["identity"]), (&403.into(), &"web.shop.cluster.local".into()));
    assert_eq!((&shown["host"], &shown["responseBytes"]), (&"pay.shop".into(), &6.into()));
    assert!(shown.get("reason").is_none() && !line.contains("s3cret"));
}

#[test]
fn everything_that_a_filter_names_must_hold() {
    let telemetry = Arc::new(Telemetry::new());
    let some = |text: &str| Some(text.to_owned());
    let filter = Filter {
        direction: some("inbound"),
        method: some("get"),
        path: some("/pay"),
        status: Some("5xx".parse().unwrap()),
        to: some("shop"),
        from: some("web.shop"),
        reason: None,
    };
    let mut watch = telemetry.observers.tap.watch(filter.clone()).unwrap();
    let mut other = telemetry.observers.tap.watch(Filter { direction: some("outbound"), ..filter }).unwrap();
    for (target, status) in [("/pay/1", 503), ("/pay/2", 499), ("/other", 503)] {
        request(&telemetry, target, status);
    }
    let line = watch.lines.try_recv().unwrap();
    assert!(line.contains("/pay/1"), "{line}");
    assert!(watch.lines.try_recv().is_err() && other.lines.try_recv().is_err());
}

#[test]
fn a_slow_watcher_loses_lines_and_is_told() {
    let telemetry = Arc::new(Telemetry::new());
    let watch = telemetry.observers.tap.watch(Filter::default()).unwrap();
    for _ in 0..limits::TAP_QUEUE + 5 {
        request(&telemetry, "/", 200);
    }
    assert_eq!((watch.lines.len(), watch.lost(), watch.lost()), (limits::TAP_QUEUE, 5, 0));
}

#[test]
fn there_is_a_limit_of_watchers() {
    let tap = Tap::default();
    let watching: Vec<_> = (0..limits::TAP_WATCHERS).map(|_| tap.watch(Filter::default()).unwrap()).collect();
    assert!(tap.watch(Filter::default()).is_err());
    drop(watching);
    assert!(tap.watch(Filter::default()).is_ok());
}

#[test]
fn statuses_are_one_a_class_or_a_range() {
    let contains =
        |text: &str, status| text.parse::<Statuses>().unwrap().contain(StatusCode::from_u16(status).unwrap());
    assert!(contains("503", 503) && !contains("503", 504));
    assert!(contains("4xx", 499) && !contains("4xx", 500));
    assert!(contains("500-504", 502) && !contains("500-504", 505));
    for wrong in ["", "x", "50", "5x", "0xx", "504-500", "1e3"] {
        assert!(wrong.parse::<Statuses>().is_err(), "{wrong}");
    }
}
