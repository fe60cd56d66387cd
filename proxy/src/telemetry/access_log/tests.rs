#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::http::body::ResponseBody;
use crate::http::reply::Refusal;
use crate::reason::Reason;
use crate::telemetry::fixtures::session;
use crate::telemetry::observe::Observe;
use crate::telemetry::record::Record;
use crate::telemetry::{Direction, Telemetry};
use http::{HeaderValue, Request, Response, StatusCode};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy that logs.
struct Logging {
    telemetry: Arc<Telemetry>,
    observe: Arc<Observe>,
}

impl Logging {
    fn new(sink: Sink, format: Format, errors_only: bool) -> Self {
        let log = AccessLog { sink, format, errors_only, threshold: None };
        let observe = Observe { access_log: Some(Arc::new(log)), ..Observe::default() };
        let telemetry = Arc::new(Telemetry::new());
        Self { telemetry, observe: Arc::new(observe) }
    }

    fn request(&self, path: &str, agent: &[u8], status: u16, refused: Option<Reason>) {
        let agent = HeaderValue::from_bytes(agent).unwrap();
        let request = Request::builder().uri(path).header("host", "pay").header("user-agent", agent).body(()).unwrap();
        self.handle(&request, status, refused);
    }

    fn handle(&self, request: &Request<()>, status: u16, refused: Option<Reason>) {
        let session = || session(&self.telemetry, Some("web.shop.cluster.local"));
        let mut record =
            Record::begin(&self.telemetry, Some(&self.observe), Direction::Inbound, request, false, session);
        if let Some(reason) = refused {
            record.refused(&Refusal::explained(reason, "because\nof this"));
        }
        let mut response = Response::new(ResponseBody::full("text"));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        record.answered(&mut response, false);
    }

    fn flush(&self) {
        assert!(self.telemetry.observers.access_log.flush(PATIENCE));
    }
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    (directory, path)
}

#[test]
fn each_request_is_a_line_of_json() {
    let (_directory, path) = file();
    let logging = Logging::new(Sink::File(path.clone()), Format::Json, false);
    logging.telemetry.observers.access_log.start().unwrap();
    logging.request("/pay?password=x&a=1", b"curl", 200, None);
    logging.request("/deny", b"curl", 403, Some(Reason::NoRoute));
    logging.flush();
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["path"], "/pay?password=[hidden]&a=1");
    assert_eq!((&lines[0]["status"], &lines[0]["responseBytes"]), (&200.into(), &4.into()));
    assert_eq!((&lines[1]["reason"], &lines[1]["detail"]), (&"no-route".into(), &"because\\nof this".into()));
    let time = lines[0]["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert_eq!(logging.telemetry.observers.access_log.counts().written.get(), 2);
}

#[test]
fn nobody_can_forge_a_line() {
    let (_directory, path) = file();
    let template = Template::parse("{method} {path} \"{userAgent}\" {status} {{x}} {reason}").unwrap();
    let logging = Logging::new(Sink::File(path.clone()), Format::Text(template), false);
    logging.telemetry.observers.access_log.start().unwrap();
    // HTTP lets neither CR nor LF through; tabs, bytes above 127 and whole escape sequences in UTF-8 it does.
    logging.request("/a", "x\u{9b}31m\u{202e}\t\u{2028}GET /b 200".as_bytes(), 200, None);
    logging.flush();
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert!(!text.trim_end().chars().any(|character| character.is_control() || character == '\u{202e}'), "{text:?}");
    assert!(text.starts_with("GET /a ") && text.ends_with(" 200 {x} -\n"), "{text}");
}

#[test]
fn the_host_of_a_request_over_http2_is_in_its_target() {
    let (_directory, path) = file();
    let template = Template::parse("{method} {host} {path}").unwrap();
    let logging = Logging::new(Sink::File(path.clone()), Format::Text(template), false);
    logging.telemetry.observers.access_log.start().unwrap();
    let request = Request::builder().version(http::Version::HTTP_2).uri("http://pay.shop:80/a?b=c").body(()).unwrap();
    logging.handle(&request, 200, None);
    logging.flush();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "GET pay.shop:80 /a?b=c\n");
}

#[test]
fn with_errors_only_what_went_well_is_not_logged() {
    let (_directory, path) = file();
    let logging = Logging::new(Sink::File(path.clone()), Format::Json, true);
    logging.telemetry.observers.access_log.start().unwrap();
    for status in [200, 302, 404, 503] {
        logging.request("/", b"curl", status, None);
    }
    logging.flush();
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 2);
}

#[test]
fn a_sink_that_is_slow_loses_lines_and_counts_them() {
    let (directory, _) = file();
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Opening a pipe that nobody reads from waits for ever: the slowest of all sinks.
    let logging = Logging::new(Sink::File(pipe), Format::Json, false);
    logging.telemetry.observers.access_log.start().unwrap();
    let started = Instant::now();
    let all = limits::ACCESS_LOG_QUEUE as u64 + 1_000;
    for _ in 0..all {
        logging.request("/", b"curl", 200, None);
    }
    let dropped = logging.telemetry.observers.access_log.counts().dropped.get();
    // But for those that the writer has in hand.
    assert!((900..=1_000).contains(&dropped), "{dropped}");
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn a_file_that_was_moved_away_is_begun_anew() {
    let (directory, path) = file();
    let sink = Sink::File(path.clone());
    let mut open = Open::new(&sink).unwrap();
    assert!(open.serves(&sink));
    std::fs::rename(&path, directory.path().join("old")).unwrap();
    open.checked = Instant::now().checked_sub(limits::ACCESS_LOG_REOPEN).unwrap();
    assert!(!open.serves(&sink));
    open.checked = Instant::now().checked_sub(limits::ACCESS_LOG_REOPEN).unwrap();
    let mut output = Output { open: Some(open), complained: false };
    output.try_write(&sink, "new\n").unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "new\n");
}

#[test]
fn a_sink_that_cannot_be_had_is_tried_again() {
    let (directory, _) = file();
    let path = directory.path().join("later").join("access.log");
    let sink = Sink::File(path.clone());
    let mut output = Output::default();
    assert!(output.try_write(&sink, "lost\n").is_err());
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    output.try_write(&sink, "kept\n").unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), "kept\n");
}

#[test]
fn templates_are_checked() {
    assert!(Template::parse(TEMPLATE).is_ok());
    assert_eq!(Template::parse("{no}").unwrap_err(), BadTemplate::Unknown("no".into()));
    assert_eq!(Template::parse("{method").unwrap_err(), BadTemplate::Open);
}

#[test]
fn the_documentation_lists_every_field() {
    const PAGE: &str = include_str!("../../../../docs/access-logs.md");
    let rows = fields::FIELDS.iter().map(|field| format!("| `{}` | ", field.name));
    let missing: Vec<_> = rows.filter(|row| !PAGE.contains(row)).collect();
    assert!(missing.is_empty(), "docs/access-logs.md lacks {missing:?}");
}
