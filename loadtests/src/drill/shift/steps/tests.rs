//! Steps and requests made by hand.

use std::time::Duration;

use gridrouter_config::raw::ShiftPhase;

use super::*;

/// Moments so many milliseconds after a first one.
struct Time(Moment);

impl Time {
    fn at(&self, millis: u64) -> Moment {
        let wall = self.0.wall + i64::try_from(millis).unwrap();
        Moment { instant: self.0.instant + Duration::from_millis(millis), wall }
    }

    /// A change decided 5 ms before it is told of.
    fn change(&self, generation: u64, to: Track, share: u16, told: u64) -> Change {
        let at = self.at(told);
        let (shift, reason) = ("x".to_owned(), String::new());
        let (phase, since) = (ShiftPhase::Running, at.wall - 5);
        Change { generation, shift, to, phase, share, since, stopped: None, reason, at }
    }

    /// A request on its way for two milliseconds.
    fn visit(&self, tenant: usize, sent: u64, track: Track) -> Visit {
        let came = self.at(sent + 2).instant;
        Visit { tenant, sent: self.at(sent).wall, came, track, cell: 0, failed: false }
    }

    /// Green gets 1 % at 1000 and 50 % at 2000; routers have it 10 ms later.
    fn steps(&self) -> Vec<Step> {
        let changes = [
            self.change(2, Track::Green, 0, 900),
            self.change(3, Track::Green, 100, 1_000),
            self.change(4, Track::Green, 5_000, 2_000),
        ];
        let everywhere = |generation: u64| Some(self.at(if generation == 3 { 1_010 } else { 2_010 }));
        steps(self.at(0), &changes, everywhere, self.at(3_000).instant)
    }
}

fn time() -> Time {
    Time(Moment::now())
}

#[test]
fn a_step_lasts_from_the_last_acknowledgement_to_the_next_decision() {
    let time = time();
    let seen: Vec<_> = time.steps().iter().map(|step| (step.weight(), step.began, step.ended)).collect();
    let wanted = [
        (0, time.at(0), time.at(995).instant),
        (100, time.at(1_010), time.at(1_995).instant),
        (5_000, time.at(2_010), time.at(3_000).instant),
    ];
    assert_eq!(seen, wanted);
    let back = [time.change(1, Track::Green, ALL, 100), time.change(2, Track::Blue, 100, 200)];
    let both = steps(time.at(0), &back, |_| Some(time.at(150)), time.at(300).instant);
    let seen: Vec<_> = both.iter().map(|step| (step.green, step.to, step.weight())).collect();
    assert_eq!(seen, [(0, Track::Green, 0), (ALL, Track::Green, ALL), (9_900, Track::Blue, 100)]);
    // The second weight was over before the last router had it.
    let both = steps(time.at(0), &back, |_| Some(time.at(250)), time.at(300).instant);
    assert_eq!(both.len(), 2);
    assert_eq!(steps(time.at(0), &back, |_| None, time.at(300).instant).len(), 1);
}

#[test]
fn requests_are_of_the_step_that_they_are_wholly_in() {
    let (time, blue, green) = (time(), Track::Blue, Track::Green);
    let visits = [
        time.visit(0, 500, blue),
        time.visit(0, 994, blue), // it came when the change was decided
        time.visit(1, 1_005, green),
        time.visit(0, 1_011, blue),
        time.visit(1, 1_500, green),
        time.visit(0, 2_500, green),
        time.visit(1, 2_600, green),
        time.visit(2, 2_700, blue),
    ];
    let account = account(&time.steps(), &visits, 4);
    let seen: Vec<_> = account.steps.iter().map(|s| (s.requests, s.tenants(), s.on(green), s.on_both())).collect();
    assert_eq!(seen, [(1, 1, 0, 0), (2, 2, 1, 0), (3, 3, 2, 0)]);
    assert_eq!((account.between, account.astray), (2, 0));
    assert!((account.steps[1].share(green) - 0.5).abs() < 1e-9);
    assert_eq!(account.steps[1].lost(&account.steps[2], green), 0);
    assert_eq!(account.steps[1].lost(&account.steps[2], blue), 1, "tenant 0 has moved");
}

#[test]
fn what_must_not_happen_is_found() {
    let (time, blue, green) = (time(), Track::Blue, Track::Green);
    let visits = [
        time.visit(0, 500, blue),
        time.visit(1, 600, blue),
        time.visit(0, 1_000, green), // on blue before and after
        time.visit(0, 1_100, blue),
        time.visit(1, 1_200, green),
        time.visit(1, 1_300, blue), // on both
        time.visit(1, 2_500, blue), // back again
    ];
    let account = account(&time.steps(), &visits, 2);
    assert_eq!(account.astray, 1);
    assert_eq!(account.steps.iter().map(Seen::on_both).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(account.steps[1].lost(&account.steps[2], green), 1);
}
