//! Archives that programs write.

use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The texts of the files in a `.tar.gz`, by their paths below its one directory.
///
/// # Panics
/// When it is none.
pub fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let file = File::open(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let mut files = BTreeMap::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("a file of the archive");
        let name = entry.path().expect("a path").components().skip(1).collect::<std::path::PathBuf>();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("the file is whole");
        let text = String::from_utf8(bytes).unwrap_or_else(|why| panic!("{}: {why}", name.display()));
        files.insert(name.display().to_string(), text);
    }
    files
}
