//! Which tenants were on which track at each step of the shifts, and in the moments between. Pure.
//!
//! A step lasts from when the last router had its weight in force until the controller decided on the next one. A request
//! is of a step when k6 sent it and its endpoint got it within that time. All others are of a moment of change: at most the
//! time that the change took to reach all routers, and a request its endpoint.

use gridrouter_config::track::Track;
use tokio::time::Instant;

use crate::drill::tracks::Visit;
use crate::drill::tracks::timeline::{Change, Moment};

/// All of a weight, in hundredths of a percent.
const ALL: u16 = 10_000;

/// A time in which all routers have the same weight in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// The share of green, in hundredths of a percent.
    pub(super) green: u16,
    /// The track that traffic moves to or has moved to.
    pub(super) to: Track,
    /// When the last router had it in force.
    pub(super) began: Moment,
    /// When it was decided to change it.
    pub(super) ended: Instant,
}

impl Step {
    /// The share of the track that traffic moves to.
    pub(super) fn weight(&self) -> u16 {
        match self.to {
            Track::Green => self.green,
            Track::Blue => ALL - self.green,
        }
    }
}

/// The steps that these changes make, from `first` until `last`. `everywhere` says when all routers had a generation.
pub(super) fn steps(
    first: Moment,
    changes: &[Change],
    everywhere: impl Fn(u64) -> Option<Moment>,
    last: Instant,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut open = Some(Step { green: 0, to: Track::Green, began: first, ended: last });
    let mut green = 0;
    for change in changes {
        let next = match change.to {
            Track::Green => change.share,
            Track::Blue => ALL - change.share,
        };
        if next == green {
            continue;
        }
        green = next;
        let ended = change.at.back_to(change.since);
        // One that was over before every router had begun it is none.
        steps.extend(open.take().map(|step| Step { ended, ..step }).filter(|step| step.began.instant < ended));
        open = everywhere(change.generation).map(|began| Step { green, to: change.to, began, ended: last });
    }
    steps.extend(open.filter(|step| step.began.instant < last));
    steps
}

/// Who was seen where at one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Of each tenant, whether it was seen on blue, and whether on green.
    tenants: Vec<[bool; 2]>,
    /// How many requests.
    pub(super) requests: usize,
}

const fn place(track: Track) -> usize {
    match track {
        Track::Blue => 0,
        Track::Green => 1,
    }
}

impl Seen {
    fn of(tenants: usize) -> Self {
        Self { tenants: vec![[false; 2]; tenants], requests: 0 }
    }

    fn note(&mut self, visit: &Visit) {
        self.requests += 1;
        if let Some([blue, green]) = self.tenants.get_mut(visit.tenant) {
            match visit.track {
                Track::Blue => *blue = true,
                Track::Green => *green = true,
            }
        }
    }

    fn is_on(&self, tenant: usize, track: Track) -> bool {
        self.tenants.get(tenant).and_then(|tracks| tracks.get(place(track)).copied()).unwrap_or(false)
    }

    /// How many tenants were seen at all.
    pub(super) fn tenants(&self) -> usize {
        self.tenants.iter().filter(|tracks| tracks.contains(&true)).count()
    }

    /// How many were seen on a track.
    pub(super) fn on(&self, track: Track) -> usize {
        (0..self.tenants.len()).filter(|tenant| self.is_on(*tenant, track)).count()
    }

    /// How many were seen on both tracks.
    pub(super) fn on_both(&self) -> usize {
        self.tenants.iter().filter(|tracks| !tracks.contains(&false)).count()
    }

    /// The share of those seen that was on a track.
    pub(super) fn share(&self, track: Track) -> f64 {
        self.on(track) as f64 / self.tenants().max(1) as f64
    }

    /// How many were on a track here that are not on it any more at the next step, although they were seen there.
    pub(super) fn lost(&self, next: &Self, track: Track) -> usize {
        let lost = |tenant: &usize| {
            self.is_on(*tenant, track) && next.is_on(*tenant, track.other()) && !next.is_on(*tenant, track)
        };
        (0..self.tenants.len()).filter(lost).count()
    }
}

/// What was seen of all steps.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// At each step.
    pub(super) steps: Vec<Seen>,
    /// How many requests were of no step.
    pub(super) between: usize,
    /// How many of them reached a track on which their tenant was seen neither before nor after.
    pub(super) astray: usize,
}

/// Deals out the requests, which are in the order in which they came, to the steps.
pub(super) fn account(steps: &[Step], visits: &[Visit], tenants: usize) -> Account {
    let mut account = Account { steps: vec![Seen::of(tenants); steps.len()], ..Account::default() };
    let mut between = Vec::new();
    for visit in visits {
        // Times of k6 are cut off to whole milliseconds, as those of steps are: within one, nobody knows.
        let begun = steps.partition_point(|step| step.began.wall < visit.sent);
        let over = steps.partition_point(|step| step.ended < visit.came);
        match account.steps.get_mut(over) {
            Some(seen) if begun == over + 1 => seen.note(visit),
            // Before the first, or after the last.
            Some(_) if begun == 0 => {}
            None => {}
            Some(_) => between.push((begun - 1, over, visit)),
        }
    }
    account.between = between.len();
    let strays = |(from, to, visit): &&(usize, usize, &Visit)| {
        let around = account.steps.get(*from..=*to).unwrap_or_default();
        let known = around.iter().filter(|seen| seen.tenants.get(visit.tenant).is_some_and(|one| one.contains(&true)));
        // Where nobody saw the tenant on one of the two sides, it may have moved.
        known.clone().count() == around.len() && !known.clone().any(|seen| seen.is_on(visit.tenant, visit.track))
    };
    account.astray = between.iter().filter(strays).count();
    account
}

#[cfg(test)]
mod tests;
