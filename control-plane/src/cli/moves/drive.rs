//! Carrying one move on, and saying so.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gridrouter_config::model::Move;
use gridrouter_config::raw::MovePhase;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::hook::Hook;
use super::json_of;
use crate::cli::Status;
use crate::cli::format::{Shown, print_yaml_part};
use crate::controller::desk::Refused;
use crate::mover::{Mover, Standing, now};
use crate::output::Output;
use crate::plan::tenant_move::Command;
use crate::table::printable;

/// How often is looked.
const PACE: Duration = Duration::from_millis(50);
/// How long what waits for routers is not worth a word.
const QUIET: Duration = Duration::from_secs(1);
/// For how long a store that cannot be reached is asked again, when the move's own time is over.
const PATIENCE: Duration = Duration::from_secs(30);

/// A move on its way.
struct Drive<'a> {
    mover: Mover,
    hook: Option<&'a str>,
    shown: Shown,
    running: Option<Hook>,
    /// Whether the data is copied.
    copied: bool,
    /// How often somebody has asked for an end.
    interrupts: Arc<AtomicUsize>,
    told: Option<MovePhase>,
    waits: Option<(String, Instant, bool)>,
    away: Option<Instant>,
    began: Instant,
    /// Whether routers were waited for when the time was over.
    unacknowledged: bool,
}

/// Carries a move on until it has ended.
pub(super) fn drive(mover: Mover, hook: Option<&str>, shown: Shown, output: &mut Output) -> Result<Status, String> {
    let interrupts = Arc::new(AtomicUsize::new(0));
    for signal in [SIGTERM, SIGINT] {
        let counted = Arc::clone(&interrupts);
        signal_hook::flag::register_usize(signal, counted, 1)
            .map_err(|error| format!("cannot wait for signals: {error}"))?;
    }
    let mut drive = Drive {
        mover,
        hook,
        shown,
        running: None,
        copied: hook.is_none(),
        interrupts,
        told: None,
        waits: None,
        away: None,
        began: Instant::now(),
        unacknowledged: false,
    };
    loop {
        match drive.step(output) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => drive.away = None,
            Err(why) => {
                if let Some(status) = drive.cannot(&why, output) {
                    return Ok(status);
                }
            }
        }
        // Nobody unparks this thread, and one more look would be no harm.
        std::thread::park_timeout(PACE);
    }
}

impl Drive<'_> {
    /// What is to be done now. The error is of a store that does not answer.
    fn step(&mut self, output: &mut Output) -> Result<Option<Status>, String> {
        let standing = self.mover.look()?;
        self.tell(&standing, output);
        let one = &standing.one;
        if one.has_ended() {
            return Ok(Some(self.end(one, output)));
        }
        if self.interrupts.swap(0, Ordering::Relaxed) > 0 {
            self.running = None;
            output.note("interrupted; the tenant stays on its old cell");
            return self.command(&Command::RollBack { why: "interrupted".to_owned() }).map(|()| None);
        }
        self.unacknowledged = standing.waits.is_some();
        match one.state.phase {
            MovePhase::Fenced if now() < one.state.deadline => self.copy(one, output)?,
            MovePhase::Fencing
            | MovePhase::Fenced
            | MovePhase::Flipping
            | MovePhase::RollingBack
            | MovePhase::Succeeded
            | MovePhase::RolledBack
            | MovePhase::Failed => {
                if one.state.phase != MovePhase::Fencing && one.state.phase != MovePhase::Fenced {
                    self.running = None;
                }
                forgive(self.mover.go_on(now()).map(|_| ()))?;
            }
        }
        Ok(None)
    }

    /// The fence is up everywhere: runs the hook to its end, and puts the tenant on its new cell.
    fn copy(&mut self, one: &Move, output: &mut Output) -> Result<(), String> {
        if self.copied {
            return forgive(self.mover.flip(now()));
        }
        let ended = match (&mut self.running, self.hook) {
            (Some(hook), _) => hook.ended(),
            (None, Some(command)) => {
                self.line(format_args!("copying    {}", printable(command)), output);
                match Hook::start(command, one) {
                    Ok(hook) => {
                        self.running = Some(hook);
                        None
                    }
                    Err(why) => Some(Err(why)),
                }
            }
            (None, None) => Some(Ok(())),
        };
        match ended {
            None => Ok(()),
            Some(Ok(())) => {
                (self.copied, self.running) = (true, None);
                forgive(self.mover.flip(now()))
            }
            Some(Err(why)) => {
                self.running = None;
                output.error(&why);
                self.command(&Command::RollBack { why })
            }
        }
    }

    fn command(&mut self, command: &Command) -> Result<(), String> {
        forgive(self.mover.command(command, now()))
    }

    /// Says when the phase is another one, and whom is waited for when that takes a while.
    fn tell(&mut self, standing: &Standing, output: &mut Output) {
        let one = &standing.one;
        if self.told.replace(one.state.phase) != Some(one.state.phase) {
            self.waits = None;
            match self.shown {
                Shown::Table | Shown::Wide => {
                    if let Some(text) = words(one) {
                        self.line(printable(&text), output);
                    }
                }
                Shown::Json => output.json_line(&json_of(one, standing.waits.as_ref())),
                Shown::Yaml => print_yaml_part(&json_of(one, standing.waits.as_ref()), output),
            }
            output.flush();
        }
        let Some(waits) = &standing.waits else {
            self.waits = None;
            return;
        };
        let same = self.waits.take().filter(|(text, ..)| text == waits);
        let (text, since, said) = same.unwrap_or_else(|| (waits.clone(), Instant::now(), false));
        if !said && since.elapsed() >= QUIET {
            if output.is_live() { output.progress(&text) } else { output.note(&text) }
        }
        let said = said || since.elapsed() >= QUIET;
        self.waits = Some((text, since, said));
    }

    fn end(&mut self, one: &Move, output: &mut Output) -> Status {
        self.running = None;
        match one.state.phase {
            MovePhase::Succeeded => {
                let took = self.began.elapsed().as_secs_f64();
                let tenant = printable(one.tenant.as_str());
                self.line(format_args!("done       {tenant} is on {} after {took:.1} s", one.to), output);
                Status::Fine
            }
            MovePhase::Failed => Status::Problems,
            MovePhase::Fencing
            | MovePhase::Fenced
            | MovePhase::Flipping
            | MovePhase::RollingBack
            | MovePhase::RolledBack => {
                if self.unacknowledged && one.state.reason.contains("waits for") {
                    Status::Unacknowledged
                } else {
                    Status::Problems
                }
            }
        }
    }

    /// A line for people.
    fn line(&self, text: impl Display, output: &mut Output) {
        if matches!(self.shown, Shown::Table | Shown::Wide) {
            output.line(text);
            output.flush();
        }
    }

    /// The store does not answer. The controller rolls the move back if nobody else can.
    fn cannot(&mut self, why: &str, output: &mut Output) -> Option<Status> {
        let name = self.mover.name().clone();
        if self.away.is_none() {
            output.error(format_args!("{}; it is tried again", printable(why)));
        }
        let since = *self.away.get_or_insert_with(Instant::now);
        // The second interrupt in a row, or no answer for long: whoever comes next goes on from what the store has.
        let wanted = self.interrupts.load(Ordering::Relaxed) > 0;
        if since.elapsed() < PATIENCE && !wanted {
            return None;
        }
        output.error(format_args!(
            "it is not known what became of move {name}; look with `gridctl move list`, and go on with `gridctl move resume {name}`"
        ));
        Some(Status::Unknown)
    }
}

/// What somebody else made impossible shows when the move is looked at again.
fn forgive(done: Result<(), Refused>) -> Result<(), String> {
    match done {
        Ok(()) | Err(Refused::No(_) | Refused::Lost(_)) => Ok(()),
        Err(Refused::Away(why) | Refused::Unknown(why)) => Err(why),
    }
}

/// A phase for people.
fn words(one: &Move) -> Option<String> {
    let Move { tenant, grid, from, to, name, .. } = one;
    let fence = one.fence.as_str();
    Some(match one.state.phase {
        MovePhase::Fencing => {
            format!("fencing    move {name}: {tenant} from {from} to {to} in {grid}, {fence} are kept away")
        }
        MovePhase::Fenced => "fenced     in every router".to_owned(),
        MovePhase::Flipping => format!("flipping   {tenant} is put on {to}"),
        MovePhase::Succeeded => return None,
        MovePhase::RollingBack => format!("back       {tenant} is put on {from}: {}", one.state.reason),
        MovePhase::RolledBack => format!("rolled back: {}", one.state.reason),
        MovePhase::Failed => format!("failed     {}", one.state.reason),
    })
}
