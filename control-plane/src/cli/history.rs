//! `gridctl history` and `gridctl undo`.

mod filter;

use std::collections::BTreeMap;
use std::io::BufRead;

use clap::Args;
use gridrouter_config::codec::{Parsed, SourceDocument, parse};
use gridrouter_config::ids::DocumentId;
use gridrouter_config::raw::{Document, ShiftPhase};
use gridrouter_config::store::etcd::Changed;
use gridrouter_config::store::etcd::writer::{History, Writer};
use serde_json::json;

use self::filter::Filter;
use super::change::{ChangeFlags, Job};
use super::consent::Asks;
use super::diff::print_all;
use super::format::{Format, print_value};
use super::{Status, attempt, open_place, read};
use crate::diff::unified;
use crate::output::Output;
use crate::plan::carry::can_be_put_back;
use crate::plan::{Wanted, document_yaml};
use crate::site::{Site, in_our_words};
use crate::sources::Sources;
use crate::table::{age, columns, now, plural, printable, utc};
use crate::target::Target;
use crate::yaml;

/// What is said of a directory.
const NO_HISTORY: &str = "keeps no history; keep it in git";

/// Print who changed what and when; of one generation, the difference that it made.
#[derive(Debug, Args)]
#[command(after_help = HISTORY)]
pub(super) struct Log {
    /// Show what this generation changed
    #[arg(value_name = "GENERATION")]
    generation: Option<u64>,
    /// Generations to list
    #[arg(short, value_name = "N", default_value = "20")]
    n: usize,
    #[command(flatten)]
    filter: Filter,
    /// How to print them
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Format,
    /// Documents whose difference is shown; 0 is all
    #[arg(long, value_name = "N", default_value = "100")]
    most: usize,
    /// Whether a document that nobody knows is an error.
    #[arg(skip)]
    known: bool,
}

const HISTORY: &str = "\
The history has the last 10,000 generations. What a change of more than 16 KiB made of the documents is kept for 100
generations, and not at all beyond 64 MiB; who, when, why and which documents stays.

Exit code: 0 fine, 1 the history does not have the generation, 2 the store cannot be reached, or is a directory.

Examples:
  gridctl history --store etcd://127.0.0.1:2379
  gridctl history --store etcd://127.0.0.1:2379 -n 5 -o wide
  gridctl history --store etcd://127.0.0.1:2379 --document Service/checkout --since 2h
  gridctl history --store etcd://127.0.0.1:2379 --author ann -o json
  gridctl history --store etcd://127.0.0.1:2379 1";

/// Take back what one generation changed, as a new generation.
///
/// Refused where a document was changed again since, unless --force says that it shall be as it was before all the same. It
/// asks before it does so; where nobody can be asked, say --yes. A step of a shift is not undone: it would be taken again at
/// once.
#[derive(Debug, Args)]
#[command(after_help = UNDO)]
pub(super) struct Undo {
    /// The generation
    #[arg(value_name = "GENERATION")]
    generation: u64,
    /// Also take back documents that were changed again since
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    change: ChangeFlags,
}

const UNDO: &str = "\
Exit code: 0 it is taken back, or was already; 1 documents were changed again since, or what would be in force is wrong;
2 wrong usage, nobody said yes, or the store cannot be reached; 3 somebody else was faster; 4 not acknowledged in time (--wait); 5 not
known whether it was published.

Examples:
  gridctl undo --store etcd://127.0.0.1:2379 2 --dry-run
  gridctl undo --store etcd://127.0.0.1:2379 2 --wait --yes";

impl Log {
    /// The generations that changed one document, which has to be there, or to have been.
    pub(super) fn of_document(kind: &str, name: &str, n: usize, output: Format) -> Result<Self, String> {
        let filter = Filter::of_document(&format!("{kind}/{name}"))?;
        Ok(Self { generation: None, n, filter, output, most: 0, known: true })
    }

    pub(super) fn run(&self, target: Result<Target, String>, output: &mut Output) -> Status {
        let outcome = attempt(output, |output| {
            let mut place = open_place(target)?;
            let named_by = place.named_by();
            let writer = place.writer(NO_HISTORY)?;
            let done = match self.generation {
                Some(generation) => self.one(writer, generation, output),
                None => self.list(writer, output),
            };
            done.map_err(|why| why + &named_by)
        });
        outcome.unwrap_or_else(|status| status)
    }

    fn list(&self, writer: &mut Writer, output: &mut Output) -> Result<Status, String> {
        let now = now();
        let found = self.filter.find(writer, self.n, now, output)?;
        if self.known {
            self.filter.check_name(writer, &found)?;
        }
        if let Some(unclear) = found.unclear() {
            output.note(unclear);
        }
        let entries = found.entries;
        let short = |one: &History| {
            let (generation, ago) = (one.generation.to_string(), age(one.time, now));
            vec![generation, ago, one.author.clone(), one.changed.to_string(), one.message.clone()]
        };
        match self.output {
            Format::Table => {
                let rows: Vec<_> = entries.iter().map(short).collect();
                output.text(columns(&["GENERATION", "AGE", "AUTHOR", "CHANGED", "MESSAGE"], &rows));
            }
            Format::Wide => {
                let row =
                    |one: &History| [short(one), vec![utc(one.time), one.digest.to_string(), named(one)]].concat();
                let head = ["GENERATION", "AGE", "AUTHOR", "CHANGED", "MESSAGE", "TIME", "DIGEST", "DOCUMENTS"];
                output.text(columns(&head, &entries.iter().map(row).collect::<Vec<_>>()));
            }
            Format::Name => entries.iter().for_each(|one| output.line(one.generation)),
            Format::Json | Format::Yaml => {
                let entries: Vec<_> = entries.iter().map(entry_json).collect();
                print_value(self.output, &json!(entries), output);
            }
        }
        Ok(Status::Fine)
    }

    fn one(&self, writer: &mut Writer, generation: u64, output: &mut Output) -> Result<Status, String> {
        let entry = writer.entry(generation).map_err(|error| in_our_words(&error.explain()))?;
        let entry = entry.as_ref();
        let Some(changes) = changes(writer, generation, entry, output)? else { return Ok(Status::Problems) };
        match self.output {
            Format::Table | Format::Wide => {
                if let Some(one) = entry {
                    output.line(title(one));
                    output.line(plural(changes.len(), "document"));
                }
                let sides = changes.iter().map(|change| {
                    let text = |bytes: &Option<std::sync::Arc<[u8]>>| bytes.as_deref().map(yaml::from_json);
                    (change.id.to_string(), text(&change.before), text(&change.after))
                });
                print_all(sides, changes.len(), self.most, output);
            }
            Format::Name => changes.iter().for_each(|change| output.line(&change.id)),
            Format::Json | Format::Yaml => {
                let side = |bytes: &Option<std::sync::Arc<[u8]>>| {
                    bytes.as_deref().map(|bytes| {
                        serde_json::from_slice(bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(bytes)))
                    })
                };
                let changes: Vec<_> = changes
                    .iter()
                    .map(|one| {
                        json!({ "document": one.id.to_string(), "before": side(&one.before), "after": side(&one.after) })
                    })
                    .collect();
                let mut value = entry.map_or_else(|| json!({ "generation": generation }), entry_json);
                if let Some(fields) = value.as_object_mut() {
                    fields.insert("changes".to_owned(), json!(changes));
                }
                print_value(self.output, &value, output);
            }
        }
        Ok(Status::Fine)
    }
}

fn entry_json(one: &History) -> serde_json::Value {
    json!({
        "generation": one.generation, "author": one.author, "message": one.message, "time": one.time,
        "digest": one.digest, "changed": one.changed, "documents": one.documents,
    })
}

/// Who, when and why.
fn title(one: &History) -> String {
    let message = if one.message.is_empty() { String::new() } else { format!(": {}", one.message) };
    let text = format!("by {}, {}, {} ago{message}", one.author, utc(one.time), age(one.time, now()));
    format!("generation {} {}", one.generation, printable(&text))
}

/// What a generation changed; nothing, and what is known all the same, when the history does not have it.
fn changes(
    writer: &mut Writer,
    generation: u64,
    entry: Option<&History>,
    output: &mut Output,
) -> Result<Option<Vec<Changed>>, String> {
    output.progress(format_args!("reading what generation {generation} changed"));
    let found = writer.changes(generation).map_err(|error| in_our_words(&error.explain()))?;
    match (&found, entry) {
        (Some(_), _) => {}
        (None, Some(one)) => {
            output.note(title(one));
            output.note(format_args!("{}: {}", plural(one.changed, "document"), named(one)));
            output.error(format_args!(
                "what generation {generation} changed in them was too much to be kept for so long, or at all"
            ));
        }
        (None, None) => output.error(format_args!(
            "the history does not have what generation {generation} changed; `gridctl history` lists what it has"
        )),
    }
    Ok(found)
}

/// The documents that an entry names.
fn named(one: &History) -> String {
    match one.changed.checked_sub(one.documents.len()).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", printable(&one.documents.join(" "))),
        None => printable(&one.documents.join(" ")),
    }
}

impl Undo {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Status {
        let outcome = attempt(output, |output| {
            let mut place = open_place(target)?;
            let named_by = place.named_by();
            let changes = changes(place.writer(NO_HISTORY)?, self.generation, None, output);
            let changes = changes.map_err(|why| why + &named_by)?;
            output.progress("reading the store");
            Ok((changes, read(place)?))
        });
        let (changes, (place, site)) = match outcome {
            Ok((Some(changes), opened)) => (changes, opened),
            Ok((None, _)) => return Status::Problems,
            Err(status) => return status,
        };
        let (wanted, files) = self.inverse(&changes);
        let now_and_then = changes.iter().map(|change| {
            let then = wanted.put.get(&change.id).map(|document| &document.raw);
            (site.documents.get(&change.id).map(|document| &document.raw), then)
        });
        if let Some(why) = now_and_then.map(|(now, then)| may_be_undone(now, then)).find_map(Result::err) {
            output.error(printable(&why));
            output.note("nothing was changed");
            return Status::Problems;
        }
        // Only now: what cannot be undone at all must not be said to need --force.
        if !self.force && !self.untouched(&site, &changes, output) {
            return Status::Problems;
        }
        let reason = format!("undo generation {}", self.generation);
        let sources = Sources::default();
        let asks = Asks::Always(format!("takes back what generation {} changed", self.generation));
        Job { flags: &self.change, place, wanted, files, sources, reason, adopt: None, digest: None, asks }
            .run(site, input, output)
    }

    /// What was there before, as if somebody applied it.
    fn inverse(&self, changes: &[Changed]) -> (Wanted, Vec<Parsed>) {
        let mut files = Vec::new();
        let mut wanted = Wanted::default();
        for change in changes {
            match &change.before {
                None => drop(wanted.delete.insert(change.id.clone())),
                Some(bytes) => {
                    files.push(parse(&format!("{} before generation {}", change.id, self.generation), bytes));
                }
            }
        }
        wanted.put = Wanted::of_files(&files).put;
        (wanted, files)
    }

    /// Whether every document is as the generation left it, or as it was before; if not, what came since is shown.
    fn untouched(&self, site: &Site, changes: &[Changed], output: &mut Output) -> bool {
        const SHOWN: usize = 20;
        let mut touched: BTreeMap<&DocumentId, String> = BTreeMap::new();
        for change in changes {
            let now = site.documents.get(&change.id);
            let is = |bytes: &Option<std::sync::Arc<[u8]>>| match (now, bytes) {
                (None, None) => !site.foreign.contains_key(&change.id) && site.broken(&change.id).is_none(),
                (Some(document), Some(bytes)) => same(document, bytes),
                (Some(_), None) | (None, Some(_)) => false,
            };
            if is(&change.after) || is(&change.before) {
                continue;
            }
            let (then, now) = (change.after.as_deref().map(yaml::from_json), as_it_is(site, &change.id));
            let name = format!("{} since generation {}", change.id, self.generation);
            touched.insert(&change.id, unified(&name, then.as_deref(), now.as_deref(), output.colour()));
        }
        for difference in touched.values().take(SHOWN) {
            output.text(difference);
        }
        if touched.is_empty() {
            return true;
        }
        let ids: Vec<DocumentId> = touched.keys().map(|id| (*id).clone()).collect();
        output.error(format_args!(
            "{} changed again since generation {}: {}; nothing was changed; say --force to undo it all the same",
            plural(ids.len(), "document"),
            self.generation,
            super::change::some(&ids)
        ));
        false
    }
}

/// Whether a document may be put back to what it was, and what to do instead.
fn may_be_undone(now: Option<&Document>, then: Option<&Document>) -> Result<(), String> {
    let outcome = can_be_put_back(now, then);
    let (Err(_), Some(Document::Shift(shift))) = (&outcome, now) else { return outcome };
    let Some(state) = &shift.state else { return outcome };
    let instead = match state.phase {
        ShiftPhase::Succeeded => format!("say `gridctl shift rollback {}` instead", shift.name),
        ShiftPhase::RolledBack | ShiftPhase::Failed | ShiftPhase::Aborted => {
            "its traffic is back already; begin again with `gridctl shift start`".to_owned()
        }
        ShiftPhase::Pending | ShiftPhase::Running | ShiftPhase::Paused | ShiftPhase::RollingBack => return outcome,
    };
    let phase = state.phase.as_str();
    Err(format!("shift \"{}\" is {phase}, and would go on from where it is put; {instead}", shift.name))
}

/// What a document says now.
fn as_it_is(site: &Site, id: &DocumentId) -> Option<String> {
    let document = site.documents.get(id).map(|document| document_yaml(document));
    document.or_else(|| site.broken(id).map(|broken| yaml::from_json(&broken.entry.bytes)))
}

/// Whether bytes of the history say what a document says.
fn same(document: &SourceDocument, bytes: &[u8]) -> bool {
    let parsed = parse("history", bytes);
    matches!(parsed.documents.as_slice(), [one] if one.id == document.id && one.digest == document.digest)
}
