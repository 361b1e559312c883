//! Shifts, the services whose traffic they move, and each other.

use std::collections::BTreeMap;

use super::{Cross, id, in_writing_order};
use crate::generation::Entry;
use crate::ids::{Kind, Name};
use crate::path::Path;
use crate::problem::{did_you_mean, quoted_list};
use crate::raw;
use crate::track::Track;

pub(super) fn check(cross: &mut Cross<'_>) {
    services_have_tracks(cross);
    one_shift_a_cell(cross);
}

/// A service that is reached through a cell's ingress has no tracks there.
fn services_have_tracks(cross: &mut Cross<'_>) {
    for shift in cross.shifts.values().copied().collect::<Vec<_>>() {
        // What has ended moves nothing any more; the service goes on.
        if shift.model.has_ended() {
            continue;
        }
        let Some(service) = cross.services.get(&shift.model.service).copied() else { continue };
        for cell in shift.model.cells() {
            let (name, to) = (&service.model.name, shift.model.to);
            // The way back needs the old one.
            let missing = [to, to.other()].into_iter().find(|track| !has_track(service.entry, cell, *track));
            let Some(track) = missing.filter(|_| cross.cells.contains_key(cell)) else { continue };
            let involved = vec![id(Kind::Service, name)];
            if service.model.cells.contains_key(cell) {
                let message = format!("service \"{name}\" has no `{}` in cell \"{cell}\"", track.as_str());
                let help = format!(
                    "list its endpoints there, or write `{}: []` in Service \"{name}\" if they register themselves",
                    track.as_str()
                );
                with_place(shift.entry, cell, |path| cross.conflict(shift.entry, path, message, help, involved));
                continue;
            }
            let known = || service.model.cells.keys().map(Name::as_str);
            let help = did_you_mean(cell.as_str(), known()).unwrap_or_else(|| match known().next() {
                None => format!("list its endpoints on both tracks under `cells: {{{cell}: …}}` of Service \"{name}\""),
                Some(_) => format!("service \"{name}\" lists endpoints in {}", quoted_list(known())),
            });
            let message = format!("service \"{name}\" lists no endpoints in cell \"{cell}\"");
            with_place(shift.entry, cell, |path| cross.conflict(shift.entry, path, message, help, involved));
        }
    }
}

/// Whether a service says what it is reached by on a track in a cell. An empty list does: its endpoints register themselves.
fn has_track(service: &Entry, cell: &Name, track: Track) -> bool {
    let raw::Document::Service(raw) = &service.source.raw else { return false };
    let tracks = raw.cells.get(cell.as_str());
    tracks.is_some_and(|tracks| match track {
        Track::Blue => tracks.blue.is_some(),
        Track::Green => tracks.green.is_some(),
    })
}

/// Two shifts of one service in one cell would each say where its requests go.
fn one_shift_a_cell(cross: &mut Cross<'_>) {
    let mut taken: BTreeMap<(&Name, &Name), &Entry> = BTreeMap::new();
    for shift in cross.shifts.values().copied().filter(|shift| !shift.model.has_ended()).collect::<Vec<_>>() {
        for cell in shift.model.cells() {
            let Some(other) = taken.insert((&shift.model.service, cell), shift.entry) else { continue };
            let (first, second) = in_writing_order(other, shift.entry);
            taken.insert((&shift.model.service, cell), first);
            let (service, name) = (&shift.model.service, &first.source.id.name);
            let message = format!("shift \"{name}\" moves service \"{service}\" in cell \"{cell}\" already");
            let help = format!("wait until it has ended, or end it with `gridctl shift abort {name}`");
            let involved = vec![first.source.id.clone()];
            with_place(second, cell, |path| cross.conflict(second, path, message, help, involved));
        }
    }
}

/// Where a cell stands in the waves of a shift.
fn with_place(shift: &Entry, cell: &Name, then: impl FnOnce(&Path<'_>)) {
    let raw::Document::Shift(raw) = &shift.source.raw else { return then(&Path::Root) };
    let place = raw.waves.iter().enumerate().find_map(|(n, wave)| {
        let position = wave.cells.iter().position(|name| name == cell.as_str())?;
        Some((n, position))
    });
    let (wave, position) = place.unwrap_or_default();
    then(&Path::Root.key("waves").index(wave).key("cells").index(position));
}
