use std::sync::Arc;

use gridrouter_config::generation::check_sources;
use proptest::prelude::*;

use super::*;

const SITE: &str = "---\n{kind: Service, name: s, cells: {a: {blue: [], green: []}, b: {blue: [], green: []}}}\n\
                    ---\n{kind: Cell, name: a}\n---\n{kind: Cell, name: b}\n";

fn shift(fields: &str) -> Shift {
    let text = format!("kind: Shift\nname: x\nservice: s\nto: green\n{fields}\n{SITE}");
    let report = check_sources(&[("a.yaml".to_owned(), text.into_bytes())]);
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    let shift = report.in_force.model().shifts.values().next().map(Arc::clone).unwrap();
    (*shift).clone()
}

const TWO_WAVES: &str = "waves: [{cells: [a], bake: 60s}, {cells: [b]}]\n\
                         steps: [{weight: 0%}, {pause: look}, {weight: 1%, hold: 10s}, {weight: 50%, hold: 20s}, \
                         {weight: 100%, hold: 5s}]\nanalysis: {maxErrorRatio: 1%}";

/// A shift as it goes, with what it said.
struct Course {
    shift: Shift,
    now: u64,
    active: Option<Track>,
    said: Vec<String>,
}

impl Course {
    fn new(fields: &str) -> Self {
        Course { shift: shift(fields), now: 1_000_000, active: None, said: Vec::new() }
    }

    fn take(&mut self, next: Next) {
        self.shift.state = next.state;
        self.active = next.active.or(self.active);
        self.said.push(next.what);
    }

    fn tick(&mut self, seconds: u64, verdict: &Verdict) -> bool {
        self.now += seconds * 1_000;
        let next = tick(&self.shift, verdict, self.now);
        let moved = next.is_some();
        if let Some(next) = next {
            self.take(next);
        }
        moved
    }

    fn obey(&mut self, command: Command) {
        let in_use = self.active == Some(Track::Green);
        let next = obey(&self.shift, command, "", in_use, self.now).unwrap();
        self.take(next);
    }

    fn at(&self) -> (ShiftPhase, String, usize, usize) {
        let shares: Vec<_> = self.shift.state.shares.iter().map(|(cell, share)| format!("{cell}={share}")).collect();
        (self.shift.state.phase, shares.join(" "), self.shift.state.wave, self.shift.state.step)
    }
}

use ShiftPhase::{Paused, RolledBack, RollingBack, Running, Succeeded};

fn at(phase: ShiftPhase, shares: &str, wave: usize, step: usize) -> (ShiftPhase, String, usize, usize) {
    (phase, shares.to_owned(), wave, step)
}

#[test]
fn a_shift_goes_through_its_steps_wave_by_wave() {
    let mut course = Course::new(TWO_WAVES);
    assert!(course.tick(0, &Verdict::Good));
    assert_eq!(course.at(), at(Paused, "a=0%", 0, 1));
    assert!(!course.tick(1_000, &Verdict::Good), "only somebody's word ends a pause");
    course.obey(Command::Resume);
    assert_eq!(course.at(), at(Running, "a=1%", 0, 2));
    assert!(!course.tick(9, &Verdict::Good));
    assert!(course.tick(1, &Verdict::Good));
    assert_eq!(course.at(), at(Running, "a=50%", 0, 3));
    course.tick(20, &Verdict::Good);
    assert_eq!(course.at(), at(Running, "a=100%", 0, 4));
    course.tick(5, &Verdict::Good);
    assert_eq!(course.at(), at(Running, "a=100%", 0, 5));
    assert_eq!(course.said.last().unwrap(), "goes on, now baking wave 1 of 2");
    assert!(!course.tick(59, &Verdict::Good));
    course.tick(1, &Verdict::Good);
    assert_eq!(course.at(), at(Paused, "a=100% b=0%", 1, 1));
    course.obey(Command::Resume);
    assert_eq!(course.said.last().unwrap(), "resumed, now at 1% (step 3 of 5 of wave 2 of 2)");
    course.tick(10, &Verdict::Good);
    course.tick(20, &Verdict::Good);
    assert_eq!(course.active, None);
    course.tick(5, &Verdict::Good);
    assert_eq!(course.at(), at(Succeeded, "a=100% b=100%", 1, 5));
    assert_eq!(course.active, Some(Track::Green));
    assert!(!course.tick(1_000, &Verdict::Good));
}

#[test]
fn what_is_not_sure_pauses_and_is_looked_at_anew() {
    let mut course = Course::new("waves: [{cells: [a]}]\nsteps: [{weight: 10%, hold: 10s}, {weight: 100%}]");
    course.tick(0, &Verdict::Good);
    let unclear = Verdict::Unclear("7 of 100 requests".to_owned());
    assert!(!course.tick(9, &unclear), "there is time left");
    assert!(!course.tick(15, &unclear), "and a little more for what is about to become clear");
    course.tick(1, &unclear);
    assert_eq!(course.at(), at(Paused, "a=10%", 0, 0));
    assert_eq!(course.shift.state.reason, "inconclusive: 7 of 100 requests");
    assert!(!course.tick(100, &Verdict::Good), "it is never promoted by itself");
    course.obey(Command::Resume);
    assert_eq!(course.at(), at(Running, "a=10%", 0, 0));
    assert!(!course.tick(9, &Verdict::Good), "all of its time is looked at again");
    course.tick(1, &Verdict::Good);
    assert_eq!(course.at().0, Succeeded);
}

#[test]
fn a_pause_by_hand_keeps_what_was_left() {
    let mut course = Course::new("waves: [{cells: [a]}]\nsteps: [{weight: 10%, hold: 10s}, {weight: 100%}]");
    course.tick(0, &Verdict::Good);
    course.tick(6, &Verdict::Good);
    course.obey(Command::Pause);
    assert!(!course.tick(600, &Verdict::Good));
    course.obey(Command::Resume);
    assert!(!course.tick(3, &Verdict::Good));
    assert!(course.tick(1, &Verdict::Good));
    assert_eq!(course.at().0, Succeeded);
}

#[test]
fn a_bad_track_is_rolled_back_at_once_even_when_paused() {
    let bad = Verdict::Bad("errors".to_owned());
    let mut course = Course::new(TWO_WAVES);
    course.tick(0, &Verdict::Good);
    course.obey(Command::Promote);
    assert_eq!(course.at(), at(Running, "a=1%", 0, 2));
    course.tick(1, &bad);
    assert_eq!(course.at(), at(RollingBack, "", 0, 2));
    assert!(!course.tick(1, &bad));
    course.tick(1, &bad);
    assert_eq!(course.at(), at(RolledBack, "", 0, 2));
    assert_eq!(course.shift.state.reason, "errors");

    let mut course = Course::new(TWO_WAVES);
    course.tick(0, &Verdict::Good);
    course.tick(1, &bad);
    assert_eq!(course.at().0, RollingBack, "testers suffer too");

    let pause =
        "waves: [{cells: [a]}]\nsteps: [{weight: 100%, hold: 10s}]\nanalysis: {maxErrorRatio: 1%, onFailure: pause}";
    let mut course = Course::new(pause);
    course.tick(0, &Verdict::Good);
    course.tick(1, &bad);
    assert_eq!(course.at(), at(Paused, "a=100%", 0, 0));
    assert!(!course.tick(1, &bad), "somebody is asked");
}

#[test]
fn a_stepwise_rollback_goes_down_the_weights_in_all_cells() {
    let fields = format!("{TWO_WAVES}\n").replace("{maxErrorRatio: 1%}", "{maxErrorRatio: 1%, rollback: stepwise}");
    let mut course = Course::new(&fields);
    for _ in 0..40 {
        course.tick(60, &Verdict::Good);
        if course.at() == at(Running, "a=100% b=50%", 1, 3) {
            break;
        }
        if course.at().0 == Paused {
            course.obey(Command::Resume);
        }
    }
    let bad = Verdict::Bad("errors".to_owned());
    course.tick(1, &bad);
    assert_eq!(course.at(), at(RollingBack, "a=50% b=50%", 1, 3));
    assert!(!course.tick(9, &bad), "10 s at the most");
    course.tick(1, &bad);
    assert_eq!(course.at(), at(RollingBack, "a=1% b=1%", 1, 2));
    course.tick(10, &bad);
    assert_eq!(course.at(), at(RollingBack, "", 1, 2));
    course.tick(2, &bad);
    assert_eq!(course.at().0, RolledBack);
}

#[test]
fn what_has_succeeded_can_be_rolled_back_while_its_track_is_in_use() {
    let mut course = Course::new("waves: [{cells: [a, b]}]\nsteps: [{weight: 10%, hold: 10s}, {weight: 100%}]");
    course.tick(0, &Verdict::Good);
    course.obey(Command::PromoteFully);
    assert_eq!(course.at(), at(Succeeded, "a=100% b=100%", 0, 2));
    let refused = obey(&course.shift, Command::RollBack(RollbackPace::AtOnce), "", false, 0).unwrap_err();
    assert!(refused.contains("not the one in use any more"), "{refused}");
    course.obey(Command::RollBack(RollbackPace::Stepwise));
    assert_eq!(course.at(), at(RollingBack, "a=10% b=10%", 0, 0));
    assert_eq!(course.active, Some(Track::Blue));
}

#[test]
fn every_command_is_possible_or_says_why_not() {
    let commands = [
        Command::Pause,
        Command::Resume,
        Command::Promote,
        Command::PromoteFully,
        Command::Abort,
        Command::RollBack(RollbackPace::AtOnce),
    ];
    let phases = [
        ShiftPhase::Pending,
        Running,
        Paused,
        RollingBack,
        RolledBack,
        Succeeded,
        ShiftPhase::Failed,
        ShiftPhase::Aborted,
    ];
    let mut table = String::new();
    for phase in phases {
        let mut shift = shift(TWO_WAVES);
        shift.state.phase = phase;
        table += phase.as_str();
        table += ":";
        for command in commands {
            match obey(&shift, command, "", true, 5) {
                Ok(next) => {
                    table += " ";
                    table += next.state.phase.as_str();
                }
                Err(why) => {
                    assert!(why.starts_with(&format!("shift \"x\" is {}; ", phase.as_str())), "{why}");
                    table += " -";
                }
            }
        }
        table += "\n";
    }
    let wanted = "\
Pending: - - - - Aborted -
Running: Paused - Paused Succeeded Aborted RollingBack
Paused: - Running Paused Succeeded Aborted RollingBack
RollingBack: - - - - Aborted -
RolledBack: - - - - - -
Succeeded: - - - - - RollingBack
Failed: - - - - - -
Aborted: - - - - - -
";
    assert_eq!(table, wanted);
}

#[derive(Debug, Clone)]
enum Event {
    Tick(u64, Verdict),
    Obey(Command),
}

fn event() -> impl Strategy<Value = Event> {
    let verdict = prop_oneof![
        6 => Just(Verdict::Good),
        2 => Just(Verdict::Unclear("few".to_owned())),
        1 => Just(Verdict::Bad("errors".to_owned())),
    ];
    let command = prop_oneof![
        1 => Just(Command::Pause),
        4 => Just(Command::Resume),
        2 => Just(Command::Promote),
        1 => Just(Command::PromoteFully),
        1 => Just(Command::Abort),
        1 => Just(Command::RollBack(RollbackPace::Stepwise)),
        1 => Just(Command::RollBack(RollbackPace::AtOnce)),
    ];
    prop_oneof![
        4 => (0..90_u64, verdict).prop_map(|(seconds, verdict)| Event::Tick(seconds, verdict)),
        1 => command.prop_map(Event::Obey),
    ]
}

proptest! {
    /// Whatever happens in whatever order: no share rises but by a step or a word, none is left where the shift has
    /// ended, and the track in use changes only as a whole.
    #[test]
    fn every_course_is_legal(events in proptest::collection::vec(event(), 0..120)) {
        let mut course = Course::new(TWO_WAVES);
        for event in events {
            let before = course.shift.state.clone();
            let next = match &event {
                Event::Tick(seconds, verdict) => {
                    course.now += seconds * 1_000;
                    tick(&course.shift, verdict, course.now)
                }
                Event::Obey(command) => {
                    let in_use = course.active == Some(Track::Green);
                    obey(&course.shift, *command, "", in_use, course.now).ok()
                }
            };
            let Some(next) = next else { continue };
            let after = &next.state;
            prop_assert!(!next.what.is_empty());
            prop_assert_ne!(after, &before);
            let all = |state: &ShiftState| state.shares.values().sum_hundredths();
            match after.phase {
                Running | Paused => prop_assert!(all(after) >= all(&before), "{event:?}: {before:?} -> {after:?}"),
                RollingBack if before.phase == Succeeded => prop_assert_eq!(next.active, Some(Track::Blue)),
                RollingBack => prop_assert!(all(after) <= all(&before)),
                Succeeded => {
                    prop_assert_eq!(next.active, Some(Track::Green));
                    prop_assert!(after.shares.values().all(|share| *share == Percent::ALL) && after.shares.len() == 2);
                }
                RolledBack | ShiftPhase::Aborted | ShiftPhase::Failed => prop_assert!(after.shares.is_empty()),
                ShiftPhase::Pending => prop_assert!(false, "nothing becomes pending"),
            }
            if let (Event::Tick(_, Verdict::Unclear(_)), Running) = (&event, before.phase) {
                prop_assert!(after.phase == Paused, "never promoted when nothing is known");
            }
            // What is written is what is read.
            course.take(next);
        }
    }
}

trait Sum {
    fn sum_hundredths(self) -> u32;
}

impl<'a, I: Iterator<Item = &'a Percent>> Sum for I {
    fn sum_hundredths(self) -> u32 {
        self.map(|share| u32::from(share.hundredths())).sum()
    }
}

/// In a directory, a shift may be on its way while its new track is the one in use: whoever wrote both was killed in between.
#[test]
fn whatever_ends_on_the_old_track_makes_it_the_one_in_use() {
    let fields =
        format!("{TWO_WAVES}\nstate: {{phase: Running, wave: 1, step: 5, shares: {{a: 100%}}, started: 1, since: 1}}");
    let running = shift(&fields);
    let active = |next: Result<Next, String>| next.unwrap().active;
    assert_eq!(active(obey(&running, Command::Abort, "", true, 9)), Some(Track::Blue));
    assert_eq!(active(Ok(give_up(&running, "gone", 9))), Some(Track::Blue));
    let back = obey(&running, Command::RollBack(RollbackPace::AtOnce), "", true, 9).unwrap();
    let back = Shift { state: back.state, ..running };
    assert_eq!(active(Ok(tick(&back, &Verdict::Good, 99_999).unwrap())), Some(Track::Blue));
    // One that has not begun has no say in it.
    let pending = shift(TWO_WAVES);
    assert_eq!(active(obey(&pending, Command::Abort, "", true, 9)), None);
    assert_eq!(active(Ok(give_up(&pending, "gone", 9))), None);
}

/// Such as an operator's on another machine, or that of a controller that is gone.
#[test]
fn a_clock_that_is_ahead_does_not_hold_up_the_others() {
    let state = |phase: &str| {
        format!("{TWO_WAVES}\nstate: {{phase: {phase}, step: 2, shares: {{a: 1%}}, started: 1, since: 3600000}}")
    };
    let running = shift(&state("Running"));
    assert_eq!(tick(&running, &Verdict::Good, 3_595_000), None, "clocks are never quite the same");
    let next = tick(&running, &Verdict::Good, 3_500_000).unwrap();
    assert_eq!(next.what, "counts its time from now: the clock of whoever wrote it was 100 s ahead of this one");
    assert_eq!(next.state, ShiftState { since: 3_500_000, ..running.state.clone() });
    let bad = tick(&running, &Verdict::Bad("errors".to_owned()), 3_500_000).unwrap();
    assert_eq!(bad.state.phase, RollingBack);
    let back = shift(&state("RollingBack"));
    let back = Shift { state: tick(&back, &Verdict::Good, 1_000).unwrap().state, ..back };
    assert!(tick(&back, &Verdict::Good, 11_000).unwrap().state.shares.is_empty());
    assert_eq!(tick(&shift(&state("Paused")), &Verdict::Good, 1_000), None);
}
