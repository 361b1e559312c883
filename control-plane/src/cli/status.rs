//! `gridctl status`: which generation is in force, and which routers have it.

use clap::Args;
use gridrouter_config::live::RouterStatus;
use gridrouter_config::store::etcd::Head;
use serde_json::{Value, json};

use super::format::{Format, print_value};
use super::{Status as Exit, attempt, open};
use crate::acknowledge::{Goal, Standing, standings};
use crate::output::Output;
use crate::site::{Opened, Site, in_our_words};
use crate::table::{age, columns, now, plural, printable};
use crate::target::{Target, Where};

/// Print which generation is in force, what is wrong with the store, and which live routers have it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Status {
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

const EXAMPLES: &str = "\
A router is live while it keeps a lease in etcd; one that is gone for longer than that is not listed.
  up to date  it has the generation of the head, and its documents
  behind      it has an earlier one; ahead: a later one
  refuses N   it has the generation, and N documents of it are not in force in it; its /ready says which and why
  DIVERGED    it has the same generation with other documents
  HELD        it keeps what it has, because the store was emptied, restored or replaced; see apply --adopt
  another history   what it has is of another lineage than the head, whatever its number

Exit code: 0 every live router has the generation of the head and its documents, and nothing is wrong with the store;
1 otherwise; 2 the store cannot be reached, or is a directory.

Examples:
  gridctl status --store etcd://127.0.0.1:2379
  gridctl status --store etcd://127.0.0.1:2379 -o wide
  gridctl status --store etcd://127.0.0.1:2379 -o json";

impl Status {
    pub(super) fn run(&self, target: Result<Target, String>, output: &mut Output) -> Exit {
        let outcome = attempt(output, |output| {
            if let Ok(Target { place: Where::Directory(path), .. }) = &target {
                let path = path.display();
                return Err(format!("directory {path} has no live routers; ask each router's /ready"));
            }
            let (mut place, site) = open(target, output)?;
            let Opened::Etcd { writer, .. } = &mut place.store else {
                return Err("the store has no routers".to_owned());
            };
            let routers = writer.routers().map_err(|error| in_our_words(&error.explain()))?;
            Ok((site, routers))
        });
        let (site, routers) = match outcome {
            Ok(parts) => parts,
            Err(exit) => return exit,
        };
        let standings = standings(&routers, &Goal::new(site.generation(), site.head()));
        let routers: Vec<_> = standings.into_iter().zip(routers).collect();
        let faults = faults(&site);
        let healthy = faults.is_empty() && routers.iter().all(|(standing, _)| *standing == Standing::UpToDate);
        match self.output {
            Format::Table => print(&site, &routers, &faults, false, output),
            Format::Wide => print(&site, &routers, &faults, true, output),
            Format::Name => routers.iter().for_each(|(_, router)| output.line(printable(&router.id))),
            Format::Json | Format::Yaml => {
                print_value(self.output, &as_json(&site, &routers, &faults, healthy), output);
            }
        }
        if healthy { Exit::Fine } else { Exit::Problems }
    }
}

/// What is wrong with the store itself: where, and what.
fn faults(site: &Site) -> Vec<(String, String)> {
    let foreign = site.foreign.iter().map(|(id, why)| (id.to_string(), why.clone()));
    let complaint = site.complaint.iter().map(|why| ("head".to_owned(), why.clone()));
    let broken = site.broken.iter().map(|broken| (broken.entry.path.to_string(), "cannot be read".to_owned()));
    foreign.chain(complaint).chain(broken).chain(site.faults.clone()).collect()
}

fn print(
    site: &Site,
    routers: &[(Standing, RouterStatus)],
    faults: &[(String, String)],
    wide: bool,
    output: &mut Output,
) {
    let now = now();
    match site.head() {
        None => output.line("nothing has been published"),
        Some(head) => print_head(head, now, output),
    }
    for (place, why) in faults {
        output.line(format_args!("fault       {}: {}", printable(place), printable(why)));
    }
    if routers.is_empty() {
        output.line("routers     none is live");
        return;
    }
    let there = routers.iter().filter(|(standing, _)| *standing == Standing::UpToDate).count();
    output.line(format_args!("routers     {there} of {} up to date\n", routers.len()));
    let row = |(standing, router): &(Standing, RouterStatus)| {
        let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let digest = router.digest.get(..12).filter(|_| !wide).unwrap_or(&router.digest);
        let mut row = vec![
            router.id.clone(),
            or_none(router.address.as_deref().unwrap_or_default()),
            or_none(&router.version),
            router.generation.to_string(),
            or_none(digest),
            router.state.as_str().to_owned(),
            router.quarantined.to_string(),
            age(router.since, now),
            age(router.started, now),
            standing.text(router),
        ];
        if wide {
            row.push(or_none(&router.lineage));
        }
        row
    };
    let mut head =
        vec!["ROUTER", "ADDRESS", "VERSION", "GENERATION", "DIGEST", "STATE", "QUARANTINED", "SINCE", "UP", "STANDING"];
    if wide {
        head.push("LINEAGE");
    }
    output.text(columns(&head, &routers.iter().map(row).collect::<Vec<_>>()));
}

fn print_head(head: &Head, now: u64, output: &mut Output) {
    let by = format!("{}, {} ago", head.author, age(head.time, now));
    output.line(format_args!("generation  {}", head.generation));
    output.line(format_args!("published   by {}", printable(&by)));
    if !head.message.is_empty() {
        output.line(format_args!("message     {}", printable(&head.message)));
    }
    let documents = usize::try_from(head.documents).unwrap_or(usize::MAX);
    output.line(format_args!("documents   {}", plural(documents, "document")));
    output.line(format_args!("digest      {}", head.digest));
    output.line(format_args!("lineage     {}", printable(&head.lineage)));
    let settled = match &head.staged {
        None => "yes".to_owned(),
        Some(staged) => format!("no, {} are left for the next writer", plural(staged.chunks, "chunk")),
    };
    output.line(format_args!("settled     {settled}"));
}

fn as_json(site: &Site, routers: &[(Standing, RouterStatus)], faults: &[(String, String)], healthy: bool) -> Value {
    let router = |(standing, router): &(Standing, RouterStatus)| {
        let mut value = json!(router);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("standing".to_owned(), json!(standing));
        }
        value
    };
    let faults: Vec<Value> = faults.iter().map(|(place, why)| json!({ "place": place, "what": why })).collect();
    let routers: Vec<Value> = routers.iter().map(router).collect();
    json!({
        "healthy": healthy,
        "settled": site.head().is_none_or(|head| head.staged.is_none()),
        "head": site.head(),
        "faults": faults,
        "routers": routers,
    })
}
