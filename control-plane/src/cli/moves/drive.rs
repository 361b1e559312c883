//! Carrying one move on, and saying so.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gridrouter_config::ids::Name;
use gridrouter_config::model::Move;
use gridrouter_config::raw::{MoveDriver, MovePhase};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::hook::Hook;
use super::json_of;
use super::keeper::GRACE;
use crate::cli::Status;
use crate::cli::format::{Shown, print_yaml_part};
use crate::controller::desk::Refused;
use crate::mover::{Mover, Standing, now};
use crate::output::{Colour, Output};
use crate::plan::tenant_move::Command;
use crate::table::printable;

/// How often is looked.
const PACE: Duration = Duration::from_millis(50);
/// How long whoever carried the move on before has to notice that this is over, and then `GRACE` to end its hook: far more
/// than its pace.
const NOTICE: Duration = Duration::from_secs(2);
/// How long whoever has asked for an end twice waits for it.
const LEAVES: Duration = Duration::from_secs(1);
/// How long what waits for routers is not worth a word.
const QUIET: Duration = Duration::from_secs(1);
/// For how long a store that cannot be reached is asked again, when the move's own time is over.
const PATIENCE: Duration = Duration::from_secs(30);

/// What somebody wants of a move that is carried on.
pub(super) struct Work<'a> {
    /// The command that copies the data.
    pub(super) hook: Option<&'a str>,
    /// Whether the data is copied, or needs not be.
    pub(super) copied: bool,
    /// Who has carried the move on until now, and may not know yet that this is over.
    pub(super) before: Option<MoveDriver>,
    /// How phases are told.
    pub(super) shown: Shown,
}

/// A move on its way.
struct Drive<'a> {
    mover: Mover,
    work: Work<'a>,
    running: Option<Hook>,
    /// Until when whoever was before has to end its hook.
    not_before: Option<Instant>,
    /// How often somebody has asked for an end.
    interrupts: Arc<AtomicUsize>,
    /// Whether such a wish has been written.
    obeyed: bool,
    /// Whether it was said that it will be.
    told_so: bool,
    /// What is known of the move.
    last: Option<Move>,
    waits: Option<(String, Instant, bool)>,
    away: Option<Instant>,
    began: Instant,
    /// Whether routers were waited for when the time was over.
    unacknowledged: bool,
}

/// Carries a move on until it has ended.
pub(super) fn drive(mover: Mover, work: Work<'_>, output: &mut Output) -> Result<Status, String> {
    let interrupts = interrupts(mover.name())?;
    let not_before = work.before.as_ref().map(|_| Instant::now() + NOTICE + GRACE);
    let mut drive = Drive {
        mover,
        work,
        running: None,
        not_before,
        interrupts,
        obeyed: false,
        told_so: false,
        last: None,
        waits: None,
        away: None,
        began: Instant::now(),
        unacknowledged: false,
    };
    loop {
        if drive.is_impatient() {
            return Ok(drive.leave(output));
        }
        match drive.step(output) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => drive.away = None,
            Err(why) => {
                if let Some(status) = drive.cannot(&why, output) {
                    return Ok(status);
                }
            }
        }
        pause();
    }
}

/// Counts from now on how often somebody asks for an end. Whoever does so twice is not kept waiting by a store that does not
/// answer.
fn interrupts(name: &Name) -> Result<Arc<AtomicUsize>, String> {
    let cannot = |error: std::io::Error| format!("cannot wait for signals: {error}");
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(cannot)?;
    let counted = Arc::new(AtomicUsize::new(0));
    let (theirs, name) = (Arc::clone(&counted), name.clone());
    let count = move || {
        for _ in signals.forever() {
            if theirs.fetch_add(1, Ordering::Relaxed) > 0 {
                // It has this time to say more than is known here.
                std::thread::park_timeout(LEAVES);
                quit(&name);
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(count).map_err(cannot)?;
    Ok(counted)
}

/// Ends the process; the keeper of a hook hears of that.
#[allow(clippy::exit, reason = "the thread that would end by itself waits for a store that does not answer")]
fn quit(name: &Name) -> ! {
    let mut output = Output::standard(Colour::Never);
    output.error(format_args!("interrupted again; {}", left(name, "")));
    let _written: std::io::Result<()> = output.finish();
    std::process::exit(Status::Unknown.code().into())
}

/// What becomes of a move that nobody carries on.
fn left(name: &Name, phase: &str) -> String {
    format!(
        "move {name} is left as it is{phase}, and its fence may be up: the controller ends it or rolls it back when its time is \
         over; or say `gridctl move rollback {name}`"
    )
}

/// Nobody unparks this thread, and one more look would be no harm.
fn pause() {
    std::thread::park_timeout(PACE);
}

impl Drive<'_> {
    /// What is to be done now. The error is of a store that does not answer.
    fn step(&mut self, output: &mut Output) -> Result<Option<Status>, String> {
        let standing = self.mover.look()?;
        if let Some(other) = &standing.taken_over {
            return Ok(Some(self.lost(other, output)));
        }
        self.tell(&standing, output);
        let one = &standing.one;
        if one.has_ended() {
            return Ok(Some(self.end(one, output)));
        }
        if self.is_interrupted() && !self.obeyed {
            return self.obey(output).map(|()| None);
        }
        self.unacknowledged = standing.waits.is_some();
        if one.state.phase == MovePhase::Fenced && now() < one.state.deadline && !self.is_interrupted() {
            return self.copy(one, output).map(|()| None);
        }
        if !one.is_before_the_flip() {
            self.stop();
        }
        forgive(self.mover.go_on(now()).map(|_| ()))?;
        Ok(None)
    }

    /// Whether somebody has asked for an end.
    fn is_interrupted(&self) -> bool {
        self.interrupts.load(Ordering::Relaxed) > 0
    }

    /// Whether somebody has done so once more.
    fn is_impatient(&self) -> bool {
        self.interrupts.load(Ordering::Relaxed) > 1
    }

    /// Puts the tenant back, because somebody wants an end. That is written before the hook is told: it may take its time.
    fn obey(&mut self, output: &mut Output) -> Result<(), String> {
        let why = "interrupted".to_owned();
        let done = self.mover.command(&Command::RollBack { why }, now());
        if !std::mem::replace(&mut self.told_so, true) {
            output.note("interrupted; the tenant stays on its old cell, or goes back to it");
        }
        self.stop();
        // What cannot be taken back any more shows when the move is looked at again.
        self.obeyed = matches!(done, Ok(()) | Err(Refused::No(_)));
        forgive(done)
    }

    /// The fence is up everywhere: runs the hook to its end, and puts the tenant on its new cell.
    fn copy(&mut self, one: &Move, output: &mut Output) -> Result<(), String> {
        if let Some(until) = self.not_before {
            if let Some(before) = self.work.before.take() {
                let (host, left) = (printable(&before.host), until.saturating_duration_since(Instant::now()).as_secs());
                self.line(format_args!("waiting    {left} s, for {host} to end its hook if it runs still"), output);
            }
            if Instant::now() < until {
                return Ok(());
            }
        }
        if self.work.copied {
            return forgive(self.mover.flip(now()));
        }
        let ended = match (&mut self.running, self.work.hook) {
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
            (None, None) => None,
        };
        match ended {
            None => Ok(()),
            Some(Ok(())) => {
                (self.work.copied, self.running) = (true, None);
                forgive(self.mover.flip(now()))
            }
            Some(Err(why)) => {
                self.running = None;
                output.error(&why);
                self.command(&Command::RollBack { why })
            }
        }
    }

    /// Tells the hook to end. Nobody waits for that here.
    fn stop(&mut self) {
        if let Some(hook) = &mut self.running {
            hook.end();
        }
    }

    /// Waits until the hook is gone; whoever asks for an end once more does not.
    fn settle(&mut self, output: &mut Output) {
        self.stop();
        loop {
            if self.running.as_mut().is_none_or(Hook::is_gone) {
                self.running = None;
                return;
            }
            if self.is_impatient() {
                output.note("the hook is being ended still");
                return;
            }
            pause();
        }
    }

    /// Somebody else carries the move on.
    fn lost(&mut self, other: &MoveDriver, output: &mut Output) -> Status {
        let (name, host) = (self.mover.name(), printable(&other.host));
        output.error(format_args!(
            "move {name} was taken over by {host}; what becomes of it is decided there, and `gridctl move list` shows it"
        ));
        self.settle(output);
        Status::Lost
    }

    /// Somebody has asked for an end twice.
    fn leave(&mut self, output: &mut Output) -> Status {
        self.stop();
        let name = self.mover.name();
        let seen = |one: &Move| format!(", {} when it was last seen", one.state.phase.as_str());
        let phase = self.last.as_ref().map(seen).unwrap_or_default();
        output.error(format_args!("interrupted again; {}", left(name, &phase)));
        Status::Unknown
    }

    fn command(&mut self, command: &Command) -> Result<(), String> {
        forgive(self.mover.command(command, now()))
    }

    /// Says when the phase is another one, and whom is waited for when that takes a while.
    fn tell(&mut self, standing: &Standing, output: &mut Output) {
        let one = &standing.one;
        let before = self.last.replace(one.clone());
        if before.is_none_or(|before| before.state.phase != one.state.phase) {
            self.waits = None;
            match self.work.shown {
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
        self.settle(output);
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
        if matches!(self.work.shown, Shown::Table | Shown::Wide) {
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
        if self.is_interrupted() {
            // Nothing is put on the new cell any more, whatever the store says then.
            self.stop();
        }
        if since.elapsed() < PATIENCE {
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
