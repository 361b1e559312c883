//! `gridctl completion` and `gridctl man`: what a shell and `man` want to know of this program.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command, ValueEnum};
use clap_complete::env::Shells;
use clap_mangen::Man;

use super::complete::VARIABLE;
use super::{Status, attempt};
use crate::output::Output;
use crate::table::plural;

/// Print what makes a shell complete verbs, flags, documents and contexts.
///
/// The shell asks this program for what fits, also for the names of documents in the store that is meant. Let it be read
/// whenever the shell starts: it belongs to the version of gridctl that printed it.
#[derive(Debug, Args)]
#[command(after_help = COMPLETION)]
pub(super) struct Completion {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

const COMPLETION: &str = "\
Into ~/.bashrc, ~/.zshrc (below compinit) or ~/.config/fish/config.fish:
  source <(gridctl completion bash)
  source <(gridctl completion zsh)
  gridctl completion fish | source

Examples:
  gridctl completion bash
  gridctl completion fish";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// GNU Bash.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

impl Shell {
    const fn as_str(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
        }
    }
}

impl Completion {
    pub(super) fn run(&self, output: &mut Output) -> Status {
        let outcome = attempt(output, |output| {
            let name = self.shell.as_str();
            let shells = Shells::builtins();
            let shell = shells.completer(name).ok_or_else(|| format!("{name} cannot be completed for"))?;
            let mut script = Vec::new();
            shell
                .write_registration(VARIABLE, "gridctl", "gridctl", "gridctl", &mut script)
                .map_err(|error| error.to_string())?;
            output.text(String::from_utf8_lossy(&script));
            Ok(Status::Fine)
        });
        outcome.unwrap_or_else(|status| status)
    }
}

/// Print the manual page of a verb, or write those of all verbs into a directory.
#[derive(Debug, Args)]
#[command(after_help = MAN)]
pub(super) struct Manual {
    /// The verb, such as `tenant where`; gridctl itself without one
    #[arg(value_name = "VERB")]
    verb: Vec<String>,
    /// Write a page for gridctl and for every verb into this directory, which is made if it is not there
    #[arg(long, value_name = "DIR", conflicts_with = "verb")]
    dir: Option<PathBuf>,
}

const MAN: &str = "\
They are for `man -l gridctl.1`, or for /usr/local/share/man/man1.

Examples:
  gridctl man
  gridctl man tenant where
  gridctl man --dir man1/";

impl Manual {
    pub(super) fn run(&self, command: Command, output: &mut Output) -> Status {
        let outcome = attempt(output, |output| {
            let mut command = command.disable_help_subcommand(true);
            command.build();
            let command = in_full(command);
            if let Some(directory) = &self.dir {
                return write(&command, directory, output);
            }
            let page = page(self.find(&command)?)?;
            output.text(page);
            Ok(())
        });
        outcome.map_or_else(|status| status, |()| Status::Fine)
    }

    fn find<'a>(&self, command: &'a Command) -> Result<&'a Command, String> {
        self.verb.iter().try_fold(command, |command, word| {
            command.find_subcommand(word).ok_or_else(|| {
                let known = command.get_subcommands().map(Command::get_name);
                let help = gridrouter_config::problem::did_you_mean(word, known)
                    .unwrap_or_else(|| "`gridctl --help` lists the verbs".to_owned());
                format!("{} has no verb \"{}\"; {help}", command.get_name(), word.escape_debug())
            })
        })
    }
}

/// With every flag in every page, also those that only the long help has.
fn in_full(command: Command) -> Command {
    command.mut_args(|argument| argument.hide_short_help(false)).mut_subcommands(in_full)
}

/// The same command, with the paragraphs below its flags on one line each: they are wrapped where the reader's terminal
/// ends. What is indented stays as it is, but that a long example goes on behind a `\` in the next line: whoever takes it over
/// from a terminal must get all of it.
pub(super) fn reflowed(command: Command) -> Command {
    let command = match command.get_after_help() {
        Some(text) => {
            let text = paragraphs(&text.to_string());
            command.after_help(text)
        }
        None => command,
    };
    command.mut_subcommands(reflowed)
}

fn paragraphs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = "";
    for line in text.lines() {
        let plain = |line: &str| !line.is_empty() && !line.starts_with(' ');
        match plain(before) && plain(line) {
            true => out.push(' '),
            false if out.is_empty() => {}
            false => out.push('\n'),
        }
        if line.trim_start().starts_with("gridctl ") {
            example(line, &mut out);
        } else {
            out.push_str(line);
        }
        before = line;
    }
    out
}

/// The longest line of an example: it fits on any terminal that is as wide as they were.
const EXAMPLE: usize = 78;

/// Writes an example, broken in front of a flag where it is long.
fn example(line: &str, out: &mut String) {
    const NEXT: &str = " \\\n      ";
    let (mut room, mut quote) = (EXAMPLE, None);
    // Pieces that stay together: up to the next flag outside of quotes.
    let mut piece = String::new();
    let mut put = |piece: &mut String, last: bool| {
        let length = piece.chars().count() + if last { 0 } else { 2 };
        if length > room && !out.ends_with('\n') && !piece.trim_start().starts_with("gridctl") {
            out.push_str(NEXT);
            *piece = piece.trim_start().to_owned();
            room = EXAMPLE - 6;
        }
        room = room.saturating_sub(piece.chars().count());
        out.push_str(piece);
        piece.clear();
    };
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match quote {
            Some(open) if open == c => quote = None,
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == ' ' && rest.peek() == Some(&'-') => put(&mut piece, false),
            Some(_) | None => {}
        }
        piece.push(c);
    }
    put(&mut piece, true);
}

/// A page, as `man` reads it.
fn page(command: &Command) -> Result<String, String> {
    let mut bytes = Vec::new();
    let page = Man::new(command.clone()).source(concat!("gridctl ", env!("CARGO_PKG_VERSION"))).manual("GridRouter");
    page.render(&mut bytes).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    // What stands below the flags: exit codes and examples.
    Ok(text.replace("\n.SH EXTRA\n", "\n.SH NOTES\n"))
}

/// Writes the pages of a command and all below it.
fn write(command: &Command, directory: &Path, output: &mut Output) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("cannot write {}: {error}", path.display());
    fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    let mut open = vec![command];
    let mut pages = 0;
    while let Some(command) = open.pop() {
        let path = directory.join(Man::new(command.clone()).get_filename());
        fs::write(&path, page(command)?).map_err(|error| failed(&path, error))?;
        pages += 1;
        open.extend(command.get_subcommands().filter(|verb| !verb.is_hide_set()));
    }
    output.note(format_args!("{} in {}", plural(pages, "page"), directory.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_example_goes_on_in_the_next_line_and_never_within_quotes() {
        let broken = |line: &str| {
            let mut out = String::new();
            example(line, &mut out);
            out
        };
        let short = "  gridctl apply -f DIR --wait";
        assert_eq!(broken(short), short);
        let long =
            "  gridctl apply -f a-directory -m 'two more cells --for everybody who is --here --now' --wait --yes";
        let wanted = "  gridctl apply -f a-directory \\\n      -m 'two more cells --for everybody who is --here --now' --wait --yes";
        assert_eq!(broken(long), wanted);
    }

    #[test]
    fn paragraphs_are_one_line_and_what_is_indented_stays() {
        let text = "A b\nc d.\n\nList:\n  one\n  two\nEnd\nof it.\n\nExamples:\n  x";
        assert_eq!(paragraphs(text), "A b c d.\n\nList:\n  one\n  two\nEnd of it.\n\nExamples:\n  x");
    }
}
