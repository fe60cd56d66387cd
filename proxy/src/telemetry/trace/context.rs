//! Trace context in headers: B3 (one header or several) and W3C `traceparent`, read and written in the form that came.
//!
//! Total: what is malformed is no context. Nothing here decides about sampling.

use crate::telemetry::noted::TraceHeaders;
use http::{HeaderMap, HeaderName, HeaderValue};

const B3: HeaderName = HeaderName::from_static("b3");
const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Which headers carried a context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    /// `x-b3-…`
    pub b3_multi: bool,
    /// `b3`
    pub b3_single: bool,
    /// `traceparent`
    pub w3c: bool,
}

impl Forms {
    /// Whether there was none.
    pub const fn is_empty(self) -> bool {
        !(self.b3_multi || self.b3_single || self.w3c)
    }
}

/// The identifier of a trace: 128 bits, or 64 from older senders, which are written as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId {
    /// The number.
    pub value: u128,
    /// Written with 16 digits instead of 32.
    pub short: bool,
}

/// What a caller has said about the trace that a request belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// The trace.
    pub trace: Option<TraceId>,
    /// The caller's span.
    pub span: Option<u64>,
    /// The parent of the caller's span (B3 only).
    pub parent: Option<u64>,
    /// Whether the caller records it; `None` leaves the decision to us.
    pub sampled: Option<bool>,
    /// Which headers said so.
    pub forms: Forms,
}

/// What a request is sent on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span that the receiver's spans are children of.
    pub span: u64,
    /// Its parent.
    pub parent: Option<u64>,
    /// Whether it is recorded.
    pub sampled: bool,
}

impl Incoming {
    /// Reads the context of a request. Where several forms disagree, `b3` wins over `x-b3-…`, and those over
    /// `traceparent`; with `w3c_first` it is the other way round.
    pub fn read(headers: &TraceHeaders<'_>, w3c_first: bool) -> Self {
        if !headers.any {
            return Self::default();
        }
        if headers.is_decision_only() {
            // What a sidecar says of the 99 in a hundred that are not recorded.
            let sampled = text(headers.sampled).and_then(decision);
            let forms = Forms { b3_multi: sampled.is_some(), ..Forms::default() };
            return Self { sampled, forms, ..Self::default() };
        }
        let (single, multi, w3c) = (read_single(headers), read_multi(headers), read_w3c(headers));
        let forms = Forms { b3_multi: multi.is_some(), b3_single: single.is_some(), w3c: w3c.is_some() };
        let chosen = if w3c_first { w3c.or(single).or(multi) } else { single.or(multi).or(w3c) };
        Self { forms, ..chosen.unwrap_or_default() }
    }
}

fn text(value: Option<&HeaderValue>) -> Option<&str> {
    value?.to_str().ok()
}

fn read_single(headers: &TraceHeaders<'_>) -> Option<Incoming> {
    let text = text(headers.b3)?;
    let mut parts = text.split('-');
    let first = parts.next()?;
    if let Some(sampled) = decision(first) {
        return (text.len() == 1).then(|| Incoming { sampled: Some(sampled), ..Incoming::default() });
    }
    let (trace, span) = (trace_id(first)?, span_id(parts.next()?)?);
    let sampled = parts.next().map_or(Some(None), |word| decision(word).map(Some))?;
    let parent = parts.next().map_or(Some(None), |word| span_id(word).map(Some))?;
    Some(Incoming { trace: Some(trace), span: Some(span), parent, sampled, forms: Forms::default() })
}

fn read_multi(headers: &TraceHeaders<'_>) -> Option<Incoming> {
    let trace = text(headers.trace_id).and_then(trace_id);
    let debug = text(headers.flags).is_some_and(|flags| flags == "1");
    let sampled = if debug { Some(true) } else { text(headers.sampled).and_then(decision) };
    if trace.is_none() && sampled.is_none() {
        return None;
    }
    let of_trace = |id| trace.and_then(|_| text(id).and_then(span_id));
    let (span, parent) = (of_trace(headers.span_id), of_trace(headers.parent_id));
    Some(Incoming { trace, span, parent, sampled, forms: Forms::default() })
}

/// W3C Trace Context §3.2: `version-trace-parent-flags`; versions to come may have more behind.
fn read_w3c(headers: &TraceHeaders<'_>) -> Option<Incoming> {
    let text = text(headers.traceparent)?;
    let mut parts = text.split('-');
    let version = hex(parts.next()?, 2)?;
    let trace = parts.next().filter(|word| word.len() == 32).and_then(trace_id)?;
    let span = span_id(parts.next()?)?;
    let flags = hex(parts.next()?, 2)?;
    let whole = version != 0xff && (version > 0 || parts.next().is_none());
    whole.then(|| Incoming {
        trace: Some(trace),
        span: Some(span),
        parent: None,
        sampled: Some(flags & 1 == 1),
        forms: Forms::default(),
    })
}

fn decision(word: &str) -> Option<bool> {
    match word {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

fn hex(word: &str, digits: usize) -> Option<u64> {
    let fits = word.len() == digits && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| u64::from_str_radix(word, 16).ok()).flatten()
}

/// FSM's sidecars since 1.3.6 write span ids of 32 digits, which no specification knows; the lower half identifies them.
fn span_id(word: &str) -> Option<u64> {
    let word = if word.len() == 32 && word.is_ascii() { &word[16..] } else { word };
    hex(word, 16).filter(|id| *id != 0)
}

fn trace_id(word: &str) -> Option<TraceId> {
    let fits = matches!(word.len(), 16 | 32) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = fits.then(|| u128::from_str_radix(word, 16).ok()).flatten().filter(|id| *id != 0)?;
    Some(TraceId { value, short: word.len() == 16 })
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.short { write!(f, "{:016x}", self.value) } else { write!(f, "{:032x}", self.value) }
    }
}

/// Tells the next hop that a trace which begins here is not recorded, and nothing else of it: B3 knows a decision without a
/// trace. (`traceparent` does not.)
pub fn write_refusal(headers: &mut HeaderMap) {
    headers.insert(SAMPLED, HeaderValue::from_static("0"));
}

/// Marks identifiers that pass as they came: the next hop's never come again, so HPACK's table is to keep none of them.
pub fn keep_out_of_tables(headers: &mut HeaderMap) {
    for name in [TRACE_ID, SPAN_ID, PARENT_ID, B3, TRACEPARENT] {
        if let Some(value) = headers.get_mut(name) {
            value.set_sensitive(true);
        }
    }
}

impl Context {
    /// Writes the context into a request, in every one of these forms.
    pub fn write(&self, headers: &mut HeaderMap, forms: Forms) {
        let sampled = if self.sampled { "1" } else { "0" };
        if forms.b3_multi {
            let trace = digits::<32>(self.trace.value);
            insert(headers, TRACE_ID, if self.trace.short { &trace[16..] } else { &trace });
            insert(headers, SPAN_ID, &digits::<16>(self.span.into()));
            match self.parent {
                Some(parent) => insert(headers, PARENT_ID, &digits::<16>(parent.into())),
                None => drop(headers.remove(PARENT_ID)),
            }
            headers.insert(SAMPLED, HeaderValue::from_static(sampled));
        }
        if forms.b3_single {
            let parent = self.parent.map(|parent| format!("-{parent:016x}")).unwrap_or_default();
            insert(headers, B3, format!("{}-{:016x}-{sampled}{parent}", self.trace, self.span).as_bytes());
        }
        if forms.w3c {
            let flags = u8::from(self.sampled);
            let value = format!("00-{:032x}-{:016x}-{flags:02x}", self.trace.value, self.span);
            insert(headers, TRACEPARENT, value.as_bytes());
        }
    }
}

/// A number in hexadecimal digits, without the machinery of formatting: every request of a traced mesh has some.
pub(in crate::telemetry) fn digits<const COUNT: usize>(mut number: u128) -> [u8; COUNT] {
    let mut digits = [b'0'; COUNT];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
    digits
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    // Hexadecimal digits and hyphens always make a header value.
    if let Ok(mut value) = HeaderValue::from_bytes(value) {
        // It never comes again: HPACK's table keeps what may.
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
