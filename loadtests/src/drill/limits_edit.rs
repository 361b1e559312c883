//! Limits edited from 1,000 a second to 10 and back under load, again and again and at awkward moments: whatever is
//! edited when, no period of any length may see more requests let through than the larger values allow.

mod windows;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::windows::{Allowed, Arrival};
use super::checks::{Checks, rounded, tally};
use super::stand::{Limited, Stand};
use super::{Common, replace};
use crate::error::{Error, Result};
use crate::output;
use crate::process;
use crate::proxies::Kind;
use crate::traffic::{Client, Event, Outcome, Traffic};

/// Milliseconds from one edit to the next. The first is long enough to use up a burst. Then small values for a moment and
/// large ones for long enough to use what a bucket would have, had the edits filled it again: that would be seen over a
/// few seconds. Then awkward moments: edits that are undone before they are in force everywhere. The last two are long
/// enough to see that the edits are in force.
const PAUSES: [u64; 30] = [
    1_500, 100, 300, 100, 300, 100, 300, 100, 300, 100, 300, 100, 300, 100, 300, 60, 30, 30, 10, 10, 0, 0, 250, 1_300,
    700, 90, 30, 500, 2_500, 2_500,
];
const PAUSES_SHORT: [u64; 14] = [900, 60, 250, 60, 250, 60, 250, 60, 250, 60, 30, 0, 1_300, 1_300];
/// How much later than its turn a queue may let a request go: its timer counts in milliseconds, and is not the first
/// thing that a busy machine looks after.
const TIMER: Duration = Duration::from_millis(10);

/// A limit that is edited.
struct Edited {
    name: &'static str,
    /// Its algorithm with the large values and with the small ones.
    values: [&'static str; 2],
    allowed: Allowed,
    /// Whether requests wait, so that it is not known when they were let through.
    waits: bool,
    /// How many clients ask, each so often.
    clients: (usize, Duration),
}

/// Bursts are as large as the rate: a bucket that an edit fills again would let twice as much through.
const EDITED: [Edited; 4] = [
    Edited {
        name: "tb",
        values: ["tokenBucket: {rate: 1000/s, burst: 1000}", "tokenBucket: {rate: 10/s, burst: 10}"],
        allowed: Allowed::Rate { burst: 1_000, rate: 1_000 },
        waits: false,
        clients: (64, Duration::from_millis(30)),
    },
    Edited {
        name: "meter",
        values: [
            "leakyBucketMeter: {rate: 1000/s, burst: 1000, nodelay: true}",
            "leakyBucketMeter: {rate: 10/s, burst: 10, nodelay: true}",
        ],
        // One at the rate, the burst above it.
        allowed: Allowed::Rate { burst: 1_001, rate: 1_000 },
        waits: false,
        clients: (64, Duration::from_millis(30)),
    },
    Edited {
        name: "log",
        values: ["slidingWindow: {limit: 1000, window: 1s}", "slidingWindow: {limit: 10, window: 1s}"],
        allowed: Allowed::Windows { limit: 1_000, window: Duration::from_secs(1) },
        waits: false,
        clients: (64, Duration::from_millis(30)),
    },
    Edited {
        name: "queue",
        values: [
            "leakyBucketQueue: {rate: 1000/s, maxQueueing: 100ms}",
            "leakyBucketQueue: {rate: 10/s, maxQueueing: 100ms}",
        ],
        allowed: Allowed::Rate { burst: 1, rate: 1_000 },
        waits: true,
        // Enough to fill the queue.
        clients: (160, Duration::from_millis(90)),
    },
];

impl Edited {
    fn with(&self, small: bool) -> Limited {
        let [large, little] = self.values;
        Limited { name: self.name, algorithm: (if small { little } else { large }).to_owned() }
    }

    /// Each client has a path of its own, so that its requests at the endpoint are known from those of others.
    fn path(&self, client: usize) -> String {
        format!("/{}/{client}", self.name)
    }
}

pub(super) async fn run(common: &Common) -> Result<()> {
    if common.proxy != Kind::Gridrouter {
        return Err(Error::new("the limits are gridrouter's own: nothing else can stand in for it here"));
    }
    process::allow_files(2_048)?;
    let pauses: &[u64] = if common.short { &PAUSES_SHORT } else { &PAUSES };
    let mut checks = Checks::new("limits-edit");
    let limits: Vec<Limited> = EDITED.iter().map(|edited| edited.with(false)).collect();
    let mut stand = Stand::start(&limits).await?;
    let traffic: Vec<Traffic> = EDITED
        .iter()
        .map(|edited| {
            let client = |number| Client { tenant: "none".into(), host: "drill".into(), path: edited.path(number) };
            let clients: Vec<Client> = (0..edited.clients.0).map(client).collect();
            Traffic::start(stand.listen, &clients, edited.clients.1)
        })
        .collect();
    output::progress(format_args!("{} edits under load at http://{}", pauses.len(), stand.listen));
    let mut edits = Vec::new();
    let mut small = false;
    for pause in pauses {
        sleep(Duration::from_millis(*pause)).await;
        small = !small;
        for edited in &EDITED {
            replace(&stand.file(edited.name), &edited.with(small).document())?;
        }
        edits.push(Instant::now());
    }
    sleep(Duration::from_millis(1_500)).await;
    stand.router.still_runs()?;
    let end = Instant::now();

    let mut longest = Duration::ZERO;
    let events: Vec<Vec<Event>> = traffic.iter().map(Traffic::all).collect();
    drop(traffic);
    let seen: Vec<Seen> = EDITED.iter().zip(&events).map(|(edited, events)| see(edited, events, &stand)).collect();
    for (edited, seen) in EDITED.iter().zip(&seen).filter(|(edited, _)| !edited.waits) {
        checks.note(
            &format!("{}: longest way to the endpoint, ms", edited.name),
            rounded(seen.way.as_secs_f64() * 1_000.0),
        );
        longest = longest.max(seen.way);
    }
    for ((edited, seen), events) in EDITED.iter().zip(&seen).zip(&events) {
        answers(edited, seen, events, &mut checks);
        // Somebody who came to the endpoint was let through before, by as much as the way there took at the most.
        let slack = if edited.waits { longest + TIMER } else { seen.way };
        let counts = windows::LENGTHS
            .map(|window| (window, windows::most(&seen.arrivals, window), edited.allowed.within(window + slack)));
        let shown = counts.map(|(window, most, allowed)| format!("{most} of {allowed} in {window:?}")).join(", ");
        checks.check(
            format_args!("{}: no period sees more than the larger values allow", edited.name),
            counts.iter().all(|(_, most, allowed)| most <= allowed),
            shown,
        );
        if let Some((most, by)) = windows::worst(&seen.arrivals, edited.allowed, slack) {
            checks.check(
                format_args!("{}: nor does a period of any other length", edited.name),
                by <= 0.0,
                format_args!("{most} requests in the worst, {:.1} below what is allowed", -by),
            );
        }
        in_force(edited, seen, &edits, end, small, &mut checks);
    }
    checks.finish(common)
}

/// What was seen of one limit.
struct Seen {
    /// When requests came to the endpoint, in order.
    arrivals: Vec<Arrival>,
    /// The longest time from when a request was sent to when it came.
    way: Duration,
    /// Requests at the endpoint that cannot be told from others.
    unknown: usize,
}

/// Puts together what the clients and the endpoint saw: the requests of one client come one after the other.
fn see(edited: &Edited, events: &[Event], stand: &Stand) -> Seen {
    let mut seen = Seen { arrivals: Vec::new(), way: Duration::ZERO, unknown: 0 };
    for client in 0..edited.clients.0 {
        let visits = stand.journal.visits(&edited.path(client));
        let passed: Vec<&Event> =
            events.iter().filter(|event| event.client == client && event.outcome.is_good()).collect();
        // One may be under way in the end.
        seen.unknown += visits.len().abs_diff(passed.len()).saturating_sub(1);
        for (visit, event) in visits.iter().zip(&passed) {
            seen.way = seen.way.max(visit.came.saturating_duration_since(event.sent));
        }
        seen.arrivals.extend(visits.iter().map(|visit| visit.came));
    }
    seen.arrivals.sort_unstable();
    seen
}

fn answers(edited: &Edited, seen: &Seen, events: &[Event], checks: &mut Checks) {
    let fails = |event: &&Event| match &event.outcome {
        Outcome::Answered { status: 429, reject: Some((code, _)), .. } => code != "limit_exceeded",
        Outcome::Answered { .. } | Outcome::CutShort(_) | Outcome::Failed(_) => !event.outcome.is_good(),
    };
    let failed = tally(events.iter().filter(fails).map(|event| event.outcome.brief()));
    checks.check(
        format_args!("{}: every request is let through or refused by the limit", edited.name),
        failed == "nothing" && seen.unknown == 0,
        format_args!("{failed} else of {} requests, {} let through", events.len(), seen.arrivals.len()),
    );
}

/// The last two edits are left alone for long enough to be in force: the small values first, then the large ones.
fn in_force(edited: &Edited, seen: &Seen, edits: &[Instant], end: Instant, small: bool, checks: &mut Checks) {
    let [.., low, high] = edits else { return };
    let count = |from: Instant, until: Instant| seen.arrivals.iter().filter(|at| (from..until).contains(*at)).count();
    let second = Duration::from_secs(1);
    let (little, much) = (count(*high - second, *high), count(end - second, end));
    checks.check(
        format_args!("{}: the edits are in force in the end", edited.name),
        // What they say, and what one window more could have: these are not about exactness.
        !small && low < high && little <= 25 && much >= 500,
        format_args!("{little} a second by the small values, {much} by the large ones"),
    );
}
