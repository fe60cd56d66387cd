//! A strict reader of HTTP/1 messages, for judging what a proxy sends.
//!
//! It accepts only what RFC 9112 leaves no doubt about. Real servers are more lenient, each in its own way, and that
//! is what request smuggling lives on: a proxy must not forward anything that this reader calls [`Malformed`].

use std::fmt;

/// A message that another reader might understand differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not one unambiguous HTTP/1 message: {}", self.0)
    }
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// `Content-Length`.
    Length(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The end of the connection (responses only).
    Close,
}

/// A request or a response.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Request line or status line.
    pub start: String,
    /// Header fields in order, names as received.
    pub headers: Vec<(String, String)>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// The first value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.headers, name).next()
    }

    /// All values of a header.
    pub fn values(&self, name: &str) -> Vec<&str> {
        field(&self.headers, name).collect()
    }

    /// The first value of a trailer.
    pub fn trailer(&self, name: &str) -> Option<&str> {
        field(&self.trailers, name).next()
    }

    /// Status code of a response.
    pub fn status(&self) -> u16 {
        self.start
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .unwrap_or_else(|| panic!("not a status line: {:?}", self.start))
    }

    /// Method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// Target of a request, as sent.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The proxy's reason, if the proxy itself answered.
    pub fn reason(&self) -> Option<&str> {
        self.header("x-fsm-reason")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the sender keeps the connection.
    pub fn keeps_alive(&self) -> bool {
        let closes = |value: &str| value.to_ascii_lowercase().contains("close");
        let version_keeps = !self.start.contains("HTTP/1.0");
        match self.header("connection") {
            Some(value) if closes(value) => false,
            Some(value) if value.to_ascii_lowercase().contains("keep-alive") => true,
            _ => version_keeps,
        }
    }
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> impl Iterator<Item = &'a str> {
    fields.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Reads a request's head, which includes the empty line.
pub(crate) fn request_head(head: &[u8]) -> Result<(Message, Framing), Malformed> {
    let message = head_of(head)?;
    let parts: Vec<&str> = message.start.split(' ').collect();
    let [method, target, version] = parts[..] else {
        return Err(Malformed(format!("request line {:?}", message.start)));
    };
    if !is_token(method) || target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Malformed(format!("request line {:?}", message.start)));
    }
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Err(Malformed(format!("version {version:?}")));
    }
    if version == "HTTP/1.1" && message.values("host").len() != 1 {
        return Err(Malformed("not exactly one host".to_owned()));
    }
    let framing = match declared(&message)? {
        Some(framing) => framing,
        None => Framing::None,
    };
    Ok((message, framing))
}

/// Reads a response's head, which includes the empty line. `method` is the request's.
pub(crate) fn response_head(head: &[u8], method: &str) -> Result<(Message, Framing), Malformed> {
    let message = head_of(head)?;
    let mut parts = message.start.splitn(3, ' ');
    let version = parts.next().unwrap_or_default();
    let code = parts.next().unwrap_or_default();
    if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(Malformed(format!("status line {:?}", message.start)));
    }
    let declared = declared(&message)?;
    let status = message.status();
    let bodiless = status < 200 || status == 204;
    // RFC 9112 §6.1, §6.2: neither header may be sent with these.
    if bodiless && declared.is_some() {
        return Err(Malformed(format!("a {status} response that declares a body")));
    }
    let framing =
        if bodiless || status == 304 || method == "HEAD" { Framing::None } else { declared.unwrap_or(Framing::Close) };
    Ok((message, framing))
}

/// Size of a chunk from its line, without CRLF.
pub(crate) fn chunk_size(line: &[u8]) -> Result<usize, Malformed> {
    let text = String::from_utf8_lossy(line);
    if text.is_empty() || text.len() > 8 || !line.iter().all(u8::is_ascii_hexdigit) {
        return Err(Malformed(format!("chunk size {text:?}")));
    }
    usize::from_str_radix(&text, 16).map_err(|_| Malformed(format!("chunk size {text:?}")))
}

/// One header or trailer line, without CRLF.
pub(crate) fn field_line(line: &[u8]) -> Result<(String, String), Malformed> {
    let text =
        std::str::from_utf8(line).map_err(|_| Malformed(format!("field {:?}", String::from_utf8_lossy(line))))?;
    let Some((name, value)) = text.split_once(':') else {
        return Err(Malformed(format!("field without colon: {text:?}")));
    };
    if !is_token(name) {
        return Err(Malformed(format!("field name {name:?}")));
    }
    if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(Malformed(format!("field value {value:?}")));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

fn head_of(head: &[u8]) -> Result<Message, Malformed> {
    let body = head.strip_suffix(b"\r\n\r\n").ok_or_else(|| Malformed("the head does not end".to_owned()))?;
    let mut lines = body.split(|&byte| byte == b'\n');
    let count = body.split(|&byte| byte == b'\n').count();
    let mut taken = 0;
    let mut next = || -> Result<Option<&[u8]>, Malformed> {
        let Some(line) = lines.next() else {
            return Ok(None);
        };
        taken += 1;
        let line = match line.strip_suffix(b"\r") {
            Some(line) => line,
            None if taken == count => line,
            None => return Err(Malformed("a bare line feed".to_owned())),
        };
        if line.contains(&b'\r') {
            return Err(Malformed("a bare carriage return".to_owned()));
        }
        Ok(Some(line))
    };
    let start = next()?.unwrap_or_default();
    let start = String::from_utf8(start.to_vec()).map_err(|_| Malformed("the start line is not text".to_owned()))?;
    let mut headers = Vec::new();
    while let Some(line) = next()? {
        headers.push(field_line(line)?);
    }
    Ok(Message { start, headers, ..Message::default() })
}

fn declared(message: &Message) -> Result<Option<Framing>, Malformed> {
    let encodings = message.values("transfer-encoding");
    let lengths = message.values("content-length");
    match (&encodings[..], &lengths[..]) {
        ([], []) => Ok(None),
        ([], [length]) => {
            if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Malformed(format!("content-length {length:?}")));
            }
            let length = length.parse().map_err(|_| Malformed(format!("content-length {length:?}")))?;
            Ok(Some(Framing::Length(length)))
        }
        ([encoding], []) => {
            if message.start.contains("HTTP/1.0") {
                return Err(Malformed("transfer-encoding in HTTP/1.0".to_owned()));
            }
            if !encoding.eq_ignore_ascii_case("chunked") {
                return Err(Malformed(format!("transfer-encoding {encoding:?}")));
            }
            Ok(Some(Framing::Chunked))
        }
        ([], _) => Err(Malformed(format!("several lengths {lengths:?}"))),
        (_, []) => Err(Malformed(format!("several encodings {encodings:?}"))),
        _ => Err(Malformed("both a length and an encoding".to_owned())),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
