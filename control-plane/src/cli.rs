//! The command line: one file a verb group.

mod adopt;
mod apply;
mod cert;
mod change;
mod check;
mod complete;
mod completion;
mod consent;
mod context;
mod controller;
mod diff;
mod endpoint;
mod export;
mod format;
mod get;
mod history;
mod limit;
mod moves;
mod refusal;
mod schema;
mod shift;
mod status;
mod store;
mod tenant;
#[cfg(test)]
mod tests;
mod wish;

use std::ffi::OsString;
use std::io::{self, BufRead};
use std::process::ExitCode;

use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::store::StoreFlags;
use crate::output::{Colour, Output};
use crate::site::{Place, Site};
use crate::target::Target;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All is well.
    Fine,
    /// The command did its work and found problems.
    Problems,
    /// The command could not do its work: wrong usage, or something cannot be read or reached.
    Failed,
    /// Somebody else published meanwhile; nothing was changed.
    Lost,
    /// The change is in force, and not every live router acknowledged it in time.
    Unacknowledged,
    /// etcd did not say whether the change was published.
    Unknown,
}

impl Status {
    /// The exit code of the program.
    pub const fn code(self) -> u8 {
        match self {
            Status::Fine => 0,
            Status::Problems => 1,
            Status::Failed => 2,
            Status::Lost => 3,
            Status::Unacknowledged => 4,
            Status::Unknown => 5,
        }
    }
}

/// The operators' tool of GridRouter.
#[derive(Debug, Parser)]
#[command(name = "gridctl", version, after_help = EXAMPLES)]
struct Arguments {
    /// When to print in colour: auto (on a terminal), always or never.
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    color: Colour,
    #[command(flatten)]
    store: StoreFlags,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Exit code: 0 all is well; 1 problems or differences were found, or something is not healthy; 2 wrong usage, or something
cannot be read or reached; 3 somebody else changed the same documents meanwhile; 4 published, and not acknowledged in
time by every router; 5 not known whether it was published.

A store is named by --store or --context, or else GRIDCTL_STORE, or else the settings file, or else the current context;
`gridctl context --help` has all of it.

Examples:
  gridctl check config/examples/quickstart
  gridctl get --store config/examples/quickstart
  gridctl tenant where --config config/examples/quickstart --grid shop acme";

#[derive(Debug, Subcommand)]
enum Verb {
    Apply(apply::Apply),
    Cert(cert::Cert),
    Check(check::Check),
    Completion(completion::Completion),
    Context(context::Named),
    Controller(controller::Controller),
    Delete(apply::Delete),
    Diff(diff::Diff),
    Endpoint(endpoint::Endpoint),
    Export(export::Export),
    Get(get::Get),
    History(history::Log),
    Import(export::Import),
    Limit(limit::Limit),
    Man(completion::Manual),
    Move(moves::Moves),
    Schema(schema::Schema),
    Shift(Box<shift::Shift>),
    Status(status::Status),
    Tenant(tenant::Tenant),
    Undo(history::Undo),
}

/// Runs the program: its arguments, its standard streams.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = moves::keeper::answer(&arguments) {
        return ExitCode::from(code);
    }
    if let Some(shell) = std::env::var_os(complete::VARIABLE).filter(|shell| !shell.is_empty()) {
        let mut output = Output::standard(Colour::Never);
        let status = complete::answer(&shell, &arguments, command(), &mut output);
        return ExitCode::from(if output.finish().is_err() { Status::Failed } else { status }.code());
    }
    ExitCode::from(run(&arguments, &mut io::stdin().lock(), Output::standard).code())
}

/// Runs one command, reading standard input from `input` and printing to what `open` makes of the wish for colour.
pub fn run(arguments: &[OsString], input: &mut dyn BufRead, open: impl FnOnce(Colour) -> Output) -> Status {
    let (output, status) = match parse(arguments) {
        Ok(arguments) => {
            let mut output = open(arguments.color);
            let status = arguments.verb.run(&arguments.store, input, &mut output);
            (output, status)
        }
        Err(usage) => {
            let mut output = open(Colour::Auto);
            output.usage(&usage);
            (output, if usage.use_stderr() { Status::Failed } else { Status::Fine })
        }
    };
    if output.finish().is_err() { Status::Failed } else { status }
}

/// The program, with its verbs and flags.
fn command() -> Command {
    completion::reflowed(Arguments::command())
}

fn parse(arguments: &[OsString]) -> Result<Arguments, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    let mut parsed = Arguments::from_arg_matches(&matches)?;
    parsed.store.note_sources(&matches);
    Ok(parsed)
}

impl Verb {
    fn run(&self, store: &StoreFlags, input: &mut dyn BufRead, output: &mut Output) -> Status {
        match self {
            Verb::Apply(apply) => apply.run(store.target(), input, output),
            Verb::Cert(cert) => cert.run(store.target(), output),
            Verb::Check(check) => check.run(input, output),
            Verb::Completion(completion) => completion.run(output),
            Verb::Context(context) => context.run(store, output),
            Verb::Controller(controller) => controller.run(store.target(), output),
            Verb::Delete(delete) => delete.run(store.target(), input, output),
            Verb::Diff(diff) => diff.run(store.target(), input, output),
            Verb::Endpoint(endpoint) => endpoint.run(store.target(), output),
            Verb::Export(export) => export.run(store.target(), output),
            Verb::Get(get) => get.run(store.target(), output),
            Verb::History(history) => history.run(store.target(), output),
            Verb::Import(import) => import.run(store.target(), input, output),
            Verb::Limit(limit) => limit.run(input, output),
            Verb::Man(manual) => manual.run(command(), output),
            Verb::Move(moves) => moves.run(store.target(), input, output),
            Verb::Schema(schema) => schema.run(output),
            Verb::Shift(shift) => shift.run(store.target(), input, output),
            Verb::Status(status) => status.run(store.target(), output),
            Verb::Tenant(tenant) => tenant.run(store, input, output),
            Verb::Undo(undo) => undo.run(store.target(), input, output),
        }
    }
}

/// Does what may fail as a whole, and says why.
fn attempt<T>(output: &mut Output, work: impl FnOnce(&mut Output) -> Result<T, String>) -> Result<T, Status> {
    work(output).map_err(|why| {
        output.error(why);
        Status::Failed
    })
}

/// Opens a store. Nothing is asked of it yet.
fn open_place(target: Result<Target, String>) -> Result<Place, String> {
    Place::open(&target?)
}

/// Opens a store and reads what it has.
fn open(target: Result<Target, String>, output: &mut Output) -> Result<(Place, Site), String> {
    let target = target?;
    output.progress(format_args!("reading {target}"));
    read(Place::open(&target)?)
}

/// The same for an operator who says with --adopt that the store is right, even if its head cannot be read.
fn open_to_adopt(target: Result<Target, String>, output: &mut Output) -> Result<(Place, Site), String> {
    let target = target?;
    output.progress(format_args!("reading {target}"));
    read(Place::open(&target)?.adopted())
}

/// Reads what a store has.
fn read(mut place: Place) -> Result<(Place, Site), String> {
    let site = place.read()?;
    Ok((place, site))
}
