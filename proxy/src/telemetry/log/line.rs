//! One event, one line.

use super::Queue;
use crate::options::LogFormat;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::fmt::{self, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Longest line; the rest is cut off and marked. Values from outside may be as long as a request header.
pub(super) const MAX_LINE_BYTES: usize = 8 << 10;

const CUT: &str = "…";

/// Turns events into lines and queues them.
pub(super) struct LineLayer {
    format: LogFormat,
    queue: Queue,
}

impl LineLayer {
    pub(super) fn new(format: LogFormat, queue: Queue) -> Self {
        Self { format, queue }
    }
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        let line = match self.format {
            LogFormat::Text => {
                let mut fields = TextFields::default();
                event.record(&mut fields);
                fields.line(level)
            }
            LogFormat::Json => {
                let mut fields = JsonFields::default();
                event.record(&mut fields);
                fields.line(level, event.metadata().target())
            }
        };
        self.queue.push(line);
    }
}

/// What the log says about itself after lines were lost.
pub(super) fn lost_lines(format: LogFormat, count: u64) -> String {
    const MESSAGE: &str = "log lines were lost because the log could not be written fast enough";
    match format {
        LogFormat::Text => TextFields { message: MESSAGE.into(), fields: format!(" count={count}") }.line(Level::WARN),
        LogFormat::Json => {
            let fields = Map::from_iter([("count".to_owned(), Value::from(count))]);
            JsonFields { message: MESSAGE.into(), fields, bytes: 0 }.line(Level::WARN, module_path!())
        }
    }
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// Pipy's spelling of the levels.
fn tag(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERR",
        Level::WARN => "WRN",
        Level::INFO => "INF",
        Level::DEBUG => "DBG",
        Level::TRACE => "TRC",
    }
}

#[derive(Default)]
struct TextFields {
    message: String,
    fields: String,
}

impl TextFields {
    fn line(self, level: Level) -> String {
        let mut line = format!("{} [{}] {}{}", now(), tag(level), self.message, self.fields);
        if line.len() > MAX_LINE_BYTES {
            line.truncate(line.floor_char_boundary(MAX_LINE_BYTES - CUT.len()));
            line.push_str(CUT);
        }
        line.push('\n');
        line
    }

    fn add(&mut self, field: &Field, value: &str, quoted_already: bool) {
        if field.name() == "message" {
            return escape_into(&mut self.message, value, false);
        }
        if self.fields.len() > MAX_LINE_BYTES {
            return;
        }
        self.fields.push(' ');
        escape_into(&mut self.fields, field.name(), false);
        self.fields.push('=');
        let plain = quoted_already || !(value.is_empty() || value.contains([' ', '"', '=', '\\']));
        if plain {
            return escape_into(&mut self.fields, value, false);
        }
        self.fields.push('"');
        escape_into(&mut self.fields, value, true);
        self.fields.push('"');
    }
}

impl Visit for TextFields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value, false);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, &error_chain(value), false);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = bounded(value);
        // `?text` arrives quoted and escaped by `Debug`.
        let quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
        self.add(field, &value, quoted);
    }
}

#[derive(Default)]
struct JsonFields {
    message: String,
    fields: Map<String, Value>,
    bytes: usize,
}

impl JsonFields {
    fn line(self, level: Level, target: &str) -> String {
        let mut object = Map::new();
        object.insert("time".into(), Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string().into());
        object.insert("level".into(), level.as_str().to_ascii_lowercase().into());
        object.insert("target".into(), target.into());
        object.insert("message".into(), self.message.into());
        for (name, value) in self.fields {
            // A field must not replace the line's own ones.
            object.entry(name).or_insert(value);
        }
        let mut line = Value::Object(object).to_string();
        line.push('\n');
        line
    }

    fn add(&mut self, field: &Field, value: Value) {
        self.bytes += field.name().len() + value.as_str().map_or(8, str::len);
        if self.bytes <= MAX_LINE_BYTES {
            self.fields.insert(field.name().to_owned(), value);
        }
    }

    fn add_text(&mut self, field: &Field, value: &str) {
        let cut = &value[..value.floor_char_boundary(MAX_LINE_BYTES / 2)];
        let mut text = String::with_capacity(cut.len());
        escape_into(&mut text, cut, false);
        if field.name() == "message" {
            self.message = text;
        } else {
            self.add(field, text.into());
        }
    }
}

impl Visit for JsonFields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add_text(field, &error_chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add_text(field, &bounded(value));
    }
}

/// `value` as text, no longer than a line.
fn bounded(value: &dyn fmt::Debug) -> String {
    struct Bounded(String);
    impl Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = MAX_LINE_BYTES - self.0.len();
            self.0.push_str(&text[..text.floor_char_boundary(room)]);
            // An error ends the formatting of a huge value early.
            if self.0.len() < MAX_LINE_BYTES - 4 { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut text = Bounded(String::new());
    let _ = write!(text, "{value:?}");
    text.0
}

fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&cause_text) {
            let _ = write!(text, ": {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Copies `text` so that it cannot end the line, move the terminal's cursor or change the direction of reading.
fn escape_into(target: &mut String, text: &str, inside_quotes: bool) {
    for character in text.chars() {
        match character {
            '\n' => target.push_str("\\n"),
            '\r' => target.push_str("\\r"),
            '\t' => target.push_str("\\t"),
            '"' | '\\' if inside_quotes => target.extend(['\\', character]),
            // Line and paragraph separators; marks that reverse the order of what follows ("trojan source").
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                target.extend(character.escape_unicode());
            }
            _ if character.is_control() => target.extend(character.escape_unicode()),
            _ => target.push(character),
        }
    }
}
