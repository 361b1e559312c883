//! Which generations of the history are listed.

use std::collections::BTreeSet;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::ids::DocumentId;
use gridrouter_config::problem::did_you_mean;
use gridrouter_config::store::etcd::writer::{History, Writer};

use crate::cli::complete;
use crate::kinds::{parse_kind, parse_name};
use crate::output::Output;
use crate::site::in_our_words;

/// What is asked of generations; all of it has to hold.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only generations that changed this document
    #[arg(long, value_name = "KIND/NAME", value_parser = document, conflicts_with = "generation",
          add = ArgValueCompleter::new(complete::full_names))]
    document: Option<DocumentId>,
    /// Only generations of authors with this in their name, in any case
    #[arg(long, value_name = "TEXT", conflicts_with = "generation")]
    author: Option<String>,
    /// Only generations that are not older than this, such as 30m, 2h or 7d
    #[arg(long, value_name = "AGE", value_parser = seconds, conflicts_with = "generation")]
    since: Option<u64>,
}

fn document(text: &str) -> Result<DocumentId, String> {
    let (kind, name) = text
        .split_once('/')
        .ok_or_else(|| format!("\"{}\" is not KIND/NAME, such as Service/checkout", text.escape_debug()))?;
    parse_name(parse_kind(kind)?, name)
}

/// Reads an age, in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{}\" is not an age; write 90s, 30m, 2h or 7d", text.escape_debug());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).ok_or_else(wrong)
}

/// What was found.
pub(super) struct Found {
    /// The newest generations that fit.
    pub(super) entries: Vec<History>,
    /// Generations of which it is not known any more whether they changed the document.
    unclear: Vec<u64>,
    /// All documents that the history names, where a document was asked for.
    named: BTreeSet<String>,
}

impl Found {
    /// What may be missing among them, in words.
    pub(super) fn unclear(&self) -> Option<String> {
        const NAMED: usize = 5;
        let numbers: Vec<String> = self.unclear.iter().take(NAMED).map(u64::to_string).collect();
        let more = match self.unclear.len().checked_sub(NAMED).filter(|more| *more > 0) {
            Some(more) => format!(" and {more} more"),
            None => String::new(),
        };
        (!numbers.is_empty()).then(|| {
            let numbers = numbers.join(", ");
            format!("not listed, because it is not known any more all that they changed: generation {numbers}{more}")
        })
    }
}

impl Filter {
    /// Those that changed a document, `KIND/NAME`.
    pub(super) fn of_document(text: &str) -> Result<Self, String> {
        Ok(Self { document: Some(document(text)?), author: None, since: None })
    }

    /// The newest generations that fit, so many at most. `now` is in seconds since 1970.
    pub(super) fn find(
        &self,
        writer: &mut Writer,
        most: usize,
        now: u64,
        output: &mut Output,
    ) -> Result<Found, String> {
        let asks = self.document.is_some() || self.author.is_some() || self.since.is_some();
        output.progress("reading the history");
        let read =
            writer.history(if asks { usize::MAX } else { most }).map_err(|error| in_our_words(&error.explain()))?;
        let total = read.len();
        let mut found = Found { entries: Vec::new(), unclear: Vec::new(), named: BTreeSet::new() };
        for (done, one) in read.into_iter().enumerate() {
            if found.entries.len() == most || self.is_too_old(&one, now) {
                break;
            }
            output.bar("looking through the history", done, total);
            if self.document.is_some() {
                found.named.extend(one.documents.iter().cloned());
            }
            if !self.is_by(&one) {
                continue;
            }
            match self.is_about(&one, writer)? {
                Some(true) => found.entries.push(one),
                Some(false) => {}
                None => found.unclear.push(one.generation),
            }
        }
        Ok(found)
    }

    /// Whether the document that is asked for is there, or was as far as the history knows. The error says what may have
    /// been meant.
    pub(super) fn check_name(&self, writer: &mut Writer, found: &Found) -> Result<(), String> {
        let Some(id) = self.document.as_ref().filter(|_| found.entries.is_empty()) else { return Ok(()) };
        let there = writer.read_kinds(&[id.kind]).map_err(|error| in_our_words(&error.explain()))?;
        let unreadable = there.unreadable.iter().filter_map(|one| one.id.as_ref());
        let there: BTreeSet<&DocumentId> = there.documents.keys().chain(unreadable).collect();
        if there.contains(id) {
            return Ok(());
        }
        let kind = format!("{}/", id.kind.as_str());
        let was = found.named.iter().filter_map(|named| named.strip_prefix(&kind));
        let (word, name) = (id.kind.as_str().to_lowercase(), &id.name);
        let help = did_you_mean(name.as_str(), there.iter().map(|id| id.name.as_str()).chain(was));
        let help = help.unwrap_or_else(|| format!("`gridctl get {word}` lists what there is"));
        let unclear = found.unclear().map(|unclear| format!(" ({unclear})")).unwrap_or_default();
        Err(format!("there is no {word} \"{name}\", and the history names none{unclear}; {help}"))
    }

    fn is_too_old(&self, one: &History, now: u64) -> bool {
        self.since.is_some_and(|since| one.time < now.saturating_sub(since))
    }

    fn is_by(&self, one: &History) -> bool {
        self.author.as_ref().is_none_or(|author| one.author.to_lowercase().contains(&author.to_lowercase()))
    }

    /// Whether it changed the document; nothing where that is not known any more. An entry does not name all documents of a
    /// large change.
    fn is_about(&self, one: &History, writer: &mut Writer) -> Result<Option<bool>, String> {
        let Some(id) = &self.document else { return Ok(Some(true)) };
        if one.documents.iter().any(|document| *document == id.to_string()) {
            return Ok(Some(true));
        }
        if one.changed <= one.documents.len() {
            return Ok(Some(false));
        }
        let changes = writer.changes(one.generation).map_err(|error| in_our_words(&error.explain()))?;
        Ok(changes.map(|changes| changes.iter().any(|change| change.id == *id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_documents_are_read() {
        assert_eq!((seconds("90s"), seconds("2h"), seconds("7d")), (Ok(90), Ok(7_200), Ok(604_800)));
        for bad in ["", "2", "h", "2w", "-1h", "99999999999999999999d", "9999999999999999d"] {
            assert!(seconds(bad).unwrap_err().contains("write 90s"), "{bad}");
        }
        assert_eq!(document("svc/checkout").unwrap().to_string(), "Service/checkout");
        assert!(document("checkout").unwrap_err().contains("KIND/NAME"));
        assert!(document("servce/checkout").unwrap_err().contains("did you mean \"Service\"?"));
    }
}
