//! What limits of requests at the same time promise, seen from the endpoint.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::super::checks::{Checks, rounded, tally};
use super::super::stand::Stand;
use super::Form;
use super::course::{ADAPTIVE, Bounds, Course, PERMITS};
use super::rates::metric;
use crate::error::Result;
use crate::http::Connection;
use crate::k6::Summary;
use crate::upstream::journal::Visit;

/// How far from the limit what the window holds on average may be, in per cent.
const PROMISED: f64 = 1.0;

/// Sees that no more were there at a time than may be, and as many as could be.
pub(super) async fn check(
    course: &Course,
    form: &Form,
    summary: &Summary,
    stand: &Stand,
    checks: &mut Checks,
) -> Result<()> {
    let (most, least) = match course.bounds {
        Bounds::Permits => (PERMITS, PERMITS),
        Bounds::Adaptive => (ADAPTIVE.1, ADAPTIVE.0 + 1),
        Bounds::Rate { .. } | Bounds::Bandwidth => return Ok(()),
    };
    let name = course.limited.name;
    let visits = stand.journal.visits(&course.limited.path());
    let peak = at_once(&visits);
    checks.check(
        format_args!("{name}: the endpoint has at most {most} requests at a time, and {least} or more once"),
        (least..=most).contains(&peak),
        format_args!("{peak} at most"),
    );
    // Little's law: how many there are at a time is how many come a second, times how long each is there.
    let passed = summary.count(&metric("passed", course)) as f64 / form.seconds;
    let client = passed * summary.millis(&metric("took", course), "avg") / 1_000.0;
    let endpoint = held(&visits, form, course);
    checks.note(&format!("{name}: at a time on average, seen by the clients"), rounded(client));
    checks.note(&format!("{name}: at a time on average, seen by the endpoint"), rounded(endpoint));
    if course.bounds == Bounds::Adaptive {
        checks.check(
            format_args!("{name}: under load it is above its least"),
            endpoint > f64::from(ADAPTIVE.0),
            format_args!("{endpoint:.1} at a time on average"),
        );
    } else if form.exact {
        // A permit is held for longer than the endpoint sees, and for less than the client waits.
        let off = |seen: f64| 100.0 * (seen / f64::from(PERMITS) - 1.0);
        checks.check(
            format_args!("{name}: accepted a second times mean latency is within {PROMISED} % of the limit"),
            off(client).abs() <= PROMISED && off(endpoint).abs() <= PROMISED,
            format_args!("clients {client:.2}, {:+.2} %; endpoint {endpoint:.2}, {:+.2} %", off(client), off(endpoint)),
        );
    }
    let at_once = if course.bounds == Bounds::Permits { PERMITS } else { ADAPTIVE.0 };
    let answers = together(stand, &format!("{}/again", course.limited.path()), at_once).await;
    checks.check(
        format_args!("{name}: after the load every permit is there again: {at_once} at once pass"),
        answers == format!("200 ({at_once})"),
        answers,
    );
    Ok(())
}

/// The most requests that were there at the same time.
fn at_once(visits: &[Visit]) -> u32 {
    let comes = visits.iter().map(|visit| (visit.came, 1));
    let leaves = visits.iter().filter_map(|visit| Some((visit.left?, -1)));
    let mut moves: Vec<(Instant, i32)> = comes.chain(leaves).collect();
    // At the same instant, who leaves leaves first.
    moves.sort_unstable();
    let mut there = 0;
    let peak = moves.iter().map(|(_, by)| {
        there += by;
        there
    });
    peak.max().unwrap_or(0).unsigned_abs()
}

/// How many requests were there at a time on average, within the window.
fn held(visits: &[Visit], form: &Form, course: &Course) -> f64 {
    let Some(first) = visits.first() else { return 0.0 };
    let from = first.came + Duration::from_secs_f64(course.lead * form.lead);
    let until = from + Duration::from_secs_f64(form.seconds);
    let within = |visit: &Visit| {
        let left = visit.left.unwrap_or(until).min(until);
        left.saturating_duration_since(visit.came.max(from)).as_secs_f64()
    };
    visits.iter().map(within).sum::<f64>() / form.seconds
}

/// So many requests, each on a connection of its own, all there before the first is answered.
async fn together(stand: &Stand, path: &str, count: u32) -> String {
    let request = format!("GET {path}/delay/500 HTTP/1.1\r\nhost: drill\r\nconnection: close\r\n\r\n");
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (target, request) = (stand.listen, request.clone());
        tasks.spawn(async move {
            let asked = async { Connection::open(target).await?.exchange(request.as_bytes()).await.map(|a| a.status) };
            match timeout(Duration::from_secs(20), asked).await {
                Ok(Ok(status)) => status.to_string(),
                Ok(Err(failed)) => failed.to_string(),
                Err(_) => "no answer in time".to_owned(),
            }
        });
    }
    tally(tasks.join_all().await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_makes_room_for_who_comes() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let visit = |came, left| Visit { path: "/x".into(), failed: false, came: at(came), left: Some(at(left)) };
        assert_eq!(at_once(&[visit(0, 10), visit(10, 20), visit(5, 15)]), 2);
        assert_eq!(at_once(&[]), 0);
    }
}
