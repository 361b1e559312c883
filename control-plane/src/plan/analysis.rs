//! Whether a shift's new track is good enough. Pure: from what both tracks did at the same time.
//!
//! Too few requests, or routers that did not answer, are no verdict: a shift is never promoted because nobody looked. And
//! a single request is no pattern: one that failed, or a few that were slow, condemn nobody.

use std::fmt::Write;

use gridrouter_config::model::Analysis;
use gridrouter_config::tracks::{Latencies, TrackCounts};
use gridrouter_config::units::Percent;

use super::shift::Verdict;

/// Failed requests below which no track is bad.
const FEWEST_FAILED: u64 = 2;
/// Slow requests below which no track is bad.
const FEWEST_SLOW: u64 = 3;
/// Microseconds below which no difference of medians matters: a track with few requests opens more connections for each.
const LEAST_DIFFERENCE: u64 = 1_000;

/// What is known of both tracks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// The new track since the step began.
    pub new: TrackCounts,
    /// The old track since the step began.
    pub old: TrackCounts,
    /// The old track since the shift began: what the new one is compared with where the old one has nothing to do any more.
    pub old_before: TrackCounts,
    /// Routers whose counts are not among these, and why.
    pub missing: Vec<String>,
    /// What Prometheus answered to the queries of the analysis, in their order; fewer where it was not asked yet.
    pub answers: Vec<Result<f64, String>>,
}

/// The share of requests that failed, 0.0 to 1.0.
pub fn error_ratio(counts: &TrackCounts) -> f64 {
    if counts.requests == 0 { 0.0 } else { counts.failed as f64 / counts.requests as f64 }
}

/// The time within which 99 of 100 requests were answered, in microseconds: at most an eighth too long.
pub fn p99(counts: &TrackCounts) -> Option<u64> {
    counts.latency_micros.quantile(0.99)
}

/// How many took longer than this, in microseconds. Of those in the bucket that it is in, nobody knows, and none counts.
fn slower_than(latencies: &Latencies, micros: u64) -> u64 {
    let bucket = latencies.bounds.partition_point(|bound| *bound < micros);
    latencies.counts.iter().skip(bucket + 1).fold(0, |sum, count| sum.saturating_add(*count))
}

/// Says what the analysis has to say.
pub fn judge(analysis: &Analysis, seen: &Seen) -> Verdict {
    let least = u64::from(analysis.min_requests);
    let new = &seen.new;
    let enough = new.requests >= least;
    if let Some(why) = out_of_bounds(analysis, seen) {
        return Verdict::Bad(why);
    }
    if enough && let Some(why) = bad(analysis, seen) {
        return Verdict::Bad(why);
    }
    if let Some(first) = seen.missing.first() {
        let more = seen.missing.len() - 1;
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        return Verdict::Unclear(format!("{first}{more}"));
    }
    if !enough {
        return Verdict::Unclear(format!("{} of {least} requests on the new track", new.requests));
    }
    let compares = analysis.max_error_increase.is_some() || analysis.max_p99_factor.is_some();
    let old = old(analysis, seen);
    if compares && old.is_none() {
        return Verdict::Unclear(format!("{} of {least} requests on the old track", seen.old.requests));
    }
    if let Some(why) = untimed(analysis, new, old) {
        return Verdict::Unclear(why);
    }
    unanswered(analysis, seen).map_or(Verdict::Good, Verdict::Unclear)
}

/// Too few requests of a track have a time, where times are looked at: those that nobody answered have none, nor have those
/// of routers that measure otherwise.
fn untimed(analysis: &Analysis, new: &TrackCounts, old: Option<&TrackCounts>) -> Option<String> {
    let least = u64::from(analysis.min_requests);
    let factor = analysis.max_p99_factor.is_some();
    let new = (factor || analysis.max_p99.is_some()).then_some((new, "new"));
    let old = old.filter(|_| factor).map(|old| (old, "old"));
    new.into_iter().chain(old).find_map(|(counts, track)| {
        let timed = counts.latency_micros.total();
        (timed < least).then(|| format!("times of {timed} of {least} requests on the {track} track"))
    })
}

/// What Prometheus says that may not be.
fn out_of_bounds(analysis: &Analysis, seen: &Seen) -> Option<String> {
    let queries = analysis.prometheus.iter().flat_map(|prometheus| &prometheus.queries);
    queries.zip(&seen.answers).find_map(|(query, answer)| {
        let value = *answer.as_ref().ok()?;
        let above = query.max.filter(|max| value > *max).map(|max| format!("{max} allowed"));
        let below = query.min.filter(|min| value < *min).map(|min| format!("{min} wanted"));
        Some(format!("{} is {value}, {}", query.name, above.or(below)?))
    })
}

/// What Prometheus does not say.
fn unanswered(analysis: &Analysis, seen: &Seen) -> Option<String> {
    let queries = analysis.prometheus.iter().flat_map(|prometheus| &prometheus.queries);
    queries.enumerate().find_map(|(n, query)| match seen.answers.get(n) {
        Some(Ok(_)) => None,
        Some(Err(why)) => Some(format!("{}: {why}", query.name)),
        None => Some(format!("{}: Prometheus was not asked yet", query.name)),
    })
}

/// The old track's requests, where there are enough: those of the same time, or else those since the shift began.
fn old<'a>(analysis: &Analysis, seen: &'a Seen) -> Option<&'a TrackCounts> {
    let least = u64::from(analysis.min_requests);
    [&seen.old, &seen.old_before].into_iter().find(|done| done.requests >= least)
}

fn bad(analysis: &Analysis, seen: &Seen) -> Option<String> {
    let (new, old) = (&seen.new, old(analysis, seen));
    let ratio = |counts: &TrackCounts| {
        format!("{:.2}% ({} of {})", error_ratio(counts) * 100.0, counts.failed, counts.requests)
    };
    if new.failed >= FEWEST_FAILED {
        let above = |limit: Percent, base: f64| error_ratio(new) - base > limit.fraction();
        if let Some(limit) = analysis.max_error_ratio.filter(|limit| above(*limit, 0.0)) {
            return Some(format!("errors on the new track {}, {limit} allowed", ratio(new)));
        }
        if let (Some(limit), Some(old)) = (analysis.max_error_increase, old)
            && above(limit, error_ratio(old))
        {
            return Some(format!(
                "errors on the new track {}, on the old one {}, {limit} more allowed",
                ratio(new),
                ratio(old)
            ));
        }
    }
    let is_slow = |limit: u64| {
        let slow = slower_than(&new.latency_micros, limit);
        // One of 100 is expected. What chance alone makes of that is three times its standard deviation at the most: a p99
        // of few requests is mostly the slowest of them, and a busy machine's hiccup is not the new version's fault.
        let expected = new.latency_micros.total() as f64 / 100.0;
        slow >= FEWEST_SLOW && slow as f64 > expected + 3.0 * expected.sqrt()
    };
    let shown_p99 = |counts: &TrackCounts| p99(counts).map_or_else(|| "unknown".to_owned(), shown);
    if let Some(limit) = analysis.max_p99.map(|limit| u64::try_from(limit.as_micros()).unwrap_or(u64::MAX))
        && is_slow(limit)
    {
        return Some(format!("p99 of the new track {}, {} allowed", shown_p99(new), shown(limit)));
    }
    let (factor, old) = analysis.max_p99_factor.zip(old)?;
    if p99(old).is_some_and(|base| is_slow((base as f64 * factor) as u64)) {
        return Some(format!(
            "p99 of the new track {}, of the old one {}, {factor} times allowed",
            shown_p99(new),
            shown_p99(old)
        ));
    }
    // On a busy machine the slowest of the old track's requests are slow enough to hide a track that is slow with all of its.
    let (of_new, of_old) = (new.latency_micros.quantile(0.5)?, old.latency_micros.quantile(0.5)?);
    let slow = of_new as f64 > of_old as f64 * factor && of_new - of_old >= LEAST_DIFFERENCE;
    slow.then(|| {
        let (of_new, of_old) = (shown(of_new), shown(of_old));
        format!("median of the new track {of_new}, of the old one {of_old}, {factor} times allowed")
    })
}

/// A time in microseconds for people.
pub fn shown(micros: u64) -> String {
    let mut text = String::new();
    let written = match micros {
        u64::MAX => write!(text, "over a minute"),
        1_000_000.. => write!(text, "{:.2} s", micros as f64 / 1e6),
        1_000.. => write!(text, "{:.1} ms", micros as f64 / 1e3),
        _ => write!(text, "{micros} µs"),
    };
    // Writing into a String cannot fail.
    debug_assert!(written.is_ok());
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gridrouter_config::model::{Prometheus, PrometheusQuery};
    use gridrouter_config::raw::{OnFailure, RollbackPace};
    use gridrouter_config::tracks::bucket_of;

    use super::*;

    const ANALYSIS: Analysis = Analysis {
        min_requests: 100,
        max_error_ratio: None,
        max_error_increase: None,
        max_p99: None,
        max_p99_factor: None,
        prometheus: None,
        on_failure: OnFailure::Rollback,
        rollback: RollbackPace::AtOnce,
    };

    /// Latencies in milliseconds, and how many had them.
    fn done(requests: u64, failed: u64, latency: &[(u64, u64)]) -> TrackCounts {
        let mut counts = TrackCounts { requests, failed, ..TrackCounts::default() };
        for (millis, count) in latency {
            counts.latency_micros.counts[bucket_of(millis * 1_000)] += count;
        }
        counts
    }

    fn seen(new: TrackCounts, old: TrackCounts) -> Seen {
        Seen { new, old_before: old.clone(), old, ..Seen::default() }
    }

    fn says(verdict: &Verdict) -> (&str, &str) {
        match verdict {
            Verdict::Good => ("good", ""),
            Verdict::Unclear(why) => ("unclear", why),
            Verdict::Bad(why) => ("bad", why),
        }
    }

    #[test]
    fn errors_are_compared_with_a_limit_and_with_the_old_track() {
        let limit = Analysis { max_error_ratio: Some(Percent::of_hundredths(100)), ..ANALYSIS };
        let old = done(1_000, 0, &[]);
        let cases = [
            (99, 99, "unclear"), // too few to say anything
            (100, 0, "good"),
            (100, 1, "good"), // 1 % is allowed
            (100, 2, "bad"),
            (300, 3, "good"),
            (300, 4, "bad"),
        ];
        for (requests, failed, wanted) in cases {
            let verdict = judge(&limit, &seen(done(requests, failed, &[]), old.clone()));
            assert_eq!(says(&verdict).0, wanted, "{failed} of {requests}: {verdict:?}");
        }
        let strict = Analysis { max_error_ratio: Some(Percent::NONE), ..ANALYSIS };
        assert_eq!(judge(&strict, &seen(done(100, 1, &[]), old)), Verdict::Good, "one is no pattern");

        let increase = Analysis { max_error_increase: Some(Percent::of_hundredths(50)), ..ANALYSIS };
        let verdict = |new, old| judge(&increase, &seen(new, old));
        assert_eq!(verdict(done(200, 10, &[]), done(1_000, 50, &[])), Verdict::Good, "the old one is as bad");
        let bad = verdict(done(200, 12, &[]), done(1_000, 50, &[]));
        assert_eq!(
            says(&bad),
            ("bad", "errors on the new track 6.00% (12 of 200), on the old one 5.00% (50 of 1000), 0.5% more allowed")
        );
        assert_eq!(
            says(&verdict(done(200, 2, &[]), done(99, 0, &[]))),
            ("unclear", "99 of 100 requests on the old track")
        );
    }

    #[test]
    fn slowness_is_compared_with_a_limit_and_with_the_old_track() {
        let quick = [(1, 980), (4, 20)];
        let limit = Analysis { max_p99: Some(Duration::from_millis(8)), ..ANALYSIS };
        let verdict =
            |slow: u64| judge(&limit, &seen(done(1_000, 0, &[(1, 1_000 - slow), (30, slow)]), TrackCounts::default()));
        assert_eq!(verdict(19), Verdict::Good, "1 of 100 may be slower, and by chance twice as many");
        assert_eq!(says(&verdict(20)), ("bad", "p99 of the new track 30.7 ms, 8.0 ms allowed"));
        let few =
            |slow: u64| judge(&limit, &seen(done(100, 0, &[(1, 100 - slow), (30, slow)]), TrackCounts::default()));
        assert_eq!(few(4), Verdict::Good, "four are no pattern");
        assert_eq!(says(&few(5)).0, "bad");

        let factor = Analysis { max_p99_factor: Some(1.5), ..ANALYSIS };
        let old = done(1_000, 0, &quick);
        assert_eq!(judge(&factor, &seen(done(1_000, 0, &quick), old.clone())), Verdict::Good);
        let slow = done(1_000, 0, &[(3, 980), (12, 20)]);
        assert_eq!(
            says(&judge(&factor, &seen(slow.clone(), old.clone()))),
            ("bad", "p99 of the new track 12.3 ms, of the old one 4.1 ms, 1.5 times allowed")
        );
        // Where the old one's slowest are as slow for other reasons, the median tells.
        let noisy = done(1_000, 0, &[(10, 900), (400, 100)]);
        let all_slow = done(1_000, 0, &[(30, 1_000)]);
        assert_eq!(
            says(&judge(&factor, &seen(all_slow, noisy.clone()))),
            ("bad", "median of the new track 30.7 ms, of the old one 10.2 ms, 1.5 times allowed")
        );
        assert_eq!(judge(&factor, &seen(done(1_000, 0, &[(13, 1_000)]), noisy)), Verdict::Good);
        // With everything on the new track, the old one is what it was before.
        let seen = Seen { new: slow, old_before: old, ..Seen::default() };
        assert_eq!(says(&judge(&factor, &seen)).0, "bad");
    }

    /// Such as those of endpoints that accept a connection and close it.
    #[test]
    fn requests_that_nobody_answered_are_not_quick() {
        let limit = Analysis { max_p99: Some(Duration::from_millis(8)), ..ANALYSIS };
        let answered = |timed: u64| done(1_000, 1_000 - timed, &[(1, timed)]);
        let verdict = |timed| judge(&limit, &seen(answered(timed), TrackCounts::default()));
        assert_eq!(says(&verdict(0)), ("unclear", "times of 0 of 100 requests on the new track"));
        assert_eq!(says(&verdict(99)).0, "unclear");
        assert_eq!(verdict(100), Verdict::Good, "nobody asked for errors");
        let factor = Analysis { max_p99_factor: Some(2.0), ..ANALYSIS };
        let old_unknown = judge(&factor, &seen(answered(1_000), answered(0)));
        assert_eq!(says(&old_unknown), ("unclear", "times of 0 of 100 requests on the old track"));
        let most = done(u64::MAX, 0, &[(1, u64::MAX / 2), (30, u64::MAX / 2)]);
        assert_eq!(says(&judge(&limit, &seen(most, TrackCounts::default()))).0, "bad");
    }

    #[test]
    fn what_nobody_saw_is_no_verdict_and_what_somebody_saw_is() {
        let limit = Analysis { max_error_ratio: Some(Percent::of_hundredths(100)), ..ANALYSIS };
        let missing = vec!["router a did not answer".to_owned(), "b".to_owned()];
        let good = Seen { missing: missing.clone(), ..seen(done(1_000, 0, &[]), TrackCounts::default()) };
        assert_eq!(says(&judge(&limit, &good)), ("unclear", "router a did not answer, and 1 more"));
        let bad = Seen { missing, ..seen(done(1_000, 100, &[]), TrackCounts::default()) };
        assert_eq!(says(&judge(&limit, &bad)).0, "bad");
        assert_eq!(says(&judge(&limit, &Seen::default())), ("unclear", "0 of 100 requests on the new track"));
    }

    #[test]
    fn what_prometheus_says_counts_too() {
        let query = |name: &str, min, max| PrometheusQuery { name: name.to_owned(), query: "up".to_owned(), max, min };
        let queries = vec![query("lost", None, Some(1.0)), query("sold", Some(10.0), None)];
        let prometheus = Some(Prometheus { authority: "p:80".to_owned(), path: String::new(), queries });
        let analysis = Analysis { prometheus, ..ANALYSIS };
        let verdict = |answers: Vec<Result<f64, String>>| {
            judge(&analysis, &Seen { answers, ..seen(done(100, 0, &[]), done(100, 0, &[])) })
        };
        assert_eq!(verdict(vec![Ok(1.0), Ok(10.0)]), Verdict::Good);
        assert_eq!(says(&verdict(vec![Ok(1.5), Ok(10.0)])), ("bad", "lost is 1.5, 1 allowed"));
        assert_eq!(says(&verdict(vec![Err("no data".to_owned()), Ok(9.0)])), ("bad", "sold is 9, 10 wanted"));
        assert_eq!(says(&verdict(vec![Ok(0.0), Err("no data".to_owned())])), ("unclear", "sold: no data"));
        assert_eq!(says(&verdict(vec![])), ("unclear", "lost: Prometheus was not asked yet"));
        let few = judge(&analysis, &Seen { answers: vec![Ok(2.0), Ok(10.0)], ..Seen::default() });
        assert_eq!(says(&few).0, "bad", "it is sure whatever the routers counted");
    }

    #[test]
    fn times_are_shown_in_units_that_people_read() {
        assert_eq!([999, 1_500, 2_340_000, u64::MAX].map(shown), ["999 µs", "1.5 ms", "2.34 s", "over a minute"]);
    }
}
