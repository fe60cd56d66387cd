//! Makes typed values of a [`Node`]: errors know their field and line, and fields that no type knows are noted.
//!
//! Follows what Kubernetes does with JSON: a field that is null counts as absent, a quantity may be a number, a whole
//! number may be written with an empty fraction.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::node::{Content, Node};

/// What is wrong with a value.
#[derive(Debug)]
pub(super) struct Wrong {
    /// Where: set by the innermost value that the error passes.
    place: Option<(String, u32)>,
    /// The field below the place, when it is missing there.
    missing: Option<&'static str>,
    reason: String,
    remedy: String,
}

/// A field that no type knows.
#[derive(Debug)]
pub(super) struct UnknownField {
    pub(super) field: String,
    pub(super) line: u32,
    /// A field of the same object with a similar name.
    pub(super) similar: Option<&'static str>,
}

impl Wrong {
    pub(super) fn field(&self) -> String {
        let path = self.place.as_ref().map_or("", |(path, _)| path);
        match self.missing {
            None => path.to_owned(),
            Some(field) if path.is_empty() => field.to_owned(),
            Some(field) => format!("{path}.{field}"),
        }
    }

    pub(super) fn line(&self) -> Option<u32> {
        self.place.as_ref().map(|(_, line)| *line)
    }

    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    pub(super) fn remedy(&self) -> &str {
        &self.remedy
    }

    fn new(reason: String, remedy: &str) -> Self {
        Self { place: None, missing: None, reason, remedy: remedy.to_owned() }
    }

    fn at(mut self, path: &Path<'_>, line: u32) -> Self {
        if self.place.is_none() {
            self.place = Some((path.to_string(), line));
        }
        self
    }
}

impl std::error::Error for Wrong {}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}; {}", self.field(), self.reason, self.remedy)
    }
}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), "correct the value")
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let wanted = wanted(expected);
        let remedy = match found {
            Unexpected::Bool(_) | Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_)
                if wanted == "a text" =>
            {
                "put the value in quotes"
            }
            Unexpected::Str(text) if text.parse::<f64>().is_ok() && wanted.contains("number") => "take the quotes away",
            _ => "correct the value",
        };
        Self::new(format!("expected {wanted}, found {}", found_words(found)), remedy)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {}", wanted(expected), found_words(found)), "correct the value")
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(format!("{variant:?} is not known here"), &format!("write one of {}", expected.join(", ")))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::new("the field is missing".to_owned(), "add it") }
    }
}

fn found_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(text) => {
            let short: String = text.chars().take(40).collect();
            let dots = if short.len() < text.len() { "…" } else { "" };
            format!("the text {:?}", format!("{short}{dots}"))
        }
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "an object with fields".to_owned(),
        other => other.to_string(),
    }
}

/// What a type expects, in words of YAML instead of Rust.
fn wanted(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "u16" => "a whole number of 0 to 65535",
        "u32" => "a whole number of 0 to 4294967295",
        "u64" => "a whole number from 0",
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" => "a text",
        "a sequence" => "a list",
        "a map" => "an object with fields",
        // k8s-openapi names its type alone, derived code writes `struct` before it.
        other if other.starts_with("struct ") || !other.contains(' ') => "an object with fields",
        other => other,
    }
    .to_owned()
}

/// Where a value is, as a list that is linked towards the root.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Root,
    Field(&'a str),
    Item(usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(out)?;
        }
        let at_top = self.parent.is_none_or(|parent| matches!(parent.step, Step::Root));
        match self.step {
            Step::Root => Ok(()),
            Step::Item(index) => write!(out, "[{index}]"),
            Step::Field(name) if name.contains(|c: char| !c.is_alphanumeric() && c != '_' && c != '-') => {
                write!(out, "[{name:?}]")
            }
            Step::Field(name) if at_top => out.write_str(name),
            Step::Field(name) => write!(out, ".{name}"),
        }
    }
}

/// Reads a typed value of a node, with the deserializing function `read`; fields that no type knows are put into
/// `unknown`.
pub(super) fn read<'a, T>(
    node: &'a Node,
    unknown: &'a RefCell<Vec<UnknownField>>,
    read: impl FnOnce(NodeDeserializer<'a>) -> Result<T, Wrong>,
) -> Result<T, Wrong> {
    static ROOT: Path<'static> = Path { parent: None, step: Step::Root };
    read(NodeDeserializer { node, path: &ROOT, siblings: &[], unknown })
}

/// Deserializes a node.
pub(super) struct NodeDeserializer<'a> {
    node: &'a Node,
    path: &'a Path<'a>,
    /// Fields that the object around this value knows.
    siblings: &'static [&'static str],
    unknown: &'a RefCell<Vec<UnknownField>>,
}

impl NodeDeserializer<'_> {
    fn visit<'de, V: Visitor<'de>>(&self, fields: Fields, visitor: V) -> Result<V::Value, Wrong> {
        let result = match &self.node.content {
            Content::Null => visitor.visit_unit(),
            Content::Bool(value) => visitor.visit_bool(*value),
            Content::Int(value) => visitor.visit_i64(*value),
            Content::Uint(value) => visitor.visit_u64(*value),
            Content::Float(value) => visitor.visit_f64(*value),
            Content::Text(text) => visitor.visit_str(text),
            Content::List(items) => visitor.visit_seq(Items { of: self, items: items.iter().enumerate() }),
            Content::Map(entries) => {
                visitor.visit_map(Entries { of: self, fields, entries: entries.iter(), current: None })
            }
        };
        result.map_err(|error: Wrong| error.at(self.path, self.node.line))
    }

    fn visit_whole<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Wrong> {
        // Beyond 2^53 a float is not exact any more: such numbers stay floats, and are refused by the type.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self.node.content {
            Content::Float(value) if value.fract() == 0.0 && value.abs() <= EXACT => {
                visitor.visit_i64(value as i64).map_err(|error: Wrong| error.at(self.path, self.node.line))
            }
            _ => self.visit(Fields::Free, visitor),
        }
    }
}

/// Which fields an object knows.
#[derive(Clone, Copy)]
enum Fields {
    /// Any: it is a map.
    Free,
    /// These: it is a struct, for which null means absent.
    Known(&'static [&'static str]),
}

macro_rules! whole_numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            self.visit_whole(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.visit(Fields::Free, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.node.content {
            Content::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.visit(Fields::Known(fields), visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        let number = match self.node.content {
            Content::Int(value) => value.to_string(),
            Content::Uint(value) => value.to_string(),
            Content::Float(value) => value.to_string(),
            _ => String::new(),
        };
        // `cpu: 1` is as good as `cpu: "1"`.
        if name == "Quantity" && !number.is_empty() {
            let text: StrDeserializer<'_, Wrong> = number.as_str().into_deserializer();
            return visitor.visit_newtype_struct(text).map_err(|error| error.at(self.path, self.node.line));
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        // YAML 1.1, which Kubernetes' tools still read.
        match &self.node.content {
            Content::Text(text) if ["yes", "Yes", "YES", "on", "On", "ON"].contains(&text.as_str()) => {
                visitor.visit_bool(true)
            }
            Content::Text(text) if ["no", "No", "NO", "off", "Off", "OFF"].contains(&text.as_str()) => {
                visitor.visit_bool(false)
            }
            _ => self.visit(Fields::Free, visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let (path, line) = (self.path, self.node.line);
        let result = match &self.node.content {
            Content::Text(text) => {
                let text: StrDeserializer<'_, Wrong> = text.as_str().into_deserializer();
                visitor.visit_enum(text)
            }
            _ => Err(Wrong::new("expected a word".to_owned(), &format!("write one of {}", variants.join(", ")))),
        };
        result.map_err(|error| error.at(path, line))
    }

    /// Only values that no type wants come here.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let similar = match self.path.step {
            Step::Field(name) => similar(name, self.siblings),
            _ => None,
        };
        self.unknown.borrow_mut().push(UnknownField { field: self.path.to_string(), line: self.node.line, similar });
        visitor.visit_unit()
    }

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
    }
}

struct Items<'a> {
    of: &'a NodeDeserializer<'a>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Wrong> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        let path = Path { parent: Some(self.of.path), step: Step::Item(index) };
        seed.deserialize(NodeDeserializer { node, path: &path, siblings: &[], unknown: self.of.unknown }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'a> {
    of: &'a NodeDeserializer<'a>,
    fields: Fields,
    entries: std::slice::Iter<'a, (String, Node)>,
    current: Option<&'a (String, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Wrong> {
        let null_is_absent = matches!(self.fields, Fields::Known(_));
        self.current = self.entries.find(|(_, value)| !(null_is_absent && matches!(value.content, Content::Null)));
        let Some((name, node)) = self.current else { return Ok(None) };
        let text: StrDeserializer<'_, Wrong> = name.as_str().into_deserializer();
        let path = Path { parent: Some(self.of.path), step: Step::Field(name) };
        seed.deserialize(text).map(Some).map_err(|error| error.at(&path, node.line))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let Some((name, node)) = self.current.take() else {
            return Err(Wrong::new("a value was asked for before its field".to_owned(), "report this as a bug"));
        };
        let path = Path { parent: Some(self.of.path), step: Step::Field(name) };
        let siblings = match self.fields {
            Fields::Known(fields) => fields,
            Fields::Free => &[],
        };
        seed.deserialize(NodeDeserializer { node, path: &path, siblings, unknown: self.of.unknown })
    }
}

/// The field whose name is most like `name`: the same but for case, or at most two letters away.
fn similar(name: &str, known: &'static [&'static str]) -> Option<&'static str> {
    if name.len() > 64 {
        return None;
    }
    known
        .iter()
        .map(|field| (distance(&name.to_ascii_lowercase(), &field.to_ascii_lowercase()), *field))
        .filter(|(distance, field)| *distance <= 2 && *distance < field.len() / 2)
        .min()
        .map(|(_, field)| field)
}

/// Letters to change, add or take away to make one word of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, wanted) in other.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (above + 1).min(row[j] + 1).min(diagonal + usize::from(letter != *wanted));
            diagonal = above;
        }
    }
    row[other.len()]
}
