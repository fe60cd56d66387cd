//! What the API server said about one kind, and what follows for those who listen: a pure state machine.
//!
//! It remembers of each object only whether it was said to be there and a digest of what was said. A list that comes
//! again, after a time without connection, is compared with that: what is missing in it was deleted meanwhile, and what is
//! unchanged is not said again. An object that cannot be read stays in force as it was last read.

use super::needs::{Named, named_by};
use super::raw::Raw;
use super::trim::trim;
use super::view::{MONITORED_BY, View};
use super::watching::Namespaces;
use crate::issued::{MANAGED_BY, MANAGER};
use crate::source::Event;
use crate::webhook::configuration::INSTANCE_LABEL;
use crate::world::{Problem, Severity};
use fsm_api::resources::{Kind, Located, Object, ObjectKey};
use kube::runtime::watcher;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;

/// Where objects say that they are from.
pub(super) const ORIGIN: &str = "Kubernetes";

/// Namespace (empty: none) and name.
type Name = (String, String);

/// What was said about the objects of one kind.
#[derive(Debug)]
pub(super) struct Shelf {
    view: View,
    known: BTreeMap<Name, Known>,
    /// While a list arrives: what was in it so far.
    listing: Option<BTreeSet<Name>>,
    /// A list was complete once.
    listed: bool,
    /// The namespaces that count, where not all of them do.
    wanted: Option<Arc<BTreeSet<String>>>,
    /// Those of them of which everything was said.
    complete: Arc<BTreeSet<String>>,
    /// The API server does not have the kind.
    absent: bool,
    hashes: RandomState,
    origin: Arc<str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Of what was last read, good or not.
    digest: u64,
    /// It is in force.
    applied: bool,
    /// A problem was reported.
    broken: bool,
    /// Of a Namespace: its mesh.
    monitored_by: Option<Box<str>>,
    /// Of a policy: the namespaces that it names.
    named: BTreeSet<String>,
    /// Counts in whatever namespace.
    own: bool,
}

impl Shelf {
    pub(super) fn new(view: View) -> Self {
        Self {
            view,
            known: BTreeMap::new(),
            listing: None,
            listed: false,
            wanted: None,
            complete: Arc::default(),
            absent: false,
            hashes: RandomState::new(),
            origin: ORIGIN.into(),
        }
    }

    /// Whether a complete list was seen.
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    /// Whether a list is arriving.
    pub(super) fn is_listing(&self) -> bool {
        self.listing.is_some() || !self.listed
    }

    /// The namespaces that count; `None`: all.
    pub(super) fn wanted(&self) -> Option<&BTreeSet<String>> {
        self.wanted.as_deref()
    }

    /// The namespaces of which everything was said that there is; `None`: of all.
    pub(super) fn complete(&self) -> Namespaces {
        let all = self.absent || (self.listed && self.wanted.is_none());
        (!all).then(|| self.complete.clone())
    }

    /// Names of the Namespaces that are in force and of this mesh.
    pub(super) fn mesh_namespaces<'a>(&'a self, mesh: &'a str) -> impl Iterator<Item = &'a str> {
        let of_mesh = |known: &Known| known.applied && known.monitored_by.as_deref() == Some(mesh);
        self.known.iter().filter(move |(_, known)| of_mesh(known)).map(|((_, name), _)| name.as_str())
    }

    /// The namespaces that the objects in force name.
    pub(super) fn named(&self) -> Named {
        let mut named = Named::new();
        for ((namespace, _), known) in self.known.iter().filter(|(_, known)| known.applied && !known.named.is_empty()) {
            named.entry(namespace.clone()).or_default().extend(known.named.iter().cloned());
        }
        named
    }

    /// Takes in what the API server says.
    pub(super) fn take_in(&mut self, event: watcher::Event<Raw>) -> Vec<Event> {
        match event {
            watcher::Event::Init => {
                self.listing = Some(BTreeSet::new());
                Vec::new()
            }
            watcher::Event::InitApply(raw) => {
                let name = name_of(&raw);
                if let Some(listing) = &mut self.listing {
                    listing.insert(name);
                }
                self.apply(raw)
            }
            watcher::Event::InitDone => {
                self.listed = true;
                self.absent = false;
                self.complete = self.wanted.clone().unwrap_or_default();
                let listing = self.listing.take().unwrap_or_default();
                self.forget(|name, _| !listing.contains(name))
            }
            watcher::Event::Apply(raw) => self.apply(raw),
            watcher::Event::Delete(raw) => {
                let deleted = name_of(&raw);
                self.forget(|name, _| *name == deleted)
            }
        }
    }

    /// The API server does not have the kind at all, or not any more.
    pub(super) fn take_in_absence(&mut self) -> Vec<Event> {
        self.listed = true;
        self.absent = true;
        self.complete = Arc::default();
        self.listing = None;
        self.forget(|_, _| true)
    }

    /// Only objects of these namespaces count from now on. Those of added ones have to be listed again.
    pub(super) fn want(&mut self, namespaces: Arc<BTreeSet<String>>) -> Vec<Event> {
        self.absent = false;
        self.complete = Arc::new(self.complete.intersection(&namespaces).cloned().collect());
        self.wanted = Some(namespaces.clone());
        self.forget(|(namespace, _), known| !namespaces.contains(namespace) && !known.own)
    }

    fn apply(&mut self, raw: Raw) -> Vec<Event> {
        let name = name_of(&raw);
        let own = self.is_own(&raw);
        if !own && self.wanted.as_ref().is_some_and(|wanted| !wanted.contains(&name.0)) {
            // Most of what is there was never wanted; some of it was ours a moment ago.
            return if self.known.contains_key(&name) { self.forget(|known, _| *known == name) } else { Vec::new() };
        }
        let content = match raw.content {
            Ok(value) if self.view.trimmed => Ok(trim(&self.view.kind, value)),
            whole => whole,
        };
        let digest = match &content {
            Ok(value) => self.digest(value),
            Err(reason) => self.hashes.hash_one(reason),
        };
        let before = self.known.get(&name);
        if before.is_some_and(|known| known.digest == digest) {
            return Vec::new();
        }
        let mut known = Known { digest, own, ..before.cloned().unwrap_or_default() };
        let mut events = Vec::new();
        if let (Kind::Namespace, Ok(value)) = (&self.view.kind, &content) {
            let labels = value.pointer("/metadata/labels");
            let mesh = labels.and_then(|labels| labels.get(MONITORED_BY)).and_then(Value::as_str);
            known.monitored_by = mesh.map(Into::into);
        }
        let names_others = self.view.names_others();
        let named = content
            .as_ref()
            .ok()
            .filter(|_| names_others)
            .map(|value| named_by(&self.view.kind, value))
            .unwrap_or_default();
        match content.and_then(|value| self.read(value)) {
            Ok(object) => {
                known.named = named;
                if std::mem::take(&mut known.broken) {
                    events.push(self.problems(&name, Vec::new()));
                }
                known.applied = true;
                events.push(Event::Applied(Located { value: object, origin: self.origin.clone(), line: 1 }));
            }
            Err(reason) => {
                let problem = self.undecodable(&name, known.applied, &reason);
                events.push(self.problems(&name, vec![problem]));
                known.broken = true;
            }
        }
        self.known.insert(name, known);
        events
    }

    fn is_own(&self, raw: &Raw) -> bool {
        let (Some(mesh), Ok(value)) = (&self.view.own_secrets_of, &raw.content) else { return false };
        let labels = value.pointer("/metadata/labels");
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str);
        label(MANAGED_BY) == Some(MANAGER) && label(INSTANCE_LABEL) == Some(mesh.as_str())
    }

    /// Items of a list of Kubernetes' own kinds do not say what they are.
    fn read(&self, mut value: Value) -> Result<Object, String> {
        let fields = value.as_object_mut().ok_or("it is no JSON object")?;
        fields.insert("kind".to_owned(), self.view.kind.name().into());
        fields.insert("apiVersion".to_owned(), self.view.kind.api_version().unwrap_or_default().into());
        Object::from_json(value).map_err(|error| error.to_string())
    }

    fn undecodable(&self, name: &Name, in_force: bool, reason: &str) -> Problem {
        let key = self.key(name);
        let rest = match in_force {
            true => "what it said before stays in force",
            false => "it has no effect",
        };
        Problem {
            severity: Severity::Error,
            objects: vec![key.to_string()],
            reason: "UndecodableObject",
            text: format!("{key} cannot be read: {reason}; {rest} until it is mended"),
        }
    }

    fn problems(&self, name: &Name, problems: Vec<Problem>) -> Event {
        Event::Problems { origin: format!("{ORIGIN} {}", self.key(name)).into(), problems }
    }

    fn key(&self, (namespace, name): &Name) -> ObjectKey {
        ObjectKey::new(self.view.kind.clone(), namespace, name)
    }

    fn forget(&mut self, gone: impl Fn(&Name, &Known) -> bool) -> Vec<Event> {
        let gone = self.known.iter().filter(|(name, known)| gone(name, known));
        let names: Vec<Name> = gone.map(|(name, _)| name.clone()).collect();
        let mut events = Vec::new();
        for name in names {
            let Some(known) = self.known.remove(&name) else { continue };
            if known.broken {
                events.push(self.problems(&name, Vec::new()));
            }
            if known.applied {
                events.push(Event::Removed(self.key(&name)));
            }
        }
        events
    }

    fn digest(&self, value: &Value) -> u64 {
        let mut hasher = Hashed(self.hashes.build_hasher());
        // Neither writing to a hasher nor writing a JSON value fails.
        let _ = serde_json::to_writer(&mut hasher, value);
        hasher.0.finish()
    }
}

fn name_of(raw: &Raw) -> Name {
    (raw.namespace().to_owned(), raw.name().to_owned())
}

struct Hashed<H>(H);

impl<H: Hasher> io::Write for Hashed<H> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
