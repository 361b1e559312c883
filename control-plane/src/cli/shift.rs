//! `gridctl shift`: moving a service's traffic from one track to the other.

mod act;
mod danger;
mod differences;
mod scene;
mod show;
mod start;
mod watch;

use std::io::BufRead;

use clap::{Args, Subcommand};

use super::Status;
use crate::output::Output;
use crate::target::Target;

/// Move a service's traffic from one track to the other, step by step.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Shift {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
A shift is a document: `gridctl shift start` writes one, or `gridctl apply` does. A controller (`gridctl controller run`)
takes it through its steps; promote, pause, resume, abort and rollback work without one, too.

Examples:
  gridctl shift start new --service checkout --store etcd://127.0.0.1:2379
  gridctl shift watch new --store etcd://127.0.0.1:2379
  gridctl shift rollback new --store etcd://127.0.0.1:2379 -m 'baskets are empty'";

#[derive(Debug, Subcommand)]
enum Verb {
    Start(Box<start::Start>),
    Status(show::Status),
    Watch(watch::Watch),
    Differences(differences::Differences),
    Promote(act::Promote),
    Pause(act::Pause),
    Resume(act::Resume),
    Abort(act::Abort),
    Rollback(act::Rollback),
    List(show::List),
    History(show::History),
}

impl Shift {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Status {
        match &self.verb {
            Verb::Start(start) => start.run(target, input, output),
            Verb::Status(status) => status.run(target, output),
            Verb::Watch(watch) => watch.run(target, output),
            Verb::Differences(differences) => differences.run(target, output),
            Verb::Promote(promote) => promote.run(target, input, output),
            Verb::Pause(pause) => pause.run(target, input, output),
            Verb::Resume(resume) => resume.run(target, input, output),
            Verb::Abort(abort) => abort.run(target, input, output),
            Verb::Rollback(rollback) => rollback.run(target, input, output),
            Verb::List(list) => list.run(target, output),
            Verb::History(history) => history.run(target, output),
        }
    }
}
