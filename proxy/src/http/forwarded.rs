//! `x-forwarded-…`: what an application learns of clients outside the mesh.
//!
//! Trust rule: whoever is let in by `SourceIPRanges` is a proxy that the mesh's operator named (an ingress), so what it
//! says of its own clients is kept, and its address is added. Between mesh pods the headers pass untouched: there the
//! certificate says who calls.

use http::{HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Adds a client outside the mesh to what a request says of its way.
pub fn add_client(headers: &mut HeaderMap, client: IpAddr, tls: bool) {
    let mut way: Vec<u8> = Vec::new();
    for value in headers.get_all(&FORWARDED_FOR) {
        way.extend_from_slice(value.as_bytes());
        way.extend_from_slice(b", ");
    }
    way.extend_from_slice(client.to_string().as_bytes());
    if let Ok(way) = HeaderValue::from_bytes(&way) {
        headers.insert(&FORWARDED_FOR, way);
    }
    if !headers.contains_key(&FORWARDED_PROTO) {
        headers.insert(&FORWARDED_PROTO, HeaderValue::from_static(if tls { "https" } else { "http" }));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_client_is_added_at_the_end() {
        let mut headers = HeaderMap::new();
        add_client(&mut headers, "10.0.0.9".parse().unwrap(), false);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.9");
        assert_eq!(headers["x-forwarded-proto"], "http");
        headers.append("x-forwarded-for", "192.0.2.1".parse().unwrap());
        headers.insert("x-forwarded-proto", "https".parse().unwrap());
        add_client(&mut headers, "fd00::1".parse().unwrap(), false);
        assert_eq!(headers.get_all("x-forwarded-for").iter().collect::<Vec<_>>(), ["10.0.0.9, 192.0.2.1, fd00::1"]);
        assert_eq!(headers["x-forwarded-proto"], "https");
    }
}
