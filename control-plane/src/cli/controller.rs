//! `gridctl controller`: what acts on a store without being asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use gridrouter_config::live::LiveId;
use gridrouter_config::store::etcd::election::{Candidacy, Leader};
use gridrouter_config::units::parse_duration;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::format::{Shown, print_yaml};
use super::{Status as Exit, attempt};
use crate::controller::driver::{self, Company, Driver, News, Settings};
use crate::controller::shift::Routers;
use crate::controller::tenant_move::Watch;
use crate::controller::{Controllers, KINDS};
use crate::output::Output;
use crate::site::Place;
use crate::table::{age, now, printable};
use crate::target::Target;

/// The shortest period: what is asked more often only keeps etcd busy.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest period, below which a controller that acts still looks alive.
const LONGEST: Duration = Duration::from_mins(1);

/// Run the controllers, and show which one acts.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Controller {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(Run),
    Status(Status),
}

const EXAMPLES: &str = "\
Examples:
  gridctl controller run --store etcd://10.0.0.1:2379
  gridctl controller status --store etcd://10.0.0.1:2379";

/// Act on the store until this command is ended.
///
/// It may run several times, on several hosts. One acts, elected in etcd, and the others stand by; when it is ended another one
/// takes over at once, and when it is killed or cut off within ten seconds. What one writes that does not lead any more is
/// refused by etcd. On a directory the one acts that holds a lock, and all of them run on one host.
#[derive(Debug, Args)]
#[command(after_help = RUN)]
struct Run {
    /// What people know it by [default: the host's name and the process's number]
    #[arg(long)]
    id: Option<String>,
    /// The longest time from one look at the store to the next, 100ms to 1m
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    period: Duration,
    /// Ask these routers what they count, by the address of their admin endpoints, instead of those that are live in etcd;
    /// a directory has no list of them
    #[arg(long = "router", value_name = "HOST:PORT", value_delimiter = ',')]
    routers: Vec<String>,
    /// Delete moves of tenants when they have ended so long ago; the history keeps them
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    keep_moves: Duration,
}

const RUN: &str = "\
Exit code: 0 it was ended by a signal; 2 wrong usage.

Examples:
  gridctl controller run --store etcd://10.0.0.1:2379
  gridctl controller run --store /etc/gridrouter --router 127.0.0.1:9900";

/// Print which controller acts, and since when.
#[derive(Debug, Args)]
#[command(after_help = STATUS)]
struct Status {
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
}

const STATUS: &str = "\
Exit code: 0 one acts, 1 none does, 2 wrong usage or the store cannot be read.

Examples:
  gridctl controller status --store etcd://10.0.0.1:2379
  gridctl controller status --store etcd://10.0.0.1:2379 -o json";

impl Controller {
    pub(super) fn run(&self, target: Result<Target, String>, output: &mut Output) -> Exit {
        let ended = attempt(output, |output| match &self.verb {
            Verb::Run(run) => run.run(&target?, output),
            Verb::Status(status) => status.run(&target?, output),
        });
        ended.unwrap_or_else(|failed| failed)
    }
}

impl Run {
    fn run(&self, target: &Target, output: &mut Output) -> Result<Exit, String> {
        let settings = self.settings()?;
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            signal_hook::flag::register(signal, Arc::clone(&ended))
                .map_err(|error| format!("cannot wait for signals: {error}"))?;
        }
        let id = settings.candidacy.id.clone();
        let mut controllers =
            Controllers::new(Routers::of(target, &self.routers)?, Watch::of(target)?)?.keeping_moves(self.keep_moves);
        let mut driver = Driver::start(target, settings, move |view, now| controllers.step(view, now))?;
        output.line(format_args!("controller {id} on {target}"));
        output.flush();
        let mut tell = |news: News| say(news, output);
        let mut company = Company { tell: &mut tell, crash: &mut |_| false };
        let clock = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        };
        driver.run(clock, || ended.load(Ordering::Relaxed), &mut company);
        output.line("ended");
        Ok(Exit::Fine)
    }

    fn settings(&self) -> Result<Settings, String> {
        if !(SHORTEST..=LONGEST).contains(&self.period) {
            return Err(format!("period is {:?}; write 100ms to 1m", self.period));
        }
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let id = match &self.id {
            Some(id) => LiveId::parse(id)?,
            None => LiveId::resembling(&format!("{host}:{}", std::process::id())),
        };
        Ok(Settings { candidacy: Candidacy::new(id, host), kinds: KINDS.to_vec(), period: self.period })
    }
}

fn say(news: News, output: &mut Output) {
    match news {
        News::StandsBy(None) => output.line("stands by"),
        News::StandsBy(Some(leader)) => output.line(format_args!("stands by: {} leads", printable(&leader.id))),
        News::Leads => output.line("leads"),
        News::Deposed => output.line("leads no more"),
        News::Published(0, message) => output.line(format_args!("files were changed: {}", printable(&message))),
        News::Published(generation, message) => {
            output.line(format_args!("generation {generation} is in force: {}", printable(&message)));
        }
        News::Overtaken(text) => output.note(format_args!("{}; everything is read again", printable(&text))),
        News::Trouble(text) => output.error(printable(&text)),
        News::Recovered => output.line("it works again"),
        News::Unreadable(documents) if documents.is_empty() => output.line("all documents can be read again"),
        News::Unreadable(documents) => {
            for one in documents {
                output.error(printable(&one.why));
            }
        }
        News::Note(text) => output.line(printable(&text)),
    }
    output.flush();
}

impl Status {
    fn run(&self, target: &Target, output: &mut Output) -> Result<Exit, String> {
        let leader = driver::leader(&mut Place::open(target)?)?;
        match (self.output, &leader) {
            (Shown::Json, leader) => output.json(&json!({ "leader": leader })),
            (Shown::Yaml, leader) => print_yaml(&json!({ "leader": leader }), output),
            (Shown::Table | Shown::Wide, None) => output.line("leader  none"),
            (Shown::Table | Shown::Wide, Some(leader)) => print(leader, output),
        }
        Ok(if leader.is_some() { Exit::Fine } else { Exit::Problems })
    }
}

fn print(leader: &Leader, output: &mut Output) {
    let or_unknown = |text: &str| if text.is_empty() { "unknown".to_owned() } else { printable(text) };
    output.line(format_args!("leader  {}", or_unknown(&leader.id)));
    output.line(format_args!("host    {}", or_unknown(&leader.host)));
    output.line(format_args!("since   {} ago", age(leader.since, now())));
}
