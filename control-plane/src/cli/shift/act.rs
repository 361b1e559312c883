//! The verbs that say how a shift goes on. They need no controller: what they want is written at once.

use std::io::BufRead;
use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::model::Shift;
use gridrouter_config::raw::{RollbackPace, ShiftPhase};
use gridrouter_config::units::parse_duration;
use serde_json::json;

use super::danger::{danger, is_dangerous};
use super::scene::{RouterFlags, Scene, find, now};
use crate::cli::change::acknowledged;
use crate::cli::consent::consent;
use crate::cli::format::{Shown, print_yaml};
use crate::cli::wish::Wish;
use crate::cli::{Status, complete, open_place};
use crate::controller::desk::Refused;
use crate::controller::driver::leader;
use crate::controller::{Proposal, View};
use crate::output::Output;
use crate::plan::shift::write::documents;
use crate::plan::shift::{Command, Next, obey, place};
use crate::site::Place;
use crate::table::printable;
use crate::target::Target;

/// The flags of all of them.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// The shift
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::shifts))]
    name: String,
    #[command(flatten)]
    wish: Wish,
    /// Return when every live router acknowledged the change; after 30s, or this time, name those that did not
    #[arg(long, value_name = "TIMEOUT", num_args = 0..=1, require_equals = true, default_missing_value = "30s",
          value_parser = parse_duration)]
    wait: Option<Duration>,
    /// How to print what is done
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
    #[command(flatten)]
    routers: RouterFlags,
}

const CODES: &str = "\
Exit code: 0 done; 1 the shift is not where this can be done; 2 wrong usage, nobody said yes, or the store cannot be reached;
3 somebody else was faster every time; 4 not acknowledged in time (--wait); 5 not known whether it was written.";

/// Go to the next step now, or to the end.
///
/// What is left of the hold, the pause or the analysis is left out. It asks before it moves all that is left in a cell.
#[derive(Debug, Args)]
#[command(after_help = format!("{CODES}\n\nExamples:\n  gridctl shift promote new --store etcd://127.0.0.1:2379\n  \
    gridctl shift promote new --full --yes --store etcd://127.0.0.1:2379"))]
pub(super) struct Promote {
    /// Move everything in all cells now, whatever is left
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Keep a shift as it is until somebody says `resume`.
///
/// A shift whose analysis says that the new track is bad is rolled back all the same, unless it has `onFailure: pause`.
#[derive(Debug, Args)]
#[command(after_help = format!("{CODES}\n\nExamples:\n  gridctl shift pause new --store etcd://127.0.0.1:2379 -m \"lunch\""))]
pub(super) struct Pause {
    #[command(flatten)]
    flags: Flags,
}

/// Go on with a shift from where it was paused.
///
/// What was left of the hold is left still. A step that ended without a clear verdict is held once more. It asks before it
/// moves all that is left in a cell.
#[derive(Debug, Args)]
#[command(after_help = format!("{CODES}\n\nExamples:\n  gridctl shift resume new --store etcd://127.0.0.1:2379"))]
pub(super) struct Resume {
    #[command(flatten)]
    flags: Flags,
}

/// End a shift, with everything on the old track at once.
#[derive(Debug, Args)]
#[command(after_help = format!("{CODES}\n\nExamples:\n  gridctl shift abort new --yes --store etcd://127.0.0.1:2379"))]
pub(super) struct Abort {
    #[command(flatten)]
    flags: Flags,
}

/// Take traffic back to the old track, also of a shift that has succeeded.
///
/// At once unless --stepwise is given. Stepwise, it goes back by the weights of the steps, and needs a controller.
#[derive(Debug, Args)]
#[command(after_help = format!("{CODES}\n\nExamples:\n  gridctl shift rollback new --yes --store etcd://127.0.0.1:2379\n  \
    gridctl shift rollback new --stepwise --store etcd://127.0.0.1:2379 -m \"slow\""))]
pub(super) struct Rollback {
    /// Go back by the weights of the steps, each for 10 s at the most
    #[arg(long)]
    stepwise: bool,
    #[command(flatten)]
    flags: Flags,
}

impl Promote {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Status {
        let command = if self.full { Command::PromoteFully } else { Command::Promote };
        self.flags.run(command, target, input, output)
    }
}

impl Pause {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Status {
        self.flags.run(Command::Pause, target, input, output)
    }
}

impl Resume {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Status {
        self.flags.run(Command::Resume, target, input, output)
    }
}

impl Abort {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Status {
        self.flags.run(Command::Abort, target, input, output)
    }
}

impl Rollback {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Status {
        let pace = if self.stepwise { RollbackPace::Stepwise } else { RollbackPace::AtOnce };
        self.flags.run(Command::RollBack(pace), target, input, output)
    }
}

/// What a command does to a shift.
struct Act {
    proposal: Proposal,
    next: Next,
    shift: std::sync::Arc<Shift>,
}

impl Flags {
    fn run(
        &self,
        command: Command,
        target: Result<Target, String>,
        input: &mut dyn BufRead,
        output: &mut Output,
    ) -> Status {
        let opened = target.and_then(|target| Ok((Scene::open(&target, &self.routers)?, target)));
        let (mut scene, target) = match opened {
            Ok(opened) => opened,
            Err(why) => return fail(Status::Failed, &why, output),
        };
        output.progress(format_args!("reading {target}"));
        let view = match scene.desk.look() {
            Ok(view) => view,
            Err(why) => return fail(Status::Failed, &why, output),
        };
        let act = match self.decide(view, command) {
            Ok(act) => act,
            Err(why) => return fail(Status::Problems, &why, output),
        };
        let asks = !self.wish.yes && is_dangerous(&act.shift, command, &act.next);
        let danger = asks.then(|| danger(&mut scene, &act.shift, &act.next));
        if self.wish.dry_run {
            let words = danger.as_ref().map(|danger| format!(": this {danger}")).unwrap_or_default();
            if !self.answer(&act.next, None, danger.as_deref(), output) {
                output.line(format_args!("dry run, nothing was changed: {}{words}", printable(&act.next.what)));
            }
            return Status::Fine;
        }
        let context = target.context.as_ref().filter(|_| !self.wish.yes);
        if let Err(status) = consent(context, &act.next.what, danger, input, output) {
            return status;
        }
        output.progress("writing");
        let author = self.wish.author(target.context.as_ref());
        let (mut next, seen) = (act.next, act.shift);
        let done = scene.desk.change(&author, |view| {
            let act = self.decide(view, command)?;
            same_matter(command, &seen, &act.shift)?;
            next = act.next;
            Ok(act.proposal)
        });
        match done {
            Ok(generation) => self.end(generation, &next, target, output),
            Err(Refused::No(why)) => fail(Status::Problems, &why, output),
            Err(Refused::Lost(why)) => fail(Status::Lost, &why, output),
            Err(Refused::Away(why)) => fail(Status::Failed, &why, output),
            Err(Refused::Unknown(why)) => fail(Status::Unknown, &why, output),
        }
    }

    fn decide(&self, view: &View, command: Command) -> Result<Act, String> {
        let (raw, shift) = find(view, &self.name)?;
        let service = view.service(&shift.service);
        let in_use = |cell: &_| {
            let tracks = service.and_then(|service| service.cells.get(cell));
            tracks.is_some_and(|tracks| tracks.active.unwrap_or_default() == shift.to)
        };
        let in_use = raw.waves.iter().flat_map(|wave| &wave.cells).all(in_use);
        let why = self.wish.message.as_deref().unwrap_or_default();
        let next = obey(&shift, command, why, in_use, now())?;
        // Without its service, a shift can only be ended.
        if next.active.is_some() && service.is_none() && command != Command::Abort {
            return Err(format!("there is no Service \"{}\"; say `gridctl shift abort {}`", shift.service, shift.name));
        }
        let reason = if next.what.contains(why) { String::new() } else { format!(" ({why})") };
        let message = format!("shift {}: {}{reason}", shift.name, next.what);
        Ok(Act {
            proposal: Proposal { put: documents(raw, service, &next), message, ..Proposal::default() },
            next,
            shift,
        })
    }

    /// The answer for tools. Returns whether that is what was asked for.
    fn answer(&self, next: &Next, generation: Option<u64>, danger: Option<&str>, output: &mut Output) -> bool {
        let value = json!({
            "shift": self.name, "phase": next.state.phase, "what": next.what, "danger": danger,
            "published": generation.is_some(), "generation": generation.filter(|generation| *generation > 0),
        });
        match self.output {
            Shown::Table | Shown::Wide => return false,
            Shown::Json => output.json(&value),
            Shown::Yaml => print_yaml(&value, output),
        }
        true
    }

    fn end(&self, generation: Option<u64>, next: &Next, target: Target, output: &mut Output) -> Status {
        let what = printable(&next.what);
        match generation {
            _ if self.answer(next, generation, None, output) => {}
            Some(0) => output.line(format_args!("shift {} {what}", self.name)),
            Some(generation) => {
                output.line(format_args!("shift {} {what}; generation {generation} is in force", self.name));
            }
            None => output.line(format_args!("shift {} is like that already", self.name)),
        }
        if is_carried_on(next) {
            note_if_nobody_acts(&target, output);
        }
        let (Some(generation), Some(timeout)) = (generation.filter(|generation| *generation > 0), self.wait) else {
            return Status::Fine;
        };
        let waited = open_place(Ok(target))
            .and_then(|mut place| Ok(acknowledged(place.writer("has no live routers")?, generation, timeout, output)));
        waited.unwrap_or_else(|why| fail(Status::Unacknowledged, &why, output))
    }
}

/// Whether what is left is a controller's.
fn is_carried_on(next: &Next) -> bool {
    match next.state.phase {
        ShiftPhase::Running | ShiftPhase::RollingBack => true,
        ShiftPhase::Pending
        | ShiftPhase::Paused
        | ShiftPhase::RolledBack
        | ShiftPhase::Succeeded
        | ShiftPhase::Failed
        | ShiftPhase::Aborted => false,
    }
}

/// Whoever waits for the next step should know that there will be none.
pub(super) fn note_if_nobody_acts(target: &Target, output: &mut Output) {
    let leader = Place::open(target).and_then(|mut place| leader(&mut place));
    if leader.is_ok_and(|leader| leader.is_none()) {
        output.note(
            "no controller acts on this store, so that nothing goes on by itself: start `gridctl controller run`",
        );
    }
}

/// Whether a shift is still what somebody had in mind who looked at it. The error says what it is now. A controller that
/// took the next step at the same moment must not make two steps of one word.
fn same_matter(command: Command, seen: &Shift, now: &Shift) -> Result<(), String> {
    let (name, state, before) = (&now.name, &now.state, &seen.state);
    if before.started > 0 && state.started != before.started {
        return Err(format!("shift \"{name}\" was started again meanwhile; look with `gridctl shift status {name}`"));
    }
    let is_step = matches!(command, Command::Promote | Command::Resume);
    if is_step && (state.wave, state.step) != (before.wave, before.step) {
        let place = place(now, state);
        return Err(format!("shift \"{name}\" went on meanwhile: it is {place}; say it again if it shall go further"));
    }
    Ok(())
}

fn fail(status: Status, why: &str, output: &mut Output) -> Status {
    output.error(printable(why));
    status
}

#[cfg(test)]
mod tests {
    use gridrouter_config::check::{ModelDocument, convert};
    use gridrouter_config::codec::parse;

    use super::*;

    fn shift(started: u64, step: usize) -> Shift {
        let text = format!(
            "{{kind: Shift, name: x, service: s, to: green, waves: [{{cells: [a]}}], steps: [{{weight: 1%, hold: 1m}}, \
             {{weight: 100%, hold: 1m}}], state: {{phase: Running, started: {started}, since: 9, step: {step}}}}}"
        );
        let parsed = parse("a.yaml", text.as_bytes());
        let Ok(ModelDocument::Shift(shift)) = convert(&parsed.documents[0]) else { panic!("{text}") };
        (*shift).clone()
    }

    #[test]
    fn a_step_that_was_taken_meanwhile_is_not_taken_twice() {
        let (seen, on) = (shift(5, 0), shift(5, 1));
        let went_on =
            Err("shift \"x\" went on meanwhile: it is at 100% (step 2 of 2); say it again if it shall go further"
                .to_owned());
        for command in [Command::Promote, Command::Resume] {
            assert_eq!(same_matter(command, &seen, &on), went_on);
            assert_eq!(same_matter(command, &seen, &seen), Ok(()));
        }
        for command in [Command::Pause, Command::PromoteFully, Command::Abort] {
            assert_eq!(same_matter(command, &seen, &on), Ok(()), "it means the same wherever the shift is");
            let again = same_matter(command, &seen, &shift(6, 0)).unwrap_err();
            assert!(again.starts_with("shift \"x\" was started again meanwhile; "), "{again}");
            assert_eq!(same_matter(command, &shift(0, 0), &on), Ok(()), "it had not begun");
        }
    }
}
