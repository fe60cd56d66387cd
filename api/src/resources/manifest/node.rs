//! A YAML document as a tree in which every value knows its line.

use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::options::{AliasLimits, DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Budget, Options, Spanned};

/// Deepest nesting. Custom resource definitions, the deepest there are, reach 30; each level needs up to 30 kB of stack in
/// builds without optimisation, and the workers of tokio have 2 MB.
const MOST_DEPTH: usize = 48;

/// Most values of one document; a List of several thousand objects has fewer.
const MOST_NODES: usize = 500_000;

/// Most values that aliases may add to a document ("billion laughs"), for each byte of the document: a file of many
/// small documents must not become large either.
const REPEATED_PER_BYTE: usize = 2;

/// A value and its line in the file, from 1.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) content: Content,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Int(i64),
    /// Only what does not fit into [`Content::Int`].
    Uint(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// A text that is not YAML.
pub(super) struct SyntaxError {
    pub(super) line: u32,
    pub(super) reason: String,
}

impl Node {
    /// Reads one document, whose first line is `first_line` of the file.
    pub(super) fn parse(text: &str, first_line: u32) -> Result<Self, SyntaxError> {
        let parsed = serde_saphyr::from_str_with_options::<Spanned<Content>>(text, options(text.len()));
        match parsed {
            Ok(root) => {
                let mut node = Self::from(root);
                node.shift(first_line.saturating_sub(1));
                Ok(node)
            }
            Err(error) => Err(SyntaxError {
                line: error.location().map_or(first_line, |at| first_line.saturating_add(line(at.line()) - 1)),
                reason: reason(&error),
            }),
        }
    }

    /// The value of a field; none when it is absent or null.
    pub(super) fn get(&self, field: &str) -> Option<&Self> {
        match &self.content {
            Content::Map(fields) => fields
                .iter()
                .find(|(name, _)| name == field)
                .map(|(_, value)| value)
                .filter(|value| !matches!(value.content, Content::Null)),
            _ => None,
        }
    }

    /// The text of a field; none when it is absent or not a text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        match &self.get(field)?.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Puts a value into a field of a map.
    pub(super) fn set(&mut self, field: &str, value: Self) {
        if let Content::Map(fields) = &mut self.content {
            match fields.iter_mut().find(|(name, _)| name == field) {
                Some((_, old)) => *old = value,
                None => fields.push((field.to_owned(), value)),
            }
        }
    }

    fn shift(&mut self, lines: u32) {
        self.line = self.line.saturating_add(lines);
        match &mut self.content {
            Content::List(items) => items.iter_mut().for_each(|item| item.shift(lines)),
            Content::Map(fields) => fields.iter_mut().for_each(|(_, value)| value.shift(lines)),
            _ => {}
        }
    }
}

impl From<Spanned<Content>> for Node {
    fn from(value: Spanned<Content>) -> Self {
        Self { line: line(value.referenced.line()), content: value.value }
    }
}

fn line(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX).max(1)
}

fn options(bytes: usize) -> Options {
    let mut budget = Budget::default();
    budget.max_depth = MOST_DEPTH;
    budget.max_nodes = MOST_NODES;
    budget.flow_nesting_limit = MOST_DEPTH;
    let mut aliases = AliasLimits::default();
    aliases.max_total_replayed_events = bytes.saturating_mul(REPEATED_PER_BYTE);
    let mut options = Options::default();
    options.budget = Some(budget);
    options.alias_limits = aliases;
    options.duplicate_keys = DuplicateKeyPolicy::Error;
    // `NO` is a country and `on` a key of many files: only `true` and `false` are booleans by themselves.
    options.strict_booleans = true;
    // `defaultMode: 0644`, as Kubernetes' tools read it.
    options.legacy_octal_numbers = true;
    // Types that want a number refuse them with a reason of their own.
    options.non_finite_float_policy = NonFiniteFloatPolicy::AsString;
    options.emit_comments = false;
    options.with_snippet = false;
    options
}

/// What is wrong, in one line and without the place, which is given apart.
fn reason(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as Cause;
    let too_large = format!(
        "the document is larger than {MOST_NODES} values, deeper than {MOST_DEPTH} levels, or has too many aliases"
    );
    match error.without_snippet() {
        Cause::DuplicateMappingKey { key: Some(key), .. } => format!("the field {key:?} is there twice"),
        Cause::RecursiveReferencesRequireWeakTypes { .. } => "an alias stands inside of what it means".to_owned(),
        Cause::Budget { .. } => too_large,
        other => {
            let message = other.to_string();
            let first = message.lines().next().unwrap_or_default();
            let first = first.split_once(" at line ").map_or(first, |(before, _)| before);
            // Errors below an alias come as text only.
            if first.starts_with("alias replay") { too_large } else { first.trim_start_matches("error: ").to_owned() }
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, input: D) -> Result<Content, D::Error> {
        Content::deserialize(input)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(i64::try_from(value).map_or(Content::Uint(value), Content::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Content, E> {
        Ok(Content::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Content>>()? {
            list.push(item.into());
        }
        Ok(Content::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Content, A::Error> {
        let mut map: Vec<(String, Node)> = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value::<Spanned<Content>>()?;
            map.push((key, value.into()));
        }
        if map.len() > MOST_NODES {
            return Err(A::Error::custom("the map has too many fields"));
        }
        Ok(Content::Map(map))
    }
}
