//! `gridctl shift differences`: which answers of the new track to copies were others than those of the old one.

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::tracks::mirror::{Bodies, Difference, MirrorCounts};
use serde::Serialize;

use super::scene::{RouterFlags, Scene, find};
use crate::cli::format::{Shown, print_yaml};
use crate::cli::{Status, complete};
use crate::ledger::Ledger;
use crate::output::Output;
use crate::table::{columns, printable, utc};
use crate::target::Target;

/// List where the new track answered copies of requests otherwise than the old track answered the requests.
///
/// Routers keep the latest 100 of each of their threads; how many there were is counted in full.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Differences {
    /// The shift
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::shifts))]
    name: String,
    /// How to print them
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
    #[command(flatten)]
    routers: RouterFlags,
}

const EXAMPLES: &str = "\
A shift copies requests where its document says `mirror: {share: 10%}`; `gridctl shift start --mirror 10%` writes that. Copies that
got no answer are differences, too; those that only took longer are not.

Exit code: 0 there are none; 1 there are some; 2 wrong usage, nothing is mirrored, or the store or a router cannot be reached.

Examples:
  gridctl shift differences new --store etcd://127.0.0.1:2379
  gridctl shift differences new --store etcd://127.0.0.1:2379 -o json";

/// What is printed for tools.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    shift: &'a str,
    copies: u64,
    dropped: u64,
    failed: u64,
    compared: u64,
    status_differs: u64,
    bodies_compared: u64,
    bodies_differ: u64,
    slower: u64,
    differences: &'a [Seen<'a>],
    missing: &'a [String],
}

/// A difference, and who saw it.
#[derive(Debug, Serialize)]
struct Seen<'a> {
    router: &'a str,
    cell: &'a str,
    #[serde(flatten)]
    difference: &'a Difference,
}

impl Differences {
    pub(super) fn run(&self, target: Result<Target, String>, output: &mut Output) -> Status {
        let listed = target.and_then(|target| self.list(&target, output));
        listed.unwrap_or_else(|why| {
            output.error(printable(&why));
            Status::Failed
        })
    }

    fn list(&self, target: &Target, output: &mut Output) -> Result<Status, String> {
        let mut scene = Scene::open(target, &self.routers)?;
        output.progress(format_args!("reading {target}"));
        let (_, shift) = find(scene.desk.look()?, &self.name)?;
        let mut ledger = Ledger::default();
        scene.count(&shift, &mut ledger)?;
        if shift.mirror.is_none() && ledger.mirrors().next().is_none() {
            let help = "add `mirror: {share: 10%}` to it; that can be done while it is under way";
            return Err(format!("shift \"{}\" mirrors nothing; {help}", self.name));
        }
        let mut sum = MirrorCounts::default();
        let mut seen = Vec::new();
        for (router, cell, counts) in ledger.mirrors() {
            sum.add(counts);
            seen.extend(counts.differences.iter().map(|difference| Seen { router, cell, difference }));
        }
        seen.sort_by_key(|seen| seen.difference.at);
        self.print(&sum, &seen, ledger.missing(), output);
        Ok(match (sum.differs(), ledger.missing()) {
            (true, _) => Status::Problems,
            (false, []) => Status::Fine,
            (false, _) => Status::Failed,
        })
    }

    fn print(&self, sum: &MirrorCounts, seen: &[Seen<'_>], missing: &[String], output: &mut Output) {
        let said = || Said {
            shift: &self.name,
            copies: sum.copies,
            dropped: sum.dropped,
            failed: sum.failed,
            compared: sum.compared,
            status_differs: sum.status_differs,
            bodies_compared: sum.bodies_compared,
            bodies_differ: sum.bodies_differ,
            slower: sum.slower,
            differences: seen,
            missing,
        };
        match self.output {
            Shown::Json => output.json(&said()),
            Shown::Yaml => print_yaml(&said(), output),
            Shown::Table | Shown::Wide => {
                let wide = matches!(self.output, Shown::Wide);
                if !seen.is_empty() {
                    output.text(table(seen, wide));
                }
                for missing in missing {
                    output.note(printable(missing));
                }
                output.line(format_args!(
                    "{} copies: {} compared, {} with another status, {} of {} with another body, {} without an answer",
                    sum.copies, sum.compared, sum.status_differs, sum.bodies_differ, sum.bodies_compared, sum.failed
                ));
            }
        }
    }
}

fn table(seen: &[Seen<'_>], wide: bool) -> String {
    let mut head = vec!["SEEN", "CELL", "TENANT", "OLD", "NEW", "BODIES", "OLD TOOK", "NEW TOOK", "REQUEST"];
    if wide {
        head.extend(["ROUTE", "ROUTER", "REQUEST ID"]);
    }
    let rows: Vec<Vec<String>> = seen.iter().map(|seen| row(seen, wide)).collect();
    columns(&head, &rows)
}

fn row(seen: &Seen<'_>, wide: bool) -> Vec<String> {
    let Seen { router, cell, difference } = *seen;
    let dash = || "-".to_owned();
    let took = |micros: Option<u64>| micros.map_or_else(dash, crate::plan::analysis::shown);
    let answer = difference.new_status.map(|status| status.to_string());
    let bodies = match (difference.bodies, difference.old_length, difference.new_length) {
        (Bodies::Differ, Some(old), Some(new)) => format!("differ ({old} and {new} B)"),
        (Bodies::NotCompared, ..) => dash(),
        (bodies, ..) => bodies.as_str().to_owned(),
    };
    let mut row = vec![
        utc(difference.at / 1_000),
        cell.to_owned(),
        difference.tenant.clone().unwrap_or_else(dash),
        difference.old_status.to_string(),
        answer.or_else(|| difference.failure.clone()).unwrap_or_else(dash),
        bodies,
        took(difference.old_micros),
        took(difference.new_micros),
        format!("{} {}", difference.method, difference.path),
    ];
    if wide {
        row.extend([difference.route.clone(), router.to_owned(), difference.request_id.clone()]);
    }
    row
}
