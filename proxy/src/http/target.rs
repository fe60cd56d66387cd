//! What a request is for: one canonical host and one canonical path, used for routing, for policy *and* for what is
//! forwarded, so that no two parts of the mesh read the same request differently (CVE-2021-31920 and its kin).
//!
//! The path: percent-encoded unreserved characters are decoded and other escapes written in upper case (RFC 3986
//! §6.2.2), dot segments are resolved. Refused are targets that servers are known to read differently: dot segments
//! hidden behind encoded or backward slashes or before `;`, dot segments together with empty segments, encoded NUL and
//! broken escapes. Empty segments and encoded slashes by themselves stay as they are: applications use both.

use crate::limits;
use crate::reason::Reason;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use std::borrow::Cow;
use std::net::SocketAddr;

/// Brings a request's target into its canonical form: the URI keeps only path and query, `Host` says the rest.
///
/// Returns the host as a header value: `host` or `host:port` as the client wrote it, without user information. An
/// HTTP/1.0 request need not name one; it is for the address it was sent to (`destination`).
///
/// # Errors
/// [`Reason::BadHost`], [`Reason::BadPath`] or [`Reason::ConnectRefused`].
pub fn canonicalize<B>(request: &mut Request<B>, destination: SocketAddr) -> Result<HeaderValue, Reason> {
    if request.method() == Method::CONNECT {
        return Err(Reason::ConnectRefused);
    }
    let anonymous = request.version() == Version::HTTP_10
        && request.uri().authority().is_none()
        && !request.headers().contains_key(HOST);
    let host = if anonymous {
        HeaderValue::from_str(&destination.to_string()).map_err(|_| Reason::BadHost)?
    } else {
        host_of(request.uri(), request.headers())?
    };
    let uri = request.uri();
    let path = uri.path();
    if path.len() + uri.query().map_or(0, str::len) > limits::MAX_TARGET_BYTES {
        return Err(Reason::BadPath);
    }
    let asterisk = path == "*" && request.method() == Method::OPTIONS;
    let canonical = if asterisk { Cow::Borrowed(path) } else { canonical_path(path)? };
    let rewritten = match canonical {
        Cow::Borrowed(_) if uri.authority().is_none() => None,
        Cow::Borrowed(_) => uri.path_and_query().cloned(),
        Cow::Owned(path) => {
            let whole = match uri.query() {
                Some(query) => format!("{path}?{query}"),
                None => path,
            };
            Some(PathAndQuery::try_from(whole).map_err(|_| Reason::BadPath)?)
        }
    };
    if let Some(path_and_query) = rewritten {
        let mut parts = http::uri::Parts::default();
        parts.path_and_query = Some(path_and_query);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Reason::BadPath)?;
    }
    Ok(host)
}

/// The absolute form of a canonical target, as HTTP/2 needs it.
///
/// # Errors
/// [`Reason::BadHost`] when the host is no authority.
pub fn absolute(uri: &Uri, host: &HeaderValue, scheme: Scheme) -> Result<Uri, Reason> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(Authority::try_from(host.as_bytes()).map_err(|_| Reason::BadHost)?);
    parts.path_and_query = uri.path_and_query().cloned().or_else(|| Some(PathAndQuery::from_static("/")));
    Uri::from_parts(parts).map_err(|_| Reason::BadHost)
}

/// The one host a request names (RFC 9112 §3.2, RFC 9113 §8.3.1).
fn host_of(uri: &Uri, headers: &HeaderMap) -> Result<HeaderValue, Reason> {
    let mut hosts = headers.get_all(HOST).iter();
    let header = hosts.next();
    if hosts.next().is_some() {
        return Err(Reason::BadHost);
    }
    let Some(authority) = uri.authority() else {
        let header = header.ok_or(Reason::BadHost)?;
        return if is_host(header.as_bytes()) { Ok(header.clone()) } else { Err(Reason::BadHost) };
    };
    let host = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host);
    if let Some(header) = header
        && !header.as_bytes().eq_ignore_ascii_case(host.as_bytes())
    {
        return Err(Reason::BadHost);
    }
    if !is_host(host.as_bytes()) {
        return Err(Reason::BadHost);
    }
    HeaderValue::from_str(host).map_err(|_| Reason::BadHost)
}

fn is_host(host: &[u8]) -> bool {
    let valid = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']' | b'~' | b'%')
    };
    !host.is_empty() && host.len() <= 300 && host.iter().all(valid)
}

/// Lower case, without the trailing dot of a fully qualified name.
pub fn canonical_host(host: &str) -> Cow<'_, str> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let dotted = name.len() > 1 && name.ends_with('.');
    if !dotted && !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Borrowed(host);
    }
    let mut canonical = name.strip_suffix('.').filter(|_| dotted).unwrap_or(name).to_ascii_lowercase();
    if let Some(port) = port {
        canonical.push(':');
        canonical.push_str(port);
    }
    Cow::Owned(canonical)
}

/// A host without its port.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

/// The canonical form of a path; borrowed when it is canonical already, which nearly all are.
pub fn canonical_path(path: &str) -> Result<Cow<'_, str>, Reason> {
    if !path.starts_with('/') {
        return Err(Reason::BadPath);
    }
    let bytes = path.as_bytes();
    let plain = bytes.iter().enumerate().all(|(index, byte)| match byte {
        b'%' | b'\\' => false,
        // Only a dot after a separator can begin a dot segment.
        b'.' => index > 0 && bytes[index - 1] != b'/',
        _ => true,
    });
    if plain {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode_unreserved(path)?;
    if hides_dot_segment(&decoded) {
        return Err(Reason::BadPath);
    }
    let resolved = resolve_dot_segments(&decoded)?;
    Ok(if resolved == path { Cow::Borrowed(path) } else { Cow::Owned(resolved) })
}

fn decode_unreserved(path: &str) -> Result<String, Reason> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        let digits = after.get(..2).ok_or(Reason::BadPath)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Reason::BadPath);
        }
        let byte = u8::from_str_radix(digits, 16).map_err(|_| Reason::BadPath)?;
        match byte {
            0 => return Err(Reason::BadPath),
            _ if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                decoded.push(char::from(byte));
            }
            _ => {
                decoded.push('%');
                decoded.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = &after[2..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}

/// Whether a server that also separates at `%2F`, `%5C` or `\`, or cuts parameters at `;`, would see a dot segment that
/// we do not see.
fn hides_dot_segment(path: &str) -> bool {
    let is_dots = |segment: &str| segment == "." || segment == "..";
    path.split('/').any(|segment| {
        if is_dots(segment) {
            return false;
        }
        let separated = segment.replace("%2F", "/").replace("%5C", "/").replace('\\', "/").replace("%3B", ";");
        separated.split('/').any(|part| is_dots(part.split(';').next().unwrap_or(part)))
    })
}

/// RFC 3986 §5.2.4.
fn resolve_dot_segments(path: &str) -> Result<String, Reason> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let has_dots = segments.iter().any(|segment| matches!(*segment, "." | ".."));
    if !has_dots {
        return Ok(path.to_owned());
    }
    // `/a//../b` is `/a/b` to some servers and `/b` to those that merge slashes.
    if segments[..segments.len() - 1].iter().any(|segment| segment.is_empty()) {
        return Err(Reason::BadPath);
    }
    let mut kept: Vec<&str> = Vec::with_capacity(segments.len());
    for segment in &segments {
        match *segment {
            "." => {}
            ".." => {
                // Climbing above the root is no honest client's wish.
                kept.pop().ok_or(Reason::BadPath)?;
            }
            name => kept.push(name),
        }
    }
    let mut resolved = String::with_capacity(path.len());
    for segment in kept {
        resolved.push('/');
        resolved.push_str(segment);
    }
    if resolved.is_empty() || matches!(segments.last(), Some(&("." | ".."))) {
        resolved.push('/');
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests;
