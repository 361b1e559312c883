//! `gridctl move`, and `gridctl tenant move`: tenants on their way from one cell to another.

mod begin;
mod drive;
mod forget;
mod hook;
pub(in crate::cli) mod keeper;
mod resume;
mod rollback;

use std::io::BufRead;
use std::time::Duration;

use clap::{Args, Subcommand};
use gridrouter_config::model;
use gridrouter_config::units::parse_duration;
use serde_json::{Value, json};

pub(super) use self::begin::Begin;
use self::forget::ForgetRouter;
use self::resume::Resume;
use self::rollback::Rollback;
use super::format::{Shown, print_yaml};
use super::{Status as Exit, attempt};
use crate::controller::desk::Refused;
use crate::mover;
use crate::output::Output;
use crate::plan::tenant_move::routers::{Fleet, waits};
use crate::table::{age, columns, now, printable};
use crate::target::Target;

/// What a move that is carried on needs.
#[derive(Debug, Args)]
struct Course {
    /// A command of the shell that copies the tenant's data; TENANT, GRID, FROM, TO and MOVE are in its environment
    #[arg(long, value_name = "CMD")]
    hook: Option<String>,
    /// The move is rolled back when it has not ended after this time
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    timeout: Duration,
    /// How to print each phase; for tools, each is one object
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
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
            Verb::Resume(resume) => resume.run(&target?, input, output),
            Verb::Rollback(rollback) => rollback.run(&target?, input, output),
            Verb::ForgetRouter(forget) => forget.run(&target?, input, output),
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
        "deadline": one.state.deadline, "reason": one.state.reason, "waits": waits, "hook": one.hook,
        "driver": one.state.driver,
    })
}

/// Says what would be done, which would make this of a move.
fn dry(after: &model::Move, what: &str, shown: Shown, output: &mut Output) {
    let answer = || {
        let mut answer = json_of(after, None);
        if let Some(fields) = answer.as_object_mut() {
            fields.insert("what".to_owned(), json!(what));
            fields.insert("published".to_owned(), json!(false));
        }
        answer
    };
    match shown {
        Shown::Table | Shown::Wide => output.line(format_args!("dry run, nothing was changed: {}", printable(what))),
        Shown::Json => output.json(&answer()),
        Shown::Yaml => print_yaml(&answer(), output),
    }
}
