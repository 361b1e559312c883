//! From what routers counted of a shift's tracks, reading after reading, to what is to be judged of a step and reported of
//! the whole. Pure.
//!
//! Routers count from when a run of a shift began, each for itself, and from zero when they start again. So the last
//! reading of a router that is gone still counts, and a step's share is the difference to what was there when the step began.

use std::collections::BTreeMap;

use gridrouter_config::ids::Name;
use gridrouter_config::model::Shift;
use gridrouter_config::raw::ShiftReport;
use gridrouter_config::track::Track;
use gridrouter_config::tracks::mirror::MirrorCounts;
use gridrouter_config::tracks::{TrackCounts, Tracks};

use crate::plan::analysis::Seen;

/// What is missing where nobody can be asked at all.
pub const NOBODY: &str = "there is no router to ask";

/// What one router said, or why it said nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The router.
    pub router: String,
    /// What it counted.
    pub tracks: Result<Tracks, String>,
}

/// One life of a router: its name, and when it was started.
type Life = (String, u64);
/// What became of the copies in a cell.
type Mirrors = BTreeMap<String, MirrorCounts>;
/// What was counted in a cell on a track.
type Counts = BTreeMap<(String, Track), TrackCounts>;

/// What is known of one run of one shift.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// When the run was started.
    run: u64,
    /// Wave, step, and when the step began.
    step: (usize, usize, u64),
    /// The last reading of every router that ever gave one.
    last: BTreeMap<Life, Counts>,
    /// What was there when the step began.
    base: BTreeMap<Life, Counts>,
    /// The last reading of the copies that the new track got.
    mirrors: BTreeMap<Life, Mirrors>,
    missing: Vec<String>,
}

impl Ledger {
    /// Takes new readings of all routers that are live now.
    pub fn take(&mut self, shift: &Shift, readings: &[Reading]) {
        let state = &shift.state;
        if self.run != state.started {
            *self = Ledger { run: state.started, ..Ledger::default() };
        }
        let step = (state.wave, state.step, state.since);
        if self.step != step {
            self.step = step;
            self.base = self.last.clone();
        }
        self.missing.clear();
        if readings.is_empty() && shift.analysis.is_some() && shift.is_under_way() {
            self.missing.push(NOBODY.to_owned());
        }
        for reading in readings {
            match &reading.tracks {
                Ok(tracks) => {
                    let has_it = self.take_one(shift, &reading.router, tracks);
                    if shift.is_under_way() && !has_it {
                        let (router, generation) = (&reading.router, tracks.generation);
                        self.missing.push(format!(
                            "router {router} does not follow the shift: it is at generation {generation}"
                        ));
                    }
                }
                Err(why) => self.missing.push(format!("router {} cannot be read: {why}", reading.router)),
            }
        }
    }

    /// Whether the router has this run of the shift at all.
    fn take_one(&mut self, shift: &Shift, router: &str, tracks: &Tracks) -> bool {
        let state = &shift.state;
        let own = |one: &&gridrouter_config::tracks::ShiftTracks| {
            one.shift == shift.name.as_str() && one.started == state.started
        };
        let (mut counts, mut mirrors, mut has_it) = (Counts::new(), Mirrors::new(), false);
        for one in tracks.shifts.iter().filter(own) {
            has_it = true;
            mirrors.extend(one.mirror.as_ref().map(|mirror| (one.cell.clone(), mirror.clone())));
            counts.extend(one.tracks.iter().map(|(track, counts)| ((one.cell.clone(), *track), counts.clone())));
        }
        let life = (router.to_owned(), tracks.router_started);
        // Of what a router counted before it was first read, nobody knows when; unless all of it was in this step.
        let all_new = state.since == state.started || tracks.router_started >= state.since;
        if !self.last.contains_key(&life) && !all_new {
            self.base.insert(life.clone(), counts.clone());
        }
        self.mirrors.insert(life.clone(), mirrors);
        self.last.insert(life, counts);
        has_it
    }

    /// What is known of the tracks in some cells since the step began.
    pub fn seen<'a>(&self, shift: &Shift, cells: impl Iterator<Item = &'a Name>) -> Seen {
        let mut seen = Seen { missing: self.missing.clone(), ..Seen::default() };
        for cell in cells {
            let key = |track: Track| (cell.to_string(), track);
            for (life, counts) in &self.last {
                let since = |track: Track| {
                    let now = counts.get(&key(track))?;
                    let base = self.base.get(life).and_then(|base| base.get(&key(track)));
                    Some(base.map_or_else(|| now.clone(), |base| now.since(base)))
                };
                add(&mut seen.new, since(shift.to).as_ref());
                add(&mut seen.old, since(shift.to.other()).as_ref());
                add(&mut seen.old_before, counts.get(&key(shift.to.other())));
            }
        }
        seen
    }

    /// What a track did in a cell since the shift began.
    pub fn all(&self, cell: &Name, track: Track) -> TrackCounts {
        let mut all = TrackCounts::default();
        for counts in self.last.values() {
            add(&mut all, counts.get(&(cell.to_string(), track)));
        }
        all
    }

    /// Whether any router was ever read.
    pub fn is_known(&self) -> bool {
        !self.last.is_empty()
    }

    /// What became of the copies that the new track got since the shift began: of each router, its name and the cell.
    pub fn mirrors(&self) -> impl Iterator<Item = (&str, &str, &MirrorCounts)> {
        self.mirrors.iter().flat_map(|((router, _), mirrors)| {
            mirrors.iter().map(move |(cell, counts)| (router.as_str(), cell.as_str(), counts))
        })
    }

    /// What the tracks did since the shift began. Nothing of what an earlier controller has seen is lost, as far as it was
    /// written.
    pub fn report(&self, shift: &Shift) -> ShiftReport {
        let mut report = ShiftReport::default();
        for cell in shift.cells() {
            let (new, old) = (self.all(cell, shift.to), self.all(cell, shift.to.other()));
            report.requests = report.requests.saturating_add(new.requests);
            report.failed = report.failed.saturating_add(new.failed);
            report.old_requests = report.old_requests.saturating_add(old.requests);
            report.old_failed = report.old_failed.saturating_add(old.failed);
            report.fallbacks = report.fallbacks.saturating_add(new.fallbacks);
        }
        let before = shift.state.report.unwrap_or_default();
        ShiftReport {
            requests: report.requests.max(before.requests),
            failed: report.failed.max(before.failed),
            old_requests: report.old_requests.max(before.old_requests),
            old_failed: report.old_failed.max(before.old_failed),
            fallbacks: report.fallbacks.max(before.fallbacks),
        }
    }

    /// Routers that could not be read, or do not follow the shift, and why.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }
}

fn add(sum: &mut TrackCounts, one: Option<&TrackCounts>) {
    if let Some(one) = one {
        // A router with other bounds counts all the same; only its times are left out.
        sum.add(one);
    }
}

#[cfg(test)]
mod tests {
    use gridrouter_config::generation::check_sources;
    use gridrouter_config::tracks::ShiftTracks;

    use super::*;

    fn shift(started: u64, since: u64) -> Shift {
        let text = format!(
            "{{kind: Shift, name: x, service: s, to: green, waves: [{{cells: [a]}}], steps: [{{weight: 100%}}], \
             state: {{phase: Running, started: {started}, since: {since}}}}}\n---\n\
             {{kind: Service, name: s, cells: {{a: {{blue: [], green: []}}}}}}\n---\n{{kind: Cell, name: a}}\n"
        );
        let report = check_sources(&[("a.yaml".to_owned(), text.into_bytes())]);
        (**report.in_force.model().shifts.values().next().unwrap()).clone()
    }

    fn reading(router: &str, router_started: u64, run: u64, green: (u64, u64), blue: (u64, u64)) -> Reading {
        let counts = |(requests, failed)| TrackCounts { requests, failed, ..TrackCounts::default() };
        let one = ShiftTracks {
            shift: "x".to_owned(),
            started: run,
            cell: "a".to_owned(),
            tracks: [(Track::Green, counts(green)), (Track::Blue, counts(blue))].into(),
            ..ShiftTracks::default()
        };
        let tracks = Tracks { generation: 1, router_started, shifts: vec![one], ..Tracks::default() };
        Reading { router: router.to_owned(), tracks: Ok(tracks) }
    }

    fn seen(ledger: &Ledger, shift: &Shift) -> [u64; 5] {
        let seen = ledger.seen(shift, shift.cells());
        [seen.new.requests, seen.new.failed, seen.old.requests, seen.old.failed, seen.old_before.requests]
    }

    #[test]
    fn a_step_has_what_came_since_it_began() {
        let (mut ledger, first, second) = (Ledger::default(), shift(100, 100), shift(100, 200));
        ledger.take(&first, &[reading("r", 1, 100, (10, 1), (90, 0)), reading("q", 1, 100, (1, 0), (9, 0))]);
        assert_eq!(seen(&ledger, &first), [11, 1, 99, 0, 99]);
        // The step changed: what was there at the last reading is the base.
        ledger.take(&second, &[reading("r", 1, 100, (15, 1), (95, 5)), reading("q", 1, 100, (1, 0), (10, 0))]);
        assert_eq!(seen(&ledger, &second), [5, 0, 6, 5, 105]);
        let report = ledger.report(&second);
        assert_eq!((report.requests, report.failed, report.old_requests, report.old_failed), (16, 1, 105, 5));
    }

    #[test]
    fn routers_that_start_again_or_go_are_counted_once() {
        let (mut ledger, shift) = (Ledger::default(), shift(100, 200));
        ledger.take(&shift, &[reading("r", 1, 100, (10, 1), (90, 0))]);
        assert_eq!(seen(&ledger, &shift), [0, 0, 0, 0, 90], "nobody knows when it was counted");
        ledger.take(&shift, &[reading("r", 1, 100, (12, 1), (90, 0))]);
        assert_eq!(seen(&ledger, &shift), [2, 0, 0, 0, 90]);
        // Started again within the step.
        ledger.take(&shift, &[reading("r", 300, 100, (3, 1), (7, 0))]);
        assert_eq!(seen(&ledger, &shift), [5, 1, 7, 0, 97]);
        assert_eq!(ledger.report(&shift).requests, 15);
        let gone = Reading { router: "r".to_owned(), tracks: Err("connection refused".to_owned()) };
        ledger.take(&shift, &[gone]);
        assert_eq!(seen(&ledger, &shift), [5, 1, 7, 0, 97]);
        assert_eq!(ledger.seen(&shift, shift.cells()).missing, ["router r cannot be read: connection refused"]);
    }

    /// Such as in the first moments after etcd was away: what was seen before says nothing of now.
    #[test]
    fn without_routers_nothing_is_known() {
        let (mut ledger, mut shift) = (Ledger::default(), shift(100, 100));
        ledger.take(&shift, &[]);
        assert_eq!((ledger.missing(), ledger.is_known()), (&[][..], false));
        shift.analysis = Some(gridrouter_config::model::Analysis {
            min_requests: 1,
            max_error_ratio: None,
            max_error_increase: None,
            max_p99: None,
            max_p99_factor: None,
            prometheus: None,
            on_failure: gridrouter_config::raw::OnFailure::Rollback,
            rollback: gridrouter_config::raw::RollbackPace::AtOnce,
        });
        ledger.take(&shift, &[reading("r", 1, 100, (10, 1), (90, 0))]);
        assert_eq!((ledger.missing(), ledger.is_known()), (&[][..], true));
        ledger.take(&shift, &[]);
        let missing = ledger.seen(&shift, shift.cells()).missing;
        assert_eq!(missing, [NOBODY]);
    }

    /// One that is stuck at an older generation, or refused the shift, sends everything to the old track.
    #[test]
    fn a_router_that_does_not_follow_a_shift_is_missed() {
        let (mut ledger, shift) = (Ledger::default(), shift(100, 100));
        ledger.take(&shift, &[reading("q", 1, 100, (10, 1), (90, 0)), reading("r", 1, 50, (10, 1), (90, 0))]);
        assert_eq!(ledger.missing(), ["router r does not follow the shift: it is at generation 1"]);
        assert_eq!(seen(&ledger, &shift), [10, 1, 90, 0, 90]);
        ledger.take(&shift, &[reading("q", 1, 100, (10, 1), (90, 0)), reading("r", 1, 100, (10, 1), (90, 0))]);
        assert_eq!(ledger.missing(), [""; 0]);
    }

    #[test]
    fn numbers_that_no_router_can_mean_do_no_harm() {
        let (mut ledger, shift) = (Ledger::default(), shift(100, 100));
        let most = (u64::MAX, u64::MAX);
        ledger.take(&shift, &[reading("r", 1, 100, most, most), reading("q", 1, 100, most, most)]);
        assert_eq!(seen(&ledger, &shift), [u64::MAX; 5]);
        assert_eq!(ledger.report(&shift).failed, u64::MAX);
    }

    #[test]
    fn copies_are_known_by_router_and_cell_and_those_of_a_router_that_started_again_are_kept() {
        let (mut ledger, shift) = (Ledger::default(), shift(100, 100));
        let copied = |router: &str, router_started, copies| {
            let mut reading = reading(router, router_started, 100, (0, 0), (0, 0));
            let tracks = reading.tracks.as_mut().unwrap();
            tracks.shifts[0].mirror = Some(MirrorCounts { copies, ..MirrorCounts::default() });
            reading
        };
        ledger.take(&shift, &[copied("r", 1, 5), copied("q", 1, 7), reading("p", 1, 100, (0, 0), (1, 0))]);
        ledger.take(&shift, &[copied("r", 2, 3), copied("q", 1, 8)]);
        let known: Vec<_> = ledger.mirrors().map(|(router, cell, counts)| (router, cell, counts.copies)).collect();
        assert_eq!(known, [("q", "a", 8), ("r", "a", 5), ("r", "a", 3)]);
    }

    #[test]
    fn another_run_begins_at_nothing_and_what_was_written_is_not_forgotten() {
        let (mut ledger, first) = (Ledger::default(), shift(100, 100));
        ledger.take(&first, &[reading("r", 1, 100, (10, 1), (90, 0))]);
        let second = shift(500, 500);
        ledger.take(&second, &[reading("r", 1, 100, (10, 1), (90, 0))]);
        assert_eq!(seen(&ledger, &second), [0, 0, 0, 0, 0]);
        let mut written = shift(500, 500);
        written.state.report =
            Some(ShiftReport { requests: 7, failed: 3, old_requests: 2, old_failed: 1, fallbacks: 4 });
        assert_eq!((ledger.report(&written).failed, ledger.report(&written).fallbacks), (3, 4));
    }
}
