//! Services whose traffic is split over two tracks while a shift is under way.

use std::sync::Arc;

use gridrouter_config::ids::Name;
use gridrouter_config::model::{Mirror, Model, Shift};
use gridrouter_config::raw::{OnNoEndpoint, ShiftBy, ShiftPhase};
use gridrouter_config::track::Track;
use gridrouter_config::units::Percent;
use hashbrown::HashMap;

use super::EndpointGroup;
use super::names::Names;
use super::targets::label;

/// A service in a cell while a shift moves its traffic there: both tracks, and what says which one a request is on.
#[derive(Debug)]
pub struct SplitPlan {
    /// The shift.
    pub document: Arc<Shift>,
    /// The cell.
    pub cell: Name,
    /// How much is on the new track.
    pub share: Percent,
    /// Whether testers are on the new track whatever the share is: not while the traffic goes back.
    pub testers: bool,
    /// The new track.
    pub to: SidePlan,
    /// The old one.
    pub from: SidePlan,
}

/// One track of a split.
#[derive(Debug)]
pub struct SidePlan {
    /// Which one it is.
    pub track: Track,
    /// Its endpoints.
    pub group: Arc<EndpointGroup>,
    /// The stable number that its requests are counted under: that of the name `<shift>@<started>/<cell>/<track>`.
    pub counted: u32,
}

/// One run of a shift in one of its cells, for whoever shows what was counted.
#[derive(Debug)]
pub struct RunPlan {
    /// The shift.
    pub document: Arc<Shift>,
    /// The cell.
    pub cell: Name,
    /// The blue track.
    pub blue: RunSide,
    /// The green one.
    pub green: RunSide,
    /// The one that no request goes to, if there is one.
    pub left: Option<Track>,
}

/// One track of a run.
#[derive(Debug, Clone, Copy)]
pub struct RunSide {
    /// The stable number that its requests are counted under.
    pub counted: u32,
    /// That of its endpoints.
    pub group: u32,
}

impl RunPlan {
    /// What is known of one of the two tracks.
    pub fn side(&self, track: Track) -> RunSide {
        match track {
            Track::Blue => self.blue,
            Track::Green => self.green,
        }
    }

    /// The tracks with the stable numbers that they are counted under.
    pub fn tracks(&self) -> [(Track, u32); 2] {
        [Track::Blue, Track::Green].map(|track| (track, self.side(track).counted))
    }
}

impl SplitPlan {
    pub(super) fn new(document: &Arc<Shift>, cell: &Name, to: SidePlan, from: SidePlan) -> Self {
        Self {
            cell: cell.clone(),
            share: share_in(document, cell),
            testers: testers_move(document),
            document: Arc::clone(document),
            to,
            from,
        }
    }

    /// What is known of one of the two tracks.
    pub fn side(&self, track: Track) -> &SidePlan {
        if track == self.to.track { &self.to } else { &self.from }
    }

    /// Which requests on the old track are copied to the new one; none while the traffic goes back.
    pub fn mirror(&self) -> Option<&Mirror> {
        self.document.mirror.as_ref().filter(|_| self.testers)
    }

    /// Whether a request whose track has no endpoint goes to the other one.
    pub fn falls_back(&self) -> bool {
        self.document.on_no_endpoint == OnNoEndpoint::Fallback
    }

    /// Whether the share is one of tenants.
    pub fn is_by_tenant(&self) -> bool {
        self.document.by == ShiftBy::Tenant
    }
}

/// The share of the new track in a cell.
pub(crate) fn share_in(shift: &Shift, cell: &Name) -> Percent {
    shift.state.shares.get(cell).copied().unwrap_or_default()
}

/// Whether testers are on the new track whatever the share is.
pub(crate) fn testers_move(shift: &Shift) -> bool {
    match shift.state.phase {
        ShiftPhase::Running | ShiftPhase::Paused => true,
        ShiftPhase::RollingBack
        | ShiftPhase::Pending
        | ShiftPhase::RolledBack
        | ShiftPhase::Succeeded
        | ShiftPhase::Failed
        | ShiftPhase::Aborted => false,
    }
}

/// The shifts that are under way, by service and cell. The check sees to it that there are no two in one place.
#[derive(Debug)]
pub(crate) struct UnderWay<'a>(HashMap<(&'a Name, &'a Name), &'a Arc<Shift>>);

impl<'a> UnderWay<'a> {
    pub(crate) fn of(model: &'a Model) -> Self {
        let shifts = model.shifts.values().filter(|shift| shift.is_under_way());
        Self(shifts.flat_map(|shift| shift.cells().map(move |cell| ((&shift.service, cell), shift))).collect())
    }

    /// The shift that moves a service's traffic in a cell.
    pub(crate) fn find(&self, service: &Name, cell: &Name) -> Option<&'a Arc<Shift>> {
        self.0.get(&(service, cell)).copied()
    }
}

/// The stable number that a track's requests are counted under in this run of the shift.
pub(super) fn number(shift: &Shift, cell: &Name, track: Track, names: &mut Names) -> u32 {
    let name = format!("{}@{}/{cell}/{}", shift.name, shift.state.started, track.as_str());
    names.tracks.of(name.into())
}

/// The shifts that were begun, in each of their cells.
pub(super) fn runs(model: &Model, names: &mut Names) -> Arc<[RunPlan]> {
    let under_way = UnderWay::of(model);
    let begun = model.shifts.values().filter(|shift| shift.state.phase != ShiftPhase::Pending);
    let mut runs = Vec::new();
    for shift in begun {
        for cell in shift.cells() {
            let mut side = |track| RunSide {
                counted: number(shift, cell, track, names),
                group: names.groups.of(label(&shift.service, Some(cell), track)),
            };
            let (blue, green) = (side(Track::Blue), side(Track::Green));
            let left = left(model, &under_way, &shift.service, cell);
            runs.push(RunPlan { document: Arc::clone(shift), cell: cell.clone(), blue, green, left });
        }
    }
    runs.into()
}

/// The track of a service in a cell that no request goes to, if there is one.
fn left(model: &Model, under_way: &UnderWay<'_>, service: &Name, cell: &Name) -> Option<Track> {
    match under_way.find(service, cell) {
        Some(shift) if share_in(shift, cell) == Percent::ALL => Some(shift.to.other()),
        Some(_) => None,
        None => Some(model.services.get(service)?.cells.get(cell)?.active.other()),
    }
}

/// The services of which a shift differs.
pub(super) fn moved<'a>(old: &'a Model, new: &'a Model) -> impl Iterator<Item = &'a Name> {
    let differs = |one: &'a Model, other: &'a Model| {
        let same = |shift: &Arc<Shift>| other.shifts.get(&shift.name).is_some_and(|known| Arc::ptr_eq(known, shift));
        one.shifts.values().filter(move |shift| !same(shift)).map(|shift| &shift.service)
    };
    differs(old, new).chain(differs(new, old))
}
