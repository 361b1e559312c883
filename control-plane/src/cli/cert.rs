//! `gridctl cert check`: are these certificates good, and for how long?

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use gridrouter_config::certificate::{Facts, Pair, read_chain};
use gridrouter_config::codec::SourceDocument;
use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::problem::did_you_mean;
use gridrouter_config::raw::{Certificate, CertificateFiles, Document};
use gridrouter_config::units::parse_duration;
use serde::Serialize;

use super::format::{Shown, print_yaml};
use super::{Status, attempt, open};
use crate::output::Output;
use crate::site::Site;
use crate::table::{columns, now};
use crate::target::Target;

/// Certificates for TLS.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gridctl cert check --store config/examples/tls")]
pub(super) struct Cert {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(Check),
}

/// Check certificates: that the chain fits together, that the key is its own, and that it does not expire soon.
///
/// Certificates are those of a store, or files. Of a store's documents with `files`, those are looked at that this host has: each router
/// looks at its own, and tells in /ready and /metrics.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct Check {
    /// Names of Certificate documents; all of them without one
    #[arg(value_name = "NAME", conflicts_with = "chain")]
    names: Vec<String>,
    /// A PEM file with a certificate, and behind it those that vouch for it, instead of a store
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
    /// The PEM file with its key
    #[arg(long, value_name = "FILE", requires = "chain")]
    key: Option<PathBuf>,
    /// A host that it has to be for, by its own names
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// How long it has to be good for, at least
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = days)]
    within: Duration,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value = "table")]
    output: Shown,
}

const EXAMPLES: &str = "\
  good      the chain fits together, the key is its own, and there is time left
  expiring  less than --within is left; expired: none is; not yet: it does not count yet
  bad       it cannot be served, for the reason that is told
  not here  its files are not on this host

Exit code: 0 all are good, or not here; 1 something is wrong with one; 2 the store or a file cannot be read.

Examples:
  gridctl cert check --store config/examples/tls
  gridctl cert check --store config/examples/tls --within 30d -o json localhost
  gridctl cert check --chain shop.pem --key shop.key --host shop.example.com";

/// A duration, in days too.
fn days(text: &str) -> Result<Duration, String> {
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()) {
        return Ok(Duration::from_hours(24 * u64::from(days)));
    }
    parse_duration(text)
}

/// How a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Good,
    Expiring,
    Expired,
    NotYet,
    Bad,
    NotHere,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            State::Good => "good",
            State::Expiring => "expiring",
            State::Expired => "expired",
            State::NotYet => "not yet",
            State::Bad => "bad",
            State::NotHere => "not here",
        }
    }
}

/// One certificate, looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Looked {
    name: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// The names in it.
    names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    /// When it does not count any more, or one of its chain, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    chain: usize,
    /// Whether the key was there, and is its own.
    key: bool,
}

impl Cert {
    pub(super) fn run(&self, target: Result<Target, String>, output: &mut Output) -> Status {
        match &self.verb {
            Verb::Check(check) => check.run(target, output),
        }
    }
}

impl Check {
    fn run(&self, target: Result<Target, String>, output: &mut Output) -> Status {
        let looked = attempt(output, |output| {
            if let Some(chain) = &self.chain {
                return Ok(vec![self.files(chain)?]);
            }
            let (_, site) = open(target, output)?;
            self.documents(&site)
        });
        let looked = match looked {
            Ok(looked) => looked,
            Err(status) => return status,
        };
        match self.output {
            Shown::Table => print(&looked, false, output),
            Shown::Wide => print(&looked, true, output),
            Shown::Json => output.json(&looked),
            Shown::Yaml => print_yaml(&looked, output),
        }
        let fine = looked.iter().all(|one| matches!(one.state, State::Good | State::NotHere));
        if fine { Status::Fine } else { Status::Problems }
    }

    fn files(&self, chain: &Path) -> Result<Looked, String> {
        let name = chain.display().to_string();
        let (chain, key) = (read(chain)?, self.key.as_deref().map(read).transpose()?);
        Ok(self.pem(name, &chain, key.as_deref()))
    }

    fn documents(&self, site: &Site) -> Result<Vec<Looked>, String> {
        let all = || {
            let of = |source| certificate(source).map(|certificate| (&source.id, certificate));
            site.documents.values().map(|source| &**source).filter_map(of)
        };
        if self.names.is_empty() {
            return Ok(all().map(|(_, certificate)| self.document(certificate)).collect());
        }
        let one = |name: &String| {
            let id = DocumentId { kind: Kind::Certificate, name: Name::parse(name)? };
            let known = || all().map(|(id, _)| id.name.as_str());
            let found = site.documents.get(&id).and_then(|source| certificate(source));
            found.map(|certificate| self.document(certificate)).ok_or_else(|| {
                let help =
                    did_you_mean(name, known()).unwrap_or_else(|| "`gridctl get certificates` lists them".to_owned());
                format!("there is no Certificate {name}; {help}")
            })
        };
        self.names.iter().map(one).collect()
    }

    fn document(&self, document: &Certificate) -> Looked {
        let name = document.name.clone();
        match (&document.files, &document.inline) {
            (_, Some(inline)) => self.pem(name, inline.chain.as_bytes(), Some(inline.key.as_bytes())),
            (Some(CertificateFiles { chain, key, .. }), None) => match (read(Path::new(chain)), read(Path::new(key))) {
                (Ok(chain), Ok(key)) => self.pem(name, &chain, Some(&key)),
                (Err(why), _) | (Ok(_), Err(why)) => Looked::without(name, State::NotHere, why),
            },
            (None, None) => Looked::without(name, State::Bad, "it has neither `files` nor `inline`".to_owned()),
        }
    }

    /// Looks at a chain, and at its key if that is known.
    fn pem(&self, name: String, chain: &[u8], key: Option<&[u8]>) -> Looked {
        let facts: Result<Vec<Facts>, _> = match key {
            Some(key) => Pair::read(chain, key).map(|pair| pair.facts),
            None => read_chain(chain).map(|chain| chain.into_iter().map(|(_, facts)| facts).collect()),
        };
        match facts {
            Err(fault) => Looked::without(name, State::Bad, fault.to_string()),
            Ok(facts) => self.looked(name, &facts, key.is_some()),
        }
    }

    fn looked(&self, name: String, facts: &[Facts], key: bool) -> Looked {
        let Some(leaf) = facts.first() else {
            return Looked::without(name, State::Bad, "there is no certificate".to_owned());
        };
        let expires = facts.iter().map(|facts| facts.not_after).min().unwrap_or_default();
        let (now, left) = (now(), self.within.as_secs());
        let (mut state, mut why) = match () {
            () if now >= expires => (State::Expired, Some("it is served still, and clients refuse it".to_owned())),
            () if now < leaf.not_before => (State::NotYet, Some("clients refuse it until then".to_owned())),
            () if now + left >= expires => (State::Expiring, None),
            () => (State::Good, None),
        };
        if let Some(host) = self.host.as_ref().filter(|host| !is_for(leaf, host)) {
            (state, why) = (State::Bad, Some(format!("it is not for {host}")));
        }
        let addresses = leaf.addresses.iter().map(IpAddr::to_string);
        Looked {
            name,
            state,
            why,
            names: leaf.dns.iter().chain(&leaf.uris).cloned().chain(addresses).collect(),
            subject: Some(leaf.subject.clone()),
            issuer: Some(leaf.issuer.clone()),
            expires: Some(expires),
            fingerprint: Some(leaf.fingerprint.clone()),
            chain: facts.len(),
            key,
        }
    }
}

impl Looked {
    fn without(name: String, state: State, why: String) -> Self {
        Self {
            name,
            state,
            why: Some(why),
            names: Vec::new(),
            subject: None,
            issuer: None,
            expires: None,
            fingerprint: None,
            chain: 0,
            key: false,
        }
    }

    /// How much time is left, such as `89d`.
    fn left(&self, now: u64) -> String {
        match self.expires {
            None => "-".to_owned(),
            Some(expires) if expires <= now => "none".to_owned(),
            Some(expires) => match expires - now {
                left @ 0..86_400 => format!("{}h", left / 3600),
                left => format!("{}d", left / 86_400),
            },
        }
    }
}

/// A wildcard stands for one label.
fn is_for(facts: &Facts, host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return facts.addresses.contains(&address);
    }
    let host = host.to_ascii_lowercase();
    let behind = host.split_once('.').map(|(_, behind)| behind);
    facts.dns.iter().any(|name| *name == host || name.strip_prefix("*.").is_some_and(|suffix| Some(suffix) == behind))
}

fn certificate(source: &SourceDocument) -> Option<&Certificate> {
    if let Document::Certificate(certificate) = &source.raw { Some(certificate) } else { None }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

fn print(looked: &[Looked], wide: bool, output: &mut Output) {
    if looked.is_empty() {
        output.line("there are no certificates");
        return;
    }
    let now = now();
    let row = |one: &Looked| {
        let names = if one.names.is_empty() { "-".to_owned() } else { one.names.join(",") };
        let mut row = vec![one.name.clone(), one.state.as_str().to_owned(), one.left(now), names];
        if wide {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            row.extend([one.chain.to_string(), or_none(&one.issuer), or_none(&one.fingerprint)]);
        }
        row.push(one.why.clone().unwrap_or_default());
        row
    };
    let head: &[&str] = if wide {
        &["NAME", "STATE", "LEFT", "FOR", "CHAIN", "ISSUER", "SHA-256", "WHY"]
    } else {
        &["NAME", "STATE", "LEFT", "FOR", "WHY"]
    };
    output.text(columns(head, &looked.iter().map(row).collect::<Vec<_>>()));
}

#[cfg(test)]
mod tests;
