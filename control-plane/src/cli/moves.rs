//! `gridctl move`, and `gridctl tenant move`: tenants on their way from one cell to another.

mod drive;
mod hook;

use std::io::BufRead;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::ids::Name;
use gridrouter_config::model;
use gridrouter_config::raw::MoveFence;
use gridrouter_config::units::parse_duration;
use serde_json::{Value, json};

use self::drive::drive;
use super::change::default_author;
use super::consent::consent;
use super::format::{Shown, print_yaml};
use super::{Status as Exit, attempt, complete};
use crate::controller::desk::Refused;
use crate::controller::tenant_move::Watch;
use crate::mover::{self, Mover, Order};
use crate::output::Output;
use crate::plan::tenant_move::Command;
use crate::plan::tenant_move::routers::{Fleet, waits};
use crate::table::{age, columns, now, printable};
use crate::target::Target;

/// Move a tenant to another cell of its grid.
///
/// What changes the tenant's data is kept away from both cells first (the fence): such requests wait for as long as --hold
/// says, and are answered 503 then. When every live router has the fence up, and what was under way has ended, the hook copies
/// the data; the tenant is put on its new cell; and when every router knows, the fence goes. If the hook fails, a router does
/// not acknowledge in time, or this command is interrupted, everything is as it was before. If it is killed, the controller
/// rolls the move back when its time is over, or somebody takes it up with `gridctl move resume`.
#[derive(Debug, Args)]
#[command(after_help = BEGIN)]
pub(super) struct Begin {
    /// The tenant's id
    #[arg(value_name = "ID", value_parser = Name::tenant, add = ArgValueCompleter::new(complete::tenants))]
    tenant: Name,
    /// The cell that it goes to
    #[arg(long, value_name = "CELL", value_parser = Name::parse, add = ArgValueCompleter::new(complete::cells))]
    to: Name,
    /// The grid [default: the only one]
    #[arg(long, value_name = "NAME", value_parser = Name::parse, add = ArgValueCompleter::new(complete::grids))]
    grid: Option<Name>,
    /// Which requests are kept away meanwhile: writes (all but GET, HEAD and OPTIONS) or all
    #[arg(long, value_enum, value_name = "WHICH", default_value = "writes")]
    fence: Fence,
    /// How long such a request waits for the end of the move, up to 60s; 0s answers it 503 at once
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    hold: String,
    /// What a client that is answered 503 is told to wait, 1s to 1h
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    retry_after: String,
    /// What the move is called [default: the tenant's id and the time]
    #[arg(long, value_name = "NAME", value_parser = Name::parse)]
    name: Option<Name>,
    #[command(flatten)]
    course: Course,
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Show what would be begun, and begin nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on without asking
    #[arg(short, long)]
    yes: bool,
}

/// What a move that is carried on needs.
#[derive(Debug, Args)]
struct Course {
    /// A command of the shell that copies the tenant's data; TENANT, GRID, FROM, TO and MOVE are in its environment
    #[arg(long, value_name = "CMD")]
    hook: Option<String>,
    /// The move is rolled back when it has not ended after this time
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    timeout: Duration,
    /// Who, for the history [default: $USER@host]
    #[arg(long, value_name = "NAME", env = "GRIDCTL_AUTHOR")]
    author: Option<String>,
    /// How to print each phase; for tools, each is one object
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
}

const BEGIN: &str = "\
Exit code: 0 the tenant is on its new cell; 1 it was rolled back; 2 wrong usage, or the store cannot be read; 3 somebody else
was faster; 4 rolled back because a router did not acknowledge; 5 not known, see `gridctl move list`.

Examples:
  gridctl tenant move acme --to eu-2 --hook './copy-data.sh'
  gridctl tenant move acme --to eu-2 --grid shop --fence all --hold 30s --timeout 10m
  gridctl tenant move acme --to eu-2 --dry-run";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Fence {
    /// All but GET, HEAD and OPTIONS.
    Writes,
    /// All.
    All,
}

/// See and steer the moves of tenants; `gridctl tenant move` begins one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Moves {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Resume(Resume),
    Rollback(Rollback),
    ForgetRouter(ForgetRouter),
}

const EXAMPLES: &str = "\
Examples:
  gridctl move list --store etcd://10.0.0.1:2379
  gridctl move resume acme-1795287600 --hook './copy-data.sh'
  gridctl move rollback acme-1795287600";

/// Print moves, and which routers those wait for that are under way.
#[derive(Debug, Args)]
#[command(after_help = LIST)]
struct List {
    /// Those that have ended, too
    #[arg(short, long)]
    all: bool,
    /// How to print them
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
}

const LIST: &str = "\
Exit code: 0 none waits for a router, 1 one does, 2 wrong usage or the store cannot be read.

Examples:
  gridctl move list
  gridctl move list --all -o json";

/// Take up a move that nobody carries on any more.
///
/// The hook runs, unless the tenant is on its new cell already; it may have run before, and has to stand that.
#[derive(Debug, Args)]
#[command(after_help = RESUME)]
struct Resume {
    /// The move
    #[arg(value_name = "NAME", value_parser = Name::parse, add = ArgValueCompleter::new(complete::moves))]
    name: Name,
    #[command(flatten)]
    course: Course,
}

const RESUME: &str = "\
Exit code: as for `gridctl tenant move`.

Examples:
  gridctl move resume acme-1795287600 --hook './copy-data.sh'";

/// Put a tenant back on its old cell.
///
/// Until the new cell has taken requests that the fence keeps away, that is: afterwards, move the tenant back with its data.
#[derive(Debug, Args)]
#[command(after_help = ROLLBACK)]
struct Rollback {
    /// The move
    #[arg(value_name = "NAME", value_parser = Name::parse, add = ArgValueCompleter::new(complete::moves))]
    name: Name,
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT", default_value = "rolled back by hand")]
    message: String,
    /// Who, for the history [default: $USER@host]
    #[arg(long, value_name = "NAME", env = "GRIDCTL_AUTHOR")]
    author: Option<String>,
    /// Say whether it can be rolled back, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on without asking
    #[arg(short, long)]
    yes: bool,
    /// How to print each phase; for tools, each is one object
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
}

const ROLLBACK: &str = "\
Exit code: 0 the tenant is on its old cell; 2 it cannot be, or the store cannot be read; 3 somebody else was faster; 5 not known.

Examples:
  gridctl move rollback acme-1795287600 -m 'the copy is not complete'";

/// Say that a router has ended which is gone without a farewell.
///
/// A router that was killed, or is cut off from etcd, may serve still with what it had. Moves wait for it, until it is back
/// under the same id or somebody says this. Say it only when the process has ended for certain.
#[derive(Debug, Args)]
#[command(after_help = FORGET)]
struct ForgetRouter {
    /// The router's id, as `gridctl move list` names it
    #[arg(value_name = "ID")]
    id: String,
    /// Yes, its process has ended
    #[arg(long, required = true)]
    has_ended: bool,
    /// How to print what was done
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
}

const FORGET: &str = "\
Exit code: 0 it is forgotten; 2 it is alive, or not known, or the store cannot be read.

Examples:
  gridctl move forget-router edge-3 --has-ended";

impl Begin {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Exit {
        let ended = attempt(output, |output| self.carry_out(&target?, input, output));
        ended.unwrap_or_else(|failed| failed)
    }

    fn carry_out(&self, target: &Target, input: &mut dyn BufRead, output: &mut Output) -> Result<Exit, String> {
        let order = Order {
            tenant: self.tenant.clone(),
            grid: self.grid.clone(),
            to: self.to.clone(),
            fence: match self.fence {
                Fence::Writes => MoveFence::Writes,
                Fence::All => MoveFence::All,
            },
            hold: Some(self.hold.clone()).filter(|hold| hold != "0s"),
            retry_after: Some(self.retry_after.clone()),
            timeout: self.course.timeout,
            name: self.name.clone(),
        };
        let planned = match Mover::plan(target, &order, mover::now()) {
            Ok(planned) => planned,
            Err(refused) => return Ok(say(&refused, output)),
        };
        let what =
            format!("moves tenant {} of grid {} from {} to {}", planned.tenant, planned.grid, planned.from, planned.to);
        if self.dry_run {
            let fence = planned.fence.unwrap_or_default().as_str();
            output.line(format_args!("dry run, nothing was changed: {what}, with a fence for {fence}"));
            return Ok(Exit::Fine);
        }
        if !self.yes
            && let Err(status) = consent(target.context.as_ref(), &what, None, input, output)
        {
            return Ok(status);
        }
        let author = self.course.author(target);
        Ok(match Mover::begin(target, &author, self.message.as_deref(), &order, mover::now()) {
            Ok(mover) => drive(mover, self.course.hook.as_deref(), self.course.output, output)?,
            Err(refused) => say(&refused, output),
        })
    }
}

impl Course {
    fn author(&self, target: &Target) -> String {
        author(self.author.as_ref(), target)
    }
}

fn author(given: Option<&String>, target: &Target) -> String {
    let named = || target.context.as_ref().and_then(|context| context.author.clone());
    given.filter(|name| !name.is_empty()).cloned().or_else(named).unwrap_or_else(default_author)
}

/// Says why nothing was done.
fn say(refused: &Refused, output: &mut Output) -> Exit {
    let (why, exit) = match refused {
        Refused::No(why) | Refused::Away(why) => (why, Exit::Failed),
        Refused::Lost(why) => (why, Exit::Lost),
        Refused::Unknown(why) => (why, Exit::Unknown),
    };
    output.error(printable(why));
    exit
}

impl Moves {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Exit {
        let ended = attempt(output, |output| match &self.verb {
            Verb::List(list) => list.run(&target?, output),
            Verb::Resume(resume) => resume.run(&target?, output),
            Verb::Rollback(rollback) => rollback.run(&target?, input, output),
            Verb::ForgetRouter(forget) => forget.run(&target?, output),
        });
        ended.unwrap_or_else(|failed| failed)
    }
}

impl List {
    fn run(&self, target: &Target, output: &mut Output) -> Result<Exit, String> {
        let (mut moves, fleet) = mover::list(target)?;
        moves.retain(|one| self.all || !one.has_ended());
        moves.sort_by_key(|one| one.state.started);
        let waiting: Vec<Option<String>> = moves.iter().map(|one| waits_of(one, fleet.as_ref())).collect();
        match self.output {
            Shown::Json | Shown::Yaml => {
                let all: Vec<Value> =
                    moves.iter().zip(&waiting).map(|(one, waits)| json_of(one, waits.as_ref())).collect();
                let answer = json!({ "moves": all });
                if self.output == Shown::Json { output.json(&answer) } else { print_yaml(&answer, output) }
            }
            Shown::Table | Shown::Wide if moves.is_empty() => output.line("no move is under way"),
            Shown::Table | Shown::Wide => {
                let rows: Vec<Vec<String>> =
                    moves.iter().zip(&waiting).map(|(one, waits)| row(one, waits.as_ref())).collect();
                output.text(columns(&["MOVE", "TENANT", "GRID", "FROM", "TO", "PHASE", "SINCE", "WHY"], &rows));
            }
        }
        Ok(if waiting.iter().any(Option::is_some) { Exit::Problems } else { Exit::Fine })
    }
}

fn waits_of(one: &model::Move, fleet: Option<&Fleet>) -> Option<String> {
    fleet.filter(|_| !one.has_ended()).and_then(|fleet| waits(one, fleet))
}

fn row(one: &model::Move, waits: Option<&String>) -> Vec<String> {
    let why = waits.cloned().unwrap_or_else(|| one.state.reason.clone());
    let cells = [one.name.as_str(), one.tenant.as_str(), one.grid.as_str(), one.from.as_str(), one.to.as_str()];
    let mut cells: Vec<String> = cells.map(printable).to_vec();
    cells.push(one.state.phase.as_str().to_owned());
    cells.push(format!("{} ago", age(one.state.since / 1000, now())));
    cells.push(printable(&why));
    cells
}

fn json_of(one: &model::Move, waits: Option<&String>) -> Value {
    json!({
        "name": one.name, "tenant": one.tenant, "grid": one.grid, "from": one.from, "to": one.to,
        "fence": one.fence, "phase": one.state.phase, "started": one.state.started, "since": one.state.since,
        "deadline": one.state.deadline, "reason": one.state.reason, "waits": waits,
    })
}

impl Resume {
    fn run(&self, target: &Target, output: &mut Output) -> Result<Exit, String> {
        let author = self.course.author(target);
        let taken_up = Mover::resume(target, &author, &self.name).and_then(|mut mover| {
            mover.extend(self.course.timeout, mover::now())?;
            Ok(mover)
        });
        Ok(match taken_up {
            Ok(mover) => drive(mover, self.course.hook.as_deref(), self.course.output, output)?,
            Err(refused) => say(&refused, output),
        })
    }
}

impl Rollback {
    fn run(&self, target: &Target, input: &mut dyn BufRead, output: &mut Output) -> Result<Exit, String> {
        let author = author(self.author.as_ref(), target);
        let what = format!("rolls move {} back", self.name);
        if self.dry_run {
            let command = Command::RollBack { why: self.message.clone() };
            return Ok(match Mover::resume(target, &author, &self.name).and_then(|mut one| one.would(&command)) {
                Ok(next) => {
                    output.line(format_args!("dry run, nothing was changed: {}", printable(&next.what)));
                    Exit::Fine
                }
                Err(refused) => say(&refused, output),
            });
        }
        if !self.yes
            && let Err(status) = consent(target.context.as_ref(), &what, None, input, output)
        {
            return Ok(status);
        }
        let back = Mover::resume(target, &author, &self.name).and_then(|mut mover| {
            mover.command(&Command::RollBack { why: self.message.clone() }, mover::now())?;
            Ok(mover)
        });
        Ok(match back {
            // That it was rolled back is what was wanted.
            Ok(mover) => Some(drive(mover, None, self.output, output)?)
                .filter(|exit| *exit != Exit::Problems)
                .unwrap_or(Exit::Fine),
            Err(refused) => say(&refused, output),
        })
    }
}

impl ForgetRouter {
    fn run(&self, target: &Target, output: &mut Output) -> Result<Exit, String> {
        let Watch::Etcd(mut writer) = Watch::of(target)? else {
            return Err("a directory does not know its routers; there is nothing to forget".to_owned());
        };
        let id = printable(&self.id);
        let forgotten = writer.forget_router(&self.id).map_err(|error| crate::site::in_our_words(&error.explain()))?;
        if !forgotten {
            return Err(format!(
                "router {id} is alive, or was never there; `gridctl move list` names those that are gone"
            ));
        }
        match self.output {
            Shown::Table | Shown::Wide => output.line(format_args!("router {id} is forgotten")),
            Shown::Json => output.json(&json!({ "forgotten": self.id })),
            Shown::Yaml => print_yaml(&json!({ "forgotten": self.id }), output),
        }
        Ok(Exit::Fine)
    }
}
