//! Asking a person before something is changed that is dangerous, or where a store is protected.

use std::fmt::Display;
use std::io::BufRead;

use super::Status;
use super::change::Job;
use crate::contexts::Context;
use crate::output::{Answer, Output};
use crate::plan::{Action, Plan};
use crate::table::plural;

/// When a change is only made after a yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asks {
    /// Only where it deletes what the command does not name.
    WhereItDeletes,
    /// Always. What it does, as in "this …".
    Always(String),
}

/// Asks where it has to be asked. Without somebody to answer, nothing is changed.
pub(super) fn confirm(job: &Job<'_>, plan: &Plan, input: &mut dyn BufRead, output: &mut Output) -> Result<(), Status> {
    if job.flags.wish.yes {
        return Ok(());
    }
    if let Some(outcome) = protected(job.place.context.as_ref(), &plan.summary(), input, output) {
        return outcome;
    }
    let deleted = plan.count(Action::Deleted);
    let what = match &job.asks {
        Asks::WhereItDeletes if deleted > 0 && job.wanted.only => {
            format!("this deletes {} that the input does not have", plural(deleted, "document"))
        }
        Asks::WhereItDeletes => return Ok(()),
        Asks::Always(what) => format!("this {what}"),
    };
    let answer = output.ask(format_args!("{what}; go on?"), input);
    obey(answer, what, output)
}

/// Asks for the name of a context that is protected; nothing where it is not.
fn protected(
    context: Option<&Context>,
    summary: &str,
    input: &mut dyn BufRead,
    output: &mut Output,
) -> Option<Result<(), Status>> {
    let context = context.filter(|context| context.protected)?;
    let what = format!("this changes context {}, which is protected: {summary}", context.name);
    let answer = output.ask_for(format_args!("{what}; type its name to go on:"), &context.name, input);
    Some(obey(answer, what, output))
}

/// The same for a change that is not a [`Job`]: what it does, as in "this …", where that is dangerous.
pub(super) fn consent(
    context: Option<&Context>,
    summary: &str,
    danger: Option<String>,
    input: &mut dyn BufRead,
    output: &mut Output,
) -> Result<(), Status> {
    // Whoever is asked for a name has to know what it is for.
    let all = danger.as_ref().map_or_else(|| summary.to_owned(), |danger| format!("{summary}; it {danger}"));
    if let Some(outcome) = protected(context, &all, input, output) {
        return outcome;
    }
    let Some(what) = danger else { return Ok(()) };
    let what = format!("this {what}");
    let answer = output.ask(format_args!("{what}; go on?"), input);
    obey(answer, what, output)
}

fn obey(answer: Answer, what: impl Display, output: &mut Output) -> Result<(), Status> {
    match answer {
        Answer::Yes => return Ok(()),
        Answer::No => output.error("nothing was changed"),
        Answer::Nobody => output.error(format_args!("{what}; say --yes, or look first with --dry-run")),
    }
    Err(Status::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_types_the_name_of_a_protected_context_is_told_the_danger_too() {
        let (out, err) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let open = |file: &tempfile::NamedTempFile| file.reopen().unwrap();
        let mut output = Output::to(open(&out), false, open(&err), false).with_person(true);
        let context = Context { name: "prod".to_owned(), protected: true, ..Context::default() };
        let danger = Some("moves 10% of tenants in a".to_owned());
        let agreed = consent(Some(&context), "rolls back", danger, &mut &b"prod\n"[..], &mut output);
        assert_eq!(agreed, Ok(()));
        drop(output);
        let said = std::fs::read_to_string(err.path()).unwrap() + &std::fs::read_to_string(out.path()).unwrap();
        assert!(
            said.contains("prod, which is protected: rolls back; it moves 10% of tenants in a; type its name"),
            "{said}"
        );
    }
}
