//! What httpbin answers to what. Pure.

use crate::programs::serve::Reply;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// httpbin's own limit for `/delay`.
const LONGEST_DELAY: f64 = 10.0;

/// httpbin's own limit for `/bytes`.
const MOST_BYTES: usize = 100 << 10;

/// httpbin's own limit for `/stream`.
const MOST_LINES: usize = 100;

/// A request with its whole body.
pub(super) struct Asked {
    head: Parts,
    body: Bytes,
    origin: IpAddr,
}

impl Asked {
    pub(super) fn new(head: Parts, body: Bytes, origin: IpAddr) -> Self {
        // A dual-stack listener shows IPv4 clients as IPv6 ones.
        Self { head, body, origin: origin.to_canonical() }
    }

    pub(super) fn method(&self) -> &str {
        self.head.method.as_str()
    }

    pub(super) fn target(&self) -> &str {
        self.head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
    }

    /// How long the answer waits, for `/delay/SECONDS`.
    pub(super) fn delay(&self) -> Option<Duration> {
        let seconds: f64 = self.head.uri.path().strip_prefix("/delay/")?.parse().ok()?;
        (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST_DELAY)))
    }

    pub(super) fn answer(&self) -> Reply {
        let path = self.head.uri.path();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (self.method(), parts.as_slice()) {
            (_, ["status", codes]) => self.status_of(codes),
            (_, ["anything", ..] | ["delay", _]) => json_reply(&self.everything(true)),
            ("GET" | "HEAD", [only]) => self.answer_get(only),
            ("POST", ["post"]) | ("PUT", ["put"]) | ("PATCH", ["patch"]) | ("DELETE", ["delete"]) => {
                json_reply(&self.everything(false))
            }
            ("GET", ["bytes", number]) => bytes_reply(number),
            ("GET", ["stream", number]) => self.stream(number),
            ("GET", ["redirect" | "relative-redirect", number]) => redirect(number),
            ("GET", ["basic-auth", user, password]) => self.basic_auth(user, password),
            (_, ["get" | "headers" | "ip" | "post" | "put" | "patch" | "delete"]) => status(405),
            _ => status(404),
        }
    }

    fn answer_get(&self, name: &str) -> Reply {
        match name {
            "" => html(&index()),
            "get" => json_reply(&self.request()),
            "headers" => json_reply(&json!({"headers": self.headers()})),
            "ip" => json_reply(&json!({"origin": self.origin()})),
            "user-agent" => json_reply(&json!({"user-agent": self.text(&USER_AGENT)})),
            // As go-httpbin has it: which of several pods this is.
            "hostname" => json_reply(&json!({"hostname": std::env::var("HOSTNAME").unwrap_or_default()})),
            "uuid" => json_reply(&json!({"uuid": random_uuid()})),
            "cookies" => json_reply(&json!({"cookies": self.cookies()})),
            "response-headers" => self.response_headers(),
            "redirect-to" => match self.arguments().get("url").and_then(Value::as_str) {
                Some(url) => located(url),
                None => status(400),
            },
            "json" => json_reply(&json!({"slideshow": {"title": "Sample Slide Show", "slides": []}})),
            "post" | "put" | "patch" | "delete" => status(405),
            "html" => html("<h1>A page</h1>\n<p>It has nothing to say.</p>\n"),
            _ => status(404),
        }
    }

    /// What `/get` shows.
    fn request(&self) -> Value {
        json!({"args": self.arguments(), "headers": self.headers(), "origin": self.origin(), "url": self.url()})
    }

    /// What `/post` and `/anything` show.
    fn everything(&self, with_method: bool) -> Value {
        let mut shown = self.request();
        let text = String::from_utf8_lossy(&self.body).into_owned();
        let content_type = self.text(&CONTENT_TYPE);
        let is_form = content_type.starts_with("application/x-www-form-urlencoded");
        let form = if is_form { pairs(&text) } else { Map::new() };
        shown["json"] = serde_json::from_slice(&self.body).unwrap_or(Value::Null);
        shown["data"] = Value::String(if is_form { String::new() } else { text });
        shown["form"] = Value::Object(form);
        shown["files"] = json!({});
        if with_method {
            shown["method"] = json!(self.method());
        }
        sorted(shown)
    }

    fn arguments(&self) -> Map<String, Value> {
        pairs(self.head.uri.query().unwrap_or_default())
    }

    /// Names as httpbin writes them, in alphabetical order; values of repeated headers are joined by commas.
    fn headers(&self) -> Value {
        let mut headers = std::collections::BTreeMap::<String, String>::new();
        for (name, value) in &self.head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let shown = headers.entry(title_case(name)).or_default();
            if !shown.is_empty() {
                shown.push(',');
            }
            shown.push_str(&value);
        }
        if let Some(authority) = self.head.uri.authority() {
            headers.entry("Host".to_owned()).or_insert_with(|| authority.to_string());
        }
        json!(headers)
    }

    fn origin(&self) -> String {
        match self.head.headers.get("x-forwarded-for") {
            Some(forwarded) => String::from_utf8_lossy(forwarded.as_bytes()).into_owned(),
            None => self.origin.to_string(),
        }
    }

    fn url(&self) -> String {
        let host = match self.head.uri.authority() {
            Some(authority) => authority.to_string(),
            None => self.text(&HOST),
        };
        let scheme = self.head.headers.get("x-forwarded-proto").and_then(|scheme| scheme.to_str().ok());
        format!("{}://{host}{}", scheme.unwrap_or("http"), self.target())
    }

    fn text(&self, name: &HeaderName) -> String {
        self.head
            .headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default()
    }

    fn cookies(&self) -> Map<String, Value> {
        let cookies = self.text(&COOKIE);
        let pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), json!(value))).collect()
    }

    /// One of several codes with weights: `/status/200:3,500:1`. Chosen by the clock: no state, no dependency.
    fn status_of(&self, codes: &str) -> Reply {
        let mut choices = Vec::new();
        for code in codes.split(',') {
            let (code, weight) = code.split_once(':').unwrap_or((code, "1"));
            match (code.parse::<u16>(), weight.parse::<f64>()) {
                (Ok(code), Ok(weight)) if (200..1000).contains(&code) && weight >= 0.0 => choices.push((code, weight)),
                _ => return status(400),
            }
        }
        let total: f64 = choices.iter().map(|(_, weight)| weight).sum();
        let mut point = random_fraction() * total;
        for (code, weight) in &choices {
            point -= weight;
            if point < 0.0 {
                return status(*code);
            }
        }
        status(choices.last().map_or(400, |(code, _)| *code))
    }

    fn response_headers(&self) -> Reply {
        let arguments = self.arguments();
        let mut reply = json_reply(&Value::Object(arguments.clone()));
        for (name, value) in &arguments {
            let value = value.as_str().unwrap_or_default();
            let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
                return status(400);
            };
            reply.headers_mut().append(name, value);
        }
        reply
    }

    fn stream(&self, number: &str) -> Reply {
        let Ok(lines) = number.parse::<usize>() else { return status(404) };
        let lines = (0..lines.min(MOST_LINES)).map(|id| {
            let mut shown = self.request();
            shown["id"] = json!(id);
            format!("{shown}\n")
        });
        let mut reply = Response::new(Full::new(Bytes::from(lines.collect::<String>())));
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        reply
    }

    fn basic_auth(&self, user: &str, password: &str) -> Reply {
        let wanted = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
        if self.text(&http::header::AUTHORIZATION) == wanted {
            return json_reply(&json!({"authenticated": true, "user": user}));
        }
        let mut reply = status(401);
        reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Fake Realm\""));
        reply
    }
}

/// An answer of a status alone. Codes that are none become 400.
pub(super) fn status(code: u16) -> Reply {
    let mut reply = html("");
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
    if (300..400).contains(&code) && code != 304 {
        reply.headers_mut().insert(LOCATION, HeaderValue::from_static("/redirect/1"));
    }
    reply
}

fn html(text: &str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(text.to_owned())));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    reply
}

fn index() -> String {
    "<h1>httpbin</h1>\n<p>A small one, built into fsm: /get /post /anything /headers /ip /user-agent /uuid /status/200 \
     /delay/1 /bytes/100 /stream/3 /response-headers?name=value /redirect/1 /cookies /basic-auth/user/password</p>\n"
        .to_owned()
}

fn json_reply(value: &Value) -> Reply {
    let text = format!("{:#}\n", sorted(value.clone()));
    let mut reply = Response::new(Full::new(Bytes::from(text)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

fn bytes_reply(number: &str) -> Reply {
    let Ok(number) = number.parse::<usize>() else { return status(404) };
    let pattern: Vec<u8> = (0..number.min(MOST_BYTES)).map(|index| (index * 131 % 251) as u8).collect();
    let mut reply = Response::new(Full::new(Bytes::from(pattern)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    reply
}

fn redirect(number: &str) -> Reply {
    match number.parse::<u32>() {
        Ok(0) => status(404),
        Ok(1) => located("/get"),
        Ok(number) => located(&format!("/relative-redirect/{}", number - 1)),
        Err(_) => status(404),
    }
}

fn located(url: &str) -> Reply {
    let Ok(url) = HeaderValue::try_from(url) else { return status(400) };
    let mut reply = status(302);
    reply.headers_mut().insert(LOCATION, url);
    reply
}

/// httpbin sorts the keys of its objects.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> =
                map.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        other => other,
    }
}

/// `a=1&b=2`; a name that comes again gets a list, as in httpbin.
fn pairs(text: &str) -> Map<String, Value> {
    let mut map = Map::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name), json!(decoded(value)));
        match map.get_mut(&name) {
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = json!([first.clone(), value]),
            None => drop(map.insert(name, value)),
        }
    }
    map
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code =
            code.filter(|digits| !digits.starts_with('+')).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], code) {
            (b'%', Some(code)) => {
                plain.push(code);
                at += 3;
                continue;
            }
            (b'+', _) => plain.push(b' '),
            (byte, _) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// `user-agent` → `User-Agent`.
fn title_case(name: &HeaderName) -> String {
    let part = |part: &str| {
        let mut letters = part.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    name.as_str().split('-').map(part).collect::<Vec<String>>().join("-")
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * index) & 63) as usize];
            text.push(if index <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

fn random_fraction() -> f64 {
    (random_bits() >> 11) as f64 / (1_u64 << 53) as f64
}

fn random_uuid() -> String {
    let (a, b) = (random_bits(), random_bits());
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}

/// The standard library's hasher keys are random for each use.
fn random_bits() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
