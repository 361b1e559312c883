//! `gridctl move resume`.

use std::io::BufRead;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::ids::Name;
use gridrouter_config::model;

use super::drive::{Work, drive};
use super::{Course, Exit, dry, say};
use crate::cli::complete;
use crate::cli::consent::consent;
use crate::cli::wish::Wish;
use crate::controller::desk::Refused;
use crate::mover::{self, Mover};
use crate::output::Output;
use crate::table::{age, now, printable};
use crate::target::Target;

/// Take up a move that nobody carries on any more.
///
/// The hook runs, unless the tenant is on its new cell already; it may have run before, and has to stand that. A move that was
/// begun with a hook is not taken up without one, but with --copied. Whoever carries the move on still, unheard of, has no
/// say from then on, and ends its hook; that is waited for.
#[derive(Debug, Args)]
#[command(after_help = RESUME)]
pub(super) struct Resume {
    /// The move
    #[arg(value_name = "NAME", value_parser = Name::parse, add = ArgValueCompleter::new(complete::moves))]
    name: Name,
    /// The data is on the new cell for certain: nothing is copied any more
    #[arg(long, conflicts_with = "hook")]
    copied: bool,
    #[command(flatten)]
    course: Course,
    #[command(flatten)]
    wish: Wish,
}

const RESUME: &str = "\
Exit code: as for `gridctl tenant move`.

Examples:
  gridctl move resume acme-1795287600 --hook './copy-data.sh'
  gridctl move resume acme-1795287600 --copied --yes -m 'copied by hand'";

impl Resume {
    pub(super) fn run(&self, target: &Target, input: &mut dyn BufRead, output: &mut Output) -> Result<Exit, String> {
        let (hook, author) = (self.course.hook.as_deref(), self.wish.author(target.context.as_ref()));
        let (timeout, data) = (self.course.timeout, hook.is_some() || self.copied);
        let found = Mover::find(target, &author, &self.name).and_then(|mut mover| {
            let next = mover.would_take_up(timeout, data)?;
            let one = mover.look().map_err(Refused::Away)?.one;
            Ok((mover, one, next))
        });
        let (mut mover, one, next) = match found {
            Ok(found) => found,
            Err(refused) => return Ok(say(&refused, output)),
        };
        let before = before(&one);
        if self.wish.dry_run {
            let from = before.map(|before| format!(", in the place of {before}")).unwrap_or_default();
            let after = model::Move { state: next.state, ..one };
            dry(&after, &format!("{}{from}", next.what), self.course.output, output);
            return Ok(Exit::Fine);
        }
        if !self.wish.yes {
            let summary = format!("takes move {} up", self.name);
            let danger = before.map(|before| {
                format!(
                    "takes move {} over from {before}; whether that runs still is not known, and its hook is ended if it does",
                    self.name
                )
            });
            if let Err(status) = consent(target.context.as_ref(), &summary, danger, input, output) {
                return Ok(status);
            }
        }
        Ok(match mover.take_up(timeout, data, self.wish.message.as_deref(), mover::now()) {
            Ok(before) => {
                let work = Work { hook, copied: hook.is_none(), before, shown: self.course.output };
                drive(mover, work, output)?
            }
            Err(refused) => say(&refused, output),
        })
    }
}

/// Who has carried a move on until now, where a hook of theirs may run still.
fn before(one: &model::Move) -> Option<String> {
    let driver = one.state.driver.as_ref().filter(|_| one.is_before_the_flip())?;
    Some(format!("{}, which has carried it on for {}", printable(&driver.host), age(driver.since / 1000, now())))
}
