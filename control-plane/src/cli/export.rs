//! `gridctl export` and `gridctl import`: a store as files, and back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use gridrouter_config::codec::SourceDocument;
use gridrouter_config::ids::Kind;

use super::adopt::{AdoptFlags, Origin};
use super::change::{ChangeFlags, Job};
use super::consent::Asks;
use super::{Status, apply, attempt, open};
use crate::directory::replace;
use crate::output::Output;
use crate::plan::carry::moving::Moves;
use crate::plan::{Wanted, document_yaml};
use crate::site::Site;
use crate::sources::{self, Sources};
use crate::table::{plural, printable};
use crate::target::Target;

/// Files are not read beyond 16 MiB, and those of an export stay well below.
const FILE_BYTES: usize = 8 * 1024 * 1024;
/// What a file of an export begins with.
const HEAD: &str = "# gridctl export";

/// Write all documents of a store as YAML, with the generation and the digest they belong to.
#[derive(Debug, Args)]
#[command(after_help = EXPORT)]
pub(super) struct Export {
    /// How to write them
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "yaml")]
    output: Format,
    /// A file, or a directory that gets a file for each kind (one that exists, or with a `/` at the end) [default: standard
    /// output]
    #[arg(short, long = "filename", value_name = "FILE|DIR")]
    filename: Option<PathBuf>,
}

const EXPORT: &str = "\
Exit code: 0 fine, 1 documents cannot be read, and nothing was written, 2 the store cannot be reached, or the file not
be written.

Examples:
  gridctl export --store config/examples/quickstart
  gridctl export --store etcd://127.0.0.1:2379 -o json";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One document after the other.
    Yaml,
    /// One array, without generation and digest.
    Json,
}

/// Make a store hold exactly what an export has. With --adopt, routers follow a store that was emptied or restored.
#[derive(Debug, Args)]
#[command(after_help = IMPORT)]
pub(super) struct Import {
    /// The export: a file, a directory, or `-` for standard input
    #[arg(required = true, value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    adopt: AdoptFlags,
    #[command(flatten)]
    change: ChangeFlags,
}

const IMPORT: &str = "\
An emptied or restored store is not followed by routers until somebody says so: then import with --adopt. The lineage
and generation in the export, and the generations of live routers, say what is replaced.

Exit code: 0 the store holds what the export has; 1 problems; 2 wrong usage, or the store cannot be reached; 3 somebody
else was faster; 4 not acknowledged in time (--wait); 5 not known whether it was published.

Examples:
  gridctl import --store etcd://127.0.0.1:2379 config/examples/quickstart --dry-run
  gridctl import --store etcd://127.0.0.1:2379 config/examples/quickstart --yes --adopt";

impl Export {
    pub(super) fn run(&self, target: Result<Target, String>, output: &mut Output) -> Status {
        let outcome = attempt(output, |output| {
            let (_, site) = open(target, output)?;
            let unreadable = site.broken.len() + site.faults.len() + site.foreign.len();
            if unreadable > 0 || site.complaint.is_some() {
                output
                    .error("the store holds what cannot be exported; `gridctl status` or `gridctl check` has the list");
                return Ok(Status::Problems);
            }
            self.write(&site, output)
        });
        outcome.unwrap_or_else(|status| status)
    }

    fn write(&self, site: &Site, output: &mut Output) -> Result<Status, String> {
        let all: Vec<&Arc<SourceDocument>> = site.documents.values().collect();
        let Some(path) = &self.filename else {
            match self.output {
                Format::Json => output.json(&all.iter().map(|document| &document.raw).collect::<Vec<_>>()),
                Format::Yaml => {
                    output.text(header(site));
                    for document in &all {
                        if output.is_closed() {
                            break;
                        }
                        output.text(format_args!("---\n{}", document_yaml(document)));
                    }
                }
            }
            return Ok(Status::Fine);
        };
        let files = match (self.output, is_directory(path)) {
            (Format::Json, true) => {
                return Err("an export as JSON is one file; name a file, or leave out -o".to_owned());
            }
            (Format::Json, false) => {
                let raw: Vec<_> = all.iter().map(|document| &document.raw).collect();
                let text = serde_json::to_string_pretty(&raw).map_err(|error| error.to_string())?;
                vec![(path.clone(), text)]
            }
            (Format::Yaml, false) => vec![(path.clone(), whole(site, &all)?)],
            (Format::Yaml, true) => by_kind(path, site, output),
        };
        let stale = if is_directory(path) { stale(path, &files)? } else { Vec::new() };
        for (path, text) in &files {
            replace(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        for path in stale {
            std::fs::remove_file(&path).map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
        }
        output.note(format_args!("{} in {}", plural(all.len(), "document"), plural(files.len(), "file")));
        Ok(Status::Fine)
    }
}

fn is_directory(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Files of an earlier export that this one does not have: what is in them would come back with the next import. Files
/// that somebody else wrote are not ours to remove.
fn stale(directory: &Path, files: &[(PathBuf, String)]) -> Result<Vec<PathBuf>, String> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let there = sources::read(&[directory.to_owned()], &mut std::io::empty())?;
    let mut stale = Vec::new();
    for (name, bytes) in there.files {
        let path = PathBuf::from(&name);
        if files.iter().any(|(file, _)| *file == path) {
            continue;
        }
        if origin_of(&String::from_utf8_lossy(&bytes)).is_none() {
            return Err(format!("{name} is there and is not of an export; name an empty directory"));
        }
        stale.push(path);
    }
    Ok(stale)
}

/// Says where the documents come from. The import reads it again.
fn header(site: &Site) -> String {
    let mut text = format!("{HEAD}\n");
    // Writing to a String cannot fail.
    if let Some(head) = site.head() {
        let _ = writeln!(text, "# generation: {}\n# digest: {}", head.generation, head.digest);
        let _ = writeln!(text, "# lineage: {}\n# author: {}", printable(&head.lineage), printable(&head.author));
    }
    let _ = writeln!(text, "# documents: {}", site.documents.len());
    text
}

fn whole(site: &Site, all: &[&Arc<SourceDocument>]) -> Result<String, String> {
    let mut text = header(site);
    for document in all {
        let _ = write!(text, "---\n{}", document_yaml(document));
    }
    if text.len() > 2 * FILE_BYTES {
        return Err(format!(
            "the export has {} MiB, and files are not read beyond 16 MiB; name a directory, with a `/` at its end",
            text.len() / (1024 * 1024)
        ));
    }
    Ok(text)
}

/// A file for each kind, or several where one would be too large.
fn by_kind(directory: &Path, site: &Site, output: &mut Output) -> Vec<(PathBuf, String)> {
    let mut parts: BTreeMap<(Kind, usize), String> = BTreeMap::new();
    let mut current: BTreeMap<Kind, usize> = BTreeMap::new();
    for (done, (id, document)) in site.documents.iter().enumerate() {
        output.bar("writing documents", done, site.documents.len());
        let part = current.entry(id.kind).or_insert(1);
        if parts.get(&(id.kind, *part)).is_some_and(|text| text.len() > FILE_BYTES) {
            *part += 1;
        }
        let text = parts.entry((id.kind, *part)).or_insert_with(|| header(site));
        let _ = write!(text, "---\n{}", document_yaml(document));
    }
    let name = |kind: Kind, part: usize| match part {
        1 => format!("{}s.yaml", kind.as_str().to_lowercase()),
        part => format!("{}s-{part:03}.yaml", kind.as_str().to_lowercase()),
    };
    parts.into_iter().map(|((kind, part), text)| (directory.join(name(kind, part)), text)).collect()
}

impl Import {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Status {
        let outcome = attempt(output, |output| {
            let (sources, files) = apply::read(&self.paths, input, output)?;
            let origin = origin(&sources);
            let wanted = Wanted { only: true, ..Wanted::of_files(&files) };
            if let Some(count) = origin.documents.filter(|count| *count != wanted.put.len()) {
                return Err(format!(
                    "the export says that it has {}, and {} could be read: a part of it is missing, or was edited; to make \
                     a store hold what there is, use apply --prune",
                    plural(count, "document"),
                    wanted.put.len()
                ));
            }
            let (mut place, site) = self.adopt.open(target, output)?;
            let adopt = self.adopt.settle(&mut place, &site, Some(&origin), output)?;
            let is_restored = adopt.is_some() || site.documents.is_empty();
            let moves = if is_restored { Moves::AreRestored } else { Moves::AreRecords };
            let wanted = Wanted { moves, ..wanted };
            let reason = match origin.generation {
                0 => "import".to_owned(),
                generation => format!("import of generation {generation}"),
            };
            let (flags, digest, asks) = (&self.change, origin.digest, Asks::WhereItDeletes);
            Ok((Job { flags, place, wanted, files, sources, reason, adopt, digest, asks }, site))
        });
        match outcome {
            Ok((job, site)) => job.run(site, input, output),
            Err(status) => status,
        }
    }
}

/// What the files of an export say of themselves; the newest, where they differ.
fn origin(sources: &Sources) -> Origin {
    let origins = sources.files.iter().filter_map(|(_, bytes)| origin_of(&String::from_utf8_lossy(bytes)));
    origins.max_by_key(|origin| origin.generation).unwrap_or_default()
}

fn origin_of(text: &str) -> Option<Origin> {
    let mut lines = text.lines();
    if lines.next()?.trim_end() != HEAD {
        return None;
    }
    let mut origin = Origin::default();
    let fields = lines.map_while(|line| line.strip_prefix("# ")).filter_map(|line| line.split_once(": "));
    for (name, value) in fields {
        let value = value.trim();
        match name {
            "generation" => origin.generation = value.parse().unwrap_or_default(),
            "digest" => origin.digest = Some(value.to_owned()),
            "lineage" => origin.lineage = Some(value.to_owned()),
            "documents" => origin.documents = value.parse().ok(),
            _ => {}
        }
    }
    Some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_says_where_it_is_from() {
        let text = "# gridctl export\n# generation: 7\n# digest: ab\n# lineage: x\n# newer: y\n# documents: 2\n---\n# documents: 9\n";
        let wanted =
            Origin { generation: 7, digest: Some("ab".to_owned()), lineage: Some("x".to_owned()), documents: Some(2) };
        assert_eq!(origin_of(text), Some(wanted));
        assert_eq!(origin_of("# generation: 7\n"), None);
        assert_eq!(origin_of(""), None);
    }
}
