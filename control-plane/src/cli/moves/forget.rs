//! `gridctl move forget-router`.

use std::io::BufRead;

use clap::Args;
use gridrouter_config::store::etcd::writer::{About, PublishError, Writer};
use serde_json::json;

use super::Exit;
use crate::cli::consent::consent;
use crate::cli::format::{Shown, print_yaml};
use crate::cli::wish::Wish;
use crate::controller::tenant_move::Watch;
use crate::output::Output;
use crate::site::in_our_words;
use crate::table::printable;
use crate::target::Target;

/// Say that a router has ended which is gone without a farewell.
///
/// A router that was killed, or is cut off from etcd, may serve still with what it had. Moves wait for it, until it is back
/// under the same id or somebody says this. Say it only when the process has ended for certain. Who said so, and why, is in
/// `gridctl history`.
#[derive(Debug, Args)]
#[command(after_help = FORGET)]
pub(super) struct ForgetRouter {
    /// The router's id, as `gridctl move list` names it
    #[arg(value_name = "ID")]
    id: String,
    /// Yes, its process has ended
    #[arg(long, required = true)]
    has_ended: bool,
    #[command(flatten)]
    wish: Wish,
    /// How to print what was done
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
}

const FORGET: &str = "\
Exit code: 0 it is forgotten; 2 it is alive, or not known, or the store cannot be read; 3 somebody else was faster each time;
5 not known.

Examples:
  gridctl move forget-router edge-3 --has-ended -m 'the machine is switched off'
  gridctl move forget-router edge-3 --has-ended --dry-run";

/// How often the history is tried.
const ATTEMPTS: usize = 20;

impl ForgetRouter {
    pub(super) fn run(&self, target: &Target, input: &mut dyn BufRead, output: &mut Output) -> Result<Exit, String> {
        let Watch::Etcd(mut writer) = Watch::of(target)? else {
            return Err("a directory does not know its routers; there is nothing to forget".to_owned());
        };
        let id = printable(&self.id);
        let (_, vanished) = writer.fleet().map_err(|error| in_our_words(&error.explain()))?;
        let refused =
            || format!("router {id} is alive, or was never there; `gridctl move list` names those that are gone");
        if !vanished.contains(&self.id) {
            return Err(refused());
        }
        let what = format!("forgets router {id}, which has ended");
        if self.wish.dry_run {
            self.tell(&format!("dry run, nothing was changed: {what}"), false, output);
            return Ok(Exit::Fine);
        }
        if !self.wish.yes
            && let Err(status) = consent(target.context.as_ref(), &what, None, input, output)
        {
            return Ok(status);
        }
        // First the history, so that there is no such word that it does not have.
        if let Err(exit) = self.note(&mut writer, target, &what, output) {
            return Ok(exit);
        }
        if !writer.forget_router(&self.id).map_err(|error| in_our_words(&error.explain()))? {
            return Err(refused());
        }
        self.tell(&format!("router {id} is forgotten"), true, output);
        Ok(Exit::Fine)
    }

    /// A generation that changes nothing, and says who has said what.
    fn note(&self, writer: &mut Writer, target: &Target, what: &str, output: &mut Output) -> Result<(), Exit> {
        let message = self.wish.message.as_ref().map_or_else(|| what.to_owned(), |why| format!("{what}: {why}"));
        let about =
            About { author: self.wish.author(target.context.as_ref()), message, note: true, ..About::default() };
        let mut lost = String::new();
        for _ in 0..ATTEMPTS {
            let base = writer.base().map_err(PublishError::Store);
            match base.and_then(|base| writer.publish(&base, &[], &about)) {
                Ok(_) => return Ok(()),
                Err(PublishError::Lost(other)) => lost = other.to_string(),
                Err(error @ (PublishError::Deposed | PublishError::Refused(_) | PublishError::Store(_))) => {
                    output.error(in_our_words(&printable(&error.to_string())));
                    return Err(Exit::Failed);
                }
                Err(error @ PublishError::Unknown(_)) => {
                    output.error(in_our_words(&printable(&error.to_string())));
                    return Err(Exit::Unknown);
                }
            }
        }
        output.error(printable(&lost));
        Err(Exit::Lost)
    }

    fn tell(&self, text: &str, forgotten: bool, output: &mut Output) {
        let answer = || json!({ "router": self.id, "forgotten": forgotten });
        match self.output {
            Shown::Table | Shown::Wide => output.line(text),
            Shown::Json => output.json(&answer()),
            Shown::Yaml => print_yaml(&answer(), output),
        }
    }
}
