#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use http::HeaderValue;
use proptest::prelude::*;

fn regex(pattern: &str) -> PathMatcher {
    PathMatcher::regex(pattern).expect("valid")
}

#[test]
fn expressions_cover_the_whole_path() {
    assert!(regex("/admin").matches("/admin"));
    assert!(!regex("/admin").matches("/x/admin"));
    assert!(!regex("/admin").matches("/admin/x"));
    assert!(regex("/v2/.*").matches("/v2/"));
    assert!(!regex("/v2/.*").matches("/v2"));
    assert!(regex(".*a-book.*new").matches("/buy/a-book/new"));
    assert!(!regex("/a|/b").matches("/bx"), "alternatives are anchored too");
    assert!(!regex("(?m)^/a$").matches("/x\n/a"));
}

#[test]
fn a_dot_is_no_literal() {
    assert!(regex("/a.c").matches("/abc"));
    assert!(matches!(regex("/abc"), PathMatcher::Exact(_)));
    assert!(matches!(regex("/status.*"), PathMatcher::Begins(_)));
    assert!(matches!(regex(".*"), PathMatcher::Any));
}

#[test]
fn prefixes_end_at_segments() {
    let prefix = PathMatcher::prefix("/api/");
    assert!(prefix.matches("/api"));
    assert!(prefix.matches("/api/x"));
    assert!(!prefix.matches("/apix"));
    assert!(PathMatcher::prefix("/").matches("/anything"));
}

#[test]
fn unusable_expressions_say_why() {
    let error = PathMatcher::regex("/(?=x)").expect_err("look-ahead");
    assert!(error.contains("look-around"), "{error}");
    assert!(PathMatcher::regex("(").is_err());
    assert!(PathMatcher::regex("(x{1000}){1000}").is_err(), "size is limited");
}

#[test]
fn a_missing_header_is_an_empty_one() {
    let mut headers = HeaderMap::new();
    assert!(HeaderMatcher::new("x-a", ".*").unwrap().matches(&headers));
    assert!(!HeaderMatcher::new("x-a", "b").unwrap().matches(&headers));
    headers.append("x-a", HeaderValue::from_static("a"));
    headers.append("x-a", HeaderValue::from_static("b"));
    assert!(HeaderMatcher::new("X-A", "b").unwrap().matches(&headers), "any of several values");
    assert!(!HeaderMatcher::new("x-a", "c").unwrap().matches(&headers));
}

#[test]
fn methods_are_exact() {
    let get = MethodMatcher::new(Some(&["GET".to_owned()])).unwrap();
    assert!(get.matches(&Method::GET));
    assert!(!get.matches(&Method::from_bytes(b"get").unwrap()));
    assert!(MethodMatcher::new(Some(&["*".to_owned()])).unwrap().matches(&Method::TRACE));
    assert!(MethodMatcher::new(Some(&["G T".to_owned()])).is_err());
}

proptest! {
    #[test]
    fn shortcuts_agree_with_the_engine(pattern in "[/a-c.*]{0,8}", path in "/[a-c/.]{0,8}") {
        if let (Ok(matcher), Ok(engine)) = (PathMatcher::regex(&pattern), whole(&pattern)) {
            prop_assert_eq!(matcher.matches(&path), engine.is_match(&path), "{} on {}", pattern, path);
        }
    }
}
