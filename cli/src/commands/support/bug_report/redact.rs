//! What must not leave the mesh is taken out of everything that goes into a bug report. Pure.
//!
//! Keys, passwords and tokens are found by where they are (data of Secrets, variables and fields with telling names) and by
//! what they look like (PEM, JSON web tokens, `Bearer …`, `https://user:password@…`). What looks like nothing in particular,
//! under a name that tells nothing, is not found: hence the report says that it should be read before it is sent.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

/// What stands for what was there.
const GONE: &str = "REDACTED";
/// Annotations that repeat the whole object, with what was in it before.
const COPIES: [&str; 1] = ["kubectl.kubernetes.io/last-applied-configuration"];

/// An expression, and what it is replaced by.
struct Rule(Regex, &'static str);

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    const PATTERNS: [(&str, &str); 7] = [
        // Also where line ends are written as \n; a key that is cut off is one, too.
        (
            r"(?s)-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
            "REDACTED ${1}PRIVATE KEY",
        ),
        // The same in base64, as Secrets and some variables have it.
        (
            r"LS0tLS1CRUdJTi(?:BQUklWQVRF|BSU0EgUFJJVkFURS|BFQyBQUklWQVRF|BFTkNSWVBURUQg|BPUEVOU1NI)[A-Za-z0-9+/=]*",
            "REDACTED",
        ),
        (r"\beyJ[A-Za-z0-9_-]{6,}\.eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*", "REDACTED"),
        (r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{6,}", "${1}${2}REDACTED"),
        (r"\b(?:hv[sbr]\.[A-Za-z0-9_-]{20,}|s\.[A-Za-z0-9]{24})\b", "REDACTED"),
        (r#"(://)[^/\s:@"']*:[^/\s@"']+@"#, "${1}REDACTED@"),
        (
            r#"(?i)((?:pass(?:word|wd|phrase)?|pwd|api[-_]?key|access[-_]?key|private[-_]?key|client[-_]?secret|(?:access|refresh|id|auth|session)?[-_]?token)["']?\s*=\s*["']?)[^\s"'&;,]+"#,
            "${1}REDACTED",
        ),
    ];
    let compiled = PATTERNS.iter().map(|(pattern, by)| Regex::new(pattern).map(|regex| Rule(regex, by)));
    compiled.collect::<Result<_, _>>().unwrap_or_default()
});

/// Names of fields and of variables whose texts are secrets.
static TELLING: LazyLock<Option<Regex>> = LazyLock::new(|| {
    const NAMES: &str = r"(?i)(?:pass(?:word|wd|phrase)|pwd$|credential|api[-_]?key|access[-_]?key|private[-_]?key|secret[-_]?key|client[-_]?secret|token$|^auth$|authorization|secret$)";
    Regex::new(NAMES).ok()
});

/// A text without secrets.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    let mut clean = Cow::Borrowed(text);
    for Rule(pattern, by) in RULES.iter() {
        if let Cow::Owned(replaced) = pattern.replace_all(&clean, |found: &Captures<'_>| {
            let mut to = String::new();
            found.expand(by, &mut to);
            to
        }) {
            clean = Cow::Owned(replaced);
        }
    }
    clean
}

/// JSON without secrets; what is no JSON, as text.
pub(super) fn page(body: &str) -> String {
    match serde_json::from_str::<Value>(body) {
        Ok(mut value @ (Value::Object(_) | Value::Array(_))) => {
            inside(&mut value);
            crate::output::json(&value)
        }
        _ => text(body).into_owned(),
    }
}

/// An object of a cluster without secrets, and without what nobody reads.
pub(super) fn object(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|name, _| !COPIES.contains(&name.as_str()));
        }
    }
    if object["kind"] == "Secret" {
        for field in ["data", "stringData"] {
            for value in object.get_mut(field).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
                *value = GONE.into();
            }
        }
    }
    inside(object);
}

fn inside(value: &mut Value) {
    match value {
        Value::String(said) => {
            if let Cow::Owned(clean) = text(said) {
                *said = clean;
            }
        }
        Value::Array(items) => {
            arguments(items);
            items.iter_mut().for_each(inside);
        }
        Value::Object(fields) => {
            variable(fields);
            for (name, value) in fields.iter_mut() {
                match value {
                    Value::String(said) if tells(name) && !said.is_empty() => *said = GONE.to_owned(),
                    _ => inside(value),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `--password x` is two arguments.
fn arguments(items: &mut [Value]) {
    for index in 1..items.len() {
        let flag = items[index - 1].as_str().filter(|flag| flag.starts_with('-') && !flag.contains('='));
        if flag.is_some_and(tells) && items[index].as_str().is_some_and(|next| !next.starts_with('-')) {
            items[index] = GONE.into();
        }
    }
}

/// `{"name": "DB_PASSWORD", "value": "x"}` and headers of the same form.
fn variable(fields: &mut Map<String, Value>) {
    if fields.get("name").and_then(Value::as_str).is_some_and(tells)
        && let Some(value @ Value::String(_)) = fields.get_mut("value")
    {
        *value = GONE.into();
    }
}

fn tells(name: &str) -> bool {
    // Without the expression nothing would be safe to show.
    TELLING.as_ref().is_none_or(|telling| telling.is_match(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_expressions_are_valid() {
        assert_eq!(RULES.len(), 7);
        assert!(TELLING.is_some());
    }

    #[test]
    fn secrets_go_by_what_they_look_like() {
        let key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----";
        for (said, wanted) in [
            (format!("a {key} b"), "a REDACTED EC PRIVATE KEY b"),
            (format!("{{\"k\": \"{}\"}}", key.replace('\n', "\\n")), "{\"k\": \"REDACTED EC PRIVATE KEY\"}"),
            ("-----BEGIN PRIVATE KEY-----\nMHcCAQ".to_owned(), "REDACTED PRIVATE KEY"),
            ("tls.key: LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCk1IYw==, x".to_owned(), "tls.key: REDACTED, x"),
            ("got eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOlsiZnNtIl19.c2ln-_x.".to_owned(), "got REDACTED."),
            ("authorization: Bearer abcdef.123456".to_owned(), "authorization: Bearer REDACTED"),
            ("vault hvs.CAESIJvkzZyxwvutsrqponmlkj ok".to_owned(), "vault REDACTED ok"),
            ("https://me:sesame@vault.example:8200/v1".to_owned(), "https://REDACTED@vault.example:8200/v1"),
            (
                "GET /x?access_token=abc&y=1 --password=sesame".to_owned(),
                "GET /x?access_token=REDACTED&y=1 --password=REDACTED",
            ),
        ] {
            assert_eq!(text(&said), wanted);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for said in [
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "cluster.bookstore/bookstore|14001.upstream_rq_retry: 3",
            "GET http://bookstore.bookstore:14001/books 200 spiffe://cluster.local/ns/a/sa/b",
            "the token was refused: it is for another audience",
        ] {
            assert!(matches!(text(said), Cow::Borrowed(_)), "{said}: {}", text(said));
        }
    }

    #[test]
    fn secrets_of_objects_go_by_where_they_are() {
        let mut pod = json!({"kind": "Pod",
            "metadata": {"managedFields": [1], "annotations": {COPIES[0]: "{…}", "a": "b"}},
            "spec": {"containers": [{
                "args": ["--db-password", "sesame", "--token", "--verbose", "--user=me"],
                "env": [{"name": "DB_PASSWORD", "value": "sesame"}, {"name": "HOME", "value": "/root"},
                    {"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "db", "key": "token"}}}]}],
                "volumes": [{"secret": {"secretName": "db"}}]}});
        object(&mut pod);
        assert_eq!(pod["metadata"], json!({"annotations": {"a": "b"}}));
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["args"], json!(["--db-password", GONE, "--token", "--verbose", "--user=me"]));
        assert_eq!(container["env"][0]["value"], GONE);
        assert_eq!(container["env"][1]["value"], "/root");
        assert_eq!(container["env"][2]["valueFrom"]["secretKeyRef"], json!({"name": "db", "key": "token"}));
        assert_eq!(pod["spec"]["volumes"][0]["secret"]["secretName"], "db");

        let mut secret = json!({"kind": "Secret", "data": {"tls.key": "eA==", "user": "eA=="}});
        object(&mut secret);
        assert_eq!(secret["data"], json!({"tls.key": GONE, "user": GONE}));
    }

    #[test]
    fn pages_are_cleaned_as_json_or_as_text() {
        let dump = page(r#"{"Certificate": {"PrivateKey": "x", "CertChain": "c"}, "Ts": 1}"#);
        assert!(dump.contains("\"PrivateKey\": \"REDACTED\"") && dump.contains("\"CertChain\": \"c\""), "{dump}");
        assert_eq!(page("a: Bearer abcdefgh\n"), "a: Bearer REDACTED\n");
    }
}
