//! The archive of a bug report: files are added as they come, and it is there under its name only when it is whole.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};
use tempfile::NamedTempFile;

/// Directory in the archive, so that unpacking it makes one.
const TOP: &str = "fsm-bug-report";

/// A `.tar.gz` that only its owner can read.
pub(super) struct Archive {
    builder: Builder<GzEncoder<BufWriter<NamedTempFile>>>,
    path: PathBuf,
    /// Seconds since 1970, for all files in it.
    time: u64,
}

impl Archive {
    /// Begins one that will be at `path`, beside which there must be room.
    pub(super) fn create(path: &Path, time: u64) -> Result<Self> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = NamedTempFile::new_in(directory).with_context(|| {
            format!("cannot write the report into {}: choose a file with --out-file", directory.display())
        })?;
        let builder = Builder::new(GzEncoder::new(BufWriter::new(file), Compression::default()));
        Ok(Self { builder, path: path.to_owned(), time })
    }

    /// Adds a file.
    pub(super) fn add(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        self.builder
            .append_data(&mut header, format!("{TOP}/{name}"), content)
            .with_context(|| format!("cannot write {name} into {}", self.path.display()))
    }

    /// Puts the archive where it belongs, and gives its size in bytes.
    pub(super) fn finish(self) -> Result<u64> {
        let context = || format!("cannot write {}", self.path.display());
        let buffered = self.builder.into_inner().and_then(GzEncoder::finish).with_context(context)?;
        let file = buffered.into_inner().map_err(|error| error.into_error()).with_context(context)?;
        let file = file.persist(&self.path).with_context(context)?;
        Ok(file.metadata().with_context(context)?.len())
    }
}
