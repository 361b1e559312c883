//! What becomes of documents when a shift changes. Pure.

use gridrouter_config::ids::Name;
use gridrouter_config::model;
use gridrouter_config::raw::{self, Document, ShiftPhase};
use gridrouter_config::track::Track;

use super::Next;

/// The documents that say what a shift becomes, in the order in which they are written where nothing is written at once:
/// a shift under way decides over the track in use, so that it has to be under way while that changes. A service that says
/// already what it should is not among them.
pub fn documents(shift: &raw::Shift, service: Option<&raw::Service>, next: &Next) -> Vec<Document> {
    let mut written = shift.clone();
    written.state = Some(state(&next.state));
    let written = Document::Shift(Box::new(written));
    let cells: Vec<&String> = shift.waves.iter().flat_map(|wave| &wave.cells).collect();
    let service = service.zip(next.active).and_then(|(service, active)| switched(service, &cells, active));
    let service = service.map(Document::Service);
    match next.state.phase {
        ShiftPhase::Succeeded | ShiftPhase::RolledBack | ShiftPhase::Failed | ShiftPhase::Aborted => {
            service.into_iter().chain([written]).collect()
        }
        ShiftPhase::Pending | ShiftPhase::Running | ShiftPhase::Paused | ShiftPhase::RollingBack => {
            [written].into_iter().chain(service).collect()
        }
    }
}

/// A service with another track in use in some cells; nothing if that is the one in use there.
fn switched(service: &raw::Service, cells: &[&String], active: Track) -> Option<raw::Service> {
    let mut switched = service.clone();
    let mut changed = false;
    for (cell, tracks) in &mut switched.cells {
        if cells.contains(&cell) && tracks.active.unwrap_or_default() != active {
            tracks.active = Some(active);
            changed = true;
        }
    }
    changed.then_some(switched)
}

fn state(state: &model::ShiftState) -> raw::ShiftState {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let share = |(cell, share): (&Name, &gridrouter_config::units::Percent)| (cell.to_string(), share.to_string());
    raw::ShiftState {
        phase: state.phase,
        wave: number(state.wave),
        step: number(state.step),
        shares: state.shares.iter().map(share).collect(),
        started: state.started,
        since: state.since,
        stopped: state.stopped,
        reason: state.reason.clone(),
        report: state.report,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gridrouter_config::codec::{SourceDocument, parse};
    use gridrouter_config::units::Percent;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_only_the_cells_of_the_shift_switch() {
        let text = "{kind: Shift, name: x, service: s, to: green, waves: [{cells: [a]}], steps: [{weight: 100%}]}\n---\n\
                    {kind: Service, name: s, cells: {a: {blue: [], green: []}, b: {blue: [], green: []}}}\n";
        let parsed = parse("a.yaml", text.as_bytes());
        let [Document::Shift(shift), Document::Service(service)] = [0, 1].map(|n: usize| &parsed.documents[n].raw)
        else {
            panic!("{text}");
        };
        let name = |text: &str| Name::parse(text).unwrap();
        let state = model::ShiftState {
            phase: ShiftPhase::Succeeded,
            wave: 0,
            step: 1,
            shares: BTreeMap::from([(name("a"), Percent::of_hundredths(1_250))]),
            started: 1,
            since: 2,
            stopped: Some(3),
            reason: "so".to_owned(),
            report: Some(raw::ShiftReport { requests: 4, failed: 3, old_requests: 2, old_failed: 1, fallbacks: 5 }),
        };
        let next = Next { state: state.clone(), active: Some(Track::Green), what: String::new() };
        let documents = documents(shift, Some(service), &next);
        let [Document::Service(service), Document::Shift(_)] = documents.as_slice() else { panic!("{documents:?}") };
        assert_eq!([service.cells["a"].active, service.cells["b"].active], [Some(Track::Green), None]);
        let source = SourceDocument::from_raw("", 1, documents[1].clone()).unwrap();
        let gridrouter_config::check::ModelDocument::Shift(read) = gridrouter_config::check::convert(&source).unwrap()
        else {
            panic!("{source:?}");
        };
        assert_eq!(read.state, state);
    }
}
