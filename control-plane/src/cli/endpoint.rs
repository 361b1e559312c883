//! `gridctl endpoint`: endpoints that register themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::ids::Name;
use gridrouter_config::live::LiveId;
use gridrouter_config::raw;
use gridrouter_config::registrations::Place;
use gridrouter_config::store::etcd::live::{self, Entry, Farewell, Holder, Standing, Terms};
use gridrouter_config::store::etcd::{EtcdOptions, Random};
use gridrouter_config::track::Track;
use gridrouter_config::units::parse_duration;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::format::{Format, print_yaml_part};
use super::{Status, attempt, complete};
use crate::output::Output;
use crate::site::in_our_words;
use crate::table::{columns, printable};
use crate::target::{Target, Where};

/// How often is looked whether somebody wants an end.
const LOOK: Duration = Duration::from_millis(100);
/// The shortest lease: a sign of life a second.
const SHORTEST: Duration = Duration::from_secs(3);
/// The longest, after which everybody would have noticed anyway.
const LONGEST: Duration = Duration::from_hours(1);

/// Register endpoints, and show who is registered.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Endpoint {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Register(Register),
    List(List),
}

const EXAMPLES: &str = "\
Examples:
  gridctl endpoint register --store etcd://10.0.0.1 --service checkout --cell eu-1 10.0.0.5:8080
  gridctl endpoint list --store etcd://10.0.0.1";

/// Keep an endpoint registered until this command is ended.
///
/// Routers send it requests as long as this runs. SIGTERM and SIGINT take it out at once; if this is killed, or its host
/// dies, it is out when its lease ends. While etcd cannot be reached it stays in force, and this keeps trying.
#[derive(Debug, Args)]
#[command(after_help = REGISTER)]
struct Register {
    /// Where the endpoint is, such as 10.0.0.5:8080.
    address: String,
    /// The service that it serves.
    #[arg(long, add = ArgValueCompleter::new(complete::services))]
    service: String,
    /// The cell that it is in; without, it serves routes without a grid.
    #[arg(long, add = ArgValueCompleter::new(complete::cells))]
    cell: Option<String>,
    /// The version that it is of: blue or green.
    #[arg(long, default_value = "blue", value_parser = PossibleValuesParser::new(["blue", "green"]))]
    track: String,
    /// How long it stays in force when it can no longer be taken out, 3s to 1h.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    ttl: String,
    /// Its share of the requests, 1 to 10000.
    #[arg(long)]
    weight: Option<u32>,
    /// Use it only when no other endpoint can be.
    #[arg(long)]
    backup: bool,
    /// What tells it from others that serve the same [default: the address and a random number].
    #[arg(long)]
    id: Option<String>,
}

const REGISTER: &str = "\
Exit code: 0 it was ended by a signal and is deregistered; 1 it was ended by a signal, and etcd did not answer: it stays
registered until its lease ends; 2 wrong usage.

Examples:
  gridctl endpoint register --store etcd://10.0.0.1 --service checkout --cell eu-1 10.0.0.5:8080
  gridctl endpoint register --store etcd://10.0.0.1 --service checkout --ttl 5s '[fd00::7]:8080'";

/// Print every registration.
#[derive(Debug, Args)]
#[command(after_help = LIST)]
struct List {
    /// How to print them.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

const LIST: &str = "\
With `-o json` each line is one object, with `-o yaml` each document: key, value and, where routers do not use it, fault.

Exit code: 0 all registrations are good, 1 some cannot be read, 2 wrong usage or etcd cannot be read.

Examples:
  gridctl endpoint list --store etcd://10.0.0.1
  gridctl endpoint list --store etcd://10.0.0.1 -o json";

/// The etcd that a store is.
fn etcd(target: Result<Target, String>) -> Result<EtcdOptions, String> {
    match target?.place {
        Where::Etcd(options) => Ok(*options),
        Where::Directory(path) => {
            Err(format!("directory {} has no live endpoints; write --store etcd://10.0.0.1:2379", path.display()))
        }
    }
}

impl Endpoint {
    pub(super) fn run(&self, target: Result<Target, String>, output: &mut Output) -> Status {
        let ended = attempt(output, |output| match &self.verb {
            Verb::Register(register) => register.run(etcd(target)?, output),
            Verb::List(list) => list.run(&etcd(target)?, output),
        });
        ended.unwrap_or_else(|failed| failed)
    }
}

impl Register {
    fn run(&self, options: EtcdOptions, output: &mut Output) -> Result<Status, String> {
        let (entry, terms, store) = (self.entry()?, self.terms()?, options.identity());
        let (place, ttl) = (self.place()?, terms.lease);
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&ended))
                .map_err(|error| format!("cannot wait for signals: {error}"))?;
        }
        let holder = Holder::start(options, entry, terms, Random::new()).map_err(|error| error.explain())?;
        output.line(format_args!("registering {} as {place} in {store}", self.address));
        output.flush();
        let mut told = holder.standing();
        while !ended.load(Ordering::Relaxed) {
            let now = holder.wait(&told, LOOK);
            if now != told {
                self.say(&told, &now, ttl, output);
                told = now;
            }
        }
        Ok(match holder.stop() {
            Farewell::TakenBack => {
                output.line("deregistered");
                Status::Fine
            }
            Farewell::Nothing => {
                output.note("nothing is registered");
                Status::Fine
            }
            Farewell::Unanswered => {
                output.error(format_args!("etcd cannot be told; the registration ends with its lease ({ttl:?})"));
                Status::Problems
            }
        })
    }

    fn say(&self, before: &Standing, now: &Standing, ttl: Duration, output: &mut Output) {
        if let (true, None) = (now.registered, &now.trouble) {
            output.line(format_args!("registered {} as {} (lease {ttl:?})", self.address, now.id));
        }
        if let Some(trouble) = now.trouble.as_ref().filter(|_| before.trouble.is_none()) {
            output.error(trouble);
        }
        if before.registered && !now.registered {
            output.error("the lease has ended without etcd's answer; registering again");
        }
        output.flush();
    }

    fn place(&self) -> Result<Place, String> {
        let name = |what: &str, text: &str| Name::parse(text).map_err(|why| format!("{what}: {why}"));
        let cell = self.cell.as_ref().map(|cell| name("cell", cell)).transpose()?;
        Ok(Place { service: name("service", &self.service)?, cell, track: Track::parse(&self.track)? })
    }

    fn entry(&self) -> Result<Entry, String> {
        let endpoint = raw::Endpoint {
            address: self.address.clone(),
            weight: self.weight,
            backup: self.backup.then_some(true),
            down: None,
            max_connections: None,
        };
        Entry::endpoint(self.place()?, endpoint)
    }

    fn terms(&self) -> Result<Terms, String> {
        let lease = parse_duration(&self.ttl).map_err(|why| format!("ttl: {why}"))?;
        if !(SHORTEST..=LONGEST).contains(&lease) || lease.subsec_nanos() != 0 {
            return Err(format!("ttl is {}; write whole seconds, 3s to 1h", self.ttl));
        }
        let id = match &self.id {
            Some(id) => LiveId::parse(id)?,
            // A backend that is started again must not wait for the lease of its earlier life.
            None => LiveId::resembling(&self.address).other(Random::new().number() as u32),
        };
        Ok(Terms { id, lease, memory: None })
    }
}

/// A registration as it is printed.
#[derive(Debug, Serialize)]
struct Row<'a> {
    /// `<service>/<cell>/<track>/<id>`, with `-` for no cell.
    key: &'a str,
    /// The value, as it is.
    value: &'a str,
    /// Why routers do not use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(one: &'a live::Listed) -> Self {
        Row { key: &one.key, value: &one.value, fault: one.fault.as_deref() }
    }
}

impl List {
    fn run(&self, options: &EtcdOptions, output: &mut Output) -> Result<Status, String> {
        let listed = live::endpoints(options, Random::new()).map_err(|error| in_our_words(&error.explain()))?;
        match self.output {
            Format::Json => listed.iter().for_each(|one| output.json_line(&Row::of(one))),
            Format::Yaml => listed.iter().for_each(|one| print_yaml_part(&Row::of(one), output)),
            Format::Name => listed.iter().for_each(|one| output.line(printable(&one.key))),
            Format::Table => {
                let told = |one: &live::Listed| match &one.fault {
                    Some(why) => format!("NOT IN FORCE: {why}"),
                    None => one.value.clone(),
                };
                let rows: Vec<_> = listed.iter().map(|one| vec![one.key.clone(), told(one)]).collect();
                output.text(columns(&["KEY", "VALUE"], &rows));
            }
            Format::Wide => {
                let fault = |one: &live::Listed| one.fault.clone().unwrap_or_else(|| "-".to_owned());
                let row = |one: &live::Listed| vec![one.key.clone(), one.value.clone(), fault(one)];
                output.text(columns(&["KEY", "VALUE", "FAULT"], &listed.iter().map(row).collect::<Vec<_>>()));
            }
        }
        Ok(if listed.iter().any(|one| one.fault.is_some()) { Status::Problems } else { Status::Fine })
    }
}
