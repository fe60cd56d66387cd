//! Reads what users write: files with several YAML or JSON documents.
//!
//! Fails document by document, with file, line, object, field, reason and remedy; never panics, and never needs more
//! memory than some multiple of the text, whatever aliases and nesting it contains.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use self::document::Document;
use self::name::check_names;
use self::node::{Content, Node};
use super::kind::{Kind, Scope};
use super::object::{Object, ObjectKey};

mod document;
mod name;
mod node;
#[cfg(test)]
mod tests;
mod typed;

/// A value and the place where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The file, or another word for where the text came from.
    pub origin: Arc<str>,
    /// The line where the document begins, from 1.
    pub line: u32,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The object counts, but something in it does not.
    Warning,
    /// The object does not count.
    Error,
}

/// Something that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// How bad it is.
    pub severity: Severity,
    /// The file, or another word for where the text came from.
    pub origin: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// The object, as far as it is known: `Kind namespace/name`.
    pub object: Option<ObjectKey>,
    /// The field, for example `spec.ports[0].number`; empty: the whole document.
    pub field: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

impl std::error::Error for ManifestError {}

/// `FILE:LINE: OBJECT: FIELD: REASON; REMEDY`
impl fmt::Display for ManifestError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: ", self.origin, self.line)?;
        if let Some(object) = &self.object {
            write!(out, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(out, "{}: ", self.field)?;
        }
        write!(out, "{}; {}", self.reason, self.remedy)
    }
}

/// Largest text that is read, in bytes.
const MOST_BYTES: usize = 32 << 20;

/// Reads all documents of a text; `origin` is the file's name for messages.
///
/// Lists are unrolled. A document that cannot be read does not stop the others. Fields that nobody knows are
/// [warnings](Severity::Warning), as an API server would drop them; the object counts without them. The problems are in
/// the order of their lines.
#[must_use]
pub fn read(text: &str, origin: &str) -> (Vec<Located<Object>>, Vec<ManifestError>) {
    let mut reader = Reader { origin: origin.into(), objects: Vec::new(), problems: Vec::new() };
    if text.len() > MOST_BYTES {
        let reason = format!("the file has {} bytes, more than {MOST_BYTES}", text.len());
        reader.problem(1, None, "", reason, "split it into several files");
    } else {
        for document in Document::all(text) {
            reader.document(document);
        }
    }
    reader.problems.sort_by_key(|problem| problem.line);
    (reader.objects, reader.problems)
}

struct Reader {
    origin: Arc<str>,
    objects: Vec<Located<Object>>,
    problems: Vec<ManifestError>,
}

impl Reader {
    fn document(&mut self, document: Document<'_>) {
        match Node::parse(document.text, document.first_line) {
            Ok(node) => self.node(node, None),
            Err(error) => {
                let (kind, namespace, name) = document.guess();
                let object = kind.map(|kind| {
                    let kind = Kind::ALL.iter().find(|known| known.name() == kind).cloned();
                    let kind = kind.unwrap_or_else(|| Kind::Other(document.guess().0.unwrap_or_default().into()));
                    ObjectKey::new(kind, namespace.unwrap_or_default(), name.unwrap_or_default())
                });
                let remedy = "correct the YAML here: indent with spaces, never with tabs, and put texts that contain ': ' or ' #' \
                              in quotes";
                self.problem(error.line, object, "", format!("this is not YAML: {}", error.reason), remedy);
            }
        }
    }

    /// `listed`: `apiVersion` and `kind` for items that do not say theirs.
    fn node(&mut self, mut node: Node, listed: Option<(&str, &str)>) {
        match node.content {
            Content::Null => return,
            Content::Map(_) => {}
            _ => {
                let remedy = "write the object's fields apiVersion, kind and metadata at the beginning of lines";
                return self.problem(node.line, None, "", "this is not an object".to_owned(), remedy);
            }
        }
        let line = node.line;
        if let Some((api_version, kind)) = listed
            && node.get("apiVersion").is_none()
            && node.get("kind").is_none()
        {
            node.set("apiVersion", Node { line, content: Content::Text(api_version.to_owned()) });
            node.set("kind", Node { line, content: Content::Text(kind.to_owned()) });
        }
        let (Some(api_version), Some(kind)) = (node.text("apiVersion"), node.text("kind")) else {
            let field = if node.text("apiVersion").is_none() { "apiVersion" } else { "kind" };
            let line = node.get(field).map_or(line, |value| value.line);
            let reason = "the field is missing or not a text, so nobody knows what this document is".to_owned();
            return self.problem(line, None, field, reason, "add apiVersion and kind, or take the document away");
        };
        let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
        match node.get("items") {
            Some(Node { content: Content::List(_), .. }) if is_list(&api_version, &kind) => {
                self.list(node, &api_version, &kind);
            }
            _ => self.object(node, &api_version, &kind),
        }
    }

    fn list(&mut self, node: Node, api_version: &str, kind: &str) {
        let item = kind.strip_suffix("List").filter(|item| !item.is_empty());
        let Content::Map(fields) = node.content else { return };
        for (name, value) in fields {
            if let (true, Content::List(items)) = (name == "items", value.content) {
                for node in items {
                    self.node(node, item.map(|item| (api_version, item)));
                }
            }
        }
    }

    fn object(&mut self, mut node: Node, api_version: &str, kind: &str) {
        let line = node.line;
        let kind = Kind::of(api_version, kind);
        let field = |name: &str| node.get("metadata").and_then(|m| m.text(name)).unwrap_or_default().to_owned();
        let (namespace, name) = (field("namespace"), field("name"));
        let key = key_of(&kind, &namespace, &name);
        if let Err(mut wrong) = check_names(&kind, api_version, &namespace, &name) {
            if name.is_empty() && node.get("name").is_some() {
                wrong.remedy = "indent name and namespace below metadata".to_owned();
            }
            let at = |field: &str| node.get("metadata").and_then(|m| m.get(field)).map_or(line, |value| value.line);
            let line = match wrong.field {
                "apiVersion" | "kind" => node.get(wrong.field).map_or(line, |value| value.line),
                "metadata.name" => at("name"),
                _ => at("namespace"),
            };
            return self.problem(line, Some(key), wrong.field, wrong.reason, &wrong.remedy);
        }
        if let Some(names) = kind.names() {
            node.set("apiVersion", Node { line, content: Content::Text(names.api_version()) });
            if kind.has_definition() && node.get("spec").is_none() {
                node.set("spec", Node { line, content: Content::Map(Vec::new()) });
            }
        }
        let unknown = RefCell::new(Vec::new());
        let result = typed::read(&node, &unknown, |input| Object::read(&kind, input));
        match result {
            Ok(object) => self.objects.push(Located { value: object, origin: self.origin.clone(), line }),
            Err(wrong) => self.problem(
                wrong.line().unwrap_or(line),
                Some(key.clone()),
                &wrong.field(),
                wrong.reason().to_owned(),
                wrong.remedy(),
            ),
        }
        // The mesh's own types know their version and kind without reading them.
        let unknown = unknown.into_inner().into_iter().filter(|f| f.field != "apiVersion" && f.field != "kind");
        for field in unknown {
            let remedy = match field.similar {
                Some(similar) => format!("write {similar}, or take it away"),
                None => "take it away, or move it to where it belongs".to_owned(),
            };
            self.problems.push(ManifestError {
                severity: Severity::Warning,
                origin: self.origin.clone(),
                line: field.line,
                object: Some(key.clone()),
                field: field.field,
                reason: "nobody knows this field, so it has no effect".to_owned(),
                remedy,
            });
        }
    }

    fn problem(&mut self, line: u32, object: Option<ObjectKey>, field: &str, reason: String, remedy: &str) {
        self.problems.push(ManifestError {
            severity: Severity::Error,
            origin: self.origin.clone(),
            line,
            object,
            field: field.to_owned(),
            reason,
            remedy: remedy.to_owned(),
        });
    }
}

/// Whether the kind is a list of objects: `List` itself, or a known kind's.
fn is_list(api_version: &str, kind: &str) -> bool {
    match kind.strip_suffix("List") {
        Some("") => true,
        Some(item) => !matches!(Kind::of(api_version, item), Kind::Other(_)),
        None => false,
    }
}

fn key_of(kind: &Kind, namespace: &str, name: &str) -> ObjectKey {
    let namespace = match kind.scope() {
        Some(Scope::Cluster) => "",
        Some(Scope::Namespaced) if namespace.is_empty() => "default",
        _ => namespace,
    };
    ObjectKey::new(kind.clone(), namespace, name)
}
