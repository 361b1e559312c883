//! How much gets through, and what the router says of it.

use super::super::checks::{Checks, rounded};
use super::super::stand::Metrics;
use super::Form;
use super::course::{BANDWIDTH, Bounds, Course, RATE};
use crate::k6::Summary;
use crate::upstream::journal::Journal;

/// How far from what the limit says the half minute may be, in per cent.
const PROMISED: f64 = 1.0;

/// What k6 counted for a limit, under the name that the script gives it.
pub(super) fn metric(what: &str, course: &Course) -> String {
    format!("{what}_{}", course.limited.name.replace('-', "_"))
}

/// Sees that as much was let through as the limit says.
pub(super) fn check(course: &Course, form: &Form, summary: &Summary, checks: &mut Checks) {
    let name = course.limited.name;
    let passed = summary.count(&metric("passed", course)) as f64;
    let slowest = summary.millis(&metric("took", course), "max") / 1_000.0;
    let (each, rate, more) = match course.bounds {
        Bounds::Rate { more } => (1.0, RATE, more),
        // A body is let go piece by piece: those under way at either end may be counted or not.
        Bounds::Bandwidth => {
            let (rate, burst, body) = BANDWIDTH;
            (body as f64, rate as f64, burst as f64 + (2 * body * course.clients.unwrap_or(0) as u64) as f64)
        }
        Bounds::Permits | Bounds::Adaptive => return,
    };
    let (got, wanted) = (passed * each, rate * form.seconds);
    // Whoever was answered within the window was admitted within it or, at most as long before as an answer took.
    let most = rate * (form.seconds + slowest) + more;
    let off = 100.0 * (got / wanted - 1.0);
    checks.check(
        format_args!("{name}: no more gets through than the limit allows"),
        got <= most,
        format_args!("{got} of at most {most:.0}, slowest answer {:.0} ms", slowest * 1_000.0),
    );
    if form.exact {
        checks.check(
            format_args!(
                "{name}: what gets through in {} s is within {PROMISED} % of what the limit says",
                form.seconds
            ),
            off.abs() <= PROMISED,
            format_args!("{got} of {wanted}, {off:+.2} %"),
        );
        checks.note(&format!("{name}: off by, per cent"), rounded(off));
    } else {
        checks.check(
            format_args!("{name}: and not much less"),
            got >= wanted * course.at_least,
            format_args!("{got} of {wanted}"),
        );
    }
}

/// Sees that the router counts what the clients saw, and that they saw nothing else.
pub(super) fn counted_alike(
    course: &Course,
    summary: &Summary,
    metrics: &Metrics,
    journal: &Journal,
    checks: &mut Checks,
) {
    let name = course.limited.name;
    let [passed, refused, wrong] =
        ["all_passed", "all_refused", "wrong"].map(|what| summary.count(&metric(what, course)));
    let complaint = if wrong == 0 { "" } else { summary.complaints.as_str() };
    let offered = passed + refused + wrong;
    checks.check(
        format_args!("{name}: every answer is 200, or 429 with retry-after"),
        wrong == 0,
        format_args!("{wrong} of {offered} were not {complaint}"),
    );
    let arrived = journal.visits(&course.limited.path()).len() as u64;
    checks.check(
        format_args!("{name}: who is answered with 200 came to the endpoint, once, and nobody else did"),
        arrived == passed,
        format_args!("{arrived} came, {passed} were answered"),
    );
    if course.bounds == Bounds::Bandwidth {
        return;
    }
    let count = |verdict| {
        let labels = [("limit", name), ("values", "live"), ("verdict", verdict)];
        metrics.sum("gridrouter_limit_requests_total", &labels) as u64
    };
    let [allowed, delayed, own_refused] = ["allowed", "delayed", "refused"].map(count);
    checks.check(
        format_args!("{name}: the router counts what the clients count"),
        allowed + delayed == passed && own_refused == refused,
        format_args!(
            "router: {allowed} allowed, {delayed} delayed, {own_refused} refused; k6: {passed} passed, {refused} refused"
        ),
    );
}
