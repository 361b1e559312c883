use super::*;

const MS: u128 = 1_000_000;

fn row(from: u128, width: u128, [passed, waited, refused]: [u64; 3]) -> Row {
    let counts = Counts { passed, waited, refused, admitted: passed + waited, wait: 0 };
    Row { from, to: from + width, counts }
}

fn rows() -> Vec<Row> {
    let counts = [[20, 0, 0], [12, 6, 2], [0, 0, 0], [10, 10, 180], [0, 1, 0]];
    counts.into_iter().zip(0..).map(|(counts, n)| row(n * 500 * MS, 500 * MS, counts)).collect()
}

const PLAIN: Paper = Paper { width: 80, unicode: true, colour: false };

#[test]
fn bars_in_unicode() {
    let wanted = "\
FROM  PASSED  WAITED  REFUSED  ADMITTED
0.0s      20       0        0        20  ████
0.5s      12       6        2        18  ██▒░
1.0s       0       0        0         0
1.5s      10      10      180        20  ██▒▒░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
2.0s       0       1        0         1  ▒

█ passed  ▒ waited  ░ refused; a row is 500ms, the longest bar 200 arrivals
";
    assert_eq!(bars(&rows(), PLAIN), wanted);
}

#[test]
fn bars_in_ascii_without_waits_on_a_narrow_terminal() {
    let rows: Vec<Row> = [[200, 0, 100], [100, 0, 1]].into_iter().zip(4..).map(|(c, n)| row(n * MS, MS, c)).collect();
    let wanted = "\
FROM  PASSED  WAITED  REFUSED
 4ms     200       0      100  #######xxx
 5ms     100       0        1  ##x

# passed  x refused; a row is 1ms, the longest bar 300 arrivals
";
    assert_eq!(bars(&rows, Paper { width: 20, unicode: false, colour: false }), wanted);
}

#[test]
fn colours_are_around_the_parts_and_change_nothing_else() {
    let colour = bars(&rows(), Paper { colour: true, ..PLAIN });
    assert!(colour.contains("\u{1b}[32m██\u{1b}[0m\u{1b}[33m▒\u{1b}[0m\u{1b}[31m░\u{1b}[0m\n"), "{colour}");
    let mut plain = colour;
    for style in ["\u{1b}[32m", "\u{1b}[33m", "\u{1b}[31m", "\u{1b}[0m"] {
        plain = plain.replace(style, "");
    }
    assert_eq!(plain, bars(&rows(), PLAIN));
}

#[test]
fn whatever_is_counted_is_drawn() {
    assert_eq!(bars(&[], PLAIN), "");
    let most = u64::MAX / 4;
    for width in [0, 1, 40, 200] {
        let drawn = bars(&[row(0, 1, [most, 1, 1]), row(1, 1, [0, 0, 1])], Paper { width, ..PLAIN });
        let bar = |at: usize| drawn.lines().nth(at).unwrap().chars().filter(|c| "█▒░".contains(*c)).count();
        assert!(bar(1) >= NARROWEST && bar(2) == 1, "{drawn}");
    }
}

#[test]
fn times_of_a_real_clock_begin_at_the_first_row() {
    let now = 1_700_000_000_000 * MS;
    let drawn = bars(&[row(now, 1_000 * MS, [1, 0, 0]), row(now + 1_000 * MS, 1_000 * MS, [1, 0, 0])], PLAIN);
    assert!(drawn.contains("\n  0s ") && drawn.contains("\n  1s "), "{drawn}");
    assert!(drawn.ends_with("; times are since 1700000000000000000 ns\n"), "{drawn}");
}

#[test]
fn the_summary_says_it_in_words() {
    let totals = Summary {
        arrivals: 1_500,
        passed: 1_000,
        waited: 199,
        refused: 301,
        refused_for_ever: 1,
        admitted: 1_199,
        keys: 3,
        mean_wait_ns: 12_345_678,
        p50_wait_ns: 999_900,
        p99_wait_ns: 1_500_000_000,
        longest_wait_ns: 61_000_000_000,
        from_ns: 0,
        to_ns: 10_000_000_000,
        admitted_per_second: Some(119.9),
        most_admitted_in_1s: 1_299,
        most_is_exact: false,
    };
    let wanted = "\
arrivals  1,500
passed    1,000 (66.7 %)
waited    199 (13.3 %): mean 12.3ms, p50 1ms, p99 1.5s, longest 1m1s
refused   301 (20.1 %): 1 cost more than the limit ever gives
admitted  1,199 over 10s, 119.9 a second; at most about 1,299 in any second; 3 keys together
";
    assert_eq!(summary(&totals), wanted);
    let nothing = super::super::summary::Totals::default().finish(0, None);
    let wanted = "\
arrivals  0
passed    0
waited    0
refused   0
admitted  0 over 0s; at most 0 in any second
";
    assert_eq!(summary(&nothing), wanted);
}

#[test]
fn times_and_numbers_are_short() {
    let times = [0, 7, 1_000, 999_499, 999_500, 2_500_000, 999_499_999, 999_500_000, 59_960_000_000, 3_600_000_000_000];
    let texts = times.map(time);
    assert_eq!(texts, ["0s", "7ns", "1us", "999us", "1ms", "2.5ms", "999ms", "1s", "60s", "1h0m"]);
    assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!(
        [(0, 5), (1, 10_000), (9_999, 10_000), (5, 5)].map(|(n, all)| share(n, all)),
        ["", " (below 0.1 %)", " (99.9 %)", " (100 %)"]
    );
}

#[test]
fn rows_are_named_as_exactly_as_they_are_apart() {
    let second = 1_000 * MS;
    let names = [
        clock(1_500, 500),
        clock(1_500_000, 500_000),
        clock(20 * MS, 5 * MS),
        clock(1_250 * MS, 10 * MS),
        clock(1_215 * MS, 15 * MS),
        clock(1_500 * MS, 500 * MS),
        clock(90 * second, 10 * second),
        clock(3_900 * second, 300 * second),
        clock(90 * second, 90 * second),
    ];
    assert_eq!(names, ["1500ns", "1500us", "20ms", "1.25s", "1.215s", "1.5s", "90s", "1h05m", "90s"]);
}
