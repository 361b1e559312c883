//! `gridctl tenant`: what concerns single tenants.

use std::ffi::OsString;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{ArgGroup, Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::generation::check_sources;
use gridrouter_config::ids::Name;
use gridrouter_config::model::{Grid, Model};
use gridrouter_config::problem::did_you_mean;

use super::format::{Shown, print_yaml_part};
use super::store::StoreFlags;
use super::{Status, complete, moves};
use crate::locate::{Location, Locator};
use crate::output::Output;
use crate::site::Place;
use crate::sources;
use crate::target::Target;

/// Ask about tenants, and move them.
#[derive(Debug, Args)]
#[command(after_help = TENANT)]
pub(super) struct Tenant {
    #[command(subcommand)]
    verb: Verb,
}

const TENANT: &str = "\
Examples:
  gridctl tenant where --config config/examples/quickstart --grid shop acme
  gridctl tenant move acme --to eu-2 --store etcd://127.0.0.1:2379";

#[derive(Debug, Subcommand)]
enum Verb {
    Move(Box<moves::Begin>),
    Where(Where),
}

/// Print which cell each tenant lives in, and what decided it.
///
/// The answer is computed from the documents by the router's own code. It is exact for every router that has loaded
/// them; no router is asked.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("which").required(true).args(["ids", "stdin"]))]
struct Where {
    /// The directory with the documents [default: the store]
    #[arg(long, value_name = "DIR", env = "GRIDROUTER_CONFIG")]
    config: Option<PathBuf>,
    /// The grid.
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::grids))]
    grid: String,
    /// The tenants' ids.
    #[arg(value_name = "ID", add = ArgValueCompleter::new(complete::tenants))]
    ids: Vec<OsString>,
    /// Read ids from standard input, one a line; blank lines are skipped.
    #[arg(long)]
    stdin: bool,
    /// How to print the answers.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
}

const EXAMPLES: &str = "\
With `-o json` each line is one object, with `-o yaml` each document:
  tenant  the id as it was given
  bucket  its slot in the grid, 0 to 16383
  cell    the cell's name
  by      what decided: \"pin\" (the tenant's document) or \"assignment\" (its bucket's cell)
  state   only when the cell is not active: \"draining\" or \"offline\" (its requests are refused)

Exit code: 0 every tenant was answered for, 1 an id is invalid or the documents have problems, 2 wrong usage or
something cannot be read.

Examples:
  gridctl tenant where --config config/examples/quickstart --grid shop acme globex
  gridctl tenant where --config config/examples/quickstart --grid shop -o json acme
  gridctl tenant where --store config/examples/quickstart --grid shop --stdin";

impl Tenant {
    pub(super) fn run(&self, store: &StoreFlags, input: &mut dyn BufRead, output: &mut Output) -> Status {
        match &self.verb {
            Verb::Move(begin) => begin.run(store.target(), input, output),
            Verb::Where(place) => place.run(store, input, output),
        }
    }
}

impl Where {
    fn run(&self, store: &StoreFlags, input: &mut dyn BufRead, output: &mut Output) -> Status {
        let refuse = |output: &mut Output, (status, why): (Status, String)| {
            output.error(why);
            status
        };
        // What is named on the command line is meant, whatever the environment says.
        let directory = self.config.as_deref().filter(|_| !store.by_flag());
        let read = match directory {
            Some(directory) => read_directory(directory),
            None => read_store(store.target()),
        };
        let (model, place) = match read {
            Ok(read) => read,
            Err(reason) => return refuse(output, reason),
        };
        let grid = match self.find_grid(&model, &place) {
            Ok(grid) => grid,
            Err(why) => return refuse(output, (Status::Failed, why)),
        };
        let locator = Locator::new(&model, grid);
        let longest = self.ids.iter().map(|id| id.len()).max();
        let widths =
            (longest.unwrap_or(24).max(6), grid.cells.iter().map(|cell| cell.as_str().len()).max().unwrap_or(4));
        let mut answers = Answers { locator, format: self.output, widths, output, bad: 0 };
        answers.head();
        if self.stdin {
            if let Err(error) = answers.answer_lines(input) {
                return refuse(answers.output, (Status::Failed, format!("cannot read standard input: {error}")));
            }
        } else {
            for (index, id) in self.ids.iter().enumerate() {
                answers.answer(id.as_encoded_bytes(), "argument", index + 1);
            }
        }
        if answers.bad == 0 { Status::Fine } else { Status::Problems }
    }

    fn find_grid<'a>(&self, model: &'a Model, place: &str) -> Result<&'a Grid, String> {
        let grid = model.grids.get(self.grid.as_str());
        grid.map(|grid| &**grid).ok_or_else(|| {
            let known: Vec<&str> = model.grids.keys().map(Name::as_str).collect();
            let help = did_you_mean(&self.grid, known.iter().copied()).unwrap_or_else(|| match known.as_slice() {
                [] => "there are no grids".to_owned(),
                _ => format!("there is {}", known.join(", ")),
            });
            format!("no grid \"{}\" in {place}; {help}", self.grid.escape_debug())
        })
    }
}

/// A model, and where it is from.
type Read = Result<(Arc<Model>, String), (Status, String)>;

/// What the documents of a directory put in force. A document with problems could be the very pin that was asked for, so
/// there is no answer while there is one.
fn read_directory(directory: &Path) -> Read {
    let place = directory.display().to_string();
    let sources = sources::read(&[directory.to_owned()], &mut std::io::empty()).map_err(|why| (Status::Failed, why))?;
    if let Some((file, why)) = sources.faults.first() {
        return Err((Status::Failed, format!("{file} {why}")));
    }
    let report = check_sources(&sources.files);
    match report.problems.len() {
        0 => Ok((Arc::clone(report.in_force.model()), place)),
        n => Err((Status::Problems, in_doubt(n, &place, &format!("gridctl check {place}")))),
    }
}

/// What the documents of a store put in force.
fn read_store(target: Result<Target, String>) -> Read {
    let target = target.map_err(|why| (Status::Failed, why))?;
    let (_, site) = Place::open(&target).and_then(super::read).map_err(|why| (Status::Failed, why))?;
    let place = target.to_string();
    let advanced = site.advance();
    let faults = site.foreign.len() + site.faults.len() + usize::from(site.complaint.is_some());
    match advanced.problems.len() + faults {
        0 => Ok((Arc::clone(advanced.in_force.model()), place)),
        n => Err((Status::Problems, in_doubt(n, &place, "gridctl status"))),
    }
}

fn in_doubt(problems: usize, place: &str, look: &str) -> String {
    let have = if problems == 1 { "is 1 problem".to_owned() } else { format!("are {problems} problems") };
    format!("there {have} in {place}, so answers could be wrong; see: {look}")
}

/// Prints answers one by one: a million of them are never held together.
struct Answers<'a> {
    locator: Locator<'a>,
    format: Shown,
    /// The widths of the table's columns of tenants and cells.
    widths: (usize, usize),
    output: &'a mut Output,
    bad: usize,
}

impl Answers<'_> {
    fn head(&mut self) {
        match self.format {
            Shown::Table => {
                let (left, right) = self.widths;
                self.output.line(format_args!("{:<left$}  BUCKET  {:<right$}  BY", "TENANT", "CELL"));
            }
            Shown::Wide => {
                let (left, right) = self.widths;
                let head = format_args!("{:<left$}  BUCKET  {:<right$}  BY          STATE", "TENANT", "CELL");
                self.output.line(head);
            }
            Shown::Json | Shown::Yaml => {}
        }
    }

    fn answer_lines(&mut self, input: &mut dyn BufRead) -> std::io::Result<()> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if input.read_until(b'\n', &mut line)? == 0 || self.output.is_closed() {
                break;
            }
            let id = line.strip_suffix(b"\n").unwrap_or(&line);
            let id = id.strip_suffix(b"\r").unwrap_or(id);
            if !id.is_empty() {
                self.answer(id, "line", number);
            }
        }
        Ok(())
    }

    fn answer(&mut self, id: &[u8], unit: &str, number: usize) {
        let text = std::str::from_utf8(id);
        let name = match text {
            Ok(text) => Name::tenant(text),
            Err(_) => Err(format!("tenant id \"{}\" is not UTF-8", id.escape_ascii())),
        };
        match name {
            Ok(name) => self.print(&name),
            Err(why) => {
                self.bad += 1;
                self.output.error(format_args!("{unit} {number}: {why}"));
            }
        }
    }

    fn print(&mut self, name: &Name) {
        let Location { tenant, bucket, cell, by, state } = match self.format {
            Shown::Json => return self.output.json_line(&self.locator.locate(name)),
            Shown::Yaml => return print_yaml_part(&self.locator.locate(name), self.output),
            Shown::Table | Shown::Wide => self.locator.locate(name),
        };
        let (left, right) = self.widths;
        if self.format == Shown::Wide {
            let (cell, by, state) = (cell.unwrap_or("none"), by.as_str(), state.unwrap_or("active"));
            return self.output.line(format_args!("{tenant:<left$}  {bucket:>6}  {cell:<right$}  {by:<10}  {state}"));
        }
        let state = state.map(|state| format!(", {state}")).unwrap_or_default();
        let (cell, by) = (cell.unwrap_or("none"), by.as_str());
        self.output.line(format_args!("{tenant:<left$}  {bucket:>6}  {cell:<right$}  {by}{state}"));
    }
}
