//! What of a document is not for whoever applies it: how far a shift has come, and which track of a service is in use.
//! Files in a repository do not have it, and applying them once more must neither start a shift again nor move traffic.
//! Pure.

pub mod moving;

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
            | Document::Certificate(_)
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
        return own_state(before, wanted);
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
        mirror: None,
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
            "shift \"{}\" is {}: its testers, its analysis, its mirror and its holds can be changed meanwhile, and nothing else; end it \
             first with `gridctl shift abort {}`",
            before.name,
            state.phase.as_str(),
            before.name
        )),
    }
}

/// A state that somebody gives: of a shift under way, it has to be the one that it has.
fn own_state(before: &Shift, wanted: &Shift) -> Result<(), String> {
    let Some(state) = before.state.as_ref().filter(|state| before.state != wanted.state && !is_over(state.phase))
    else {
        return Ok(());
    };
    Err(format!(
        "shift \"{}\" is {}, and not as the state of this document says; leave `state` out, and say `gridctl shift pause {}`, \
         `promote`, `rollback` or `abort`",
        before.name,
        state.phase.as_str(),
        before.name
    ))
}

fn is_over(phase: ShiftPhase) -> bool {
    match phase {
        ShiftPhase::RolledBack | ShiftPhase::Succeeded | ShiftPhase::Failed | ShiftPhase::Aborted => true,
        ShiftPhase::Pending | ShiftPhase::Running | ShiftPhase::Paused | ShiftPhase::RollingBack => false,
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

/// Whether a shift, or a move, can be put back to what it was, by whoever undoes a change. The error says why not: a controller takes a
/// shift on from wherever it is put, at once where its time there was over long ago, and one that is gone moves all
/// traffic at once.
pub fn can_be_put_back(now: Option<&Document>, then: Option<&Document>) -> Result<(), String> {
    let state = |document: Option<&Document>| match document {
        Some(Document::Shift(shift)) => shift.state.clone(),
        Some(
            Document::Listener(_)
            | Document::Certificate(_)
            | Document::Grid(_)
            | Document::Cell(_)
            | Document::Service(_)
            | Document::Route(_)
            | Document::Limit(_)
            | Document::Plan(_)
            | Document::Move(_)
            | Document::Tenant(_),
        )
        | None => None,
    };
    if let Some(Document::Move(one)) = now.or(then) {
        // Without its fence, two cells would serve one tenant for a moment.
        return Err(if one.state.phase.is_last() {
            format!(
                "a move is not undone but made the other way, with its data: `gridctl tenant move {} --grid {} --to {}`",
                one.tenant, one.grid, one.from
            )
        } else {
            format!("move \"{}\" is under way; say `gridctl move rollback {}` instead", one.name, one.name)
        });
    }
    let Some(name) = now.or(then).and_then(shift_name) else { return Ok(()) };
    let (now, before) = (state(now), state(then));
    let moves_on = before.as_ref().is_some_and(|state| !is_over(state.phase));
    let was_moved = now.as_ref().is_some_and(|state| !is_over(state.phase) && state.phase != ShiftPhase::Pending);
    let begins = then.is_some() && before.is_none() && now.is_some();
    if now == before || !(moves_on || was_moved || begins) {
        return Ok(());
    }
    Err(format!(
        "shift \"{name}\" would go on from where it is put, or be gone with all traffic at once; say `gridctl shift pause {name}`, \
         `rollback` or `abort` instead"
    ))
}

fn shift_name(document: &Document) -> Option<&str> {
    if let Document::Shift(shift) = document { Some(&shift.name) } else { None }
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
        let refused = applied(running, &undone).unwrap_err();
        assert!(refused.contains("leave `state` out"), "{refused}");
        let ended = ", state: {phase: Aborted, started: 1, since: 2}";
        assert_eq!(applied(ended, &undone).unwrap(), document(&undone), "what is said is meant");
        let same = format!("{SHIFT}{running}}}");
        assert_eq!(applied(running, &same).unwrap(), document(&same));
    }

    #[test]
    fn a_step_of_a_shift_is_not_undone_but_what_ended_and_what_is_about_other_things_is() {
        let at = |state: &str| document(&format!("{SHIFT}{state}}}"));
        let state = |phase: &str, since: u64| at(&format!(", state: {{phase: {phase}, started: 1, since: {since}}}"));
        let can = |now: &Document, then: &Document| can_be_put_back(Some(now), Some(then));
        let refused = can(&state("Running", 3), &state("Running", 2)).unwrap_err();
        assert!(refused.starts_with("shift \"x\" would go on") && refused.contains("shift pause x"), "{refused}");
        for (now, then) in [("Succeeded", "Running"), ("RolledBack", "RollingBack"), ("Running", "Succeeded")] {
            assert!(can(&state(now, 2), &state(then, 2)).is_err(), "{now} back to {then}");
        }
        assert!(can(&state("Running", 2), &at("")).is_err(), "it would begin anew");
        assert!(can(&state("Aborted", 2), &at("")).is_err(), "it would begin anew");
        assert!(can_be_put_back(Some(&state("Running", 2)), None).is_err());
        // Its analysis was changed, and nothing moved since; it was started by mistake, and nobody has begun it; it is over.
        let other = document(&format!(
            "{SHIFT}, analysis: {{maxErrorRatio: 1%}}, state: {{phase: Running, started: 1, since: 2}}}}"
        ));
        assert_eq!(can(&other, &state("Running", 2)), Ok(()));
        assert_eq!(can(&at(""), &state("Succeeded", 2)), Ok(()));
        assert_eq!(can_be_put_back(Some(&at("")), None), Ok(()));
        assert_eq!(can_be_put_back(Some(&state("Aborted", 2)), None), Ok(()));
        let service = document("{kind: Service, name: s}");
        assert_eq!(can(&service, &service), Ok(()));
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
