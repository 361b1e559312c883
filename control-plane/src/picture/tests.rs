use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::codec::parse;
use gridrouter_config::track::Track;
use gridrouter_config::tracks::{ShiftTracks, Tracks};

use super::*;

fn shift(state: &str) -> Shift {
    let text = format!(
        "{{kind: Shift, name: x, service: s, to: green, waves: [{{cells: [a]}}, {{cells: [b]}}], steps: [{{weight: 100%, hold: 1m}}], \
         state: {{phase: Running, started: 5, since: 5{state}}}}}"
    );
    let Ok(ModelDocument::Shift(shift)) = convert(&parse("a.yaml", text.as_bytes()).documents[0]) else {
        panic!("{text}")
    };
    (*shift).clone()
}

fn said(router: &str, router_started: u64, green: (u64, u64), blue: u64) -> Reading {
    let counts = |(requests, fallbacks)| TrackCounts { requests, fallbacks, ..TrackCounts::default() };
    let one = ShiftTracks {
        shift: "x".to_owned(),
        started: 5,
        cell: "a".to_owned(),
        tracks: [(Track::Green, counts(green)), (Track::Blue, counts((blue, 0)))].into(),
        ..ShiftTracks::default()
    };
    Reading {
        router: router.to_owned(),
        tracks: Ok(Tracks { generation: 1, router_started, shifts: vec![one], ..Tracks::default() }),
    }
}

fn away(router: &str) -> Reading {
    Reading { router: router.to_owned(), tracks: Err("connection refused".to_owned()) }
}

fn seen(sight: &Sight) -> Picture {
    Picture::of(&shift(""), sight, &Verdict::Good, 9_000)
}

/// Requests a second in cell a, of both tracks.
fn rates(sight: &Sight) -> [Option<f64>; 2] {
    let picture = seen(sight);
    [picture.cells[0].new.per_second, picture.cells[0].old.per_second]
}

#[test]
fn a_rate_is_what_came_between_two_readings_over_the_time_between_them() {
    let (mut sight, shift) = (Sight::default(), shift(""));
    sight.take(&shift, &[said("r", 1, (100, 0), 1_000)], 10_000);
    assert_eq!(rates(&sight), [None, None], "nothing is known of what was before");
    for n in 1..5 {
        sight.take(&shift, &[said("r", 1, (100 + n * 10, 0), 1_000 + n * 90)], 10_000 + n * 1_000);
        assert_eq!(rates(&sight), [Some(10.0), Some(90.0)], "look {n}");
    }
    assert_eq!(seen(&sight).cells[1].new.per_second, Some(0.0), "nothing came there");
    let mut ended = shift.clone();
    ended.state.phase = ShiftPhase::Succeeded;
    let picture = Picture::of(&ended, &sight, &Verdict::Good, 9_000);
    assert_eq!(picture.cells[0].new.per_second, None, "nothing is counted for it any more");
    // Looks that took longer are measured over longer.
    sight.take(&shift, &[said("r", 1, (170, 0), 1_630)], 17_000);
    assert_eq!(rates(&sight), [Some(10.0), Some(90.0)]);
}

#[test]
fn after_an_outage_a_rate_is_over_all_the_time_that_nobody_answered() {
    let (mut sight, shift) = (Sight::default(), shift(""));
    sight.take(&shift, &[said("r", 1, (0, 0), 0), said("q", 1, (0, 0), 0)], 0);
    sight.take(&shift, &[said("r", 1, (10, 0), 90), said("q", 1, (10, 0), 90)], 1_000);
    assert_eq!(rates(&sight), [Some(20.0), Some(180.0)]);
    // Only one answers: the rate is that of those that do.
    sight.take(&shift, &[said("r", 1, (20, 0), 180), away("q")], 2_000);
    assert_eq!(rates(&sight), [Some(10.0), Some(90.0)]);
    // Nobody does, for eighteen seconds.
    sight.take(&shift, &[away("r"), away("q")], 3_000);
    assert_eq!(rates(&sight), [None, None]);
    sight.take(&shift, &[said("r", 1, (200, 0), 1_800), said("q", 1, (200, 0), 1_800)], 20_000);
    assert_eq!(rates(&sight), [Some(20.0), Some(180.0)]);
    assert_eq!(seen(&sight).cells[0].new.requests, 400, "and nothing is lost of the sums");
}

#[test]
fn a_router_that_was_started_again_and_another_run_begin_anew() {
    let (mut sight, first) = (Sight::default(), shift(""));
    sight.take(&first, &[said("r", 1, (5_000, 0), 5_000)], 0);
    sight.take(&first, &[said("r", 700, (30, 0), 30)], 1_000);
    assert_eq!(rates(&sight), [None, None]);
    sight.take(&first, &[said("r", 700, (40, 0), 50)], 2_000);
    assert_eq!(rates(&sight), [Some(10.0), Some(20.0)]);
    let mut second = shift("");
    second.state.started = 6;
    sight.take(&second, &[said("r", 700, (50, 0), 60)], 3_000);
    sight.take(&second, &[said("r", 700, (60, 0), 70)], 4_000);
    assert_eq!(
        sight.pace.of(&second.waves[0].cells[0], Track::Green),
        Some(Recent::default()),
        "these are of the first"
    );
}

#[test]
fn a_new_track_that_lets_more_than_one_in_a_hundred_fall_back_is_not_well() {
    let sight = |requests, fallbacks| {
        let mut sight = Sight::default();
        sight.take(&shift(""), &[said("r", 1, (requests, fallbacks), 1_000)], 0);
        sight
    };
    for (requests, fallbacks, well) in
        [(0, 0, true), (99, 1, true), (98, 2, false), (0, 5, false), (u64::MAX, u64::MAX, false)]
    {
        let picture = seen(&sight(requests, fallbacks));
        assert_eq!(picture.healthy, well, "{requests} {fallbacks}");
        assert_eq!(picture.report.fallbacks, fallbacks);
    }
    // What was written by the controller that saw it counts where the routers are gone.
    let report = ", report: {requests: 0, failed: 0, oldRequests: 500, oldFailed: 0, fallbacks: 7}";
    assert!(!is_healthy(&shift(report)) && is_healthy(&shift("")));
    assert!(!Picture::of(&shift(report), &Sight::default(), &Verdict::Good, 9_000).healthy);
    let few = ", report: {requests: 5000, failed: 0, oldRequests: 500, oldFailed: 0, fallbacks: 7}";
    assert!(is_healthy(&shift(few)));
}
