//! `gridctl shift status`, `list` and `history`.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::raw;
use serde_json::{Value, json};

use super::scene::{RouterFlags, Scene, find, names, now};
use super::watch::{look, status_of};
use crate::cli::format::{Format, Shown, print_value, print_yaml};
use crate::cli::history::Log;
use crate::cli::{Status as Exit, complete};
use crate::controller::View;
use crate::controller::desk::Desk;
use crate::output::Output;
use crate::picture::render::{Look, lines};
use crate::picture::{Sight, is_healthy};
use crate::plan::shift::place;
use crate::site::Place;
use crate::table::{age, columns, printable};
use crate::target::Target;

/// Show how a shift is: its step, its weights, and what both tracks do.
#[derive(Debug, Args)]
#[command(after_help = STATUS)]
pub(super) struct Status {
    /// The shift
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::shifts))]
    name: String,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
    #[command(flatten)]
    routers: RouterFlags,
}

const STATUS: &str = "\
Exit code: 0 it goes on as it should, waits where it was told to, or has succeeded; 1 it was rolled back, aborted or has
failed, waits because something is not clear or not good, no controller acts on it, or more than 1 % of the requests that
were meant for the new track fell back to the old one; 2 wrong usage, or the store cannot be reached.

Examples:
  gridctl shift status new --store etcd://127.0.0.1:2379
  gridctl shift status new --store etcd://127.0.0.1:2379 -o json";

/// List all shifts, those that have ended among them.
#[derive(Debug, Args)]
#[command(after_help = LIST)]
pub(super) struct List {
    /// Only those that have not ended
    #[arg(long)]
    active: bool,
    /// How to print them
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

const LIST: &str = "\
A shift that has ended can be deleted: `gridctl delete shift NAME`.

Exit code: 0 fine, 2 wrong usage, or the store cannot be reached.

Examples:
  gridctl shift list --store etcd://127.0.0.1:2379
  gridctl shift list --store etcd://127.0.0.1:2379 --active -o json";

/// Print who did what to a shift, when and why.
#[derive(Debug, Args)]
#[command(after_help = HISTORY)]
pub(super) struct History {
    /// The shift
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::shifts))]
    name: String,
    /// Generations to list
    #[arg(short, value_name = "N", default_value = "50")]
    n: usize,
    /// How to print them
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

const HISTORY: &str = "\
Like `gridctl history --document Shift/NAME`, also of one that was deleted; `gridctl history GENERATION` shows what one of them
changed.

Exit code: 0 fine, 2 there is and was no such shift, wrong usage, the store cannot be reached, or is a directory.

Examples:
  gridctl shift history new --store etcd://127.0.0.1:2379";

impl Status {
    pub(super) fn run(&self, target: Result<Target, String>, output: &mut Output) -> Exit {
        let shown = target.and_then(|target| self.show(&target, output));
        shown.unwrap_or_else(|why| {
            output.error(printable(&why));
            Exit::Failed
        })
    }

    fn show(&self, target: &Target, output: &mut Output) -> Result<Exit, String> {
        let mut scene = Scene::open(target, &self.routers)?;
        output.progress(format_args!("reading {target}"));
        let picture = look(&mut scene, &mut Place::open(target)?, &self.name, &mut Sight::default())?;
        match self.output {
            Shown::Table | Shown::Wide => {
                let mut screen = output.screen().endless();
                if matches!(self.output, Shown::Wide) {
                    screen.width = usize::MAX;
                }
                output.text(lines(&picture, Look { screen, colour: output.colour() }, now()));
            }
            Shown::Json => output.json(&picture),
            Shown::Yaml => print_yaml(&picture, output),
        }
        Ok(status_of(&picture))
    }
}

impl List {
    pub(super) fn run(&self, target: Result<Target, String>, output: &mut Output) -> Exit {
        let listed = target.and_then(|target| {
            output.progress(format_args!("reading {target}"));
            let mut desk = Desk::open(&target)?;
            self.print(desk.look()?, output);
            Ok(Exit::Fine)
        });
        listed.unwrap_or_else(|why| {
            output.error(printable(&why));
            Exit::Failed
        })
    }

    fn print(&self, view: &View, output: &mut Output) {
        let shifts: Vec<_> = names(view).map(|name| (name, find(view, name))).collect();
        let ended = |shift: &Result<(&raw::Shift, _), String>| {
            shift
                .as_ref()
                .is_ok_and(|(_, shift): &(_, std::sync::Arc<gridrouter_config::model::Shift>)| shift.has_ended())
        };
        let shifts: Vec<_> = shifts.into_iter().filter(|(_, shift)| !self.active || !ended(shift)).collect();
        let now = now();
        match self.output {
            Format::Name => shifts.iter().for_each(|(name, _)| output.line(format_args!("Shift/{name}"))),
            Format::Json | Format::Yaml => {
                let all: Vec<Value> = shifts
                    .iter()
                    .map(|(name, shift)| match shift {
                        Err(why) => json!({ "shift": name, "problem": why }),
                        Ok((raw, shift)) => json!({
                            "shift": name, "service": raw.service, "to": raw.to, "phase": shift.state.phase,
                            "healthy": is_healthy(shift), "state": raw.state,
                        }),
                    })
                    .collect();
                print_value(self.output, &json!(all), output);
            }
            Format::Table | Format::Wide => {
                let row = |(name, shift): &(
                    &str,
                    Result<(&raw::Shift, std::sync::Arc<gridrouter_config::model::Shift>), String>,
                )| {
                    match shift {
                        Err(why) => vec![(*name).to_owned(), String::new(), String::new(), "?".to_owned(), why.clone()],
                        Ok((raw, shift)) => {
                            let state = &shift.state;
                            let at = if shift.is_under_way() { place(shift, state) } else { "-".to_owned() };
                            vec![
                                (*name).to_owned(),
                                raw.service.clone(),
                                raw.to.as_str().to_owned(),
                                state.phase.as_str().to_owned(),
                                at,
                                age(state.started / 1_000, now / 1_000),
                                state.reason.clone(),
                            ]
                        }
                    }
                };
                let head = ["NAME", "SERVICE", "TO", "PHASE", "AT", "AGE", "REASON"];
                output.text(columns(&head, &shifts.iter().map(row).collect::<Vec<_>>()));
            }
        }
    }
}

impl History {
    pub(super) fn run(&self, target: Result<Target, String>, output: &mut Output) -> Exit {
        match Log::of_document("Shift", &self.name, self.n, self.output) {
            Ok(log) => log.run(target, output),
            Err(why) => {
                output.error(why);
                Exit::Failed
            }
        }
    }
}
