//! `gridctl check`: are these documents good?

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use gridrouter_config::generation::{CheckReport, check_sources};
use gridrouter_config::problem::Problem;

use super::Status;
use super::format::{Shown, print_yaml};
use crate::output::Output;
use crate::problems;
use crate::sources::{self, Sources};
use crate::table::columns;

/// Check documents, and print everything that is wrong with them.
///
/// The documents are checked together, as a router would read them, so that references between them are checked too.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    /// Directories and files with documents; `-` is standard input.
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    /// How to print the problems.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
}

const EXAMPLES: &str = "\
As a table, problems are printed like a compiler prints them; `-o wide` has a row a problem. With `-o json` the output is one array with an object a problem: file, line, column, length, path (the field), message,
and, where they are known, document (kind and name), help and missing (the document that is referred to).

Exit code: 0 no problems, 1 problems, 2 something cannot be read.

Examples:
  gridctl check config/examples/quickstart
  gridctl check -o json config/examples/quickstart/grid.yaml";

impl Check {
    pub(super) fn run(&self, input: &mut dyn BufRead, output: &mut Output) -> Status {
        let sources = match sources::read(&self.paths, input) {
            Ok(sources) => sources,
            Err(why) => {
                output.error(why);
                return Status::Failed;
            }
        };
        if sources.files.is_empty() && sources.faults.is_empty() {
            let places: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
            output.error(format_args!(
                "no documents in {}; they are in files named *.yaml, *.yml or *.json",
                places.join(", ")
            ));
            return Status::Failed;
        }
        let mut report = check_sources(&sources.files);
        report.problems.extend(sources.faults.iter().map(|(file, why)| Problem::of_file(&Arc::from(&**file), why)));
        report.problems.sort_by(Problem::reading_order);
        match self.output {
            Shown::Table => print(&report, &sources, output),
            Shown::Wide => print_rows(&report.problems, output),
            Shown::Json => output.json(&report.problems),
            Shown::Yaml => print_yaml(&report.problems, output),
        }
        if report.problems.is_empty() { Status::Fine } else { Status::Problems }
    }
}

fn print(report: &CheckReport, sources: &Sources, output: &mut Output) {
    problems::print(&report.problems, usize::MAX, sources, output);
    if !output.is_closed() {
        output.line(summary(&report.problems, report.documents));
    }
}

/// A row a problem.
fn print_rows(problems: &[Problem], output: &mut Output) {
    let row = |problem: &Problem| {
        let document = problem.document.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let place = format!("{}:{}:{}", problem.file, problem.line, problem.column);
        let path = if problem.path.is_empty() { "-" } else { &problem.path };
        let help = problem.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        vec![place, document, path.to_owned(), format!("{}{help}", problem.message)]
    };
    output.text(columns(&["PLACE", "DOCUMENT", "FIELD", "PROBLEM"], &problems.iter().map(row).collect::<Vec<_>>()));
}

/// The last line: how bad it is.
fn summary(problems: &[Problem], documents: usize) -> String {
    let plural = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let fine = if documents == 1 { "is" } else { "are" };
    if problems.is_empty() {
        return format!("{} {fine} fine", plural(documents, "document"));
    }
    // Problems of a document whose name cannot be read count as one document a file.
    let bad: BTreeSet<_> = problems.iter().map(|problem| (&problem.file, &problem.document)).collect();
    let bad = bad.len().min(documents);
    format!("{} in {bad} of {}", plural(problems.len(), "problem"), plural(documents, "document"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_documents() {
        let problem = |file: &str| Problem::of_file(&Arc::from(file), "is bad");
        assert_eq!(summary(&[], 14), "14 documents are fine");
        assert_eq!(summary(&[], 1), "1 document is fine");
        let problems = [problem("a"), problem("a"), problem("b")];
        assert_eq!(summary(&problems, 14), "3 problems in 2 of 14 documents");
        assert_eq!(summary(&problems[..1], 1), "1 problem in 1 of 1 document");
    }
}
