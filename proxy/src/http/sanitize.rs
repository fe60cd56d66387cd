//! Headers that must not cross the proxy: hop-by-hop ones and identities that nobody may claim.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

/// The caller's verified identity, `<service account>.<namespace>`, for the application. Never believed when received.
pub const SERVICE_IDENTITY: HeaderName = HeaderName::from_static("serviceidentity");

/// Why a local reply was made.
pub const REASON: HeaderName = HeaderName::from_static("x-fsm-reason");

/// Which workload and pod answered: `<namespace>,<kind>,<service account>,<pod>`. Set by the server's sidecar, taken off
/// again by the client's; clients outside the mesh see it.
pub const STATS: HeaderName = HeaderName::from_static("fsm-stats");

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Headers that a `Connection` header cannot get removed: the message's meaning and its security hang on them.
fn is_protected(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::HOST
            | header::AUTHORIZATION
            | header::COOKIE
            | header::CONTENT_LENGTH
            | header::CONTENT_TYPE
            | header::TE
    ) || *name == SERVICE_IDENTITY
        || name.as_str().starts_with("x-b3-")
        || name.as_str().starts_with("x-forwarded-")
        || matches!(name.as_str(), "traceparent" | "tracestate" | "x-request-id")
}

/// Removes hop-by-hop headers (RFC 9110 §7.6.1), whose work is done by each connection's own codec.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // One look at all names is cheaper than a search for each of these, which are hardly ever there.
    let mut found: SmallVec<[HeaderName; 4]> = headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    for name in found.drain(..) {
        match name {
            header::CONNECTION => remove_nominated(headers),
            header::TE => keep_trailers_only(headers),
            _ => drop(headers.remove(name)),
        }
    }
}

/// Takes a header that is hardly ever there: a look at all names is cheaper than a search for one.
pub fn take_rare(headers: &mut HeaderMap, rare: &HeaderName) -> Option<HeaderValue> {
    headers.keys().any(|name| name == rare).then(|| headers.remove(rare)).flatten()
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE | header::TE)
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// The one value of `TE` that means something to the other end: "I can take trailers"; gRPC insists on it.
fn keep_trailers_only(headers: &mut HeaderMap) {
    let Some(te) = headers.get(header::TE) else { return };
    if te.as_bytes().split(|byte| *byte == b',').any(|coding| coding.trim_ascii() == b"trailers") {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(header::TE);
    }
}

/// Whether a message's transfer coding is one that every implementation reads alike: none, or exactly `chunked` (RFC
/// 9112 §6.1). Anything else is a way to make two servers disagree about where a message ends.
pub fn is_plainly_framed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// Joins the crumbs into which HTTP/2 may split a cookie header (RFC 9113 §8.2.3): HTTP/1 servers expect one field.
pub fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: SmallVec<[HeaderValue; 8]> = headers.get_all(header::COOKIE).iter().cloned().collect();
    if crumbs.len() < 2 {
        return;
    }
    let joined = crumbs.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(cookie) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, cookie);
    }
}

fn remove_nominated(headers: &mut HeaderMap) {
    let nominated: SmallVec<[HeaderName; 4]> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        // What nearly every message says; they are removed by their own names.
        .filter(|name| !name.eq_ignore_ascii_case(b"keep-alive") && !name.eq_ignore_ascii_case(b"close"))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(|name| !is_protected(name))
        .collect();
    for name in nominated {
        headers.remove(name);
    }
    headers.remove(header::CONNECTION);
}

/// The protocol that a request offers to switch to, e.g. `websocket`.
pub fn offered_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let connection = headers.get_all(header::CONNECTION).iter();
    let mut tokens = connection.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let nominated = tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    let protocol = protocols.next().filter(|_| nominated && protocols.next().is_none())?;
    // `Upgrade: h2c` would smuggle a whole second connection past the rules of this one.
    (!protocol.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| protocol.clone())
}

/// Offers an upstream to switch to a protocol.
pub fn offer_upgrade(headers: &mut HeaderMap, protocol: &HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol.clone());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn hop_by_hop_headers_stay_on_their_hop() {
        let mut headers = headers(&[
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "foo"),
            ("te", "gzip, trailers"),
            ("x-public", "2"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers.len(), 2);
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["x-public"], "2");
    }

    #[test]
    fn connection_cannot_remove_what_security_hangs_on() {
        let mut headers = headers(&[
            ("connection", "Authorization, serviceidentity, x-forwarded-for, host, x-b3-traceid, traceparent"),
            ("authorization", "a"),
            ("serviceidentity", "a.b"),
            ("x-forwarded-for", "1.2.3.4"),
            ("host", "h"),
            ("x-b3-traceid", "t"),
            ("traceparent", "p"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers.len(), 6, "{headers:?}");
    }

    #[test]
    fn only_one_transfer_coding_is_read_alike_by_everybody() {
        assert!(is_plainly_framed(&headers(&[])));
        assert!(is_plainly_framed(&headers(&[("transfer-encoding", "Chunked")])));
        for coding in ["gzip, chunked", "chunked, chunked", "\"chunked\"", "xchunked", "identity", ""] {
            assert!(!is_plainly_framed(&headers(&[("transfer-encoding", coding)])), "{coding}");
        }
        assert!(!is_plainly_framed(&headers(&[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")])));
    }

    #[test]
    fn cookie_crumbs_become_one_field() {
        let mut headers = headers(&[("cookie", "a=1"), ("cookie", "b=2"), ("x", "y")]);
        join_cookies(&mut headers);
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn an_upgrade_needs_both_headers_and_one_protocol() {
        let offered = |pairs| offered_upgrade(&headers(pairs));
        assert_eq!(offered(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]).unwrap(), "websocket");
        assert_eq!(offered(&[("upgrade", "websocket")]), None);
        assert_eq!(offered(&[("connection", "upgrade")]), None);
        assert_eq!(offered(&[("connection", "upgrade"), ("upgrade", "h2c")]), None);
        assert_eq!(offered(&[("connection", "upgrade"), ("upgrade", "a"), ("upgrade", "b")]), None);
    }
}
