//! `gridctl move rollback`.

use std::io::BufRead;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::ids::Name;
use gridrouter_config::model;

use super::drive::{Work, drive};
use super::{Exit, dry, say};
use crate::cli::complete;
use crate::cli::consent::consent;
use crate::cli::format::Shown;
use crate::cli::wish::Wish;
use crate::controller::desk::Refused;
use crate::mover::{self, Mover};
use crate::output::Output;
use crate::plan::tenant_move::Command;
use crate::target::Target;

/// Put a tenant back on its old cell.
///
/// Until the new cell has taken requests that the fence keeps away, that is: afterwards, move the tenant back with its data.
#[derive(Debug, Args)]
#[command(after_help = ROLLBACK)]
pub(super) struct Rollback {
    /// The move
    #[arg(value_name = "NAME", value_parser = Name::parse, add = ArgValueCompleter::new(complete::moves))]
    name: Name,
    #[command(flatten)]
    wish: Wish,
    /// How to print each phase; for tools, each is one object
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
}

const ROLLBACK: &str = "\
Exit code: 0 the tenant is on its old cell; 2 it cannot be, or the store cannot be read; 3 somebody else was faster; 5 not known.

Examples:
  gridctl move rollback acme-1795287600 -m 'the copy is not complete'";

impl Rollback {
    pub(super) fn run(&self, target: &Target, input: &mut dyn BufRead, output: &mut Output) -> Result<Exit, String> {
        let author = self.wish.author(target.context.as_ref());
        let why = self.wish.message.clone().unwrap_or_else(|| "rolled back by hand".to_owned());
        let back = Command::RollBack { why };
        let found = Mover::find(target, &author, &self.name).and_then(|mut mover| {
            let next = mover.would(&back)?;
            let one = mover.look().map_err(Refused::Away)?.one;
            Ok((mover, model::Move { state: next.state, ..one }, next.what))
        });
        let (mut mover, after, what) = match found {
            Ok(found) => found,
            Err(refused) => return Ok(say(&refused, output)),
        };
        if self.wish.dry_run {
            dry(&after, &what, self.output, output);
            return Ok(Exit::Fine);
        }
        let what = format!("rolls move {} back", self.name);
        if !self.wish.yes
            && let Err(status) = consent(target.context.as_ref(), &what, None, input, output)
        {
            return Ok(status);
        }
        // Nothing of it is copied any more.
        let work = Work { hook: None, copied: false, before: None, shown: self.output };
        Ok(match mover.command(&back, mover::now()) {
            // That it was rolled back is what was wanted.
            Ok(()) => Some(drive(mover, work, output)?).filter(|exit| *exit != Exit::Problems).unwrap_or(Exit::Fine),
            Err(refused) => say(&refused, output),
        })
    }
}
