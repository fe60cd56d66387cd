#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{LogControl, LogError, QUEUE_LINES, build, line};
use crate::options::{LogFormat, LogLevel};
use parking_lot::Mutex;
use std::io::{self, Write};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tracing::{debug, error, info, warn};

const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `work` logs.
fn logged(format: LogFormat, level: LogLevel, work: impl FnOnce(&LogControl)) -> String {
    let page = Page::default();
    let (subscriber, control) = build(level, format, Box::new(page.clone())).unwrap();
    tracing::subscriber::with_default(subscriber, || work(&control));
    assert!(control.flush(PATIENCE));
    String::from_utf8(page.0.lock().clone()).unwrap()
}

#[test]
fn text_lines_look_like_those_of_pipy() {
    let text = logged(LogFormat::Text, LogLevel::Info, |_| {
        info!(port = 8080, service = "shop/pay", "opened");
    });
    let (time, rest) = text.split_once(" [INF] ").unwrap();
    assert_eq!(rest, "opened port=8080 service=shop/pay\n");
    let pattern = regex::Regex::new(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}$").unwrap();
    assert!(pattern.is_match(time), "{time}");
}

#[test]
fn values_from_outside_cannot_forge_a_line_or_drive_the_terminal() {
    let evil = "x\n2026-03-02 09:14:07.512 [INF] forged\r\u{1b}[2J\u{202e}\u{85}\u{2028}";
    let text = logged(LogFormat::Text, LogLevel::Info, |_| {
        warn!(host = evil, shown = %evil, debug = ?evil, "refused {evil}");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.ends_with('\n'));
    let inside = text.trim_end_matches('\n');
    assert!(!inside.chars().any(char::is_control) && !inside.contains(['\u{202e}', '\u{2028}']), "{inside:?}");
    assert!(inside.contains("\\n2026-03-02") && inside.contains("\\u{1b}[2J"), "{inside:?}");
}

#[test]
fn a_value_with_spaces_or_quotes_is_quoted_and_cannot_pass_for_another_field() {
    let text = logged(LogFormat::Text, LogLevel::Info, |_| {
        info!(a = "x reason=none", b = "say \"hi\"", c = "", d = ?"q", "m");
    });
    assert!(text.ends_with("m a=\"x reason=none\" b=\"say \\\"hi\\\"\" c=\"\" d=\"q\"\n"), "{text}");
}

#[test]
fn json_lines_are_objects_and_fields_cannot_replace_the_lines_own() {
    let text = logged(LogFormat::Json, LogLevel::Info, |_| {
        let cause: Box<dyn std::error::Error + 'static> = "broken\npipe".into();
        error!(port = 8080, ok = true, level = "fake", cause = &*cause, "it\u{1b}failed");
    });
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(line["port"], 8080);
    assert_eq!(line["ok"], true);
    assert_eq!(line["message"], "it\\u{1b}failed");
    assert_eq!(line["cause"], "broken\\npipe");
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn the_level_changes_while_the_program_runs() {
    let text = logged(LogFormat::Text, LogLevel::Info, |control| {
        debug!("one");
        control.set("debug").unwrap();
        debug!("two");
        control.set("error").unwrap();
        warn!("three");
        control.set("disabled").unwrap();
        error!("four");
        assert_eq!(control.get(), LogLevel::Disabled);
    });
    let messages: Vec<&str> = text.lines().map(|line| line.rsplit_once(' ').unwrap().1).collect();
    assert_eq!(messages, ["two"]);
}

#[test]
fn libraries_are_heard_from_warn_on() {
    let text = logged(LogFormat::Text, LogLevel::Trace, |_| {
        debug!(target: "h2::codec", "frame");
        warn!(target: "h2::codec", "odd frame");
    });
    assert!(text.ends_with("[WRN] odd frame\n"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn an_unknown_level_is_refused_and_changes_nothing() {
    let (_subscriber, control) = build(LogLevel::Warn, LogFormat::Text, Box::new(io::sink())).unwrap();
    let error = control.set("loud\n").unwrap_err();
    assert!(matches!(&error, LogError::UnknownLevel(level) if level == "loud\n"));
    assert!(!error.to_string().contains('\n'));
    assert_eq!(control.get(), LogLevel::Warn);
}

#[test]
fn huge_values_are_cut() {
    let huge = "ä".repeat(1 << 20);
    for format in [LogFormat::Text, LogFormat::Json] {
        let text = logged(format, LogLevel::Info, |_| {
            info!(value = huge, shown = %huge, "{huge}");
        });
        assert!(text.len() <= 4 * line::MAX_LINE_BYTES, "{}", text.len());
        assert_eq!(text.lines().count(), 1);
    }
}

/// A sink that says when it was first written to and then waits for permission.
struct Stuck {
    reached: Option<mpsc::Sender<()>>,
    release: mpsc::Receiver<()>,
    page: Page,
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(reached) = self.reached.take() {
            reached.send(()).unwrap();
            self.release.recv().unwrap();
        }
        self.page.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_sink_costs_lines_but_never_time_and_the_loss_is_reported() {
    let (reached_sender, reached) = mpsc::channel();
    let (release, release_receiver) = mpsc::channel();
    let page = Page::default();
    let sink = Stuck { reached: Some(reached_sender), release: release_receiver, page: page.clone() };
    let (subscriber, control) = build(LogLevel::Info, LogFormat::Text, Box::new(sink)).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        info!("first");
        reached.recv_timeout(PATIENCE).unwrap();
        // The writer hangs in the first line: the queue takes the next ones and loses ten.
        for number in 0..QUEUE_LINES + 10 {
            info!(number, "next");
        }
        assert_eq!(control.dropped(), 10);
        assert!(!control.flush(Duration::from_millis(1)));
        release.send(()).unwrap();
    });
    assert!(control.flush(PATIENCE));
    let text = String::from_utf8(page.0.lock().clone()).unwrap();
    assert_eq!(text.matches(" next number=").count(), QUEUE_LINES);
    assert!(text.contains("log lines were lost because the log could not be written fast enough count=10"));
}

#[test]
fn a_sink_that_fails_is_counted_and_does_not_end_the_log() {
    struct Broken(u32, Page);
    impl Write for Broken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            match self.0 {
                1..=2 => Err(io::ErrorKind::StorageFull.into()),
                _ => self.1.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let page = Page::default();
    let sink = Box::new(Broken(0, page.clone()));
    let (subscriber, control) = build(LogLevel::Info, LogFormat::Text, sink).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        info!("lost");
        info!("kept");
    });
    assert!(control.flush(PATIENCE));
    let text = String::from_utf8(page.0.lock().clone()).unwrap();
    assert_eq!(control.dropped(), 1);
    assert!(text.contains("] kept\n") && !text.contains("] lost\n"), "{text}");
}
