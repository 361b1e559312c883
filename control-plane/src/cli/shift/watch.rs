//! `gridctl shift watch`: a shift as it goes.

use std::time::{Duration, Instant};

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::units::parse_duration;

use super::scene::{RouterFlags, Scene, now};
use crate::cli::{Status, complete};
use crate::controller::driver::leader;
use crate::output::Output;
use crate::picture::render::{Look, line, lines};
use crate::picture::{Picture, Sight};
use crate::site::Place;
use crate::table::{clock, printable};
use crate::target::Target;

/// Where lines cannot be taken back: how long nothing is said while nothing changes.
const SILENCE: Duration = Duration::from_secs(10);

/// Show a shift as it goes, until it has ended.
///
/// On a terminal: the weights of all cells as bars, requests, errors and p99 of both tracks, the step, the time left.
/// Elsewhere: a line when something changes, and every ten seconds.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Watch {
    /// The shift
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::shifts))]
    name: String,
    /// How often to look, 200ms to 1m
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    every: Duration,
    /// End when this much time is over, with the exit code of `gridctl shift status`
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    routers: RouterFlags,
}

const EXAMPLES: &str = "\
A picture is made to fit the terminal: bars get shorter, then columns are left out, and a line says which.

Exit code: 0 it has succeeded, or is well when the time is over; 1 it has ended otherwise, is not well, or was deleted; 2 wrong
usage, or the store cannot be reached.

Examples:
  gridctl shift watch new --store etcd://127.0.0.1:2379
  gridctl shift watch new --store etcd://127.0.0.1:2379 --timeout 10m";

impl Watch {
    pub(super) fn run(&self, target: Result<Target, String>, output: &mut Output) -> Status {
        let watched = target.and_then(|target| self.watch(&target, output));
        watched.unwrap_or_else(|why| {
            output.error(printable(&why));
            Status::Failed
        })
    }

    fn watch(&self, target: &Target, output: &mut Output) -> Result<Status, String> {
        if !(Duration::from_millis(200)..=Duration::from_mins(1)).contains(&self.every) {
            return Err(format!("--every is {:?}; write 200ms to 1m", self.every));
        }
        let (mut scene, mut place) = (Scene::open(target, &self.routers)?, Place::open(target)?);
        let (mut sight, begun, mut said) = (Sight::default(), Instant::now(), Said::default());
        let (mut trouble, mut gone) = (None, 0);
        loop {
            match look(&mut scene, &mut place, &self.name, &mut sight) {
                Ok(picture) => {
                    (trouble, gone) = (None, 0);
                    said.show(&picture, output);
                    let over = self.timeout.is_some_and(|timeout| begun.elapsed() >= timeout);
                    if over || has_ended(&picture) {
                        end(&picture, output);
                        return Ok(status_of(&picture));
                    }
                }
                // What was seen once will be seen again: a store that restarts is no reason to leave.
                Err(why) if said.pictures > 0 && self.timeout.is_none_or(|timeout| begun.elapsed() < timeout) => {
                    gone = if scene.is_gone(&self.name) { gone + 1 } else { 0 };
                    // An editor may take a file away for a moment.
                    if gone > 1 {
                        output.error(format_args!("shift \"{}\" was deleted", self.name));
                        return Ok(Status::Problems);
                    }
                    if trouble.as_ref() != Some(&why) {
                        output.note(format_args!("{}; looking again", printable(&why)));
                        said.lines = 0;
                    }
                    trouble = Some(why);
                }
                Err(why) => return Err(why),
            }
            if output.is_closed() {
                return Ok(Status::Fine);
            }
            // Nobody unparks this thread.
            std::thread::park_timeout(self.every);
        }
    }
}

/// How a shift is, and who acts on it. One that has not ended is not well where nobody does.
pub(super) fn look(scene: &mut Scene, place: &mut Place, name: &str, sight: &mut Sight) -> Result<Picture, String> {
    let mut picture = scene.picture(name, sight)?;
    if !has_ended(&picture) {
        let leader = leader(place)?;
        picture.healthy &= leader.is_some();
        picture.controller = Some(match leader {
            Some(leader) if leader.id.is_empty() => "a controller".to_owned(),
            Some(leader) => leader.id,
            None => "nobody: start `gridctl controller run`".to_owned(),
        });
    }
    Ok(picture)
}

/// How `gridctl shift status` ends, and `watch` when its time is over.
pub(super) fn status_of(picture: &Picture) -> Status {
    if picture.healthy { Status::Fine } else { Status::Problems }
}

pub(super) fn has_ended(picture: &Picture) -> bool {
    matches!(picture.phase, "RolledBack" | "Succeeded" | "Failed" | "Aborted")
}

/// What was said so far.
#[derive(Default)]
struct Said {
    pictures: usize,
    /// Lines of the terminal that the last picture takes.
    lines: usize,
    at: Option<Instant>,
    last: Option<(String, &'static str, Option<&'static str>)>,
}

impl Said {
    fn show(&mut self, picture: &Picture, output: &mut Output) {
        self.pictures += 1;
        if output.can_redraw() {
            let look = Look { screen: output.screen(), colour: output.colour() };
            self.lines = output.redraw(self.lines, &lines(picture, look, now()), look.screen);
            return;
        }
        let news = (picture.place.clone(), picture.phase, picture.verdict);
        let silent = self.at.is_none_or(|at| at.elapsed() >= SILENCE);
        if silent || self.last.as_ref() != Some(&news) {
            output.line(line(picture, &clock(now() / 1_000)));
            output.flush();
            (self.at, self.last) = (Some(Instant::now()), Some(news));
        }
    }
}

/// Where lines are not taken back, the last word is the whole picture.
fn end(picture: &Picture, output: &mut Output) {
    if !output.can_redraw() {
        let look = Look { screen: output.screen().endless(), colour: output.colour() };
        output.text(lines(picture, look, now()));
    }
}
