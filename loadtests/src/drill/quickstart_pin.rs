//! The quickstart under k6: its pin is edited again and again, and then a document broken, while twenty tenants send
//! requests. `loadtests/k6/pin.js` notes who was answered by which cell; this edits, and asserts on what k6 noted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::checks::{Checks, tally};
use super::demo::{self, Demo};
use super::{Common, holds_within, replace};
use crate::error::{Context, Error, Result};
use crate::k6::{Answer, K6};
use crate::output;
use crate::proxies::{Kind, gridrouter};

const TENANTS: usize = 20;
/// The tenant that the quickstart pins, and where its document is.
const MOVED: &str = "acme";
const PINS: &str = "tenants.yaml";
/// What an edit may take.
const PROMISED: i64 = 1_000;
/// Nothing takes this long, however busy the machine: it is for what never happens.
const PATIENCE: Duration = Duration::from_secs(30);

/// Documents to break, each with the line that the mistake follows: a route that k6 uses, among others in one file, and
/// the pin, which must stay where the last edit put it.
const BROKEN: [(&str, &str); 2] = [("routes.yaml", "name: checkout\n"), (PINS, "name: acme\n")];
const SYNTAX_ERROR: &str = "limits: [unclosed\n";

/// How much is done.
struct Form {
    edits: usize,
    /// The answers of each tenant in each phase.
    answers: usize,
    /// How long after an edit the tenant is followed, at least, in milliseconds.
    followed: i64,
    /// Whether the promised second is asserted. A busy machine may stop everything for longer.
    in_time: bool,
}

/// Where each tenant lives.
type Homes = BTreeMap<String, String>;

pub(super) async fn run(common: &Common) -> Result<()> {
    if common.proxy != Kind::Gridrouter {
        return Err(Error::new("the quickstart is gridrouter's own: nothing else can stand in for it here"));
    }
    let form = if common.short {
        Form { edits: 2, answers: 5, followed: 0, in_time: false }
    } else {
        Form { edits: 10, answers: 30, followed: 2 * PROMISED, in_time: true }
    };
    let mut demo = Demo::start(Path::new(demo::DOCUMENTS)).await?;
    let mut k6 = K6::start(demo.listen, demo.directory.path())?;
    output::progress(format_args!("k6 drives http://{}", demo.listen));
    let mut checks = Checks::new("quickstart-pin");

    let mut homes = settle(&mut k6, &form, &mut checks).await?;
    if !edits(&demo, &mut k6, &form, &mut homes, &mut checks).await? {
        return checks.finish(common);
    }
    for (file, line) in BROKEN {
        syntax_error(&demo, &mut k6, &form, &homes, file, line, &mut checks).await?;
    }
    let totals = k6.stop().await?;
    demo.router.still_runs()?;

    let cells = cells_of(k6.answers());
    let spread = cells.iter().filter(|(tenant, cells)| tenant.as_str() != MOVED && cells.len() != 1).count();
    checks.check(
        format_args!("from first to last, no tenant but {MOVED} was answered by two cells"),
        spread == 0 && cells.len() == TENANTS,
        format_args!("{spread} of {} were", cells.len().saturating_sub(1)),
    );
    let bad = tally(k6.answers().iter().filter(|answer| answer.outcome != "ok").map(|answer| answer.outcome.clone()));
    checks.check(
        "no request failed",
        bad == "nothing" && totals.failed == 0,
        format_args!("{bad}; k6 itself counts {} failed of {} requests", totals.failed, totals.requests),
    );
    checks.finish(common)
}

/// Waits until k6 has heard from every tenant, and notes where each lives.
async fn settle(k6: &mut K6, form: &Form, checks: &mut Checks) -> Result<Homes> {
    hear(k6, 0, 0, form.answers).await?;
    let cells = cells_of(k6.answers());
    let shown = cells.values().map(|cells| cells.iter().cloned().collect::<Vec<_>>().join("+"));
    checks.check(
        format_args!("every one of {TENANTS} tenants reaches one and the same cell"),
        cells.len() == TENANTS && cells.values().all(|cells| cells.len() == 1),
        tally(shown),
    );
    let homes: Homes =
        cells.into_iter().filter_map(|(tenant, cells)| Some((tenant, cells.into_iter().next()?))).collect();
    if homes.values().collect::<BTreeSet<_>>().len() < 2 {
        return Err(Error::new("all tenants live in one cell, so none can be moved: look at the quickstart's grid"));
    }
    Ok(homes)
}

/// Moves the pin from cell to cell; false when it does not move, and there is no point in going on.
async fn edits(demo: &Demo, k6: &mut K6, form: &Form, homes: &mut Homes, checks: &mut Checks) -> Result<bool> {
    let cells: Vec<String> = homes.values().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let file = demo.document(PINS);
    let mut slowest = 0;
    for edit in 0..form.edits {
        let from = homes.get(MOVED).cloned().unwrap_or_default();
        let next = cells.iter().position(|cell| *cell == from).map_or(0, |at| (at + 1) % cells.len());
        let to = cells.get(next).cloned().unwrap_or_default();
        let text = exchanged(&file, &format!("cell: {from}"), &format!("cell: {to}"))?;
        let before = k6.answers().len();
        // Editors write a new file and rename it, or write over the old one.
        let way = if edit % 2 == 0 { "renamed" } else { "written over" };
        if edit % 2 == 0 {
            replace(&file, &text)?;
        } else {
            std::fs::write(&file, text).context(format_args!("cannot write {}", file.display()))?;
        }
        let edited = now();
        let arrived = |answers: &[Answer]| {
            answers.iter().skip(before).any(|answer| answer.tenant == MOVED && answer.cell.as_ref() == Some(&to))
        };
        // Whether it did is asserted below, on what was heard.
        let _ = k6.wait(PATIENCE, arrived).await?;
        hear(k6, before, now().max(edited + form.followed), form.answers).await?;

        let since = k6.answers().get(before..).unwrap_or_default();
        let path = follow(since.iter().filter(|answer| answer.tenant == MOVED), &from, &to, edited);
        let within = if form.in_time { " within 1 s" } else { "" };
        checks.check(
            format_args!("the edited pin ({way}) moves {MOVED} from {from} to {to}{within}, for good"),
            path.moved() && (!form.in_time || path.in_time()),
            &path,
        );
        let Some(first) = path.first_there else { return Ok(false) };
        slowest = slowest.max(first);
        homes.insert(MOVED.to_owned(), to);
        let others = since.iter().filter(|answer| answer.tenant != MOVED);
        let strays = astray(others, homes);
        checks.check("and nobody else", strays == 0, format_args!("{strays} answers from another cell"));
    }
    checks.note("slowest move, ms", slowest);
    Ok(true)
}

/// Breaks one document and repairs it.
async fn syntax_error(
    demo: &Demo,
    k6: &mut K6,
    form: &Form,
    homes: &Homes,
    file: &str,
    line: &str,
    checks: &mut Checks,
) -> Result<()> {
    let path = demo.document(file);
    let whole = std::fs::read_to_string(&path).context(format_args!("cannot read {}", path.display()))?;
    let broken = exchanged(&path, line, &format!("{line}{SYNTAX_ERROR}"))?;
    let snapshot = gridrouter::ask(demo.admin, "/snapshot").await?;
    let before = k6.answers().len();
    replace(&path, &broken)?;
    let document = line.trim_start_matches("name: ").trim_end();
    let named = holds_within(PATIENCE, async || quarantined(demo).await.is_ok_and(|found| found == [document])).await;
    hear(k6, before, now(), form.answers).await?;
    let seen = quarantined(demo).await?;
    checks.check(
        format_args!("with a syntax error in {document} of {file}, /ready stays 200 and names that document alone"),
        named && seen == [document],
        format_args!("quarantined: {}", seen.join(", ")),
    );
    let strays = astray(k6.answers().iter().skip(before), homes);
    let heard = k6.answers().len() - before;
    let same = gridrouter::ask(demo.admin, "/snapshot").await? == snapshot;
    checks.check(
        "and nothing else changes",
        strays == 0 && same,
        format_args!(
            "{strays} of {heard} answers from another cell; /snapshot is {}",
            if same { "the same, byte for byte" } else { "another" }
        ),
    );
    replace(&path, &whole)?;
    let healed = holds_within(PATIENCE, async || quarantined(demo).await.is_ok_and(|found| found.is_empty())).await;
    checks.check(
        "repaired, /ready names nothing",
        healed,
        format_args!("{} quarantined", quarantined(demo).await?.len()),
    );
    // A tenant whose request hangs would be missed here.
    hear(k6, before, now(), form.answers).await
}

/// The names of the documents that `/ready` says are quarantined; an error when it is not 200.
async fn quarantined(demo: &Demo) -> Result<Vec<String>> {
    let (status, body) = gridrouter::ready(demo.admin).await?;
    if status != 200 {
        return Err(Error::new(format!("/ready answers {status}: {body}")));
    }
    let body: serde_json::Value = serde_json::from_str(&body).context("/ready is not JSON")?;
    let list = body.get("quarantined").and_then(|list| list.as_array());
    let list = list.ok_or_else(|| Error::new(format!("/ready does not say what is quarantined: {body}")))?;
    let name = |entry: &serde_json::Value| Some(entry.get("id")?.get("name")?.as_str()?.to_owned());
    Ok(list.iter().map(|entry| name(entry).unwrap_or_else(|| entry.to_string())).collect())
}

/// Reads k6 until each tenant has had `count` answers, after the first `skipped` of all, to requests sent at `from` or
/// later.
async fn hear(k6: &mut K6, skipped: usize, from: i64, count: usize) -> Result<()> {
    let mut missing = 0;
    let heard = |answers: &[Answer]| {
        let mut counts = BTreeMap::<&str, usize>::new();
        for answer in answers.iter().skip(skipped).filter(|answer| answer.sent >= from) {
            *counts.entry(&answer.tenant).or_default() += 1;
        }
        missing = TENANTS.saturating_sub(counts.values().filter(|heard| **heard >= count).count());
        missing == 0
    };
    if k6.wait(PATIENCE, heard).await? {
        return Ok(());
    }
    Err(Error::new(format!("{missing} of {TENANTS} tenants had no {count} answers in {} s", PATIENCE.as_secs())))
}

/// The text of a file with one thing exchanged, which must be there once.
fn exchanged(file: &Path, old: &str, new: &str) -> Result<String> {
    let text = std::fs::read_to_string(file).context(format_args!("cannot read {}", file.display()))?;
    match text.matches(old).count() {
        1 => Ok(text.replacen(old, new, 1)),
        count => Err(Error::new(format!("{} has {old:?} {count} times; the drill needs it once", file.display()))),
    }
}

/// Milliseconds since 1970, as k6 notes them.
fn now() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as i64)
}

/// The cells that answered each tenant.
fn cells_of(answers: &[Answer]) -> BTreeMap<String, BTreeSet<String>> {
    let mut cells = BTreeMap::<String, BTreeSet<String>>::new();
    for answer in answers {
        cells.entry(answer.tenant.clone()).or_default().extend(answer.cell.clone());
    }
    cells
}

/// How many answers came from another cell than the tenant's. What no cell answered has failed, which is asserted apart.
fn astray<'a>(answers: impl Iterator<Item = &'a Answer>, homes: &Homes) -> usize {
    answers.filter(|answer| answer.cell.is_some() && homes.get(&answer.tenant) != answer.cell.as_ref()).count()
}

/// How a tenant went from one cell to another: times in milliseconds from the edit to when the request was sent.
#[derive(Debug, PartialEq, Eq)]
struct Moved {
    first_there: Option<i64>,
    last_before: Option<i64>,
    /// Answers from the new cell.
    there: usize,
    /// Answers from the old cell after the first from the new one, and those from any other.
    astray: usize,
}

/// Follows the answers of one tenant, in order.
fn follow<'a>(answers: impl Iterator<Item = &'a Answer>, from: &str, to: &str, edited: i64) -> Moved {
    let mut moved = Moved { first_there: None, last_before: None, there: 0, astray: 0 };
    for Answer { cell, sent, .. } in answers {
        let Some(cell) = cell else { continue };
        if cell == to {
            moved.first_there.get_or_insert(sent - edited);
            moved.there += 1;
        } else if cell == from && moved.first_there.is_none() {
            moved.last_before = Some(sent - edited);
        } else {
            moved.astray += 1;
        }
    }
    moved
}

impl Moved {
    fn moved(&self) -> bool {
        self.there > 0 && self.astray == 0
    }

    fn in_time(&self) -> bool {
        self.first_there.is_some_and(|after| after < PROMISED) && self.last_before.is_none_or(|after| after < PROMISED)
    }
}

impl std::fmt::Display for Moved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.first_there, self.last_before) {
            (Some(first), Some(last)) => write!(f, "last before at {last} ms, first there at {first} ms")?,
            (Some(first), None) => write!(f, "first there at {first} ms")?,
            (None, _) => write!(f, "it did not move")?,
        }
        write!(f, ", {} answers there, {} elsewhere since", self.there, self.astray)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(cells: &[(&str, i64)]) -> Vec<Answer> {
        let answer = |(cell, sent): &(&str, i64)| Answer {
            tenant: MOVED.to_owned(),
            cell: Some((*cell).to_owned()).filter(|cell| !cell.is_empty()),
            outcome: "ok".to_owned(),
            sent: *sent,
        };
        cells.iter().map(answer).collect()
    }

    fn path(cells: &[(&str, i64)]) -> Moved {
        follow(answers(cells).iter(), "eu-1", "eu-2", 1_000)
    }

    #[test]
    fn a_move_is_followed() {
        let moved = path(&[("eu-1", 990), ("eu-1", 1_040), ("eu-2", 1_140), ("eu-2", 1_190)]);
        assert_eq!(moved, Moved { first_there: Some(140), last_before: Some(40), there: 2, astray: 0 });
        assert!(moved.moved() && moved.in_time());
    }

    #[test]
    fn a_late_move_is_a_move_but_not_in_time() {
        let moved = path(&[("eu-1", 1_999), ("eu-2", 2_000)]);
        assert!(moved.moved() && !moved.in_time());
    }

    #[test]
    fn what_stays_comes_back_or_goes_elsewhere_has_not_moved() {
        for cells in [
            &[("eu-1", 1_100), ("eu-1", 1_200)][..],
            &[("eu-1", 1_100), ("eu-2", 1_200), ("eu-1", 1_300)],
            &[("eu-1", 1_100), ("us-1", 1_200), ("eu-2", 1_300)],
        ] {
            assert!(!path(cells).moved(), "{cells:?}");
        }
    }

    #[test]
    fn answers_from_other_cells_are_astray() {
        let homes = Homes::from([(MOVED.to_owned(), "eu-1".to_owned())]);
        // The last is nobody's answer.
        let answers = answers(&[("eu-1", 0), ("eu-2", 1), ("", 2)]);
        assert_eq!(astray(answers.iter(), &homes), 1);
        assert_eq!(astray(answers.iter(), &Homes::new()), 2);
    }
}
