//! Problems of documents, as a compiler prints them.

use gridrouter_config::problem::{Problem, SourceText};

use crate::output::Output;
use crate::sources::Sources;

/// Prints problems, which are sorted by file, with the lines they are on where the text is at hand; so many at most.
pub fn print(problems: &[Problem], most: usize, sources: &Sources, output: &mut Output) {
    let colour = output.colour();
    let shown = problems.get(..most).unwrap_or(problems);
    for problems in shown.chunk_by(|a, b| a.file == b.file) {
        let text = problems.first().and_then(|problem| sources.text(&problem.file));
        let lines = text.as_deref().map(SourceText::new);
        for problem in problems {
            if output.is_closed() {
                return;
            }
            output.line(match &lines {
                Some(lines) => problem.render_in(lines, colour),
                None => problem.render(None, colour),
            });
        }
    }
    if let Some(more) = problems.len().checked_sub(most).filter(|more| *more > 0) {
        output.line(format_args!("… and {more} more\n"));
    }
}

/// The same on standard error, for a command whose answer on standard output is for tools, or is something else.
pub fn tell(problems: &[Problem], most: usize, sources: &Sources, output: &mut Output) {
    let shown = problems.get(..most).unwrap_or(problems);
    for problem in shown {
        output.problem(problem, sources.text(&problem.file).as_deref());
    }
    if let Some(more) = problems.len().checked_sub(most).filter(|more| *more > 0) {
        output.note(format_args!("… and {more} more"));
    }
}
