//! Reading the documents that a command is pointed at: directories as a router reads them, single files, standard input.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use gridrouter_config::store::Store;
use gridrouter_config::store::directory::{DirectoryStore, read_file};

/// The name under which standard input appears.
const STANDARD_INPUT: &str = "<standard input>";

/// Files by name, and what could not be read.
#[derive(Debug, Default)]
pub struct Sources {
    /// Names and bytes, sorted by name.
    pub files: Vec<(String, Vec<u8>)>,
    /// Files inside a directory that could not be read, and why.
    pub faults: Vec<(String, String)>,
}

impl Sources {
    /// The text of a file that was read. What is not UTF-8 in it is replaced.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let at = self.files.binary_search_by(|(file, _)| file.as_str().cmp(name)).ok()?;
        self.files.get(at).map(|(_, bytes)| String::from_utf8_lossy(bytes))
    }
}

/// Reads everything that was named. The error is about a path that was named itself.
pub fn read(paths: &[PathBuf], input: &mut dyn Read) -> Result<Sources, String> {
    let mut files = BTreeMap::new();
    let mut faults = BTreeMap::new();
    for path in paths {
        if path.as_os_str() == OsStr::new("-") {
            let mut bytes = Vec::new();
            input.read_to_end(&mut bytes).map_err(|error| format!("cannot read standard input: {error}"))?;
            files.insert(STANDARD_INPUT.to_owned(), bytes);
        } else if path.is_dir() {
            read_directory(path, &mut files, &mut faults)?;
        } else {
            let entry = read_file(path).map_err(|why| format!("{} {why}", path.display()))?;
            files.insert(entry.path.to_string(), entry.bytes.to_vec());
        }
    }
    Ok(Sources { files: files.into_iter().collect(), faults: faults.into_iter().collect() })
}

fn read_directory(
    path: &Path,
    files: &mut BTreeMap<String, Vec<u8>>,
    faults: &mut BTreeMap<String, String>,
) -> Result<(), String> {
    let listing = DirectoryStore::new(path).list().map_err(|error| error.explain())?;
    files.extend(listing.entries.iter().map(|entry| (entry.path.to_string(), entry.bytes.to_vec())));
    faults.extend(listing.faults.into_iter().map(|(path, why)| (path.to_string(), why)));
    Ok(())
}
