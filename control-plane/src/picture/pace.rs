//! How fast the numbers of routers grow: what came between two readings of the same router, over the time between these two.
//! Pure.

use std::collections::BTreeMap;

use gridrouter_config::ids::Name;
use gridrouter_config::model::Shift;
use gridrouter_config::track::Track;
use gridrouter_config::tracks::{TrackCounts, Tracks};

use crate::ledger::Reading;

/// A cell and a track.
type Place = (String, Track);

/// The last readings of routers, and what came since those before.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// The run of the shift: its name, and when it was started.
    run: (String, u64),
    /// The last reading of each router: when its process was started, when it was asked, and what it had counted.
    last: BTreeMap<String, (u64, u64, BTreeMap<Place, TrackCounts>)>,
    /// What came since, of those routers that answered this time and once before; nothing where there is none.
    recent: Option<BTreeMap<Place, Recent>>,
}

/// What came since the last look on a track of a cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recent {
    /// What was counted.
    pub counts: TrackCounts,
    /// Requests a second: the sum of all routers, each over the time between its own last two readings.
    pub per_second: f64,
}

impl Pace {
    /// Takes the readings of routers that were asked at `at`, in milliseconds of a clock that never goes back. Counts and the
    /// time at which they were taken stay together: a router that did not answer for a while is measured over all of it.
    pub fn take(&mut self, shift: &Shift, readings: &[Reading], at: u64) {
        let run = (shift.name.to_string(), shift.state.started);
        if self.run != run {
            *self = Pace { run, ..Pace::default() };
        }
        self.recent = None;
        for reading in readings {
            let Ok(tracks) = &reading.tracks else { continue };
            let now = self.counts(tracks);
            let before = self.last.insert(reading.router.clone(), (tracks.router_started, at, now.clone()));
            // Of a process that was started since, nobody knows in which time it counted what it has.
            if let Some((started, then, before)) = before
                && started == tracks.router_started
                && at > then
            {
                self.add(&now, &before, at - then);
            }
        }
    }

    fn counts(&self, tracks: &Tracks) -> BTreeMap<Place, TrackCounts> {
        let own = tracks.shifts.iter().filter(|one| (one.shift.as_str(), one.started) == (&*self.run.0, self.run.1));
        own.flat_map(|one| one.tracks.iter().map(|(track, counts)| ((one.cell.clone(), *track), counts.clone())))
            .collect()
    }

    fn add(&mut self, now: &BTreeMap<Place, TrackCounts>, before: &BTreeMap<Place, TrackCounts>, millis: u64) {
        let recent = self.recent.get_or_insert_default();
        for (place, now) in now {
            let since = before.get(place).map_or_else(|| now.clone(), |before| now.since(before));
            let sum = recent.entry(place.clone()).or_default();
            sum.per_second += since.requests as f64 * 1_000.0 / millis as f64;
            // A router with other bounds counts all the same; only its times are left out.
            sum.counts.add(&since);
        }
    }

    /// What came since the last look on a track of a cell; nothing where that is not known.
    pub fn of(&self, cell: &Name, track: Track) -> Option<Recent> {
        Some(self.recent.as_ref()?.get(&(cell.to_string(), track)).cloned().unwrap_or_default())
    }
}
