//! The chart that is built into this program.

use std::path::{Path, PathBuf};
use std::{fs, io};

use tempfile::TempDir;

/// Its files: path within the chart, content.
const FILES: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/chart.rs"));

/// A chart that helm can be given.
#[derive(Debug)]
pub struct Chart {
    path: PathBuf,
    // Removed with this value.
    _unpacked: Option<TempDir>,
}

impl Chart {
    /// The one at this path, or (`None`) the one that is built in, unpacked.
    ///
    /// # Errors
    /// It cannot be unpacked.
    pub fn new(path: Option<&Path>) -> io::Result<Self> {
        if let Some(path) = path {
            return Ok(Self { path: path.to_owned(), _unpacked: None });
        }
        let directory = TempDir::with_prefix("fsm-chart-")?;
        let path = directory.path().join("fsm");
        for (name, content) in FILES {
            let file = path.join(name);
            fs::create_dir_all(file.parent().unwrap_or(&path))?;
            fs::write(file, content)?;
        }
        Ok(Self { path, _unpacked: Some(directory) })
    }

    /// Its directory or archive.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_chart_is_whole() {
        let chart = Chart::new(None).unwrap();
        for name in
            ["Chart.yaml", "values.yaml", "values.schema.json", "templates/_helpers.tpl", "files/prometheus.yml"]
        {
            assert!(chart.path().join(name).is_file(), "{name}");
        }
    }

    #[test]
    fn the_chart_has_the_version_of_the_programs() {
        let (_, text) = FILES.iter().find(|(name, _)| *name == "Chart.yaml").unwrap();
        let text = std::str::from_utf8(text).unwrap();
        assert!(text.contains(concat!("\nversion: ", env!("CARGO_PKG_VERSION"), "\n")), "{text}");
        assert!(text.contains(concat!("\nappVersion: ", env!("CARGO_PKG_VERSION"), "\n")), "{text}");
    }

    #[test]
    fn the_bootstrap_may_change_exactly_the_definitions_that_there_are() {
        let (_, text) = FILES.iter().find(|(name, _)| *name == "templates/_definitions.tpl").unwrap();
        let text = std::str::from_utf8(text).unwrap();
        let listed: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("- ")).map(str::to_owned).collect();
        let mut wanted: Vec<_> =
            fsm_api::resources::crds().into_iter().filter_map(|definition| definition.metadata.name).collect();
        wanted.sort();
        assert_eq!(listed, wanted);
    }
}
