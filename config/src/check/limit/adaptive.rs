//! Limits that find out by themselves how many requests at the same time are good.

use std::time::Duration;

use super::own::size;
use crate::check::Check;
use crate::model::{Adaptation, AdaptiveConcurrency, Algorithm};
use crate::path::Path;
use crate::raw;

/// How many to begin with and at least, and at most: as in Netflix's `concurrency-limits`.
const FEW: u32 = 20;
const MANY: u32 = 200;
/// How much slower answers may become, in thousandths.
const TOLERANCE: u32 = 1_500;
/// What remains after a late answer, in thousandths.
const BACKOFF: u32 = 900;
/// When an answer is late.
const LATENCY: Duration = Duration::from_secs(5);

pub(super) fn adaptive_concurrency(check: &mut Check<'_>, raw: &raw::AdaptiveConcurrency) -> Option<Algorithm> {
    let bounds = bounds(check, raw);
    let by = adaptation(check, raw);
    let (initial, min, max) = bounds?;
    Some(Algorithm::AdaptiveConcurrency(AdaptiveConcurrency { initial, min, max, by: by? }))
}

/// How many to begin with, at least and at most. What is not written makes room for what is.
fn bounds(check: &mut Check<'_>, raw: &raw::AdaptiveConcurrency) -> Option<(u32, u32, u32)> {
    let at = Path::Root.key("adaptiveConcurrency");
    let given = [("initial", raw.initial), ("min", raw.min), ("max", raw.max)];
    let good = given.map(|(name, value)| match value {
        Some(value) => size(check, &at.key(name), name, value).is_some(),
        None => true,
    });
    if good.contains(&false) {
        return None;
    }
    let max = raw.max.unwrap_or_else(|| MANY.max(raw.min.unwrap_or(1)).max(raw.initial.unwrap_or(1)));
    let min = raw.min.unwrap_or_else(|| FEW.min(max).min(raw.initial.unwrap_or(max)));
    let initial = raw.initial.unwrap_or_else(|| FEW.max(min).min(max));
    let pairs =
        [(("min", min), ("max", max)), (("min", min), ("initial", initial)), (("initial", initial), ("max", max))];
    // With `min` above `max`, nothing between them can be right: the first is said.
    if let Some(((less, a), (more, b))) = pairs.into_iter().find(|((_, a), (_, b))| a > b)
        && check.are_written(&[&at.key(less), &at.key(more)])
    {
        let message = format!("{less} is {a}, and {more} is {b}");
        check.wrong_but(&at.key(less), message, "write them so that min <= initial <= max");
        return None;
    }
    Some((initial, min, max))
}

fn adaptation(check: &mut Check<'_>, raw: &raw::AdaptiveConcurrency) -> Option<Adaptation> {
    let at = Path::Root.key("adaptiveConcurrency");
    match raw.algorithm.unwrap_or(raw::Adaptation::Gradient2) {
        raw::Adaptation::Gradient2 => {
            foreign(check, &at.key("backoff"), raw.backoff.is_some(), "backoff", ["aimd", "gradient2"]);
            foreign(check, &at.key("latency"), raw.latency.is_some(), "latency", ["aimd", "gradient2"]);
            let tolerance = thousandths(raw.tolerance, TOLERANCE, 1_000..=10_000);
            let tolerance =
                tolerance.map_err(|number| format!("tolerance is {number}; write 1.0 to 10.0, such as 1.5"));
            let tolerance_thousandths = check.take(&at.key("tolerance"), tolerance)?;
            Some(Adaptation::Gradient2 { tolerance_thousandths })
        }
        raw::Adaptation::Aimd => {
            foreign(check, &at.key("tolerance"), raw.tolerance.is_some(), "tolerance", ["gradient2", "aimd"]);
            let backoff = thousandths(raw.backoff, BACKOFF, 500..=999);
            let backoff = backoff.map_err(|number| format!("backoff is {number}; write 0.5 to 0.999, such as 0.9"));
            let backoff = check.take(&at.key("backoff"), backoff);
            let latency = check.duration(&at.key("latency"), raw.latency.as_ref(), LATENCY);
            Some(Adaptation::Aimd { backoff_thousandths: backoff?, latency: latency? })
        }
    }
}

/// Notes a field that another algorithm has.
fn foreign(check: &mut Check<'_>, path: &Path<'_>, given: bool, field: &str, [of, is]: [&str; 2]) {
    let root = Path::Root;
    if given && check.are_written(&[&root.key("adaptiveConcurrency").key("algorithm")]) {
        let message = format!("`{field}` is of `algorithm: {of}`, and this is `{is}`");
        check.wrong_but(path, message, format!("remove it, or write `algorithm: {of}`"));
    }
}

/// A share in thousandths, or the default; the number itself if it is none of the range.
fn thousandths(raw: Option<f64>, default: u32, range: std::ops::RangeInclusive<u32>) -> Result<u32, f64> {
    let Some(number) = raw else { return Ok(default) };
    let thousandth = |n: &u32| f64::from(*n) / 1_000.0;
    let good = (thousandth(range.start())..=thousandth(range.end())).contains(&number);
    if good { Ok((number * 1_000.0).round() as u32) } else { Err(number) }
}

#[cfg(test)]
mod tests {
    use crate::check::limit::tests::algorithm;
    use crate::model::{Adaptation, Algorithm};

    fn bounds(fields: &str) -> (u32, u32, u32) {
        let Algorithm::AdaptiveConcurrency(adaptive) = algorithm(&format!("adaptiveConcurrency: {{{fields}}}")) else {
            panic!("{fields}");
        };
        (adaptive.min, adaptive.initial, adaptive.max)
    }

    fn by(fields: &str) -> Adaptation {
        let Algorithm::AdaptiveConcurrency(adaptive) = algorithm(&format!("adaptiveConcurrency: {{{fields}}}")) else {
            panic!("{fields}");
        };
        adaptive.by
    }

    #[test]
    fn what_is_not_written_makes_room_for_what_is() {
        assert_eq!(bounds(""), (20, 20, 200));
        assert_eq!(bounds("max: 10"), (10, 10, 10));
        assert_eq!(bounds("max: 1000"), (20, 20, 1000));
        assert_eq!(bounds("min: 5"), (5, 20, 200));
        assert_eq!(bounds("min: 50"), (50, 50, 200));
        assert_eq!(bounds("min: 500"), (500, 500, 500));
        assert_eq!(bounds("initial: 5"), (5, 5, 200));
        assert_eq!(bounds("initial: 500"), (20, 500, 500));
        assert_eq!(bounds("initial: 5, max: 10"), (5, 5, 10));
        assert_eq!(bounds("min: 1, max: 10"), (1, 10, 10));
        assert_eq!(bounds("min: 7, initial: 7, max: 7"), (7, 7, 7));
    }

    #[test]
    fn shares_are_kept_in_thousandths() {
        assert_eq!(by(""), Adaptation::Gradient2 { tolerance_thousandths: 1_500 });
        for (text, tolerance_thousandths) in [("1", 1_000), ("1.0", 1_000), ("2.3", 2_300), ("10.0", 10_000)] {
            assert_eq!(by(&format!("tolerance: {text}")), Adaptation::Gradient2 { tolerance_thousandths });
        }
        let latency = std::time::Duration::from_secs(5);
        assert_eq!(by("algorithm: aimd"), Adaptation::Aimd { backoff_thousandths: 900, latency });
        for (text, backoff_thousandths) in [("0.5", 500), ("0.7", 700), ("0.999", 999)] {
            let wanted = Adaptation::Aimd { backoff_thousandths, latency };
            assert_eq!(by(&format!("algorithm: aimd, backoff: {text}")), wanted);
        }
    }
}
