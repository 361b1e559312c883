//! What a verb does to traffic at once, for whoever has to say yes to it: which share moves where, and how many requests a
//! second go there now.

use std::time::Duration;

use gridrouter_config::ids::Name;
use gridrouter_config::model::{Shift, ShiftState};
use gridrouter_config::raw::{ShiftBy, ShiftPhase};
use gridrouter_config::track::Track;
use gridrouter_config::units::Percent;

use super::scene::Scene;
use crate::plan::shift::{Command, Next};

/// Between two looks at what routers have counted.
const SECOND: Duration = Duration::from_secs(1);

/// A cell whose share changes.
struct Moved<'a> {
    cell: &'a Name,
    before: Percent,
    after: Percent,
}

/// The share of the new track in a cell, as routers see it.
fn share(state: &ShiftState, cell: &Name) -> Percent {
    match state.phase {
        ShiftPhase::Succeeded => Percent::ALL,
        ShiftPhase::Pending | ShiftPhase::RolledBack | ShiftPhase::Failed | ShiftPhase::Aborted => Percent::NONE,
        ShiftPhase::Running | ShiftPhase::Paused | ShiftPhase::RollingBack => {
            state.shares.get(cell).copied().unwrap_or_default()
        }
    }
}

fn moved<'a>(shift: &'a Shift, next: &Next) -> Vec<Moved<'a>> {
    let of = |cell: &'a Name| Moved { cell, before: share(&shift.state, cell), after: share(&next.state, cell) };
    shift.cells().map(of).filter(|moved| moved.before != moved.after).collect()
}

/// Whether somebody has to say yes: for what takes traffic back, and for what moves all that is left in a cell.
pub(super) fn is_dangerous(shift: &Shift, command: Command, next: &Next) -> bool {
    match command {
        Command::Abort | Command::RollBack(_) | Command::PromoteFully => true,
        Command::Promote | Command::Resume | Command::Pause => {
            moved(shift, next).iter().any(|moved| moved.after == Percent::ALL)
        }
    }
}

/// What a change does, as in "this …".
pub(super) fn danger(scene: &mut Scene, shift: &Shift, next: &Next) -> String {
    let moved = moved(shift, next);
    let mut parts = Vec::new();
    for towards in [shift.to, shift.to.other()] {
        let there = |moved: &&Moved<'_>| (moved.after > moved.before) == (towards == shift.to);
        let there: Vec<&Moved<'_>> = moved.iter().filter(there).collect();
        if !there.is_empty() {
            let cells: Vec<&Name> = there.iter().map(|moved| moved.cell).collect();
            let rate = rate(scene, &shift.service, &cells, towards.other());
            parts.push(format!("{}; {rate}", words(shift, &there, towards)));
        }
    }
    if parts.is_empty() { "moves no traffic".to_owned() } else { parts.join(", and ") }
}

fn words(shift: &Shift, moved: &[&Moved<'_>], towards: Track) -> String {
    let what = match shift.by {
        ShiftBy::Tenant => "tenants",
        ShiftBy::Request => "requests",
    };
    let share = |moved: &&Moved<'_>| {
        let difference = moved.after.hundredths().abs_diff(moved.before.hundredths());
        format!("{}% of {what} in {}", f64::from(difference) / 100.0, moved.cell)
    };
    let shares = moved.iter().map(share).collect::<Vec<_>>().join(", ");
    format!("moves {shares} from {} to {}", towards.other().as_str(), towards.as_str())
}

/// How many requests a second go now to what is left.
pub(super) fn rate(scene: &mut Scene, service: &Name, cells: &[&Name], leaves: Track) -> String {
    let counted = scene.requests(service, cells, leaves).and_then(|first| {
        // Nobody unparks this thread.
        std::thread::park_timeout(SECOND);
        Ok(scene.requests(service, cells, leaves)?.saturating_sub(first))
    });
    match counted {
        Ok(rate) => format!("{rate} requests/s go to {} there now", leaves.as_str()),
        Err(why) => format!("how many requests/s go to {} there is not known: {why}", leaves.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use gridrouter_config::check::{ModelDocument, convert};
    use gridrouter_config::codec::parse;
    use gridrouter_config::raw::RollbackPace;

    use super::*;
    use crate::plan::shift::obey;

    fn shift(state: &str) -> Shift {
        let text = format!(
            "{{kind: Shift, name: x, service: s, to: green, waves: [{{cells: [a], bake: 1m}}, {{cells: [b]}}], \
             steps: [{{weight: 1%, hold: 1m}}, {{pause: look}}, {{weight: 100%, hold: 1m}}], \
             state: {{started: 5, since: 9, {state}}}}}"
        );
        let parsed = parse("a.yaml", text.as_bytes());
        match convert(&parsed.documents[0]) {
            Ok(ModelDocument::Shift(shift)) => (*shift).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn said(state: &str, command: Command) -> (bool, Vec<String>) {
        let shift = shift(state);
        let next = obey(&shift, command, "", true, 10).unwrap();
        let moved = moved(&shift, &next);
        let words = moved.iter().map(|one| {
            let towards = if one.after > one.before { Track::Green } else { Track::Blue };
            words(&shift, &[one], towards)
        });
        (is_dangerous(&shift, command, &next), words.collect())
    }

    #[test]
    fn whoever_moves_everything_or_takes_it_back_has_to_say_yes() {
        let at_one = "phase: Running, step: 0, shares: {a: 1%}";
        assert_eq!(said(at_one, Command::Promote), (false, vec![]));
        assert_eq!(said(at_one, Command::Pause), (false, vec![]));
        let to_all = vec!["moves 99% of tenants in a from blue to green".to_owned()];
        let at_pause = "phase: Paused, stopped: 9, step: 1, shares: {a: 1%}";
        assert_eq!(said(at_pause, Command::Promote), (true, to_all.clone()));
        assert_eq!(said(at_pause, Command::Resume), (true, to_all.clone()));
        let all = [to_all, vec!["moves 100% of tenants in b from blue to green".to_owned()]].concat();
        assert_eq!(said(at_pause, Command::PromoteFully), (true, all));
        let back = vec!["moves 1% of tenants in a from green to blue".to_owned()];
        assert_eq!(said(at_one, Command::Abort), (true, back.clone()));
        assert_eq!(said(at_one, Command::RollBack(RollbackPace::AtOnce)), (true, back));
        assert_eq!(said("phase: Pending", Command::Abort), (true, vec![]));
        let whole = ["a", "b"].map(|cell| format!("moves 100% of tenants in {cell} from green to blue")).to_vec();
        let succeeded = "phase: Succeeded, stopped: 9, wave: 1, step: 3, shares: {a: 100%, b: 100%}";
        assert_eq!(said(succeeded, Command::RollBack(RollbackPace::AtOnce)), (true, whole));
    }
}
