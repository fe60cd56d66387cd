//! The scripts that every code base inherits. We have none of our own; whoever serves Pipy sidecars brings FSM's.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes of all scripts together: FSM's have less than one MiB.
const MAX_BYTES: usize = 64 << 20;

/// Depth of folders.
const MAX_DEPTH: usize = 16;

/// The entry script: first in every list.
const ENTRY: &str = "main.js";

/// Files by their path, read once.
#[derive(Debug, Default)]
pub(super) struct Base {
    files: BTreeMap<String, Bytes>,
    fingerprint: u64,
}

/// The scripts cannot be served.
#[derive(Debug, Error)]
pub enum BaseError {
    /// The file system refuses.
    #[error("{}: {source}; --repo-base must be a directory of scripts", path.display())]
    Read {
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing to run.
    #[error("{} has no {ENTRY}, which is what a Pipy sidecar runs", .0.display())]
    NoEntry(PathBuf),
    /// Not scripts.
    #[error("{} has more than {MAX_BYTES} bytes or folders deeper than {MAX_DEPTH}, which no scripts have", .0.display())]
    TooLarge(PathBuf),
}

impl Base {
    pub(super) fn read(directory: &Path) -> Result<Self, BaseError> {
        let mut files = BTreeMap::new();
        let mut left = MAX_BYTES;
        collect(directory, "", MAX_DEPTH, &mut left, &mut files)?;
        if !files.contains_key(ENTRY) {
            return Err(BaseError::NoEntry(directory.to_owned()));
        }
        let mut context = Context::new(&SHA256);
        for (path, bytes) in &files {
            context.update(path.as_bytes());
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        }
        let fingerprint = context.finish().as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Ok(Self { files, fingerprint })
    }

    /// 0 without scripts.
    pub(super) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The entry script first.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let entry = self.files.get_key_value(ENTRY).map(|(path, _)| path.as_str());
        entry.into_iter().chain(self.files.keys().map(String::as_str).filter(|path| *path != ENTRY))
    }

    pub(super) fn file(&self, path: &str) -> Option<Bytes> {
        self.files.get(path).cloned()
    }
}

fn collect(
    directory: &Path,
    prefix: &str,
    depth: usize,
    left: &mut usize,
    files: &mut BTreeMap<String, Bytes>,
) -> Result<(), BaseError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BaseError::Read { path, source }
    };
    if depth == 0 {
        return Err(BaseError::TooLarge(directory.to_owned()));
    }
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with('.')) else {
            continue;
        };
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{name}/"), depth - 1, left, files)?;
        } else {
            let bytes = fs::read(&path).map_err(failed(&path))?;
            *left = left.checked_sub(bytes.len()).ok_or_else(|| BaseError::TooLarge(directory.to_owned()))?;
            files.insert(name, bytes.into());
        }
    }
    Ok(())
}
