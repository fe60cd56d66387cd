//! The headers of a request that traces and records look at, found in one pass over all of them: a search for each would cost
//! more than everything else that is done for a request that nobody wants to know of.

use super::record::texts::{Text, Texts};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri};

/// What a request says of itself, as far as somebody may want to know. Of headers that are there several times: the first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noted<'a> {
    /// `host`
    pub host: Option<&'a HeaderValue>,
    /// `user-agent`
    pub user_agent: Option<&'a HeaderValue>,
    /// `x-request-id`
    pub request_id: Option<&'a HeaderValue>,
    /// `x-forwarded-for`
    pub forwarded_for: Option<&'a HeaderValue>,
    /// What it says of its trace.
    pub trace: TraceHeaders<'a>,
}

/// The headers of trace contexts.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceHeaders<'a> {
    /// Whether there are any.
    pub any: bool,
    /// `b3`
    pub b3: Option<&'a HeaderValue>,
    /// `x-b3-traceid`
    pub trace_id: Option<&'a HeaderValue>,
    /// `x-b3-spanid`
    pub span_id: Option<&'a HeaderValue>,
    /// `x-b3-parentspanid`
    pub parent_id: Option<&'a HeaderValue>,
    /// `x-b3-sampled`
    pub sampled: Option<&'a HeaderValue>,
    /// `x-b3-flags`
    pub flags: Option<&'a HeaderValue>,
    /// `traceparent`
    pub traceparent: Option<&'a HeaderValue>,
}

impl<'a> Noted<'a> {
    /// Looks at all headers, once.
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut noted = Self::default();
        for (name, value) in headers {
            let trace = &mut noted.trace;
            let place = match name.as_str() {
                "host" => &mut noted.host,
                "user-agent" => &mut noted.user_agent,
                "x-request-id" => &mut noted.request_id,
                "x-forwarded-for" => &mut noted.forwarded_for,
                "b3" => trace.found(|trace| &mut trace.b3),
                "x-b3-traceid" => trace.found(|trace| &mut trace.trace_id),
                "x-b3-spanid" => trace.found(|trace| &mut trace.span_id),
                "x-b3-parentspanid" => trace.found(|trace| &mut trace.parent_id),
                "x-b3-sampled" => trace.found(|trace| &mut trace.sampled),
                "x-b3-flags" => trace.found(|trace| &mut trace.flags),
                "traceparent" => trace.found(|trace| &mut trace.traceparent),
                _ => continue,
            };
            place.get_or_insert(value);
        }
        noted
    }
}

impl<'a> Noted<'a> {
    /// Copies what records keep of a request to this target.
    pub fn copy(&self, target: &Uri, texts: &mut Texts) {
        let path = target.path_and_query().map_or("/", PathAndQuery::as_str);
        let bytes = |value: Option<&'a HeaderValue>| value.map(HeaderValue::as_bytes);
        let authority = || target.authority().map(|authority| authority.as_str().as_bytes());
        texts.fill([
            (Text::Target, Some(path.as_bytes())),
            (Text::Host, bytes(self.host).or_else(authority)),
            (Text::UserAgent, bytes(self.user_agent)),
            (Text::RequestId, bytes(self.request_id)),
            (Text::ForwardedFor, bytes(self.forwarded_for)),
        ]);
    }
}

impl<'a> TraceHeaders<'a> {
    /// Whether there is nothing but a decision (`x-b3-sampled`).
    pub const fn is_decision_only(&self) -> bool {
        self.b3.is_none() && self.trace_id.is_none() && self.traceparent.is_none() && self.flags.is_none()
    }

    fn found(&mut self, place: impl FnOnce(&mut Self) -> &mut Option<&'a HeaderValue>) -> &mut Option<&'a HeaderValue> {
        self.any = true;
        place(self)
    }
}
