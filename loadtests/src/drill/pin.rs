//! A pin edited in its file, and then a document broken, while twenty tenants send requests.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::checks::{Checks, tally};
use super::{Common, Stage, holds_within, replace};
use crate::error::{Error, Result};
use crate::proxies::gridrouter;
use crate::site::{Pin, Site};
use crate::traffic::{Client, Event, Traffic};

const TENANTS: usize = 20;
/// The one that is moved, and the one whose document is broken. Both are pinned.
const MOVED: usize = 3;
const BROKEN: usize = 5;

pub(super) async fn run(common: &Common) -> Result<()> {
    let mut checks = Checks::new("pin");
    let mut site = Site::new(3, &["checkout"], 2)?;
    // Half of the tenants are pinned, the others placed.
    let pin = |(number, cell): (usize, &String)| Pin { tenant: name(number), cell: cell.clone() };
    site.pins = (0..TENANTS / 2).zip(site.cells.iter().cycle()).map(pin).collect();
    let mut stage = Stage::set(common.proxy, site).await?;
    let phase = if common.short { Duration::from_millis(700) } else { Duration::from_secs(2) };

    let clients: Vec<Client> = (0..TENANTS)
        .map(|number| Client {
            tenant: name(number),
            host: "checkout.example.com".to_owned(),
            path: "/api/pin".to_owned(),
        })
        .collect();
    let start = Instant::now();
    let traffic = Traffic::start(stage.site.listen, &clients, Duration::from_millis(20));
    sleep(phase).await;

    // Before: one cell each, and the pinned ones where they are pinned.
    let homes = cells_of(&traffic.between(start, Instant::now()));
    checks.check("every tenant's requests reach one and the same cell", homes.iter().all(|cells| cells.len() == 1), {
        let counts = homes.iter().map(|cells| cells.iter().cloned().collect::<Vec<_>>().join("+"));
        tally(counts)
    });
    let astray = stage
        .site
        .pins
        .iter()
        .enumerate()
        .filter(|(number, pin)| homes.get(*number).is_none_or(|cells| !cells.contains(&pin.cell)));
    let astray = astray.count();
    checks.check("pinned tenants are where they are pinned", astray == 0, format_args!("{astray} are not"));

    // The pin moves.
    let before = stage.site.pinned(&name(MOVED)).unwrap_or_default().to_owned();
    let target = stage.site.cells.iter().find(|cell| **cell != before).cloned().unwrap_or_default();
    for pin in stage.site.pins.iter_mut().filter(|pin| pin.tenant == name(MOVED)) {
        pin.cell.clone_from(&target);
    }
    stage.write_pins()?;
    let edited = Instant::now();
    sleep(Duration::from_secs(1) + phase).await;
    let after = traffic.between(edited, Instant::now());
    let is_moved = |event: &&Event| event.client == MOVED;
    let first_there = after.iter().filter(is_moved).find(|event| event.outcome.cell() == Some(&target));
    let last_here = after.iter().filter(is_moved).rfind(|event| event.outcome.cell() == Some(&before));
    let since = |event: Option<&Event>| event.map(|event| (event.sent + event.took - edited).as_millis());
    let limit = Duration::from_secs(1);
    let in_time = first_there.is_some_and(|event| event.sent - edited < limit)
        && last_here.is_none_or(|event| event.sent - edited < limit);
    checks.check(
        format_args!("the edited pin moves {} from {before} to {target} within 1 s", name(MOVED)),
        in_time,
        match (since(first_there), since(last_here)) {
            (Some(first), last) => {
                format!("first there after {first} ms, last at the old cell after {} ms", last.unwrap_or(0))
            }
            (None, _) => "it did not move".to_owned(),
        },
    );
    let others = others_moved(&traffic.between(start, Instant::now()), &homes);
    checks.check("no other tenant moves", others == 0, format_args!("{others} requests in another cell"));

    if stage.is_gridrouter() {
        broken_document(&stage, &traffic, &mut checks, phase, &homes).await?;
    }
    stage.proxy.still_runs()?;
    let all = traffic.all();
    let bad = all.iter().filter(|event| !event.outcome.is_good()).map(|event| event.outcome.brief());
    let bad = tally(bad);
    checks.check("no request fails", bad == "nothing", format_args!("{bad} of {} requests", all.len()));
    checks.finish(common)
}

/// Breaks one document in the middle of the file in two ways, and repairs it.
async fn broken_document(
    stage: &Stage,
    traffic: &Traffic,
    checks: &mut Checks,
    phase: Duration,
    homes: &[BTreeSet<String>],
) -> Result<()> {
    let whole = gridrouter::tenants(&stage.site.pins);
    let document = name(BROKEN);
    let (line, broken_line) = (format!("name: {document}\n"), format!("name: {document}\ncell: [unclosed\n"));
    let unknown_line = format!("name: {document}\ncolour: blue\n");
    if !whole.contains(&line) {
        return Err(Error::new(format!("the file of pins has no line {line:?}")));
    }
    for (what, text) in [
        ("a syntax error", whole.replace(&line, &broken_line)),
        ("an unknown field", whole.replace(&line, &unknown_line)),
    ] {
        let begin = Instant::now();
        let names_it = async |wanted: bool| match gridrouter::ready(stage.site.admin).await {
            Ok((status, body)) => {
                let named =
                    body.contains(&document) || (what == "a syntax error" && body.contains(gridrouter::TENANTS));
                status == 200 && named == wanted
            }
            Err(_) => false,
        };
        replace(&stage.pins_file(), &text)?;
        let said = holds_within(Duration::from_secs(3), async || names_it(true).await).await;
        let (status, body) = gridrouter::ready(stage.site.admin).await?;
        checks.check(
            format_args!("with {what} in the document of {document}, /ready stays 200 and names it"),
            said,
            format_args!("{status} {}", body.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
        );
        sleep(phase).await;
        let others = others_moved(&traffic.between(begin, Instant::now()), homes);
        checks.check(
            format_args!("with {what}, nobody moves"),
            others == 0,
            format_args!("{others} requests in another cell"),
        );
        replace(&stage.pins_file(), &whole)?;
        let healed = holds_within(Duration::from_secs(3), async || names_it(false).await).await;
        checks.check(format_args!("{what} repaired, /ready names it no more"), healed, "as said");
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("tenant-{number:02}")
}

/// The cells that answered each tenant.
fn cells_of(events: &[Event]) -> Vec<BTreeSet<String>> {
    let mut cells = vec![BTreeSet::new(); TENANTS];
    for event in events {
        if let (Some(cells), Some(cell)) = (cells.get_mut(event.client), event.outcome.cell()) {
            cells.insert(cell.to_owned());
        }
    }
    cells
}

/// How many requests of tenants that should not have moved were answered in another cell than theirs.
fn others_moved(events: &[Event], homes: &[BTreeSet<String>]) -> usize {
    let strays = |event: &&Event| {
        event.client != MOVED
            && event.outcome.cell().is_some_and(|cell| homes.get(event.client).is_none_or(|home| !home.contains(cell)))
    };
    events.iter().filter(strays).count()
}
