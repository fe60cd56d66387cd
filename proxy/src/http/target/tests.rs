#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

fn path(input: &str) -> Result<String, Reason> {
    canonical_path(input).map(Cow::into_owned)
}

fn request(method: Method, uri: &str, hosts: &[&str]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri);
    for host in hosts {
        request = request.header(HOST, *host);
    }
    request.body(()).unwrap()
}

fn destination() -> SocketAddr {
    "10.0.0.9:80".parse().unwrap()
}

#[test]
fn only_http_1_0_may_leave_the_host_out() {
    let mut old = request(Method::GET, "/x", &[]);
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(canonicalize(&mut old, destination()).unwrap(), "10.0.0.9:80");
    let mut new = request(Method::GET, "/x", &[]);
    assert_eq!(canonicalize(&mut new, destination()), Err(Reason::BadHost));
}

#[test]
fn canonical_paths_are_borrowed() {
    for same in ["/", "/a/b", "/a//b", "/a/b.html", "/a;x=1/b", "/.well-known/x", "/a%2Fb", "/a..b/...", "/%20"] {
        assert!(matches!(canonical_path(same), Ok(Cow::Borrowed(_))), "{same}");
    }
}

#[test]
fn escapes_and_dot_segments_are_resolved() {
    for (input, expected) in [
        ("/%61dmin", "/admin"),
        ("/a%2fb", "/a%2Fb"),
        ("/a/./b", "/a/b"),
        ("/a/b/../c", "/a/c"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/..", "/"),
    ] {
        assert_eq!(path(input).as_deref(), Ok(expected), "{input}");
    }
}

#[test]
fn what_servers_read_differently_is_refused() {
    for input in [
        "/..",
        "/a/../..",
        "/public/..%2fadmin",
        "/public/..%5cadmin",
        "/public/..\\admin",
        "/public%2f..%2fadmin",
        "/public/..;/admin",
        "/public/..;x=1/admin",
        "/public/..%3b/admin",
        "/a//../b",
        "/%00",
        "/a%",
        "/a%2",
        "/a%zz",
        "a",
        "",
    ] {
        assert_eq!(path(input), Err(Reason::BadPath), "{input}");
    }
}

#[test]
fn hosts_are_compared_without_case_dot_and_port() {
    assert_eq!(canonical_host("Web.Shop"), "web.shop");
    assert_eq!(canonical_host("web.shop.:80"), "web.shop:80");
    assert_eq!(canonical_host("[FD00::1]:80"), "[fd00::1]:80");
    assert_eq!(canonical_host("FD00::1"), "fd00::1");
    assert_eq!(without_port("web:80"), "web");
    assert_eq!(without_port("[fd00::1]:80"), "[fd00::1]");
    assert_eq!(without_port("fd00::1"), "fd00::1");
}

#[test]
fn a_request_names_exactly_one_host() {
    let canonical = |mut request: Request<()>| {
        canonicalize(&mut request, destination()).map(|host| (host, request.uri().to_string()))
    };
    let ok = canonical(request(Method::GET, "/x?y=/../z", &["web.shop"])).unwrap();
    assert_eq!((ok.0.as_bytes(), ok.1.as_str()), (&b"web.shop"[..], "/x?y=/../z"));
    let absolute = canonical(request(Method::GET, "http://web.shop:80/x", &["WEB.shop:80"])).unwrap();
    assert_eq!((absolute.0.as_bytes(), absolute.1.as_str()), (&b"web.shop:80"[..], "/x"));
    assert_eq!(canonical(request(Method::GET, "/x", &[])), Err(Reason::BadHost));
    assert_eq!(canonical(request(Method::GET, "/x", &["a", "a"])), Err(Reason::BadHost));
    assert_eq!(canonical(request(Method::GET, "http://a/x", &["b"])), Err(Reason::BadHost));
    assert_eq!(canonical(request(Method::GET, "/x", &["a b"])), Err(Reason::BadHost));
    assert_eq!(canonical(request(Method::GET, "/x", &["a/b"])), Err(Reason::BadHost));
    assert_eq!(canonical(request(Method::CONNECT, "a:443", &["a:443"])), Err(Reason::ConnectRefused));
    assert!(canonical(request(Method::OPTIONS, "*", &["a"])).is_ok());
    assert_eq!(canonical(request(Method::GET, "*", &["a"])), Err(Reason::BadPath));
}

/// What a maximally lenient server would open: everything decoded, every separator honoured, parameters cut.
fn lenient(path: &str) -> Vec<String> {
    let mut decoded = path.to_owned();
    for (from, to) in [
        ("%2F", "/"),
        ("%2f", "/"),
        ("%5C", "/"),
        ("%5c", "/"),
        ("\\", "/"),
        ("%2E", "."),
        ("%2e", "."),
        ("%3B", ";"),
        ("%3b", ";"),
    ] {
        decoded = decoded.replace(from, to);
    }
    let mut kept = Vec::new();
    for segment in decoded.split('/').map(|segment| segment.split(';').next().unwrap_or("")) {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            name => kept.push(name.to_owned()),
        }
    }
    kept
}

proptest! {
    #[test]
    fn canonical_form_is_a_fixed_point(input in "/[a-c/.%2eEfF5\\\\;]{0,16}") {
        if let Ok(once) = path(&input) {
            let twice = path(&once);
            prop_assert_eq!(twice.as_deref(), Ok(once.as_str()));
        }
    }

    #[test]
    fn no_server_sees_a_way_out_of_an_admitted_prefix(input in "/public/([a-c.;]|/|%2e|%2E|%2f|%5C|\\\\|%3b){0,10}") {
        if let Ok(canonical) = path(&input)
            && canonical.starts_with("/public/")
        {
            let seen = lenient(&canonical);
            prop_assert_eq!(seen.first().map(String::as_str), Some("public"), "{} became {}", input, canonical);
        }
    }

    #[test]
    fn no_path_panics(input in ".*") {
        let _ = path(&input);
        let _ = canonical_host(&input);
        let _ = without_port(&input);
    }
}
