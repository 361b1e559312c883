//! `gridctl shift start`: a new shift.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::PathBuf;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use gridrouter::placement::hash_of;
use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::codec::{Parsed, SourceDocument};
use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::model::{self, Model};
use gridrouter_config::problem::did_you_mean;
use gridrouter_config::raw::{
    Analysis, Document, Mirror, OnFailure, OnNoEndpoint, RollbackPace, Service, Shift, ShiftBy, ShiftStep,
    TesterHeader, Testers, Wave,
};
use gridrouter_config::track::Track;
use gridrouter_config::units::Percent;

use super::act::note_if_nobody_acts;
use super::danger::rate;
use super::scene::{RouterFlags, Scene};
use crate::cli::change::{ChangeFlags, Job};
use crate::cli::consent::Asks;
use crate::cli::{Status, complete, open};
use crate::locate::Locator;
use crate::output::Output;
use crate::plan::Wanted;
use crate::plan::seed::{Chosen, choose};
use crate::site::Site;
use crate::sources::Sources;
use crate::table::plural;
use crate::target::Target;

/// Start to move a service's traffic to its other track.
///
/// Writes a Shift document; a controller takes it through its steps. Without flags it goes to the track that is not in use,
/// by tenant, through 1 %, 10 %, 50 % and 100 %, first in one cell and then in the others, and is rolled back at once where
/// the new track has 1 % more errors than the old one, or twice its p99.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
#[command(after_help = EXAMPLES)]
pub(super) struct Start {
    /// The shift's name
    #[arg(value_name = "NAME")]
    name: String,
    /// The service
    #[arg(long, add = ArgValueCompleter::new(complete::services))]
    service: String,
    /// The track that traffic moves to [default: the one that is not in use]
    #[arg(long, value_name = "TRACK", value_parser = Track::parse, add = ArgValueCompleter::new(complete::tracks))]
    to: Option<Track>,
    /// Cells that move together, separated by commas; once for each wave [default: one cell, then all others]
    #[arg(long = "wave", value_name = "CELLS", add = ArgValueCompleter::new(complete::cells))]
    waves: Vec<String>,
    /// How long each wave but the last stays as it is before the next one begins
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    bake: String,
    /// The steps: WEIGHT[:HOLD], pause[:REASON] or analysis:DURATION, separated by commas
    #[arg(long, value_name = "STEPS", default_value = "1%:1m,10%:2m,50%:2m,100%:1m")]
    steps: String,
    /// Split requests instead of tenants
    #[arg(long)]
    by_request: bool,
    /// The biggest share of requests on the new track that may fail
    #[arg(long, value_name = "PERCENT")]
    max_error_ratio: Option<String>,
    /// By how much that may be above the old track's [default: 1%, if nothing is said of what to look at]
    #[arg(long, value_name = "PERCENT")]
    max_error_increase: Option<String>,
    /// The longest p99 of the new track
    #[arg(long, value_name = "DURATION")]
    max_p99: Option<String>,
    /// How many times the old track's p99 it may be [default: 2, if nothing is said of what to look at]
    #[arg(long, value_name = "FACTOR")]
    max_p99_factor: Option<f64>,
    /// Requests on the new track in a step below which nothing is said of it [default: 100]
    #[arg(long, value_name = "N")]
    min_requests: Option<u32>,
    /// Pause where the new track is not good enough, instead of rolling back
    #[arg(long)]
    pause_on_failure: bool,
    /// Roll back by the weights of the steps instead of at once
    #[arg(long)]
    rollback_stepwise: bool,
    /// Look at nothing: time alone decides
    #[arg(long, conflicts_with_all = ["max_error_ratio", "max_error_increase", "max_p99", "max_p99_factor", "min_requests",
          "pause_on_failure", "rollback_stepwise"])]
    no_analysis: bool,
    /// A header NAME=VALUE by which testers are known: their requests move first
    #[arg(long = "tester-header", value_name = "NAME=VALUE")]
    tester_headers: Vec<String>,
    /// A tenant whose requests move first
    #[arg(long = "tester", value_name = "TENANT", add = ArgValueCompleter::new(complete::tenants))]
    testers: Vec<String>,
    /// Send copies of this share of the old track's GET and HEAD requests to the new one, and compare the answers
    #[arg(long, value_name = "PERCENT")]
    mirror: Option<String>,
    /// Of this share of the copies, compare the bodies, too [default: 0%]
    #[arg(long, value_name = "PERCENT", requires = "mirror")]
    mirror_bodies: Option<String>,
    /// Copy requests with this method instead of GET and HEAD; name others only if it does no harm to do them twice
    #[arg(long = "mirror-method", value_name = "METHOD", requires = "mirror")]
    mirror_methods: Vec<String>,
    /// Send requests to the other track where theirs has no endpoint that can be used, instead of refusing them
    #[arg(long)]
    fallback: bool,
    /// How long answers may go on that come from a track where their request would not be any more [default: 30s]
    #[arg(long, value_name = "DURATION")]
    drain: Option<String>,
    /// A file with the ids of the tenants there are, one a line, so that each step gets its exact share of them
    /// [default: those that have a document]
    #[arg(long, value_name = "FILE")]
    tenants: Option<PathBuf>,
    /// A number that decides which tenants come first [default: the one that splits the known tenants best]
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    #[command(flatten)]
    change: ChangeFlags,
}

const EXAMPLES: &str = "\
Exit code: 0 it is written; 1 it is not right, and nothing was changed; 2 wrong usage, or the store cannot be reached; 3
somebody else was faster; 4 not acknowledged in time (--wait); 5 not known whether it was published.

Examples:
  gridctl shift start new --service checkout --store etcd://127.0.0.1:2379
  gridctl shift start new --service checkout --wave eu-1 --wave eu-2 --steps 1%:5m,pause:look,100%
  gridctl shift start new --service checkout --tester-header x-preview=new --dry-run";

impl Start {
    pub(super) fn run(&self, target: Result<Target, String>, input: &mut dyn BufRead, output: &mut Output) -> Status {
        let prepared = crate::cli::attempt(output, |output| {
            let target = target?;
            let (place, site) = open(Ok(target.clone()), output)?;
            let (shift, split) = self.shift(&site, output)?;
            Ok((target, place, site, shift, split))
        });
        let (target, place, site, shift, split) = match prepared {
            Ok(prepared) => prepared,
            Err(status) => return status,
        };
        let first = self.first_step(&target, &shift, output);
        let files = match parsed(shift) {
            Ok(files) => files,
            Err(why) => {
                output.error(why);
                return Status::Failed;
            }
        };
        let (flags, wanted) = (&self.change, Wanted::of_files(&files));
        let (reason, sources) = (format!("shift {} started", self.name), Sources::default());
        let asks = match &first {
            Some((Percent::ALL, words)) => Asks::Always(words.clone()),
            Some(_) | None => Asks::WhereItDeletes,
        };
        let job = Job { flags, place, wanted, files, sources, reason, adopt: None, digest: None, asks };
        let status = job.run(site, input, output);
        // Of a shift that was refused, nobody needs to know what it would have done.
        if let Status::Fine | Status::Unacknowledged = status {
            if let Some(split) = split {
                output.note(split);
            }
            if let Some((_, words)) = first {
                output.note(format_args!("it {words}"));
            }
            note_if_nobody_acts(&target, output);
        }
        status
    }

    /// The share that the first step moves, what that is, and how many requests a second go there now. Whoever begins by moving
    /// everything in a cell has to say yes to that.
    fn first_step(&self, target: &Target, shift: &Shift, output: &mut Output) -> Option<(Percent, String)> {
        let weight = shift.steps.iter().find_map(|step| Percent::parse(step.weight.as_deref()?).ok())?;
        let cells: Vec<Name> = shift.waves.first()?.cells.iter().filter_map(|cell| Name::parse(cell).ok()).collect();
        let (service, to) = (Name::parse(&shift.service).ok()?, shift.to);
        let what = if self.by_request { "requests" } else { "tenants" };
        let shares = cells.iter().map(|cell| format!("{weight} of {what} in {cell}")).collect::<Vec<_>>().join(", ");
        let cells: Vec<&Name> = cells.iter().collect();
        output.progress("asking how many requests there are");
        let rate = match Scene::open(target, &RouterFlags::default()) {
            Ok(mut scene) => rate(&mut scene, &service, &cells, to.other()),
            Err(why) => why,
        };
        Some((weight, format!("moves {shares} from {} to {} first; {rate}", to.other().as_str(), to.as_str())))
    }

    /// The shift, and how it splits the tenants, in words.
    fn shift(&self, site: &Site, output: &mut Output) -> Result<(Shift, Option<String>), String> {
        let id = DocumentId { kind: Kind::Shift, name: Name::parse(&self.name)? };
        if let Some(Ok(ModelDocument::Shift(shift))) = site.documents.get(&id).map(|document| convert(document))
            && !shift.has_ended()
        {
            return Err(format!(
                "shift \"{}\" is {} already; look with `gridctl shift status {}`",
                self.name,
                shift.state.phase.as_str(),
                self.name
            ));
        }
        let service = self.service(site)?;
        let to = match self.to {
            Some(to) => to,
            None => other_track(service)?,
        };
        let waves = self.waves(service)?;
        let uses =
            |cell: &&String| service.cells.get(*cell).is_some_and(|tracks| tracks.active.unwrap_or_default() == to);
        if let Some(cell) = waves.iter().flat_map(|wave| &wave.cells).find(uses) {
            let (to, other) = (to.as_str(), to.other().as_str());
            return Err(format!(
                "service \"{}\" uses {to} in cell \"{cell}\" already; leave that cell out with --wave, or say --to {other}",
                self.service
            ));
        }
        let steps = self.steps.split(',').map(step).collect::<Result<Vec<_>, _>>()?;
        let mut shift = Shift {
            name: self.name.clone(),
            service: self.service.clone(),
            to,
            by: self.by_request.then_some(ShiftBy::Request),
            waves,
            steps,
            testers: self.testers()?,
            on_no_endpoint: self.fallback.then_some(OnNoEndpoint::Fallback),
            analysis: self.analysis(),
            mirror: self.mirror.clone().map(|share| Mirror {
                share,
                bodies: self.mirror_bodies.clone(),
                methods: self.mirror_methods.clone(),
                max_request_body: None,
            }),
            drain: self.drain.clone(),
            seed: self.seed,
            state: None,
        };
        let mut split = None;
        if shift.seed.is_none() && !self.by_request {
            let (seed, words) = self.best_seed(site, &shift, output)?;
            (shift.seed, split) = (seed, Some(words));
        }
        Ok((shift, split))
    }

    fn service<'a>(&self, site: &'a Site) -> Result<&'a Service, String> {
        let id = DocumentId { kind: Kind::Service, name: Name::parse(&self.service)? };
        if let Some(Document::Service(service)) = site.documents.get(&id).map(|document| &document.raw) {
            return Ok(service);
        }
        let known = site.documents.keys().filter(|id| id.kind == Kind::Service).map(|id| id.name.as_str());
        let help = did_you_mean(&self.service, known).unwrap_or_else(|| "`gridctl get services` lists them".to_owned());
        Err(format!("there is no {id}; {help}"))
    }

    fn waves(&self, service: &Service) -> Result<Vec<Wave>, String> {
        let cells: Vec<Vec<String>> = if self.waves.is_empty() {
            let mut cells = service.cells.keys().cloned();
            let first: Vec<String> = cells.by_ref().take(1).collect();
            [first, cells.collect()].into_iter().filter(|cells| !cells.is_empty()).collect()
        } else {
            self.waves.iter().map(|wave| wave.split(',').map(|cell| cell.trim().to_owned()).collect()).collect()
        };
        if cells.is_empty() {
            return Err(format!("service \"{}\" lists no endpoints in any cell, and so has no tracks", self.service));
        }
        let last = cells.len() - 1;
        let bake = |n| (n < last).then(|| self.bake.clone());
        Ok(cells.into_iter().enumerate().map(|(n, cells)| Wave { cells, bake: bake(n) }).collect())
    }

    fn testers(&self) -> Result<Option<Testers>, String> {
        let header = |text: &String| {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| format!("--tester-header \"{}\" is not NAME=VALUE", text.escape_debug()))?;
            Ok(TesterHeader { name: name.to_owned(), value: value.to_owned() })
        };
        let headers = self.tester_headers.iter().map(header).collect::<Result<Vec<_>, String>>()?;
        let testers = Testers { headers, tenants: self.testers.clone() };
        Ok((testers != Testers::default()).then_some(testers))
    }

    fn analysis(&self) -> Option<Analysis> {
        if self.no_analysis {
            return None;
        }
        let (ratio, increase, p99, factor) =
            (&self.max_error_ratio, &self.max_error_increase, &self.max_p99, self.max_p99_factor);
        let nothing = ratio.is_none() && increase.is_none() && p99.is_none() && factor.is_none();
        Some(Analysis {
            min_requests: self.min_requests,
            max_error_ratio: ratio.clone(),
            max_error_increase: increase.clone().or_else(|| nothing.then(|| "1%".to_owned())),
            max_p99: p99.clone(),
            max_p99_factor: factor.or(nothing.then_some(2.0)),
            prometheus: None,
            on_failure: self.pause_on_failure.then_some(OnFailure::Pause),
            rollback: self.rollback_stepwise.then_some(RollbackPace::Stepwise),
        })
    }

    /// The seed that splits the known tenants best, and how well, in words.
    fn best_seed(&self, site: &Site, shift: &Shift, output: &mut Output) -> Result<(Option<u32>, String), String> {
        output.progress("choosing a seed");
        let advanced = site.advance();
        let model = advanced.in_force.model();
        let listed = match &self.tenants {
            None => None,
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
                let ids = text.lines().map(str::trim).filter(|line| !line.is_empty());
                Some(ids.map(Name::tenant).collect::<Result<Vec<_>, _>>()?)
            }
        };
        let cells = by_cell(model, shift, listed.as_deref());
        let weights: Vec<Percent> =
            shift.steps.iter().filter_map(|step| Percent::parse(step.weight.as_deref()?).ok()).collect();
        let known: usize = cells.iter().map(Vec::len).sum();
        let Some(Chosen { seed, off_by }) = choose(&cells, &weights) else {
            let words = "no tenant is known there: each step gets about its share of them (--tenants FILE names them)";
            return Ok((None, words.to_owned()));
        };
        let (known, off_by) = (plural(known, "tenant"), off_by * 100.0);
        Ok((Some(seed), format!("seed {seed} splits the {known} known there to within {off_by:.2} % at every step")))
    }
}

/// The hashes of the tenants in each cell of a shift.
fn by_cell(model: &Model, shift: &Shift, listed: Option<&[Name]>) -> Vec<Vec<u64>> {
    let mut cells: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    cells.extend(shift.waves.iter().flat_map(|wave| &wave.cells).map(|cell| (cell.as_str(), Vec::new())));
    let concerned =
        |grid: &&std::sync::Arc<model::Grid>| grid.cells.iter().any(|cell| cells.contains_key(cell.as_str()));
    let grids: Vec<_> = model.grids.values().filter(concerned).cloned().collect();
    for grid in &grids {
        let locator = Locator::new(model, grid);
        let known: Vec<Name> = match listed {
            Some(listed) => listed.to_vec(),
            None => model.tenants.iter().filter_map(|tenant| Name::tenant(tenant.name()).ok()).collect(),
        };
        for tenant in &known {
            let cell = locator.locate(tenant).cell;
            if let Some(hashes) = cell.and_then(|cell| cells.get_mut(cell)) {
                hashes.push(hash_of(tenant.as_str().as_bytes()));
            }
        }
    }
    cells.into_values().collect()
}

/// The track that is not in use, which has to be the same in all cells.
fn other_track(service: &Service) -> Result<Track, String> {
    let mut active: Vec<Track> = service.cells.values().map(|tracks| tracks.active.unwrap_or_default()).collect();
    active.sort();
    active.dedup();
    match active.as_slice() {
        [] | [_] => Ok(active.first().copied().unwrap_or_default().other()),
        _ => Err(format!(
            "service \"{}\" uses blue in some cells and green in others; say --to blue or --to green",
            service.name
        )),
    }
}

/// Reads `10%:2m`, `pause:reason` or `analysis:5m`.
fn step(text: &str) -> Result<ShiftStep, String> {
    let (what, more) =
        text.trim().split_once(':').map_or((text.trim(), None), |(what, more)| (what, Some(more.to_owned())));
    let step = ShiftStep::default();
    match what {
        "pause" => Ok(ShiftStep { pause: Some(more.unwrap_or_else(|| "waits for resume".to_owned())), ..step }),
        "analysis" => match more {
            Some(hold) => Ok(ShiftStep { analysis: Some(hold), ..step }),
            None => Err("step \"analysis\" does not say how long; write analysis:5m".to_owned()),
        },
        weight if weight.ends_with('%') => Ok(ShiftStep { weight: Some(weight.to_owned()), hold: more, ..step }),
        _ => Err(format!(
            "step \"{}\" is none; write 10%, 10%:2m, pause, pause:REASON or analysis:5m",
            text.escape_debug()
        )),
    }
}

fn parsed(shift: Shift) -> Result<Vec<Parsed>, String> {
    let file = "the shift".to_owned();
    let source =
        SourceDocument::from_raw(&file, 1, Document::Shift(Box::new(shift))).map_err(|problem| problem.message)?;
    Ok(vec![Parsed::from_documents(&file, vec![source.into()])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read() {
        let weight = |text: &str, hold: Option<&str>| ShiftStep {
            weight: Some(text.to_owned()),
            hold: hold.map(str::to_owned),
            ..ShiftStep::default()
        };
        assert_eq!(step("10%:2m"), Ok(weight("10%", Some("2m"))));
        assert_eq!(step(" 100% "), Ok(weight("100%", None)));
        assert_eq!(step("pause:look: well").unwrap().pause.as_deref(), Some("look: well"));
        assert_eq!(step("analysis:5m").unwrap().analysis.as_deref(), Some("5m"));
        for bad in ["", "10", "10:2m", "analysis", "stop"] {
            assert!(step(bad).is_err(), "{bad}");
        }
    }
}
