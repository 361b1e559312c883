//! `gridctl get`: what a store holds.

use std::sync::Arc;

use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::codec::SourceDocument;
use gridrouter_config::ids::DocumentId;

use super::format::Format;
use super::{Status, apply, attempt, complete, open};
use crate::kinds::{Selection, select};
use crate::output::Output;
use crate::plan::document_yaml;
use crate::site::Site;
use crate::summary::summary;
use crate::table::columns;
use crate::target::Target;

/// Print documents of a store.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Get {
    /// KIND, KIND NAME… or KIND/NAME…; everything without one. Kinds in any case, in the plural, or short:
    /// listener (li), grid (gr), cell (ce), service (svc), route (rt), limit (lim), plan (pl), tenant (tn), shift (sh), move (mv),
    /// certificate (crt)
    #[arg(value_name = "DOCUMENT", add = ArgValueCompleter::new(complete::documents))]
    documents: Vec<String>,
    /// How to print them
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

const EXAMPLES: &str = "\
With `-o json` one document that is named is an object; everything else is an array.

Exit code: 0 fine, 1 a document is not there or cannot be read, 2 wrong usage, or the store cannot be reached.

Examples:
  gridctl get --store config/examples/quickstart
  gridctl get --store config/examples/quickstart tenants -o wide
  gridctl get --store config/examples/quickstart route checkout -o yaml
  gridctl get --store etcd://127.0.0.1:2379 -o name";

type Found<'a> = (&'a DocumentId, &'a Arc<SourceDocument>);

impl Get {
    pub(super) fn run(&self, target: Result<Target, String>, output: &mut Output) -> Status {
        let outcome = attempt(output, |output| {
            let selection = select(&self.documents)?;
            Ok((selection, open(target, output)?.1))
        });
        let (selection, site) = match outcome {
            Ok(parts) => parts,
            Err(status) => return status,
        };
        let mut status = Status::Fine;
        let found: Vec<Found<'_>> = match &selection {
            Selection::All => site.documents.iter().collect(),
            Selection::Kind(kind) => site.documents.iter().filter(|(id, _)| id.kind == *kind).collect(),
            Selection::Documents(ids) => {
                let mut found = Vec::new();
                for id in ids {
                    if let Some(one) = site.documents.get_key_value(id) {
                        found.push(one);
                    } else {
                        status = Status::Problems;
                        output.error(missing(&site, id));
                    }
                }
                found
            }
        };
        let single = matches!(&selection, Selection::Documents(ids) if ids.len() == 1);
        if !found.is_empty() || status == Status::Fine {
            print(self.output, single, &found, output);
        }
        for (place, why) in &site.faults {
            output.note(format_args!("{place}: {why}"));
        }
        let unreadable: Vec<DocumentId> = site.broken.iter().flat_map(|broken| broken.ids.clone()).collect();
        if selection == Selection::All && !site.broken.is_empty() {
            output.error(format_args!("not shown, because they cannot be read: {}", super::change::some(&unreadable)));
            status = Status::Problems;
        }
        status
    }
}

fn missing(site: &Site, id: &DocumentId) -> String {
    if let Some(broken) = site.broken(id) {
        let text = String::from_utf8_lossy(&broken.entry.bytes);
        return format!("{id} cannot be read; it holds: {}", crate::table::printable(&text));
    }
    match site.foreign.get(id) {
        Some(why) => format!("{id} {why}"),
        None => apply::not_there(site, id),
    }
}

fn print(format: Format, single: bool, found: &[Found<'_>], output: &mut Output) {
    match format {
        Format::Table => {
            let rows: Vec<_> = found
                .iter()
                .map(|(id, one)| vec![id.kind.to_string(), id.name.to_string(), summary(&one.raw)])
                .collect();
            output.text(columns(&["KIND", "NAME", "WHAT"], &rows));
        }
        Format::Wide => {
            let row = |(id, one): &Found<'_>| {
                let digest = one.digest.to_string();
                vec![id.kind.to_string(), id.name.to_string(), digest, one.place(), summary(&one.raw)]
            };
            output.text(columns(
                &["KIND", "NAME", "DIGEST", "PLACE", "WHAT"],
                &found.iter().map(row).collect::<Vec<_>>(),
            ));
        }
        Format::Name => {
            for (id, _) in found {
                output.line(id);
            }
        }
        Format::Yaml => {
            for (n, (_, document)) in found.iter().enumerate() {
                if output.is_closed() {
                    return;
                }
                if n > 0 {
                    output.line("---");
                }
                output.text(document_yaml(document));
            }
        }
        Format::Json => match found {
            [(_, one)] if single => output.json(&one.raw),
            _ => output.json(&found.iter().map(|(_, one)| &one.raw).collect::<Vec<_>>()),
        },
    }
}
