//! `gridctl diff`: what `apply` would change.

use std::io::BufRead;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::format::{Format, print_value};
use super::{Status, apply, attempt, open};
use crate::diff::unified;
use crate::output::Output;
use crate::plan::{Plan, Version, Wanted, document_yaml};
use crate::table::plural;
use crate::target::Target;

/// Show what `apply` would change, as a unified diff.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Diff {
    /// Directories and files with documents; `-` is standard input
    #[arg(short, long = "filename", required = true, num_args = 1.., value_name = "DIR|FILE")]
    filenames: Vec<PathBuf>,
    /// Compare as `apply --prune` would: what the input does not have is deleted
    #[arg(long)]
    prune: bool,
    /// Documents whose difference is shown; 0 is all
    #[arg(long, value_name = "N", default_value = "100")]
    most: usize,
    /// How to print it; `table` and `wide` are the diff
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

const EXAMPLES: &str = "\
With `-o json` and `-o yaml` it is an array: document, before and after, null where there is none.

Exit code: 0 no difference, 1 differences, 2 something cannot be read.

Examples:
  gridctl diff --store config/examples/quickstart -f config/examples/quickstart
  gridctl diff --store etcd://127.0.0.1:2379 -f config/examples/quickstart --prune
  gridctl diff --store etcd://127.0.0.1:2379 -f config/examples/quickstart -o name";

impl Diff {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Status {
        let outcome = attempt(output, |output| {
            let (sources, files) = apply::read(&self.filenames, input, output)?;
            let broken = files.iter().flat_map(|file| &file.broken).find_map(|broken| broken.problems.first());
            if let Some(problem) = broken {
                let place = format!("{}:{}:{}", problem.file, problem.line, problem.column);
                return Err(format!("{place}: {}; see: gridctl check", problem.message));
            }
            if let Some((file, why)) = sources.faults.first() {
                return Err(format!("{file} {why}"));
            }
            let (_, site) = open(target, output)?;
            Ok(Plan::new(&site, &Wanted { only: self.prune, ..Wanted::of_files(&files) }))
        });
        match outcome {
            Ok(plan) => {
                self.print(&plan, output);
                if plan.is_empty() { Status::Fine } else { Status::Problems }
            }
            Err(status) => status,
        }
    }
}

impl Diff {
    fn print(&self, plan: &Plan, output: &mut Output) {
        match self.output {
            Format::Table | Format::Wide => print(plan, self.most, output),
            Format::Name => plan.edits.keys().for_each(|id| output.line(id)),
            Format::Json | Format::Yaml => {
                let changes = plan.edits.iter().map(|(id, edit)| {
                    let before = edit.before.as_ref().map(Version::json);
                    json!({ "document": id.to_string(), "before": before, "after": edit.after.as_ref().map(|one| &one.raw) })
                });
                print_value(self.output, &changes.collect(), output);
            }
        }
    }
}

/// Prints what a plan changes.
pub(super) fn print(plan: &Plan, most: usize, output: &mut Output) {
    let sides = plan.edits.iter().map(|(id, edit)| {
        let (before, after) = (edit.before.as_ref().map(Version::yaml), edit.after.as_deref().map(document_yaml));
        (id.to_string(), before, after)
    });
    print_all(sides, plan.edits.len(), most, output);
}

/// Prints differences: name, before and after. They are made one by one, because there may be a million.
pub(super) fn print_all(
    sides: impl Iterator<Item = (String, Option<String>, Option<String>)>,
    count: usize,
    most: usize,
    output: &mut Output,
) {
    let most = if most == 0 { usize::MAX } else { most };
    let colour = output.colour();
    for (name, before, after) in sides.take(most) {
        if output.is_closed() {
            return;
        }
        output.text(unified(&name, before.as_deref(), after.as_deref(), colour));
    }
    if let Some(more) = count.checked_sub(most).filter(|more| *more > 0) {
        output.line(format_args!("… and {} (`--most 0` shows all)", plural(more, "more document")));
    }
}
