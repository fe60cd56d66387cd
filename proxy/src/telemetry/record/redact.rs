//! Hides what is secret before anything is shown, and makes what is not secret harmless to show.

use http::{HeaderMap, HeaderName};
use std::borrow::Cow;

/// What stands in the place of a secret.
pub const HIDDEN: &str = "[hidden]";

/// Headers whose values are credentials by definition.
const SECRET_HEADERS: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "www-authenticate",
    "proxy-authenticate",
    "authentication-info",
    "x-forwarded-client-cert",
];

/// Words that a header or a parameter with a secret has in its name.
const SECRET_WORDS: [&str; 13] = [
    "token",
    "secret",
    "password",
    "passwd",
    "apikey",
    "api-key",
    "api_key",
    "credential",
    "session",
    "signature",
    "auth",
    "jwt",
    "private",
];

/// Parameters that are secret though their names do not say so.
const SECRET_PARAMETERS: [&str; 5] = ["code", "key", "sig", "pwd", "sid"];

/// The value of a header as it may be shown.
pub fn header<'a>(name: &HeaderName, value: &'a [u8]) -> Cow<'a, str> {
    let name = name.as_str();
    let secret = SECRET_HEADERS.contains(&name) || SECRET_WORDS.iter().any(|word| name.contains(word));
    if secret { Cow::Borrowed(HIDDEN) } else { String::from_utf8_lossy(value) }
}

/// Headers as they may be shown. A header that is there several times is joined, as RFC 9110 permits.
pub fn headers(headers: &HeaderMap) -> serde_json::Map<String, serde_json::Value> {
    let mut shown: serde_json::Map<String, serde_json::Value> = serde_json::Map::new();
    for (name, value) in headers {
        let value = header(name, value.as_bytes());
        match shown.get_mut(name.as_str()) {
            Some(serde_json::Value::String(before)) => {
                before.push_str(", ");
                before.push_str(&value);
            }
            _ => drop(shown.insert(name.as_str().to_owned(), value.into())),
        }
    }
    shown
}

/// Path and query with the values of secret parameters hidden.
pub fn target(path_and_query: &str) -> Cow<'_, str> {
    let Some((path, query)) = path_and_query.split_once('?') else { return Cow::Borrowed(path_and_query) };
    if !query.split('&').any(|pair| is_secret(pair.split('=').next().unwrap_or_default())) {
        return Cow::Borrowed(path_and_query);
    }
    let shown = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => Cow::Owned(format!("{name}={HIDDEN}")),
        _ => Cow::Borrowed(pair),
    });
    Cow::Owned(format!("{path}?{}", shown.collect::<Vec<_>>().join("&")))
}

fn is_secret(parameter: &str) -> bool {
    let name = percent_encoding::percent_decode_str(parameter).decode_utf8_lossy().to_ascii_lowercase();
    SECRET_PARAMETERS.contains(&name.as_str()) || SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// Text without anything that could end a line or drive a terminal: controls, and the characters that reorder text.
pub fn harmless(text: &str) -> Cow<'_, str> {
    // Nearly everything is plain ASCII.
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if plain || !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let escape = |character: char| match is_harmful(character) {
        true => character.escape_default().collect::<String>(),
        false => character.to_string(),
    };
    Cow::Owned(text.chars().map(escape).collect())
}

fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn credentials_in_headers_are_hidden() {
        let mut map = HeaderMap::new();
        for name in ["authorization", "cookie", "x-api-key", "x-amz-security-token", "x-session-id"] {
            map.insert(HeaderName::from_static(name), HeaderValue::from_static("s3cret"));
        }
        map.insert("accept", HeaderValue::from_static("text/plain"));
        let shown = headers(&map);
        assert_eq!(shown["accept"], "text/plain");
        assert!(!serde_json::Value::Object(shown).to_string().contains("s3cret"));
    }

    #[test]
    fn secret_parameters_are_hidden_and_others_stay() {
        assert_eq!(target("/a?b=1&access_token=x&c"), "/a?b=1&access_token=[hidden]&c");
        assert_eq!(target("/a?%74oken=x"), "/a?%74oken=[hidden]");
        assert_eq!(target("/cb?code=abc&state=ok"), "/cb?code=[hidden]&state=ok");
        assert_eq!(target("/token/x?b=1"), "/token/x?b=1");
    }

    #[test]
    fn text_cannot_end_a_line_or_drive_a_terminal() {
        assert_eq!(harmless("a\r\nGET /\u{1b}[31m\u{202e}"), "a\\r\\nGET /\\u{1b}[31m\\u{202e}");
        assert!(matches!(harmless("plain ütf"), Cow::Borrowed(_)));
    }
}
