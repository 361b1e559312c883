//! What a shell completes: asked of the program itself, which knows documents and contexts.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Args, Command, FromArgMatches};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::Shells;
use gridrouter_config::ids::{DocumentId, Kind};
use gridrouter_config::track::Track;

use super::Status;
use super::store::{StoreFlags, read_contexts};
use crate::kinds::parse_kind;
use crate::output::Output;
use crate::site::{Opened, Place};

/// The variable by which a shell asks for completions; its value is the shell.
pub(super) const VARIABLE: &str = "GRIDCTL_COMPLETE";
/// Names that are offered: nobody reads more.
const OFFERED: usize = 200;
/// A store with more documents is not read while somebody waits with a finger on the key.
const MOST: u64 = 50_000;

/// Answers a shell: `gridctl -- gridctl WORD…`.
pub(super) fn answer(shell: &OsStr, arguments: &[OsString], mut command: Command, output: &mut Output) -> Status {
    let shells = Shells::builtins();
    let found = shells.iter().find(|known| shell.to_str().is_some_and(|shell| known.is(shell)));
    let Some(shell) = found else { return Status::Failed };
    let words: Vec<OsString> = arguments.iter().skip_while(|word| *word != "--").skip(1).cloned().collect();
    let mut candidates = Vec::new();
    command.build();
    let index = std::env::var("_CLAP_COMPLETE_INDEX").ok().and_then(|index| index.parse::<usize>().ok());
    let current = index.map_or_else(|| words.last(), |index| words.get(index));
    let wants_flags = current.is_some_and(|word| word.as_encoded_bytes().starts_with(b"-"));
    let mut command = quieter(command, wants_flags);
    let here = std::env::current_dir().ok();
    match shell.write_complete(&mut command, words, here.as_deref(), &mut candidates) {
        Ok(()) => {
            output.text(String::from_utf8_lossy(&candidates));
            Status::Fine
        }
        Err(_) => Status::Failed,
    }
}

/// Flags are offered to whoever begins one, and the rare ones to whoever begins those; what is hidden is offered only
/// where nothing else fits.
fn quieter(command: Command, wants_flags: bool) -> Command {
    let hide = |argument: &Arg| !argument.is_positional() && (!wants_flags || argument.is_hide_short_help_set());
    let quiet = |argument: Arg| if hide(&argument) { argument.hide(true) } else { argument };
    command.mut_args(quiet).mut_subcommands(|verb| quieter(verb, wants_flags))
}

/// The names of contexts.
pub(super) fn contexts(current: &OsStr) -> Vec<CompletionCandidate> {
    let contexts = read_contexts().unwrap_or_default().contexts;
    let described = contexts.into_iter().map(|context| {
        let help = context.place();
        CompletionCandidate::new(context.name).help(Some(help.into()))
    });
    described.filter(|candidate| begins(candidate.get_value(), current)).collect()
}

/// Kinds, or where one is there already, the names of its documents.
pub(super) fn documents(current: &OsStr) -> Vec<CompletionCandidate> {
    let (words, text) = (words(), current.to_string_lossy());
    if let Some((kind, _)) = text.split_once('/') {
        let Ok(parsed) = parse_kind(kind) else { return Vec::new() };
        let named = names(parsed, &words).into_iter().map(|id| format!("{kind}/{}", id.name));
        return offered(named, current);
    }
    let verb = words.iter().position(|word| VERBS.contains(&&**word)).map_or(0, |at| at + 1);
    match words.iter().skip(verb).find_map(|word| parse_kind(word).ok()) {
        Some(kind) => offered(names(kind, &words).into_iter().map(|id| id.name.to_string()), current),
        None => offered(Kind::ALL.into_iter().map(|kind| kind.as_str().to_lowercase()), current),
    }
}

/// The verbs that are followed by documents.
const VERBS: [&str; 2] = ["get", "delete"];

/// The names of grids.
pub(super) fn grids(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(names(Kind::Grid, &words()).into_iter().map(|id| id.name.to_string()), current)
}

/// The names of shifts.
pub(super) fn shifts(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(names(Kind::Shift, &words()).into_iter().map(|id| id.name.to_string()), current)
}

/// Both tracks.
pub(super) fn tracks(current: &OsStr) -> Vec<CompletionCandidate> {
    offered([Track::Blue, Track::Green].into_iter().map(|track| track.as_str().to_owned()), current)
}

/// The names of moves.
pub(super) fn moves(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(names(Kind::Move, &words()).into_iter().map(|id| id.name.to_string()), current)
}

/// The names of cells.
pub(super) fn cells(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(names(Kind::Cell, &words()).into_iter().map(|id| id.name.to_string()), current)
}

/// The ids of tenants that have a document.
pub(super) fn tenants(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(names(Kind::Tenant, &words()).into_iter().map(|id| id.name.to_string()), current)
}

/// The names of services.
pub(super) fn services(current: &OsStr) -> Vec<CompletionCandidate> {
    offered(names(Kind::Service, &words()).into_iter().map(|id| id.name.to_string()), current)
}

/// Documents by both their words, `Kind/name`.
pub(super) fn full_names(current: &OsStr) -> Vec<CompletionCandidate> {
    let words = words();
    let text = current.to_string_lossy();
    match text.split_once('/').map(|(kind, _)| parse_kind(kind)) {
        Some(Ok(kind)) => offered(names(kind, &words).into_iter().map(|id| id.to_string()), current),
        Some(Err(_)) => Vec::new(),
        None => offered(Kind::ALL.into_iter().map(|kind| format!("{}/", kind.as_str())), current),
    }
}

fn offered(words: impl Iterator<Item = String>, current: &OsStr) -> Vec<CompletionCandidate> {
    let fitting = words.filter(|word| begins(OsStr::new(word), current));
    fitting.take(OFFERED).map(CompletionCandidate::new).collect()
}

fn begins(word: &OsStr, current: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(current.as_encoded_bytes())
}

/// What has been typed: a shell gives it to this program behind `--`.
fn words() -> Vec<String> {
    let typed = std::env::args_os().skip_while(|word| word != "--").skip(1);
    typed.map(|word| word.to_string_lossy().into_owned()).collect()
}

/// The documents of a kind that the store has; none where it does not answer soon.
fn names(kind: Kind, words: &[String]) -> Vec<DocumentId> {
    read(kind, words).unwrap_or_default()
}

fn read(kind: Kind, words: &[String]) -> Result<Vec<DocumentId>, String> {
    let command = StoreFlags::augment_args(Command::new("gridctl"))
        .ignore_errors(true)
        .arg(Arg::new("rest").num_args(0..).action(clap::ArgAction::Append));
    // A shell waits: nothing may take as long as a command may.
    let quick = ["--etcd-connect-timeout", "500ms", "--etcd-request-timeout", "1s"].map(str::to_owned);
    let first = words.first().cloned().into_iter();
    let matches = command
        .try_get_matches_from(first.chain(quick).chain(words.iter().skip(1).cloned()))
        .map_err(|error| error.to_string())?;
    let mut flags = StoreFlags::from_arg_matches(&matches).map_err(|error| error.to_string())?;
    flags.note_sources(&matches);
    let mut place = Place::open(&flags.target()?)?;
    if let Opened::Etcd { writer, .. } = &mut place.store {
        let base = writer.base().map_err(|error| error.explain())?;
        if base.head().is_some_and(|head| head.documents > MOST) {
            return Ok(Vec::new());
        }
    }
    Ok(place.read()?.documents.into_keys().filter(|id| id.kind == kind).collect())
}
