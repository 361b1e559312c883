//! What a queue promises beside its rate: that requests leave it evenly spaced, that nobody waits for too long, and that
//! whoever gives up leaves it.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::super::checks::{Checks, rounded, tally};
use super::super::holds_within;
use super::super::stand::{Limited, Stand};
use super::Form;
use super::course::{Course, QUEUEING};
use super::rates::metric;
use crate::error::Result;
use crate::http::Connection;
use crate::k6::Summary;
use crate::traffic::{Client, Traffic};
use crate::upstream::journal::Visit;

/// How much longer than its turn an answer may take: the router's timer, and everything else on two busy cores.
const SLACK: u64 = 100;
/// Queues whose spacing is measured, with their rates.
const FAST: [(&str, f64); 2] = [("queue-1000", 1_000.0), ("queue-5000", 5_000.0)];
/// Nothing takes this long, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The spacing and the longest wait of a queue that k6 has driven.
pub(super) fn check(course: &Course, form: &Form, summary: &Summary, stand: &Stand, checks: &mut Checks) {
    if !course.queues {
        return;
    }
    let name = course.limited.name;
    let visits = stand.journal.visits(&course.limited.path());
    let until = visits.first().map(|first| first.came + Duration::from_secs_f64(form.seconds));
    let steady: Vec<&Visit> = visits.iter().filter(|visit| until.is_some_and(|until| visit.came < until)).collect();
    checks.note(&format!("{name}: coefficient of variation of the gaps at the endpoint"), rounded(variation(&steady)));
    if form.exact {
        let longest = summary.millis(&metric("took", course), "max");
        checks.check(
            format_args!("{name}: nobody waits for longer than {QUEUEING} ms, and {SLACK} ms for everything else"),
            longest <= (QUEUEING + SLACK) as f64,
            format_args!("{longest:.0} ms"),
        );
    }
}

/// The standard deviation of the times between arrivals, as a share of their mean: 0 when perfectly even.
fn variation(visits: &[&Visit]) -> f64 {
    let next = visits.iter().skip(1);
    let gaps: Vec<f64> = visits.iter().zip(next).map(|(a, b)| (b.came - a.came).as_secs_f64()).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len().max(1) as f64;
    let square = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len().max(1) as f64;
    if mean > 0.0 { square.sqrt() / mean } else { 0.0 }
}

/// Queues faster than k6 could fill, one after the other. As many clients as always leave somebody waiting.
pub(super) async fn spacing(form: &Form, checks: &mut Checks) -> Result<()> {
    for (name, rate) in FAST {
        let limited = Limited { name, algorithm: format!("leakyBucketQueue: {{rate: {rate}/s, maxQueueing: 2s}}") };
        let stand = Stand::start(std::slice::from_ref(&limited)).await?;
        let client = Client { tenant: "none".to_owned(), host: "drill".to_owned(), path: limited.path() };
        // Each sends its next request when the last was answered. They wait for 100 ms or more in the queue, far longer
        // than they need to come back.
        let clients = vec![client; (rate / 10.0) as usize];
        let traffic = Traffic::start(stand.listen, &clients, Duration::from_millis(1));
        let seconds = if form.exact { 10.0 } else { 0.5 };
        sleep(Duration::from_millis(500)).await;
        let from = Instant::now();
        sleep(Duration::from_secs_f64(seconds)).await;
        let until = Instant::now();
        let bad = tally(traffic.all().into_iter().filter(|e| !e.outcome.is_good()).map(|e| e.outcome.brief()));
        drop(traffic);
        let visits = stand.journal.visits(&limited.path());
        let within: Vec<&Visit> = visits.iter().filter(|visit| (from..until).contains(&visit.came)).collect();
        let (got, wanted) = (within.len() as f64, rate * (until - from).as_secs_f64());
        let off = 100.0 * (got / wanted - 1.0);
        checks.note(
            &format!("{name}: coefficient of variation of the gaps at the endpoint"),
            rounded(variation(&within)),
        );
        checks.check(format_args!("{name}: everybody is answered with 200"), bad == "nothing", bad);
        checks.check(
            format_args!(
                "{name}: {}",
                if form.exact { "the rate is kept to within 1 %" } else { "the rate is kept, about" }
            ),
            if form.exact { off.abs() <= 1.0 } else { got >= wanted / 2.0 },
            format_args!("{got} in {:.2} s, {off:+.2} %", (until - from).as_secs_f64()),
        );
    }
    Ok(())
}

/// Clients that give up while they wait, in the middle of the queue and at its end.
pub(super) async fn giving_up(form: &Form, checks: &mut Checks) -> Result<()> {
    const RATE: f64 = 10.0;
    const QUEUED: usize = 21;
    let name = "patience";
    let limited = Limited { name, algorithm: format!("leakyBucketQueue: {{rate: {RATE}/s, maxQueueing: 60s}}") };
    let stand = Stand::start(std::slice::from_ref(&limited)).await?;
    let depth = async || {
        let metrics = stand.metrics().await;
        metrics.map_or(f64::NAN, |m| m.sum("gridrouter_limit_queue_depth", &[("limit", name), ("values", "live")]))
    };
    let began = Instant::now();
    let mut waiting = Vec::new();
    for _ in 0..QUEUED {
        waiting.push(ask(&stand, &limited));
        sleep(Duration::from_millis(2)).await;
    }
    // The first passes at once.
    let gathered = holds_within(Duration::from_millis(400), async || depth().await >= (QUEUED - 6) as f64).await;
    let before = depth().await;
    let (mut stayed, mut gave_up) = (Vec::new(), 0.0);
    for (number, task) in waiting.into_iter().enumerate() {
        if (8..14).contains(&number) || number >= 18 {
            task.abort();
            gave_up += 1.0;
        } else {
            stayed.push((number, task));
        }
    }
    let left = holds_within(PATIENCE, async || depth().await <= before - gave_up).await;
    checks.check(
        format_args!("{name}: {gave_up} of those in the queue who give up leave it"),
        gathered && left,
        format_args!("{before} waited, then {} or fewer", before - gave_up),
    );
    let newcomers: Vec<JoinHandle<Told>> = (0..3).map(|_| ask(&stand, &limited)).collect();
    let (mut answers, mut late, mut newest) = (Vec::new(), 0.0_f64, Duration::ZERO);
    for (number, task) in stayed {
        let (said, at) = task.await.unwrap_or_else(|error| (error.to_string(), Instant::now()));
        answers.push(said);
        late = late.max((at - began).as_secs_f64() - number as f64 / RATE);
    }
    for task in newcomers {
        let (said, at) = task.await.unwrap_or_else(|error| (error.to_string(), Instant::now()));
        answers.push(said);
        newest = newest.max(at - began);
    }
    let (count, came) = (answers.len(), stand.journal.visits(&limited.path()).len());
    let told = tally(answers);
    checks.check(
        format_args!("{name}: everybody else is answered, and who gave up never comes to the endpoint"),
        told == format!("200 ({count})") && came == count,
        format_args!("{told}; {came} came"),
    );
    let empty = holds_within(PATIENCE, async || depth().await.abs() < 0.5).await;
    checks.check(format_args!("{name}: the queue is empty then"), empty, depth().await);
    checks.note("patience: latest answer after its turn, s", rounded(late));
    if form.exact {
        checks.check(
            format_args!("{name}: those behind are answered at their turn, and who comes new takes a turn given back"),
            late * 1_000.0 <= SLACK as f64 && newest.as_secs_f64() < 1.4,
            format_args!("{:.0} ms late; the new ones after {newest:?}, not after two seconds", late * 1_000.0),
        );
    }
    Ok(())
}

/// What was answered, and when.
type Told = (String, Instant);

/// A request on a connection of its own, which closes when the task is aborted.
fn ask(stand: &Stand, limited: &Limited) -> JoinHandle<Told> {
    let target = stand.listen;
    let request = format!("GET {} HTTP/1.1\r\nhost: drill\r\nconnection: close\r\n\r\n", limited.path());
    tokio::spawn(async move {
        let asked = async { Connection::open(target).await?.exchange(request.as_bytes()).await.map(|a| a.status) };
        let said = match timeout(PATIENCE, asked).await {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(failed)) => failed.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        (said, Instant::now())
    })
}
