//! `gridctl limit`: what concerns single limits.

mod choose;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use gridrouter_config::model::LimitMode;
use gridrouter_config::problem::Problem;
use gridrouter_config::units::{Rate, parse_duration};
use serde::Serialize;

use self::choose::Chosen;
use super::Status;
use super::format::print_yaml;
use crate::output::Output;
use crate::simulate::chart::{self, Paper};
use crate::simulate::generate::{Generated, Ramp, Shape};
use crate::simulate::series::{self, Series};
use crate::simulate::summary::{Summary, Totals};
use crate::simulate::trace::{Fault, Trace};
use crate::simulate::{Decision, Simulation, What};
use crate::table::printable;

/// Try limits out.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gridctl limit simulate --limit config/examples/limits --name per-tenant --constant 150/s")]
pub(super) struct Limit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Simulate(Box<Simulate>),
}

/// Show what a limit lets pass, makes wait and refuses.
///
/// The data plane's own code decides, in the time of the trace: nothing is waited for, and no router is asked. A limit
/// in shadow mode is tried as if it refused.
#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    group = ArgGroup::new("arriving").required(true).args(["arrivals", "constant", "burst", "ramp"])
)]
struct Simulate {
    /// Where the Limit document is; other documents there are not looked at. `-` is standard input
    #[arg(long, value_name = "FILE|DIR")]
    limit: PathBuf,
    /// Which Limit, where there are several
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Try the values of the limit's candidate instead of its own
    #[arg(long)]
    candidate: bool,
    /// How to print what happened
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "chart")]
    output: Format,
    /// The most rows of the chart or the CSV [default: 40]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "bucket")]
    rows: Option<u16>,
    /// The time that one row stands for [default: one with which there are few rows]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    bucket: Option<Duration>,

    /// A file with a JSON object a line: {"at_ns": 0, "key": "a", "cost": 1}; `-` is standard input
    #[arg(long, value_name = "FILE", help_heading = "What arrives")]
    arrivals: Option<PathBuf>,
    /// Requests at a steady rate, such as 150/s
    #[arg(long, value_name = "RATE", value_parser = Rate::parse, help_heading = "What arrives")]
    constant: Option<Rate>,
    /// So many requests at once
    #[arg(long, value_name = "N", help_heading = "What arrives")]
    burst: Option<NonZeroU32>,
    /// Bursts again and again, this long one after the other
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with_all = ["arrivals", "constant", "ramp"], help_heading = "What arrives")]
    every: Option<Duration>,
    /// Requests at a rate that changes evenly, such as 0/s..300/s
    #[arg(long, value_name = "FROM..TO", value_parser = Ramp::parse, help_heading = "What arrives")]
    ramp: Option<Ramp>,
    #[command(flatten)]
    made_up: MadeUp,
}

/// What is said of requests that are made up.
#[derive(Debug, Args)]
#[command(next_help_heading = "What arrives, where it is no file")]
struct MadeUp {
    /// For how long requests come [default: 10s]
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, conflicts_with = "arrivals")]
    length: Option<Duration>,
    /// The key that all have
    #[arg(long, value_name = "KEY", conflicts_with_all = ["arrivals", "keys"])]
    key: Option<String>,
    /// How many keys they have in turn [default: 1]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000),
        conflicts_with = "arrivals"
    )]
    keys: Option<u32>,
    /// What each costs; bytes, where the limit is one of bandwidth [default: as the limit says]
    #[arg(long, value_name = "N", conflicts_with = "arrivals")]
    cost: Option<NonZeroU32>,
    /// How long each takes, where the limit is one of concurrency [default: 100ms]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "arrivals")]
    hold: Option<Duration>,
}

// Where the width of the terminal is not known, clap wraps at 100.
const EXAMPLES: &str = "\
A line of a file of arrivals has
  at_ns  when it comes, in nanoseconds. Algorithms that count in periods begin these at multiples
         of their length. Times may go back, as clocks do
  key    what is counted apart, any text; may be left out
  cost   1 to 4294967295; may be left out, and is as the limit says then
Where the limit is one of concurrency, a line of its own gives a permit back:
  {\"at_ns\": 5, \"release\": true}, with key and cost as above and, for an adaptive limit, took_ns (how
  long the answer took) and served (false if it failed)

With `-o jsonl` each arrival gets one line, in their order:
  at_ns           as given
  verdict         \"pass\", \"wait\" or \"refuse\"
  wait_ns         how long it waits
  retry_after_ns  where it is refused, after how long it could come again; null if no time helps,
                  because it costs more than the limit ever gives

With `-o csv` each row has from_ns, to_ns, arrivals, passed, waited, refused, admitted (in this
time, after a wait or not) and mean_wait_ns (of those that waited). With `-o json` the summary is
one object.

Exit code: 0 all arrivals were decided on, whatever was decided; 1 the limit or a line is wrong, as
standard error says; 2 wrong usage, or something cannot be read.

Examples:
  gridctl limit simulate --limit config/examples/limits --name per-tenant --constant 150/s
  gridctl limit simulate --limit config/examples/limits --name per-tenant --ramp 0/s..300/s
  gridctl limit simulate --limit config/examples/limits --name per-client --burst 80 -o csv
  gridctl limit simulate --limit config/examples/limits --name per-client --arrivals - -o jsonl";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A summary and bars over time, for people.
    #[value(aliases = ["table", "wide"])]
    Chart,
    /// What happened over time, for programs that draw.
    Csv,
    /// The summary as one object.
    Json,
    /// The same, for tools and people.
    Yaml,
    /// A JSON object an arrival, for tools.
    Jsonl,
}

/// Why there is no answer, which has been said.
type Told<T> = Result<T, Status>;

/// The summary as tools get it.
#[derive(Serialize)]
struct Named<'a> {
    limit: &'a str,
    algorithm: &'a str,
    candidate: bool,
    #[serde(flatten)]
    summary: Summary,
}

impl Limit {
    pub(super) fn run(&self, input: &mut dyn BufRead, output: &mut Output) -> Status {
        match &self.verb {
            Verb::Simulate(simulate) => simulate.run(input, output).err().unwrap_or(Status::Fine),
        }
    }
}

/// What is made of decisions.
enum Report {
    /// They are printed.
    Lines,
    /// They are counted.
    Counts { totals: Box<Totals>, series: Series },
}

impl Report {
    /// Takes a decision, and says whether more are wanted.
    fn take(&mut self, decision: &Decision, output: &mut Output) -> bool {
        match self {
            Report::Lines => {
                output.json_line(decision);
                !output.is_closed()
            }
            Report::Counts { totals, series } => {
                totals.add(decision);
                series.add(decision);
                !series.is_too_long()
            }
        }
    }
}

impl MadeUp {
    fn hold(&self) -> Duration {
        self.hold.unwrap_or(Duration::from_millis(100))
    }
}

impl Simulate {
    fn run(&self, input: &mut dyn BufRead, output: &mut Output) -> Told<()> {
        let is_input = |path: &Path| path.as_os_str() == "-";
        if is_input(&self.limit) && self.arrivals.as_deref().is_some_and(is_input) {
            output.error("standard input cannot be both the limit and the arrivals; put one of them into a file");
            return Err(Status::Failed);
        }
        let chosen = choose::choose(&self.limit, self.name.as_deref(), self.candidate, input, output)?;
        let mut report = self.report();
        let mut simulation = Simulation::new(&chosen.algorithm, chosen.limit.cost.constant);
        let mut lasts = None;
        if let Some(generated) = self.generated() {
            lasts = generated.lasts();
            generated.play(&mut simulation, |decision| report.take(decision, output));
        }
        let mut released = true;
        if let Some(path) = &self.arrivals {
            let mut replay = Replay { simulation: &mut simulation, report: &mut report, output, released: false };
            if is_input(path) {
                replay.all(&mut Trace::new("<standard input>", input))?;
            } else {
                replay.file(path)?;
            }
            released = replay.released;
        }
        match report {
            Report::Lines => {}
            Report::Counts { series, .. } if series.is_too_long() => {
                output.error("more than 1000000 rows; take a longer --bucket, or leave it out");
                return Err(Status::Failed);
            }
            Report::Counts { totals, series } => {
                let summary = totals.finish(simulation.keys(), lasts);
                let hold = simulation.holds_permits().then(|| self.made_up.hold()).filter(|_| self.arrivals.is_none());
                self.print(summary, &series, &chosen, hold, output);
            }
        }
        self.remark(&simulation, &chosen, released, output);
        Ok(())
    }

    fn report(&self) -> Report {
        let bucket = match self.output {
            Format::Jsonl => return Report::Lines,
            Format::Json | Format::Yaml => None,
            Format::Chart | Format::Csv => self.bucket,
        };
        let bucket = bucket.map(|bucket| u64::try_from(bucket.as_nanos()).unwrap_or(u64::MAX));
        Report::Counts { totals: Box::default(), series: Series::new(bucket) }
    }

    /// What is made up, if anything is.
    fn generated(&self) -> Option<Generated> {
        let burst = self.burst.map(|count| Shape::Burst { count: count.get(), every: self.every });
        let shape = self.constant.map(Shape::Constant).or(burst).or(self.ramp.map(Shape::Ramp))?;
        let made_up = &self.made_up;
        let keys = match (&made_up.key, made_up.keys) {
            (Some(key), _) => vec![key.clone()],
            (None, None) => vec![String::new()],
            (None, Some(count)) => (1..=count).map(|number| number.to_string()).collect(),
        };
        Some(Generated {
            shape,
            length: made_up.length.unwrap_or(Duration::from_secs(10)),
            keys,
            cost: made_up.cost.map(NonZeroU32::get),
            hold: made_up.hold(),
        })
    }

    /// Says on standard error what is good to know.
    fn remark(&self, simulation: &Simulation, chosen: &Chosen, released: bool, output: &mut Output) {
        if self.output == Format::Chart {
            if chosen.limit.mode == LimitMode::Shadow {
                output.note(
                    "note: the limit is in shadow mode, in which routers refuse nobody; this is what it would do",
                );
            }
            if simulation.holds_permits() && !released {
                output.note("note: no permit was given back; a line does that: {\"at_ns\": 5, \"release\": true}");
            }
        }
        match simulation.forgotten() {
            0 => {}
            keys => output.note(format_args!(
                "warning: {keys} keys were forgotten to make room for others, and began afresh; try fewer keys"
            )),
        }
    }

    /// `hold` is how long each request holds its permit, where that is made up.
    fn print(&self, summary: Summary, series: &Series, chosen: &Chosen, hold: Option<Duration>, output: &mut Output) {
        let rows = || series.rows(usize::from(self.rows.unwrap_or(40)));
        match self.output {
            Format::Csv => output.text(series::csv(&rows())),
            Format::Json | Format::Yaml => {
                let (limit, algorithm) = (chosen.limit.name.as_str(), chosen.algorithm_name());
                let named = Named { limit, algorithm, candidate: self.candidate, summary };
                if self.output == Format::Yaml { print_yaml(&named, output) } else { output.json(&named) }
            }
            Format::Chart => {
                let screen = output.screen();
                let paper = Paper { width: screen.paper(), unicode: screen.unicode, colour: output.colour() };
                let title = chosen.title(self.candidate);
                let hold = hold.map(|hold| format!("; each request takes {hold:?}")).unwrap_or_default();
                output.line(format_args!("{}{hold}\n", printable(&title)));
                output.text(chart::summary(&summary));
                let bars = chart::bars(&rows(), paper);
                if !bars.is_empty() {
                    output.text(format_args!("\n{bars}"));
                }
            }
            Format::Jsonl => {}
        }
    }
}

/// A trace that is played.
struct Replay<'a> {
    simulation: &'a mut Simulation,
    report: &'a mut Report,
    output: &'a mut Output,
    /// Whether a permit was given back.
    released: bool,
}

impl Replay<'_> {
    fn file(&mut self, path: &Path) -> Told<()> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => self.all(&mut Trace::new(&name, &mut BufReader::with_capacity(1 << 16, file))),
            Err(error) => {
                self.output.error(format_args!("cannot read {name}: {error}"));
                Err(Status::Failed)
            }
        }
    }

    /// Plays it to its end, or to the first line that is wrong.
    fn all(&mut self, trace: &mut Trace<'_>) -> Told<()> {
        loop {
            let event = match trace.next_event() {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(()),
                Err(Fault::Unreadable(why)) => {
                    self.output.error(why);
                    return Err(Status::Failed);
                }
                Err(Fault::Malformed { problem, text }) => {
                    tell(&problem, &text, self.output);
                    return Err(Status::Problems);
                }
            };
            self.released |= matches!(event.what, What::Release(_));
            if let Some(decision) = self.simulation.play(&event)
                && !self.report.take(&decision, self.output)
            {
                return Ok(());
            }
        }
    }
}

/// Says what is wrong with a line. All that is left of the file is this line, so that the others are blank; not for one
/// so far down that this would be slow.
fn tell(problem: &Problem, line: &str, output: &mut Output) {
    let above = usize::try_from(problem.line).unwrap_or(usize::MAX).saturating_sub(1);
    let source = (above < 10_000_000).then(|| "\n".repeat(above) + line);
    output.problem(problem, source.as_deref());
}
