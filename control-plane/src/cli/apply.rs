//! `gridctl apply` and `gridctl delete`.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::codec::{Parsed, parse};
use gridrouter_config::ids::{DocumentId, Kind};
use gridrouter_config::problem::did_you_mean;

use super::adopt::AdoptFlags;
use super::change::{ChangeFlags, Job, some};
use super::consent::Asks;
use super::{Status, attempt, complete, open};
use crate::kinds::{Selection, select};
use crate::output::Output;
use crate::plan::Wanted;
use crate::plan::carry::carry_over;
use crate::plan::carry::moving::leave_out_ended;
use crate::site::Site;
use crate::sources::{self, Sources};
use crate::table::plural;
use crate::target::Target;

/// Make a store hold documents: create those it does not have, change those that say something else.
///
/// The documents are checked together with those of the store; if anything is wrong, nothing is changed. In etcd the change
/// is one generation, in force for every router at once. In a directory files are edited in place, one by one, and new
/// documents go into a file for each kind.
#[derive(Debug, Args)]
#[command(after_help = APPLY)]
pub(super) struct Apply {
    /// Directories and files with documents; `-` is standard input
    #[arg(short, long = "filename", required = true, num_args = 1.., value_name = "DIR|FILE")]
    filenames: Vec<PathBuf>,
    /// Make the store hold exactly these documents: delete all others, of every kind
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    adopt: AdoptFlags,
    #[command(flatten)]
    change: ChangeFlags,
}

const APPLY: &str = "\
Somebody else's change meanwhile is no obstacle when it is about other documents and all of them together are right;
otherwise the answer says who it was and what was changed, and nothing is published.

Exit code: 0 it is in force, or was already; 1 problems; 2 wrong usage, or the store cannot be reached; 3 somebody else
was faster; 4 published, and not acknowledged in time by every router (--wait); 5 not known whether it was published.

Examples:
  gridctl apply --store etcd://127.0.0.1:2379 -f config/examples/quickstart -m 'the first cells' --wait
  gridctl apply --store etcd://127.0.0.1:2379 -f config/examples/quickstart --prune --dry-run
  gridctl apply --store etcd://127.0.0.1:2379 -f -";

/// Delete documents. Those that others refer to are not deleted, unless the others are in the same command.
///
/// It asks before it does so; where nobody can be asked, say --yes.
#[derive(Debug, Args)]
#[command(after_help = DELETE)]
pub(super) struct Delete {
    /// KIND NAME…, or KIND/NAME…
    #[arg(value_name = "DOCUMENT", required_unless_present = "filenames", conflicts_with = "filenames",
          add = ArgValueCompleter::new(complete::documents))]
    documents: Vec<String>,
    /// Delete the documents that these directories and files name; `-` is standard input
    #[arg(short, long = "filename", num_args = 1.., value_name = "DIR|FILE")]
    filenames: Vec<PathBuf>,
    /// A document that is not there is no error
    #[arg(long)]
    ignore_missing: bool,
    #[command(flatten)]
    change: ChangeFlags,
}

const DELETE: &str = "\
Exit code: 0 they are gone; 1 a document is not there, or others refer to it, and nothing was deleted; 2 wrong usage, nobody
said yes, or the store cannot be reached; 3 somebody else was faster; 4 not acknowledged in time (--wait); 5 not known whether it was
published.

Examples:
  gridctl delete --store etcd://127.0.0.1:2379 tenant acme --dry-run
  gridctl delete --store etcd://127.0.0.1:2379 Tenant/acme --ignore-missing --wait --yes
  gridctl delete --store etcd://127.0.0.1:2379 -f config/examples/quickstart --ignore-missing --yes";

impl Apply {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Status {
        let outcome = attempt(output, |output| {
            let (sources, mut files) = read(&self.filenames, input, output)?;
            let (mut place, site) = self.adopt.open(target, output)?;
            let adopt = self.adopt.settle(&mut place, &site, None, output)?;
            let left_out = leave_out_ended(&mut files, &site);
            if left_out > 0 {
                let what = plural(left_out, "move");
                output.note(format_args!("{what} of the files ended, and the store has no record any more: left out"));
            }
            carried(&site, &mut files)?;
            // Shifts and moves are started by gridctl, and are in no repository; a repository that has them says so.
            let wanted = Wanted { only: self.prune, keeps: &[Kind::Shift, Kind::Move], ..Wanted::of_files(&files) };
            let reason = String::new();
            let (flags, digest, asks) = (&self.change, None, Asks::WhereItDeletes);
            Ok((Job { flags, place, wanted, files, sources, reason, adopt, digest, asks }, site))
        });
        match outcome {
            Ok((job, site)) => job.run(site, input, output),
            Err(status) => status,
        }
    }
}

/// What the documents do not say themselves, and is not theirs to say, is taken over from those that are there.
fn carried(site: &Site, files: &mut [Parsed]) -> Result<(), String> {
    for document in files.iter_mut().flat_map(|file| &mut file.documents) {
        let Some(before) = site.documents.get(&document.id) else { continue };
        let mut raw = document.raw.clone();
        carry_over(&before.raw, &mut raw).map_err(|why| format!("{}: {why}", document.place()))?;
        if raw != document.raw {
            *document = Arc::new(document.with(raw)?);
        }
    }
    Ok(())
}

/// Reads documents. With none there is nothing to do, and with --prune too much.
pub(super) fn read(
    paths: &[PathBuf],
    input: &mut dyn BufRead,
    output: &mut Output,
) -> Result<(Sources, Vec<Parsed>), String> {
    let sources = sources::read(paths, input)?;
    let total = sources.files.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut files: Vec<Parsed> = Vec::with_capacity(sources.files.len());
    let mut done = 0;
    for (name, bytes) in &sources.files {
        output.bar("reading files", done, total);
        files.push(parse(name, bytes));
        done += bytes.len();
    }
    if files.iter().all(|file| file.documents.is_empty() && file.broken.is_empty()) && sources.faults.is_empty() {
        let places: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        let places = places.join(", ");
        return Err(format!(
            "no documents in {places}; in directories they are in files named *.yaml, *.yml or *.json"
        ));
    }
    Ok((sources, files))
}

impl Delete {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Status {
        let outcome = attempt(output, |output| {
            let ids = self.ids(input, output)?;
            let (place, site) = open(target, output)?;
            Ok((ids, place, site))
        });
        let (ids, place, site) = match outcome {
            Ok(parts) => parts,
            Err(status) => return status,
        };
        let missing: Vec<&DocumentId> = ids.iter().filter(|id| !is_there(&site, id)).collect();
        if !missing.is_empty() && !self.ignore_missing {
            for id in missing {
                output.error(not_there(&site, id));
            }
            output.note("nothing was deleted");
            return Status::Problems;
        }
        if let Some(shift) = ids.iter().find(|id| is_under_way(&site, id)) {
            output.error(format_args!(
                "{shift} is under way, and without it all traffic would go back to the track in use at once; say `gridctl shift \
                 abort {}` first",
                shift.name
            ));
            return Status::Problems;
        }
        let wanted = Wanted { delete: ids, ..Wanted::default() };
        let (files, sources, reason) = (Vec::new(), Sources::default(), String::new());
        let asks = Asks::Always(format!("deletes {}", some(&wanted.delete.iter().cloned().collect::<Vec<_>>())));
        Job { flags: &self.change, place, wanted, files, sources, reason, adopt: None, digest: None, asks }
            .run(site, input, output)
    }

    fn ids(&self, input: &mut dyn BufRead, output: &mut Output) -> Result<BTreeSet<DocumentId>, String> {
        if self.filenames.is_empty() {
            return match select(&self.documents)? {
                Selection::Documents(ids) => Ok(ids.into_iter().collect()),
                Selection::All | Selection::Kind(_) => {
                    Err("name the documents to delete: KIND NAME…, KIND/NAME… or -f FILE".to_owned())
                }
            };
        }
        // Whatever else is wrong with them, documents that have a name can be deleted by it.
        let (_, files) = read(&self.filenames, input, output)?;
        let good = files.iter().flat_map(|file| &file.documents).map(|document| &document.id);
        let broken = files.iter().flat_map(|file| &file.broken).filter_map(|broken| broken.id.as_ref());
        Ok(good.chain(broken).cloned().collect())
    }
}

/// Whether this is a shift that decides where requests go.
fn is_under_way(site: &Site, id: &DocumentId) -> bool {
    let document = site.documents.get(id).filter(|_| id.kind == Kind::Shift);
    matches!(document.map(|document| convert(document)), Some(Ok(ModelDocument::Shift(shift))) if shift.is_under_way())
}

fn is_there(site: &Site, id: &DocumentId) -> bool {
    site.documents.contains_key(id) || site.foreign.contains_key(id) || site.broken(id).is_some()
}

/// What to say of a document that is not there.
pub(super) fn not_there(site: &Site, id: &DocumentId) -> String {
    let same = site.documents.keys().filter(|other| other.kind == id.kind).map(|other| other.name.as_str());
    let elsewhere = || {
        let other = site.documents.keys().find(|other| other.name == id.name);
        other.map(|other| format!("there is {other}"))
    };
    let help = did_you_mean(id.name.as_str(), same)
        .or_else(elsewhere)
        .unwrap_or_else(|| format!("`gridctl get {}` lists what there is", id.kind.as_str().to_lowercase()));
    format!("there is no {id}; {help}")
}
