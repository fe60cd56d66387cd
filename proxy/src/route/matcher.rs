//! Whether a request fits a rule: method, path and headers, each compiled once.
//!
//! Differences from FSM's scripts, all towards what the rule's author meant: regular expressions cover the whole path
//! (they were searched anywhere in path *and* query, so a rule for `/admin` also admitted `/x?y=/admin`), prefixes end
//! at a segment boundary, and the engine is linear in the input, so no expression can stall the proxy.

use http::{HeaderMap, HeaderName, Method};
use regex::{Regex, RegexBuilder};

/// Compiled size of one expression. Ten times what the largest real rule needs.
const REGEX_BYTES: usize = 1 << 20;

/// A path condition.
#[derive(Clone, Debug)]
pub enum PathMatcher {
    /// Every path.
    Any,
    /// Exactly this path.
    Exact(Box<str>),
    /// Everything that begins with these characters (from expressions such as `/status.*`).
    Begins(Box<str>),
    /// This path and everything below it.
    Segments(Box<str>),
    /// The whole path matches.
    Regex(Regex),
}

impl PathMatcher {
    /// Compiles a regular expression; simple ones become comparisons.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the expression.
    pub fn regex(pattern: &str) -> Result<Self, String> {
        if pattern == ".*" {
            return Ok(Self::Any);
        }
        if let Some(literal) = pattern.strip_suffix(".*")
            && is_literal(literal)
        {
            return Ok(Self::Begins(literal.into()));
        }
        if is_literal(pattern) {
            return Ok(Self::Exact(pattern.into()));
        }
        whole(pattern).map(Self::Regex)
    }

    /// A prefix that ends at a segment boundary.
    pub fn prefix(prefix: &str) -> Self {
        match prefix.strip_suffix('/').unwrap_or(prefix) {
            "" => Self::Any,
            trimmed => Self::Segments(trimmed.into()),
        }
    }

    /// Whether the canonical path (without query) fits.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *path,
            Self::Begins(start) => path.starts_with(&**start),
            Self::Segments(prefix) => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

/// A condition on one header's value.
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    name: HeaderName,
    value: Regex,
}

impl HeaderMatcher {
    /// Compiles a condition: the whole value matches the expression.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the name or the expression.
    pub fn new(name: &str, pattern: &str) -> Result<Self, String> {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no header name"))?;
        Ok(Self { name, value: whole(pattern)? })
    }

    /// Whether any value of the header fits. A missing header counts as an empty one (FSM's rule).
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter().peekable();
        if values.peek().is_none() {
            return self.value.is_match("");
        }
        values.any(|value| value.to_str().is_ok_and(|value| self.value.is_match(value)))
    }
}

/// The methods that a rule admits.
#[derive(Clone, Debug)]
pub enum MethodMatcher {
    /// Every method except CONNECT, which is refused before rules are asked.
    Any,
    /// These.
    Listed(Box<[Method]>),
}

impl MethodMatcher {
    /// Compiles a list; an absent one or one that holds `*` admits every method.
    ///
    /// # Errors
    /// A sentence that names the method that is none.
    pub fn new(methods: Option<&[String]>) -> Result<Self, String> {
        let Some(methods) = methods else {
            return Ok(Self::Any);
        };
        if methods.iter().any(|method| method == "*") {
            return Ok(Self::Any);
        }
        let parse = |method: &String| {
            Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no HTTP method"))
        };
        methods.iter().map(parse).collect::<Result<_, _>>().map(Self::Listed)
    }

    /// Whether the method is admitted; methods are case-sensitive (RFC 9110 §9.1).
    pub fn matches(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(methods) => methods.contains(method),
        }
    }
}

fn is_literal(pattern: &str) -> bool {
    pattern.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'~' | b'%' | b':'))
}

fn whole(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(REGEX_BYTES).build().map_err(|error| {
        let last = error.to_string();
        let cause = last.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("`{pattern}` is no regular expression that this proxy accepts: {cause}")
    })
}

#[cfg(test)]
mod tests;
