//! What all verbs have in common that change a store: from what is wanted to a generation that routers acknowledged.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use gridrouter_config::codec::Parsed;
use gridrouter_config::ids::DocumentId;
use gridrouter_config::store::etcd::writer::{About, Adopt, PublishError, Writer};
use gridrouter_config::units::parse_duration;
use serde_json::{Map, Value, json};

use super::consent::{Asks, confirm};
use super::format::{Format, print_yaml};
use super::wish::Wish;
use super::{Status, refusal};
use crate::acknowledge::{self, Outcome, Standing, names};
use crate::directory::{self, WriteError};
use crate::output::Output;
use crate::plan::{Action, Plan, Wanted, clashes};
use crate::site::{Opened, Place, Site, in_our_words};
use crate::sources::Sources;
use crate::table::{columns, plural, printable};

/// How often a change is tried that loses to those of other documents. Each loss is somebody's success, so that many
/// writers together come to an end.
const ATTEMPTS: usize = 20;
/// The longest pause before another attempt. A random part of it is waited, so that two writers do not stay in step.
const PAUSE: Duration = Duration::from_millis(400);
/// Rows of a table.
const ROWS: usize = 100;

/// The flags of every verb that changes a store.
#[derive(Debug, Args)]
pub(super) struct ChangeFlags {
    #[command(flatten)]
    pub(super) wish: Wish,
    /// Return when every live router acknowledged the generation; after 30s, or this time, name those that did not
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, default_missing_value = "30s",
          value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Also put into force what somebody wrote into, or deleted from, etcd without gridctl, as part of this change; it is
    /// checked like everything else, and what is wrong is not taken in
    #[arg(long)]
    pub(super) take_in: bool,
    /// How to print what changes
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Format,
    /// Documents whose difference a dry run shows; 0 is all
    #[arg(long, value_name = "N", default_value = "100")]
    most: usize,
}

impl ChangeFlags {
    /// Whether standard output is read by a tool.
    pub(super) fn is_for_tools(&self) -> bool {
        match self.output {
            Format::Table | Format::Wide => false,
            Format::Json | Format::Yaml | Format::Name => true,
        }
    }
}

/// A change on its way.
pub(super) struct Job<'a> {
    pub(super) flags: &'a ChangeFlags,
    pub(super) place: Place,
    pub(super) wanted: Wanted,
    /// What is put, as it was read, and where its text is.
    pub(super) files: Vec<Parsed>,
    pub(super) sources: Sources,
    /// The message where none is given.
    pub(super) reason: String,
    pub(super) adopt: Option<Adopt>,
    /// The digest that the documents have to have in the end, where that is known.
    pub(super) digest: Option<String>,
    /// When somebody is asked first.
    pub(super) asks: Asks,
}

/// What became of the attempt to publish.
enum Attempt {
    Done(u64),
    Again(Box<Site>),
    Over(Status),
}

impl Job<'_> {
    /// Carries the change out.
    pub(super) fn run(mut self, mut site: Site, input: &mut dyn BufRead, output: &mut Output) -> Status {
        if self.flags.wait.is_some() && matches!(self.place.store, Opened::Directory(_)) {
            output.error("a directory has no live routers to wait for; leave out --wait");
            return Status::Failed;
        }
        let about = self.about();
        for attempt in 1.. {
            let (wanted, taken) = self.with_taken_in(&site);
            let plan = Plan::new(&site, &wanted);
            output.progress(format_args!("checking {}", plural(site.documents.len() + plan.edits.len(), "document")));
            if let Err(status) = refusal::check(&mut self, &site, &plan, taken, output) {
                return status;
            }
            let nothing = plan.is_empty() && self.adopt.is_none();
            if attempt == 1 {
                if self.flags.wish.dry_run {
                    self.show(&plan, output);
                    return self.end_dry(&site, &plan, output);
                }
                // Whoever is asked has to see what it is about. Where nobody can be, nothing was done yet that could be told.
                let asked_first = !output.has_person();
                if !asked_first {
                    self.show(&plan, output);
                }
                if !nothing && let Err(status) = confirm(&self, &plan, input, output) {
                    return status;
                }
                if asked_first {
                    self.show(&plan, output);
                }
            }
            if nothing {
                if site.complaint.is_some() || !site.foreign.is_empty() {
                    output.note(
                        "what was written without gridctl comes into force with a change, and this changes nothing",
                    );
                }
                return self.finish(&site, &plan, None, output);
            }
            match self.attempt(&site, &plan, &about, attempt, output) {
                Attempt::Done(generation) => return self.finish(&site, &plan, Some(generation), output),
                Attempt::Again(now) => site = *now,
                Attempt::Over(status) => return status,
            }
        }
        Status::Failed
    }

    /// What is wanted, with what is taken in, and the texts of that.
    fn with_taken_in(&self, site: &Site) -> (Wanted, Vec<Parsed>) {
        let mut wanted = self.wanted.clone();
        let Opened::Etcd { keys, .. } = &self.place.store else { return (wanted, Vec::new()) };
        if !self.flags.take_in || wanted.only {
            return (wanted, Vec::new());
        }
        let meant = |id: &DocumentId| self.wanted.put.contains_key(id) || self.wanted.delete.contains(id);
        let (files, deleted) = site.taken_in(keys, meant);
        wanted.put.extend(Wanted::of_files(&files).put);
        wanted.delete.extend(deleted);
        (wanted, files)
    }

    fn about(&self) -> About {
        let author = self.flags.wish.author(self.place.context.as_ref());
        let message = self.flags.wish.message.clone().unwrap_or_else(|| self.reason.clone());
        About { author, message, adopt: self.adopt.clone(), ..About::default() }
    }

    /// The table, before anything is done.
    fn show(&self, plan: &Plan, output: &mut Output) {
        let most = match self.flags.output {
            Format::Table => ROWS,
            Format::Wide => usize::MAX,
            Format::Json | Format::Yaml | Format::Name => return,
        };
        let rows = plan.rows();
        let shown = rows.iter().take(most).map(|(action, id)| vec![action.as_str().to_owned(), id.to_string()]);
        output.text(columns(&["ACTION", "DOCUMENT"], &shown.collect::<Vec<_>>()));
        if let Some(more) = rows.len().checked_sub(most).filter(|more| *more > 0) {
            output.line(format_args!("… and {} (`-o wide` has all)", plural(more, "more document")));
        }
    }

    fn attempt(&mut self, site: &Site, plan: &Plan, about: &About, attempt: usize, output: &mut Output) -> Attempt {
        output.progress(format_args!("publishing {}", plural(plan.edits.len(), "change")));
        let writer = match &mut self.place.store {
            Opened::Directory(root) => return write_files(root, plan, output),
            Opened::Etcd { writer, .. } => writer,
        };
        let Some(base) = &site.base else { return Attempt::Over(Status::Failed) };
        let published = match plan.changes() {
            Ok(changes) => writer.publish(base, &changes, about),
            Err(why) => Err(PublishError::Refused(why)),
        };
        match published {
            Ok(published) => Attempt::Done(published.generation),
            Err(PublishError::Lost(lost)) => {
                let text = printable(&lost.to_string());
                self.lost(site, &text, attempt, output)
            }
            Err(error @ (PublishError::Deposed | PublishError::Refused(_) | PublishError::Store(_))) => {
                output.error(in_our_words(&printable(&error.to_string())));
                Attempt::Over(Status::Failed)
            }
            Err(error @ PublishError::Unknown(_)) => {
                let text = in_our_words(&printable(&error.to_string()));
                output.error(format_args!("{text}; look with `gridctl history`"));
                Attempt::Over(Status::Unknown)
            }
        }
    }

    /// Somebody else was faster. Where that was about other documents, the change is still what was wanted.
    fn lost(&mut self, before: &Site, text: &str, attempt: usize, output: &mut Output) -> Attempt {
        // Every hasher of this kind begins with another number.
        let random = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
        // Nobody unparks this thread, and an early attempt would be no harm.
        std::thread::park_timeout(PAUSE.mul_f64(random));
        // What is compared here is what the next attempt starts from: whatever came in between is nobody's to undo.
        let now = match self.place.read() {
            Ok(now) => now,
            Err(why) => {
                output.error(text);
                output.error(why);
                return Attempt::Over(Status::Lost);
            }
        };
        let clashes = clashes(before, &now, &self.wanted);
        if clashes.is_empty() && attempt < ATTEMPTS && now.generation() > before.generation() {
            let generation = now.generation();
            output.note(format_args!(
                "generation {generation} came meanwhile and changed none of these documents; trying again"
            ));
            return Attempt::Again(Box::new(now));
        }
        output.error(text);
        if !clashes.is_empty() {
            output.note(format_args!("both changes are about {}", some(&clashes)));
        }
        Attempt::Over(Status::Lost)
    }

    fn end_dry(&self, site: &Site, plan: &Plan, output: &mut Output) -> Status {
        match self.flags.output {
            Format::Table | Format::Wide => {
                super::diff::print(plan, self.flags.most, output);
                output.line(format_args!("dry run, nothing was changed: {}", plan.summary()));
            }
            Format::Json | Format::Yaml | Format::Name => self.answer(plan, site.generation(), false, output),
        }
        Status::Fine
    }

    fn finish(&mut self, site: &Site, plan: &Plan, published: Option<u64>, output: &mut Output) -> Status {
        let generation = published.unwrap_or(site.generation());
        match self.flags.output {
            Format::Table | Format::Wide => {
                let text = match (published, site.base.is_some()) {
                    (Some(generation), true) => format!("generation {generation} is in force: {}", plan.summary()),
                    (Some(_), false) => format!("files were changed: {}", plan.summary()),
                    (None, true) => format!("nothing to publish, generation {generation} stays: {}", plan.summary()),
                    (None, false) => format!("nothing to write: {}", plan.summary()),
                };
                output.line(text);
            }
            Format::Json | Format::Yaml | Format::Name => self.answer(plan, generation, published.is_some(), output),
        }
        self.compare_digest(generation, output);
        match self.flags.wait {
            Some(timeout) if generation > 0 => self.wait(generation, timeout, output),
            Some(_) | None => Status::Fine,
        }
    }

    /// Says so when the documents are not to the bit what they were elsewhere.
    fn compare_digest(&mut self, generation: u64, output: &mut Output) {
        let (Some(wanted), Opened::Etcd { writer, .. }) = (&self.digest, &mut self.place.store) else { return };
        let Ok(base) = writer.base() else { return };
        let head = base.head().filter(|head| head.generation == generation);
        if let Some(head) = head.filter(|head| head.digest.to_string() != *wanted) {
            let digest = head.digest;
            output.note(format_args!(
                "the digest is {digest}, and the export's was {wanted}: it was edited, or written by another version"
            ));
        }
    }

    /// The answer for tools.
    fn answer(&self, plan: &Plan, generation: u64, published: bool, output: &mut Output) {
        let rows = plan.rows();
        if self.flags.output == Format::Name {
            for (_, id) in rows.iter().filter(|(action, _)| *action != Action::Unchanged) {
                output.line(id);
            }
            return;
        }
        let mut fields = Map::new();
        fields.insert("generation".to_owned(), json!(generation));
        fields.insert("published".to_owned(), json!(published));
        for action in Action::ALL {
            let ids: Vec<Value> =
                rows.iter().filter(|(one, _)| *one == action).map(|(_, id)| json!(id.to_string())).collect();
            fields.insert(action.as_str().to_owned(), Value::Array(ids));
        }
        let answer = Value::Object(fields);
        if self.flags.output == Format::Json { output.json(&answer) } else { print_yaml(&answer, output) }
    }

    fn wait(&mut self, generation: u64, timeout: Duration, output: &mut Output) -> Status {
        let Opened::Etcd { writer, .. } = &mut self.place.store else { return Status::Fine };
        acknowledged(writer, generation, timeout, output)
    }
}

/// Waits until every live router has a generation, and says who has not.
pub(super) fn acknowledged(writer: &mut Writer, generation: u64, timeout: Duration, output: &mut Output) -> Status {
    match acknowledge::wait(writer, generation, timeout, output) {
        Outcome::All(all, refuses) => {
            match all {
                0 => output.note("no router is live; nobody was waited for"),
                1 => output.note(format_args!("the live router acknowledged generation {generation}")),
                n => output.note(format_args!("all {n} live routers acknowledged generation {generation}")),
            }
            if !refuses.is_empty() {
                let (verb, names) = (if refuses.len() == 1 { "refuses" } else { "refuse" }, names(&refuses));
                output.note(format_args!("{} {verb} documents: {names}", plural(refuses.len(), "router")));
            }
        }
        Outcome::Missing(missing, there) => {
            output.error(format_args!(
                "{} of {} did not acknowledge generation {generation}: {}; look with `gridctl status`",
                missing.len(),
                plural(missing.len() + there, "live router"),
                names(&missing)
            ));
            let elsewhere = |standing: Standing| matches!(standing, Standing::Held | Standing::AnotherHistory);
            if missing.iter().any(|(_, standing)| elsewhere(*standing)) {
                output.note(
                    "routers that hold on to another history follow this store once it is published with --adopt",
                );
            }
            return Status::Unacknowledged;
        }
        Outcome::Unknown(why) => {
            output.error(format_args!("it is not known who acknowledged generation {generation}: {why}"));
            return Status::Unacknowledged;
        }
    }
    Status::Fine
}

fn write_files(root: &Path, plan: &Plan, output: &mut Output) -> Attempt {
    match directory::write(root, plan) {
        Ok(()) => Attempt::Done(0),
        Err(lost @ WriteError::Lost(_)) => {
            output.error(printable(&lost.to_string()));
            Attempt::Over(Status::Lost)
        }
        Err(error @ (WriteError::Failed(_) | WriteError::Stopped)) => {
            output.error(error);
            Attempt::Over(Status::Failed)
        }
    }
}

/// The first few of many documents.
pub(super) fn some(ids: &[DocumentId]) -> String {
    const NAMED: usize = 5;
    let shown: Vec<String> = ids.iter().take(NAMED).map(ToString::to_string).collect();
    match ids.len().checked_sub(NAMED).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", shown.join(", ")),
        None => shown.join(", "),
    }
}
