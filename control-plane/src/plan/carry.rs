//! What of a document is not for whoever applies it: how far a shift has come, and which track of a service is in use.
//! Files in a repository do not have it, and applying them once more must neither start a shift again nor move traffic.
//! Pure.

use gridrouter_config::raw::{Document, Service, Shift, ShiftPhase};

/// The document that is wanted, with what it does not say itself taken over from the one that is there. The error says
/// why it cannot be applied now.
pub fn carry_over(before: &Document, wanted: &mut Document) -> Result<(), String> {
    match (before, wanted) {
        (Document::Shift(before), Document::Shift(wanted)) => shift(before, wanted),
        (Document::Service(before), Document::Service(wanted)) => {
            service(before, wanted);
            Ok(())
        }
        (
            Document::Listener(_)
            | Document::Grid(_)
            | Document::Cell(_)
            | Document::Service(_)
            | Document::Route(_)
            | Document::Limit(_)
            | Document::Plan(_)
            | Document::Shift(_)
            | Document::Move(_)
            | Document::Tenant(_),
            _,
        ) => Ok(()),
    }
}

fn shift(before: &Shift, wanted: &mut Shift) -> Result<(), String> {
    let Some(state) = &before.state else { return Ok(()) };
    if wanted.state.is_some() {
        return Ok(());
    }
    let plain = |shift: &Shift| Shift { state: None, ..shift.clone() };
    let (was, is) = (plain(before), plain(wanted));
    if was == is {
        wanted.state = Some(state.clone());
        return Ok(());
    }
    let course = |shift: &Shift| Shift {
        testers: None,
        analysis: None,
        on_no_endpoint: None,
        drain: None,
        steps: shift
            .steps
            .iter()
            .cloned()
            .map(|step| gridrouter_config::raw::ShiftStep { hold: None, ..step })
            .collect(),
        ..shift.clone()
    };
    match state.phase {
        // Another shift by the same name: it begins at the beginning.
        ShiftPhase::Pending
        | ShiftPhase::RolledBack
        | ShiftPhase::Succeeded
        | ShiftPhase::Failed
        | ShiftPhase::Aborted => Ok(()),
        ShiftPhase::Running | ShiftPhase::Paused | ShiftPhase::RollingBack if course(&was) == course(&is) => {
            wanted.state = Some(state.clone());
            Ok(())
        }
        ShiftPhase::Running | ShiftPhase::Paused | ShiftPhase::RollingBack => Err(format!(
            "shift \"{}\" is {}: its testers, its analysis and its holds can be changed meanwhile, and nothing else; end it \
             first with `gridctl shift abort {}`",
            before.name,
            state.phase.as_str(),
            before.name
        )),
    }
}

fn service(before: &Service, wanted: &mut Service) {
    for (cell, tracks) in &mut wanted.cells {
        if tracks.active.is_none() {
            tracks.active = before.cells.get(cell).and_then(|before| before.active);
        }
    }
    if let (Some(wanted), Some(before)) = (&mut wanted.endpoints, &before.endpoints)
        && wanted.active.is_none()
    {
        wanted.active = before.active;
    }
}

#[cfg(test)]
mod tests {
    use gridrouter_config::codec::parse;

    use super::*;

    fn document(text: &str) -> Document {
        let parsed = parse("a.yaml", text.as_bytes());
        assert!(parsed.broken.is_empty(), "{text}");
        parsed.documents[0].raw.clone()
    }

    const SHIFT: &str =
        "{kind: Shift, name: x, service: s, to: green, waves: [{cells: [a]}], steps: [{weight: 100%, hold: 1m}]";

    fn applied(state: &str, wanted: &str) -> Result<Document, String> {
        let before = document(&format!("{SHIFT}{state}}}"));
        let mut wanted = document(wanted);
        carry_over(&before, &mut wanted).map(|()| wanted)
    }

    #[test]
    fn a_shift_that_is_applied_again_is_not_started_again() {
        for phase in ["Running", "Succeeded", "Aborted"] {
            let state = format!(", state: {{phase: {phase}, started: 1, since: 2}}");
            let again = applied(&state, &format!("{SHIFT}}}")).unwrap();
            assert_eq!(again, document(&format!("{SHIFT}{state}}}")), "{phase}");
        }
    }

    #[test]
    fn a_shift_under_way_keeps_its_course() {
        let running = ", state: {phase: Running, started: 1, since: 2}";
        let longer = SHIFT.replace("1m", "2m") + ", analysis: {maxErrorRatio: 1%}}";
        let changed = applied(running, &longer).unwrap();
        assert!(matches!(&changed, Document::Shift(shift) if shift.state.is_some() && shift.analysis.is_some()));
        let other = SHIFT.replace("to: green", "to: blue") + "}";
        let refused = applied(running, &other).unwrap_err();
        assert!(refused.starts_with("shift \"x\" is Running: "), "{refused}");
        let ended = applied(", state: {phase: Succeeded, started: 1, since: 2}", &other).unwrap();
        assert_eq!(ended, document(&other), "it is another one");
        let undone = format!("{SHIFT}, state: {{phase: Paused, started: 1, since: 2}}}}");
        assert_eq!(applied(running, &undone).unwrap(), document(&undone), "what is said is meant");
    }

    #[test]
    fn a_service_that_is_applied_again_keeps_the_track_in_use() {
        let before =
            document("{kind: Service, name: s, cells: {a: {blue: [], green: [], active: green}, b: {blue: []}}}");
        let mut wanted =
            document("{kind: Service, name: s, cells: {a: {blue: [], green: []}, b: {blue: [], active: blue}}}");
        carry_over(&before, &mut wanted).unwrap();
        let kept =
            "{kind: Service, name: s, cells: {a: {blue: [], green: [], active: green}, b: {blue: [], active: blue}}}";
        assert_eq!(wanted, document(kept));
    }
}
