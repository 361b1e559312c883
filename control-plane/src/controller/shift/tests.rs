use std::sync::Arc;

use gridrouter_config::codec::parse;

use super::*;

/// What a controller sees of a shift and its service.
fn view(shift: &str, service: &str) -> View {
    let shift = format!(
        "{{kind: Shift, name: x, service: s, to: green, waves: [{{cells: [a]}}], steps: [{{weight: 10%, hold: 1m}}, \
         {{weight: 100%}}], {shift}}}"
    );
    let documents = [shift.as_str(), service].into_iter().flat_map(|text| {
        let parsed = parse("a.yaml", text.as_bytes());
        assert!(parsed.broken.is_empty(), "{text}");
        parsed.documents
    });
    let documents = documents.map(|document| (document.id.clone(), document)).collect();
    View { documents: Arc::new(documents), ..View::default() }
}

fn controller() -> Shifts {
    Shifts::new(Routers::Listed(Vec::new())).unwrap()
}

/// A service with both tracks, and the one that is in use.
fn service(active: &str) -> String {
    let tracks = format!("blue: [{{address: 127.0.0.1:1}}], green: [{{address: 127.0.0.1:2}}], active: {active}");
    format!("{{kind: Service, name: s, cells: {{a: {{{tracks}}}}}}}")
}

/// What is written of the shift, and with how many other documents.
fn written(decision: Decision) -> Option<(ShiftPhase, String, usize)> {
    let put = decision.proposal?.put;
    let state = put.iter().find_map(|document| {
        let Document::Shift(shift) = document else { return None };
        shift.state.clone()
    });
    state.map(|state| (state.phase, state.reason, put.len() - 1))
}

#[test]
fn a_shift_to_the_track_in_use_is_not_begun() {
    let mut controller = controller();
    let seen = view("by: tenant", &service("green"));
    let first = controller.step(&seen, 1_000);
    let why = "Service \"s\" uses green in cell \"a\" already; leave that cell out, or say `to: blue`";
    assert_eq!(first.notes, [format!("shift x: {why}")]);
    assert_eq!(written(first), None);
    // Nobody's traffic has moved, and the service stays as it is.
    assert_eq!(written(controller.step(&seen, 11_000)), Some((ShiftPhase::Failed, why.to_owned(), 0)));
    let begun = controller.step(&view("by: tenant", &service("blue")), 20_000);
    assert_eq!(written(begun), Some((ShiftPhase::Running, String::new(), 0)));
}

/// Such as one that somebody is editing. Routers have the version before in force; where the track in use were written into
/// this one, none of them would know when the shift has ended.
#[test]
fn while_a_service_is_not_right_a_shift_goes_back_only() {
    let mut controller = controller();
    let wrong = service("blue").replace("127.0.0.1:2", "nowhere");
    let at = |phase: &str, shares: &str| {
        format!("state: {{phase: {phase}, step: 1, shares: {{{shares}}}, started: 1, since: 1}}")
    };
    let running = at("Running", "a: 100%");
    let waits = controller.step(&view(&running, &wrong), 100_000);
    assert!(waits.notes[0].starts_with("shift x waits: Service/s is not right: "), "{:?}", waits.notes);
    assert_eq!(written(waits), None);
    let goes_on = controller.step(&view(&running, &service("blue")), 100_000);
    assert_eq!(written(goes_on).map(|(phase, _, others)| (phase, others)), Some((ShiftPhase::Succeeded, 1)));
    let back = controller.step(&view(&at("RollingBack", "a: 100%"), &wrong), 100_000);
    assert_eq!(written(back).map(|(phase, ..)| phase), Some(ShiftPhase::RollingBack));
    assert_eq!(written(controller.step(&view(&at("RollingBack", ""), &wrong), 100_000)), None);
    // The same where it cannot even be read.
    let unreadable = || super::super::Unreadable { id: None, why: "a.yaml:1: not YAML".to_owned() };
    let mut gone = view(&at("RollingBack", "a: 100%"), &service("blue"));
    Arc::make_mut(&mut gone.documents).retain(|id, _| id.kind == Kind::Shift);
    gone.unreadable.push(unreadable());
    assert_eq!(written(controller.step(&gone, 100_000)).map(|(phase, ..)| phase), Some(ShiftPhase::RollingBack));
}
