//! What every file said, and what follows for the objects.

use super::walk::{Found, Stamp, walk};
use crate::source::Event;
use crate::world::{Problem, Severity};
use fsm_api::resources::{Located, ManifestError, Object, ObjectKey, manifest};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Larger files are refused: a manifest has a few thousand lines, not millions.
const MOST_BYTES: u64 = 16 << 20;

/// Everything that was read, without the objects themselves.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    files: BTreeMap<PathBuf, Seen>,
    /// Which files have an object; the first one is where it counts.
    places: BTreeMap<ObjectKey, BTreeSet<PathBuf>>,
    /// Objects that were said to be there: where and what.
    said: BTreeMap<ObjectKey, Digest>,
    /// Problems that were said to be there, by origin.
    told: BTreeMap<Arc<str>, Vec<Problem>>,
}

/// What a file said when it was last read.
#[derive(Debug)]
struct Seen {
    stamp: Option<Stamp>,
    read: SystemTime,
    /// Of the whole text; `None` when it could not be read.
    text: Option<Digest>,
    objects: BTreeMap<ObjectKey, Place>,
    problems: Vec<Problem>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    digest: Digest,
    line: u32,
}

/// What tells whether an object changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Digest(u64);

/// What came out of a look.
#[derive(Debug)]
pub(super) struct Look {
    /// What changed.
    pub(super) events: Vec<Event>,
    /// Whether the directory itself could be read.
    pub(super) complete: bool,
}

type Fresh = BTreeMap<ObjectKey, Located<Object>>;

impl Tree {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            files: BTreeMap::new(),
            places: BTreeMap::new(),
            said: BTreeMap::new(),
            told: BTreeMap::new(),
        }
    }

    /// Notifications were lost: no file is taken for unchanged at the next look.
    pub(super) fn distrust(&mut self) {
        for seen in self.files.values_mut() {
            seen.stamp = None;
        }
    }

    /// Looks at all files and reads those that changed, except those that are being written; when it is to be thorough,
    /// also those that might have changed unnoticed.
    pub(super) fn look(
        &mut self,
        root: &Path,
        touched: &BTreeSet<PathBuf>,
        thorough: bool,
        is_written: impl Fn(&Path) -> bool,
    ) -> Look {
        let found = walk(root);
        let complete = !found.failed.contains_key(root);
        let mut fresh: BTreeMap<PathBuf, Fresh> = BTreeMap::new();
        let mut concerned: BTreeSet<ObjectKey> = BTreeSet::new();
        for (path, stamp) in &found.files {
            let known = self.files.get(path);
            let same = known.is_some_and(|seen| seen.stamp == Some(*stamp) && !(thorough && stamp.is_fresh(seen.read)));
            if (same && !touched.contains(path)) || is_written(path) {
                continue;
            }
            let objects = self.read(path, *stamp, &mut concerned);
            fresh.insert(path.clone(), objects);
        }
        self.drop_missing(&found, &mut concerned);
        let mut events = self.settle(&concerned, &mut fresh, &found);
        events.extend(self.tell(&found));
        Look { events, complete }
    }

    /// Reads a file and takes over what it says; adds the objects that are in it or were.
    fn read(&mut self, path: &Path, stamp: Stamp, concerned: &mut BTreeSet<ObjectKey>) -> Fresh {
        let read = SystemTime::now();
        let text = text_of(path);
        let digest_of_text = text.as_deref().ok().map(digest_of);
        if let Some(seen) = self.files.get_mut(path).filter(|seen| seen.text.is_some() && seen.text == digest_of_text) {
            // Whoever only touches files changes nothing; parsing is what costs.
            let missed = seen.stamp.is_none();
            (seen.stamp, seen.read) = (Some(stamp), read);
            if !missed {
                return Fresh::new();
            }
        }
        let mut fresh = Fresh::new();
        let mut objects = BTreeMap::new();
        let mut problems = Vec::new();
        let whole = match text {
            Ok(text) => {
                let (located, errors) = manifest::read(&text, &path.to_string_lossy());
                problems.extend(errors.iter().map(problem_of));
                for one in located {
                    let key = one.value.key();
                    let place = Place { digest: digest(&one.value), line: one.line };
                    if let Some(first) = objects.get(&key) {
                        problems.push(twice(&key, path, one.line, path, *first));
                        continue;
                    }
                    objects.insert(key.clone(), place);
                    fresh.insert(key, one);
                }
                !errors.iter().any(|error| error.severity == fsm_api::resources::Severity::Error)
            }
            Err(reason) => {
                problems.push(Problem {
                    severity: Severity::Error,
                    objects: Vec::new(),
                    reason: "UnreadableFile",
                    text: format!("{}: {reason}; what it said before stays in force", path.display()),
                });
                false
            }
        };
        let before = self.files.remove(path).map(|seen| seen.objects).unwrap_or_default();
        concerned.extend(before.keys().chain(objects.keys()).cloned());
        if !whole {
            // What is missing may well be in the broken part.
            for (key, place) in &before {
                objects.entry(key.clone()).or_insert(*place);
            }
        }
        for key in before.keys().filter(|key| !objects.contains_key(key)) {
            self.unplace(key, path);
        }
        for key in objects.keys() {
            self.places.entry(key.clone()).or_default().insert(path.to_owned());
        }
        self.files.insert(path.to_owned(), Seen { stamp: Some(stamp), read, text: digest_of_text, objects, problems });
        fresh
    }

    /// Forgets files that are gone, except where it cannot be known whether they are.
    fn drop_missing(&mut self, found: &Found, concerned: &mut BTreeSet<ObjectKey>) {
        let unknown = |path: &Path| found.failed.keys().any(|failed| path.starts_with(failed));
        let gone: Vec<PathBuf> =
            self.files.keys().filter(|path| !found.files.contains_key(*path) && !unknown(path)).cloned().collect();
        for path in gone {
            let Some(seen) = self.files.remove(&path) else { continue };
            for key in seen.objects.into_keys() {
                self.unplace(&key, &path);
                concerned.insert(key);
            }
        }
    }

    fn unplace(&mut self, key: &ObjectKey, path: &Path) {
        if let Some(places) = self.places.get_mut(key) {
            places.remove(path);
            if places.is_empty() {
                self.places.remove(key);
            }
        }
    }

    /// Says what became of the objects: what is there first, in the order of kinds, then what is gone.
    fn settle(
        &mut self,
        concerned: &BTreeSet<ObjectKey>,
        fresh: &mut BTreeMap<PathBuf, Fresh>,
        found: &Found,
    ) -> Vec<Event> {
        let mut applied = Vec::new();
        let mut removed = Vec::new();
        for key in concerned {
            let Some(path) = self.places.get(key).and_then(|places| places.first()).cloned() else {
                if self.said.remove(key).is_some() {
                    removed.push(Event::Removed(key.clone()));
                }
                continue;
            };
            let Some(place) = self.files.get(&path).and_then(|seen| seen.objects.get(key)).copied() else { continue };
            if self.said.get(key) == Some(&place.digest) {
                continue;
            }
            // An object that comes to count because it is gone elsewhere has to be read once more.
            let objects = fresh.entry(path.clone()).or_insert_with(|| reread(&path));
            match objects.get(key) {
                Some(object) => {
                    self.said.insert(key.clone(), digest(&object.value));
                    applied.push(Event::Applied(object.clone()));
                }
                // The file changed in this very moment, or its object is only remembered: the next look will tell.
                None => {
                    if let Some(seen) = self.files.get_mut(&path).filter(|_| found.files.contains_key(&path)) {
                        seen.stamp = None;
                    }
                }
            }
        }
        applied.append(&mut removed);
        applied
    }

    /// Says what is wrong now, where that changed.
    fn tell(&mut self, found: &Found) -> Vec<Event> {
        let mut now: BTreeMap<Arc<str>, Vec<Problem>> = BTreeMap::new();
        for (path, error) in &found.failed {
            let what = if *path == self.root { "the directory" } else { "it" };
            now.entry(origin(path)).or_default().push(Problem {
                severity: Severity::Error,
                objects: Vec::new(),
                reason: "UnreadableFile",
                text: format!(
                    "{}: {what} cannot be read ({error}); what was read there before stays in force",
                    path.display()
                ),
            });
        }
        for (path, seen) in &self.files {
            if !seen.problems.is_empty() {
                now.entry(origin(path)).or_default().extend(seen.problems.iter().cloned());
            }
        }
        for (key, places) in self.places.iter().filter(|(_, places)| places.len() > 1) {
            let mut places = places.iter().filter_map(|path| Some((path, self.files.get(path)?.objects.get(key)?)));
            let Some((winner, first)) = places.next() else { continue };
            for (path, place) in places {
                now.entry(origin(path)).or_default().push(twice(key, path, place.line, winner, *first));
            }
        }
        let origins: BTreeSet<&Arc<str>> = now.keys().chain(self.told.keys()).collect();
        let events = (origins.into_iter())
            .filter(|origin| now.get(*origin) != self.told.get(*origin))
            .map(|origin| Event::Problems {
                origin: origin.clone(),
                problems: now.get(origin).cloned().unwrap_or_default(),
            })
            .collect();
        self.told = now;
        events
    }
}

fn origin(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

fn reread(path: &Path) -> Fresh {
    let Ok(text) = text_of(path) else { return Fresh::new() };
    let (located, _) = manifest::read(&text, &path.to_string_lossy());
    let mut fresh = Fresh::new();
    for one in located {
        fresh.entry(one.value.key()).or_insert(one);
    }
    fresh
}

fn text_of(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| format!("the file cannot be read ({error})");
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("the file has more than {} MiB: split it", MOST_BYTES >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        format!("the file is no text (byte {} is not UTF-8): save it as UTF-8", error.utf8_error().valid_up_to())
    })
}

fn digest(object: &Object) -> Digest {
    match serde_json::to_vec(object) {
        Ok(bytes) => digest_of(&bytes),
        // Never for objects that were read; then every reading counts as a change.
        Err(_) => digest_of(&SystemTime::now()),
    }
}

fn digest_of<T: Hash + ?Sized>(value: &T) -> Digest {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    Digest(hasher.finish())
}

fn problem_of(error: &ManifestError) -> Problem {
    Problem {
        severity: match error.severity {
            fsm_api::resources::Severity::Error => Severity::Error,
            fsm_api::resources::Severity::Warning => Severity::Warning,
        },
        objects: error.object.iter().map(ToString::to_string).collect(),
        reason: "BrokenManifest",
        text: error.to_string(),
    }
}

fn twice(key: &ObjectKey, path: &Path, line: u32, winner: &Path, first: Place) -> Problem {
    Problem {
        severity: Severity::Error,
        objects: vec![key.to_string()],
        reason: "DuplicateObject",
        text: format!(
            "{}:{line}: {key} is also in {}:{}, which comes first and counts; remove one of them",
            path.display(),
            winner.display(),
            first.line
        ),
    }
}
