//! `gridctl tenant move`.

use std::io::BufRead;

use clap::{Args, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::ids::Name;
use gridrouter_config::raw::MoveFence;

use super::drive::{Work, drive};
use super::{Course, Exit, dry, say};
use crate::cli::consent::consent;
use crate::cli::wish::Wish;
use crate::cli::{attempt, complete};
use crate::mover::{self, Mover, Order};
use crate::output::Output;
use crate::table::printable;
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
pub(in crate::cli) struct Begin {
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
    #[command(flatten)]
    wish: Wish,
}

const BEGIN: &str = "\
Without --hook no data is copied, and that has to be agreed to.

Exit code: 0 the tenant is on its new cell; 1 it was rolled back; 2 wrong usage, nobody said yes, or the store cannot be read;
3 somebody else was faster, or has taken the move over; 4 rolled back because a router did not acknowledge; 5 not known, see
`gridctl move list`.

Examples:
  gridctl tenant move acme --to eu-2 --hook './copy-data.sh'
  gridctl tenant move acme --to eu-2 --hook './copy-data.sh' --grid shop --fence all --hold 30s --timeout 10m
  gridctl tenant move acme --to eu-2 --yes
  gridctl tenant move acme --to eu-2 --dry-run";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Fence {
    /// All but GET, HEAD and OPTIONS.
    Writes,
    /// All.
    All,
}

impl Begin {
    pub(in crate::cli) fn run(
        &self,
        target: Result<Target, String>,
        input: &mut dyn BufRead,
        output: &mut Output,
    ) -> Exit {
        let ended = attempt(output, |output| self.carry_out(&target?, input, output));
        ended.unwrap_or_else(|failed| failed)
    }

    fn carry_out(&self, target: &Target, input: &mut dyn BufRead, output: &mut Output) -> Result<Exit, String> {
        let order = self.order();
        let planned = match Mover::plan(target, &order, mover::now()) {
            Ok(planned) => planned,
            Err(refused) => return Ok(say(&refused, output)),
        };
        let [tenant, grid, from, to] =
            [&planned.tenant, &planned.grid, &planned.from, &planned.to].map(|name| printable(name.as_str()));
        let what = format!("moves tenant {tenant} of grid {grid} from {from} to {to}");
        let empty = if order.hook { "" } else { ", and copies no data, because no --hook is given" };
        if self.wish.dry_run {
            let what = format!("{what}, with a fence for {}{empty}", planned.fence.as_str());
            dry(&planned, &what, self.course.output, output);
            return Ok(Exit::Fine);
        }
        if !self.wish.yes {
            let danger = (!order.hook).then(|| format!("{what}{empty}"));
            let summary = if order.hook { what } else { "a move begins".to_owned() };
            if let Err(status) = consent(target.context.as_ref(), &summary, danger, input, output) {
                return Ok(status);
            }
        }
        let (author, message) = (self.wish.author(target.context.as_ref()), self.wish.message.as_deref());
        let hook = self.course.hook.as_deref();
        let work = Work { hook, copied: hook.is_none(), before: None, shown: self.course.output };
        Ok(match Mover::begin(target, &author, message, &order, mover::now()) {
            Ok(mover) => drive(mover, work, output)?,
            Err(refused) => say(&refused, output),
        })
    }

    fn order(&self) -> Order {
        Order {
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
            hook: self.course.hook.is_some(),
        }
    }
}
