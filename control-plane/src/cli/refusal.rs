//! Why a change is not made: because documents are wrong, others still need what is deleted, or the store holds what
//! nobody has looked at.

use std::collections::BTreeSet;

use gridrouter_config::codec::Parsed;
use gridrouter_config::ids::DocumentId;
use gridrouter_config::problem::Problem;

use super::Status;
use super::change::{Job, some};
use crate::output::Output;
use crate::plan::carry::moving::left_alone;
use crate::plan::{Plan, referrers, review};
use crate::problems;
use crate::site::Site;
use crate::table::{plural, printable};

/// Problems that are printed.
const PROBLEMS: usize = 50;
/// Documents that are listed as those who need a deleted one.
const REFERRERS: usize = 20;

/// Refuses what must not go into force, with the reasons.
pub(super) fn check(
    job: &mut Job<'_>,
    site: &Site,
    plan: &Plan,
    taken: Vec<Parsed>,
    output: &mut Output,
) -> Result<(), Status> {
    if let Err(why) = left_alone(site, plan, job.wanted.moves) {
        output.error(printable(&why));
        output.note("nothing was changed");
        return Err(Status::Problems);
    }
    let (given, own) = (job.files.len(), taken.iter().map(|file| file.file.to_string()).collect::<BTreeSet<_>>());
    job.files.extend(taken);
    let problems = review(site, plan, &mut job.files);
    if problems.iter().any(|problem| own.contains(&*problem.file)) {
        output.note(
            "what somebody wrote without gridctl is taken in only if it is right; apply a good version of what is wrong, or \
             delete it",
        );
    }
    let outcome = judge(job, site, plan, problems, output);
    job.files.truncate(given);
    outcome
}

fn judge(
    job: &Job<'_>,
    site: &Site,
    plan: &Plan,
    mut problems: Vec<Problem>,
    output: &mut Output,
) -> Result<(), Status> {
    let faults = job.sources.faults.iter();
    problems.extend(faults.map(|(file, why)| Problem::of_file(&std::sync::Arc::from(&**file), why)));
    problems.sort_by(Problem::reading_order);
    if problems.is_empty() {
        return unseen(job, site, output);
    }
    let own: BTreeSet<&str> = job.files.iter().map(|file| &*file.file).collect();
    let needed = referrers(plan, &problems);
    for (id, problems) in &needed {
        let by: Vec<&&Problem> = problems.iter().filter(|problem| !own.contains(&*problem.file)).collect();
        if !by.is_empty() {
            print_referrers(id, &by, job.flags.is_for_tools(), output);
        }
    }
    let told = |problem: &Problem| {
        !own.contains(&*problem.file) && problem.missing.as_ref().is_some_and(|id| needed.contains_key(id))
    };
    let rest: Vec<Problem> = problems.iter().filter(|problem| !told(problem)).cloned().collect();
    let print = if job.flags.is_for_tools() { problems::tell } else { problems::print };
    print(&rest, PROBLEMS, &job.sources, output);
    output.error(format_args!("nothing was changed: {}", plural(problems.len(), "problem")));
    Err(Status::Problems)
}

/// `for_tools`: on standard error, because standard output is read by a tool.
fn print_referrers(id: &DocumentId, by: &[&&Problem], for_tools: bool, output: &mut Output) {
    let mut lines = vec![format!("{id} is still needed by {}:", plural(by.len(), "reference"))];
    lines.extend(by.iter().take(REFERRERS).map(|problem| match &problem.document {
        Some(document) => format!("  {document}, {}", printable(&problem.path)),
        None => format!("  {}:{}", problem.file, problem.line),
    }));
    if let Some(more) = by.len().checked_sub(REFERRERS).filter(|more| *more > 0) {
        lines.push(format!("  … and {more} more"));
    }
    lines.push("change or delete those first, or in the same command".to_owned());
    for line in lines {
        if for_tools { output.note(line) } else { output.line(line) }
    }
}

/// What somebody wrote without gridctl becomes part of the next generation, unless the change says otherwise.
fn unseen(job: &Job<'_>, site: &Site, output: &mut Output) -> Result<(), Status> {
    if job.wanted.only {
        // Whatever is there, the store holds what is wanted afterwards.
        return Ok(());
    }
    let settled = |id: &DocumentId| job.wanted.put.contains_key(id) || job.wanted.delete.contains(id);
    let unseen: Vec<DocumentId> = site.foreign.keys().filter(|id| !settled(id)).cloned().collect();
    let what = if unseen.is_empty() {
        match &site.complaint {
            Some(why) if site.foreign.is_empty() => why.clone(),
            Some(_) | None => return Ok(()),
        }
    } else {
        format!(
            "{} written without gridctl would come into force with this: {}",
            plural(unseen.len(), "document"),
            some(&unseen)
        )
    };
    if job.flags.take_in {
        output.note(format_args!("taken in: {what}"));
        return Ok(());
    }
    output.error(format_args!("{what}; apply or delete them on purpose, or say --take-in"));
    Err(Status::Problems)
}
