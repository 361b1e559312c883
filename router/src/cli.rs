//! The command line: flag before environment before settings file.

mod etcd;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
use gridrouter_config::live::LiveId;
use gridrouter_config::store::etcd::{EtcdOptions, EtcdSettings};
use gridrouter_config::units::parse_bytes;
use serde::Deserialize;

use self::etcd::EtcdFlags;

use crate::lifecycle::{LIMIT_BYTES, Options, default_threads};

/// Where the admin endpoints listen by default.
const ADMIN: &str = "127.0.0.1:9901";
/// The least memory for the counts of limits.
const LEAST_LIMIT_BYTES: usize = 1 << 20;

/// GridRouter: the thin routing layer in front of a grid of cells.
#[derive(Debug, Parser)]
#[command(
    name = "gridrouter",
    version,
    after_help = "Examples:\n  gridrouter quickstart\n  gridrouter --config config/examples/quickstart\n  \
                  gridrouter --etcd http://10.0.0.1:2379,http://10.0.0.2:2379,http://10.0.0.3:2379\n  \
                  GRIDROUTER_THREADS=2 gridrouter --config /etc/gridrouter --admin 127.0.0.1:9901\n\n\
                  A flag goes before its environment variable, and that before the settings file."
)]
pub struct Cli {
    /// Directory of documents (YAML); edits take effect at once
    #[arg(long, global = true, value_name = "DIR", env = "GRIDROUTER_CONFIG")]
    config: Option<PathBuf>,
    /// Name server, as IP address and port, that names of endpoints are asked of; several with commas [default: those of
    /// /etc/resolv.conf]
    #[arg(long, global = true, value_name = "ADDR", value_delimiter = ',', env = "GRIDROUTER_NAMESERVERS")]
    nameservers: Vec<String>,
    /// Data-plane threads [default: one a core]
    #[arg(long, global = true, value_name = "N", env = "GRIDROUTER_THREADS")]
    threads: Option<u16>,
    /// Address of /live, /ready, /metrics, /snapshot, /names, /tracks and /explain, or `off` [default: 127.0.0.1:9901]
    #[arg(long, global = true, value_name = "ADDR", env = "GRIDROUTER_ADMIN")]
    admin: Option<String>,
    /// error, warn, info, debug, or filters such as gridrouter=debug [default: info]
    #[arg(long, global = true, value_name = "LEVEL", env = "GRIDROUTER_LOG_LEVEL")]
    log_level: Option<String>,
    /// What the router is called in etcd, while it runs [default: the host's name and a number of its own]
    #[arg(long, global = true, value_name = "ID", env = "GRIDROUTER_ID")]
    id: Option<String>,
    /// Directory where the last good configuration is kept, or `off` [default: $STATE_DIRECTORY, or else
    /// $XDG_STATE_HOME/gridrouter, or else ~/.local/state/gridrouter]
    #[arg(long, global = true, value_name = "DIR", env = "GRIDROUTER_STATE")]
    state: Option<PathBuf>,
    /// Seconds that answers under way may take when the router is stopped [default: 30]
    #[arg(long, global = true, value_name = "SECONDS", env = "GRIDROUTER_DRAIN_SECONDS")]
    drain_seconds: Option<u32>,
    /// Memory for the counts of all limits, such as 128MiB: some 2,300,000 keys; above, idle keys are forgotten first
    /// [default: 128MiB]
    #[arg(long, global = true, value_name = "BYTES", env = "GRIDROUTER_LIMIT_MEMORY")]
    limit_memory: Option<String>,
    /// File with keys of TLS session tickets, one a line in 64 hexadecimal digits; the first makes tickets, all open them.
    /// Routers that have the same one resume each other's sessions [default: keys of its own]
    #[arg(long, global = true, value_name = "FILE", env = "GRIDROUTER_TLS_TICKET_KEYS")]
    tls_ticket_keys: Option<PathBuf>,
    /// YAML file with the same settings: config, nameservers, threads, admin, logLevel, id, state, drainSeconds, limitMemory,
    /// tlsTicketKeys, etcd
    #[arg(long, global = true, value_name = "FILE", env = "GRIDROUTER_SETTINGS")]
    settings: Option<PathBuf>,
    #[command(flatten)]
    etcd: EtcdFlags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a router with three demo cells on loopback and say what to try
    #[command(after_help = "Example:\n  gridrouter quickstart")]
    Quickstart {
        /// Directory for the demo's documents [default: a new one under the system's temporary directory]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// What to run.
#[derive(Debug)]
pub enum Run {
    /// A router.
    Router(Options),
    /// The quickstart, with documents in this directory.
    Quickstart(Options, Option<PathBuf>),
}

/// The same settings in a file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    config: Option<PathBuf>,
    #[serde(default)]
    nameservers: Vec<String>,
    threads: Option<u16>,
    admin: Option<String>,
    log_level: Option<String>,
    id: Option<String>,
    state: Option<PathBuf>,
    drain_seconds: Option<u32>,
    limit_memory: Option<String>,
    tls_ticket_keys: Option<PathBuf>,
    etcd: Option<EtcdSettings>,
}

impl Cli {
    /// Settles what to run, and with which log level.
    pub fn settle(self) -> Result<(Run, String), String> {
        let file = match &self.settings {
            Some(path) => read_settings(path)?,
            None => Settings::default(),
        };
        let quickstart = matches!(self.command, Some(Command::Quickstart { .. }));
        let accept = self.etcd.etcd_accept;
        let (from_flags, password) = (self.config.is_some(), std::env::var("GRIDROUTER_ETCD_PASSWORD").ok());
        let flags = self.etcd.settings(password);
        // A directory on the command line beats etcd in the settings file, and the other way round.
        let by_flags = !flags.endpoints.is_empty();
        let config = self.config.or(file.config.filter(|_| !by_flags));
        let etcd = file.etcd.filter(|_| !from_flags || by_flags);
        let etcd = etcd_options(flags, etcd, accept, quickstart)?;
        let config = match (config, &etcd) {
            (None, None) if !quickstart => {
                return Err(
                    "no configuration: give --config DIR or --etcd URL, or try `gridrouter quickstart`".to_owned()
                );
            }
            (Some(_), Some(_)) => {
                return Err("the configuration is a directory and etcd at once: give --config or --etcd".to_owned());
            }
            (config, _) => config.unwrap_or_default(),
        };
        let log_level = log_level(self.log_level.or(file.log_level))?;
        let threads = threads(self.threads.or(file.threads))?;
        let state = state(self.state.or(file.state), &config, etcd.as_ref());
        let kept = |name: &str| state.as_ref().map(|state| state.join(name));
        let (anchor, registrations) = (kept("etcd-anchor"), kept("etcd-registrations"));
        let options = Options {
            etcd: etcd.map(|etcd| etcd.with_anchor(anchor).with_registrations(registrations)),
            id: self.id.or(file.id).map(|id| LiveId::parse(&id)).transpose()?,
            state,
            nameservers: nameservers(if self.nameservers.is_empty() { file.nameservers } else { self.nameservers })?,
            threads,
            admin: admin(self.admin.or(file.admin).as_deref().unwrap_or(ADMIN))?,
            drain: drain(self.drain_seconds.or(file.drain_seconds))?,
            limit_bytes: limit_bytes(self.limit_memory.or(file.limit_memory))?,
            tls_ticket_keys: self.tls_ticket_keys.or(file.tls_ticket_keys),
            config,
        };
        let run = match self.command {
            None => Run::Router(options),
            Some(Command::Quickstart { dir }) => Run::Quickstart(options, dir),
        };
        Ok((run, log_level))
    }
}

/// The settings of etcd, if the configuration is there: flags and environment before the file.
fn etcd_options(
    flags: EtcdSettings,
    file: Option<EtcdSettings>,
    accept: bool,
    quickstart: bool,
) -> Result<Option<EtcdOptions>, String> {
    // What is only about etcd, such as a password in the environment, does not choose it.
    let wanted = !flags.endpoints.is_empty() || file.is_some();
    if quickstart || !wanted {
        return Ok(None);
    }
    flags.or(file.unwrap_or_default()).check().map(|options| Some(options.accepting(accept)))
}

fn read_settings(path: &Path) -> Result<Settings, String> {
    let place = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("settings file {place} cannot be read: {error}"))?;
    let value = gridrouter_config::codec::to_json(&place.to_string(), &bytes)
        .map_err(|p| format!("{place}:{}:{}: {}", p.line, p.column, p.message))?;
    if value.is_null() {
        return Ok(Settings::default());
    }
    serde_json::from_value(value).map_err(|error| format!("settings file {place}: {error}"))
}

fn threads(given: Option<u16>) -> Result<usize, String> {
    match given {
        None => Ok(default_threads()),
        Some(threads @ 1..=1024) => Ok(usize::from(threads)),
        Some(threads) => Err(format!("threads is {threads}; it must be 1 to 1024")),
    }
}

fn drain(given: Option<u32>) -> Result<Duration, String> {
    match given.unwrap_or(30) {
        seconds @ 0..=86_400 => Ok(Duration::from_secs(u64::from(seconds))),
        seconds => Err(format!("drain-seconds is {seconds}; 86400 are the most")),
    }
}

fn limit_bytes(given: Option<String>) -> Result<usize, String> {
    let Some(text) = given else { return Ok(LIMIT_BYTES) };
    let bytes = parse_bytes(&text).map_err(|error| format!("limit-memory: {error}"))?;
    match usize::try_from(bytes) {
        Ok(bytes) if bytes >= LEAST_LIMIT_BYTES => Ok(bytes),
        Ok(_) => Err(format!("limit-memory is {text}; 1MiB is the least")),
        Err(_) => Err(format!("limit-memory is {text}; this machine cannot address as much")),
    }
}

/// A level, or filters by module: a misspelt level would be taken for a module's name, and nothing would be logged.
fn log_level(given: Option<String>) -> Result<String, String> {
    let text = given.filter(|text| !text.is_empty()).unwrap_or_else(|| "info".to_owned());
    let level = ["error", "warn", "info", "debug", "trace", "off"].contains(&text.to_ascii_lowercase().as_str());
    if level || text.contains(['=', ',']) {
        Ok(text)
    } else {
        Err(format!("log level \"{text}\" is none of error, warn, info, debug, trace and off"))
    }
}

/// Addresses of name servers; the port may be left out.
fn nameservers(texts: Vec<String>) -> Result<Vec<SocketAddr>, String> {
    let read = |text: String| {
        let ip = || text.trim_matches(['[', ']']).parse().ok().map(|ip| SocketAddr::new(ip, 53));
        let address = text.parse().ok().or_else(ip);
        address
            .ok_or_else(|| format!("name server \"{text}\" is no IP address; write such as 10.0.0.2 or [fd00::2]:53"))
    };
    texts.into_iter().map(read).collect()
}

fn admin(text: &str) -> Result<Option<SocketAddr>, String> {
    match text {
        "off" => Ok(None),
        _ => match text.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err(format!("admin address \"{text}\" is not IP:port; write 127.0.0.1:9901, or off")),
        },
    }
}

/// Where the last good generation of this configuration is kept: a directory of its own for each, so that one
/// router's does not pass for another's.
fn state(given: Option<PathBuf>, config: &Path, etcd: Option<&EtcdOptions>) -> Option<PathBuf> {
    if given.as_deref() == Some(Path::new("off")) {
        return None;
    }
    let named = given.is_some();
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = given
        .or_else(|| variable("STATE_DIRECTORY"))
        .or_else(|| variable("XDG_STATE_HOME").map(|dir| dir.join("gridrouter")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".local/state/gridrouter")))?;
    let absolute = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    // Who names a directory means one store, whose members may change; what tells stores apart is what they hold.
    let identity = etcd.map_or_else(
        || absolute.into_os_string(),
        |etcd| if named { format!("etcd {}", etcd.keys().prefix()).into() } else { etcd.identity().into() },
    );
    let hash = xxhash_rust::xxh3::xxh3_64(identity.as_encoded_bytes());
    Some(base.join(format!("{hash:016x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, String> {
        let arguments = std::iter::once("gridrouter").chain(arguments.iter().copied());
        match Cli::try_parse_from(arguments).map_err(|error| error.to_string())?.settle()? {
            (Run::Router(options) | Run::Quickstart(options, _), _) => Ok(options),
        }
    }

    fn settings(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_configuration_is_in_one_place() {
        assert!(options(&[]).unwrap_err().contains("--etcd URL"));
        assert!(options(&["--config", "/c", "--etcd", "http://a"]).unwrap_err().contains("at once"));
        assert!(options(&["--etcd", "a"]).unwrap_err().contains("is no URL"));
        let etcd = options(&["--etcd", "http://a:2379,http://b:2379", "--etcd-prefix", "/x"]).unwrap().etcd.unwrap();
        assert_eq!(etcd.identity(), "etcd http://a:2379,http://b:2379/x/");
        assert!(options(&["--config", "/c"]).unwrap().etcd.is_none());
    }

    #[test]
    fn flags_go_before_the_file() {
        let file = settings("etcd: {endpoints: ['http://a:1'], prefix: /file, connectTimeout: 1s}");
        let path = file.path().to_str().unwrap();
        let identity = |more: &[&str]| {
            let arguments = [&["--settings", path][..], more].concat();
            options(&arguments).unwrap().etcd.map(|etcd| etcd.identity())
        };
        assert_eq!(identity(&[]).unwrap(), "etcd http://a:1/file/");
        assert_eq!(identity(&["--etcd", "http://b:1"]).unwrap(), "etcd http://b:1/file/");
        assert_eq!(identity(&["--etcd-prefix", "/flag"]).unwrap(), "etcd http://a:1/flag/");
        assert_eq!(identity(&["--config", "/c"]), None);
        let file = settings("config: /c");
        let arguments = ["--settings", file.path().to_str().unwrap(), "--etcd", "http://b:1"];
        assert!(options(&arguments).unwrap().etcd.is_some());
        let file = settings("etcd: {endpoint: 'http://a:1'}");
        assert!(options(&["--settings", file.path().to_str().unwrap()]).unwrap_err().contains("unknown field"));
    }

    #[test]
    fn a_named_state_outlives_a_change_of_members() {
        let state = |etcd: &str| options(&["--state", "/s", "--etcd", etcd]).unwrap().state.unwrap();
        assert_eq!(state("http://a:1,http://b:1"), state("https://b:1"));
        let prefixed = options(&["--state", "/s", "--etcd", "http://a:1", "--etcd-prefix", "/x"]).unwrap().state;
        assert_ne!(Some(state("http://a:1")), prefixed);
    }
}
