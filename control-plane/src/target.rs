//! Where the documents are that a command works on: `etcd://host:2379/prefix`, or a directory.

use std::fmt;
use std::path::{Path, PathBuf};

use gridrouter_config::codec::to_json;
use gridrouter_config::store::etcd::{EtcdOptions, EtcdSettings};
use serde::Deserialize;

use crate::contexts::{Context, Contexts};

/// The port of etcd's clients, where an endpoint names none.
const PORT: u16 = 2379;

/// Where the documents are, and who said so.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where they are.
    pub place: Where,
    /// What said so, for messages: `--store`, `GRIDCTL_STORE`, `context prod (--context)`.
    pub source: String,
    /// The context that says so.
    pub context: Option<Context>,
}

/// Where the documents are.
#[derive(Debug, Clone)]
pub enum Where {
    /// In etcd.
    Etcd(Box<EtcdOptions>),
    /// In files below a directory.
    Directory(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Where::Etcd(options) => f.write_str(&options.identity()),
            Where::Directory(path) => write!(f, "directory {}", path.display()),
        }
    }
}

/// What a settings file says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// As for `--store`.
    store: Option<String>,
    /// How etcd is reached, as in a router's settings file.
    etcd: Option<EtcdSettings>,
}

impl Settings {
    /// Reads a settings file.
    pub fn read(path: &Path) -> Result<Self, String> {
        let place = path.display();
        let bytes = std::fs::read(path).map_err(|error| format!("settings file {place} cannot be read: {error}"))?;
        let value = to_json(&place.to_string(), &bytes)
            .map_err(|p| format!("{place}:{}:{}: {}", p.line, p.column, p.message))?;
        if value.is_null() {
            return Ok(Self::default());
        }
        serde_json::from_value(value).map_err(|error| format!("settings file {place}: {error}"))
    }
}

/// What the command line, or the environment, says of where the documents are.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// As for `--store`.
    pub store: Option<String>,
    /// The name of a context.
    pub context: Option<String>,
    /// Whether it names members of an etcd cluster.
    pub endpoints: bool,
}

/// What the settings file is called in messages.
const FILE: &str = "the settings file";

/// What says where the documents are, and what it is called.
enum Pick {
    Store(String, &'static str),
    Endpoints(&'static str),
    Context(Box<Context>, String),
}

/// Settles where the documents are. The command line goes before the environment, and that before files: the settings
/// file, which somebody named, and last the current context. In each of them a store goes before a context, and that
/// before members of a cluster.
pub fn settle(
    line: Said,
    environment: Said,
    flags: EtcdSettings,
    file: Settings,
    contexts: impl FnOnce() -> Result<Contexts, String>,
) -> Result<Target, String> {
    let from_file = file.etcd.unwrap_or_default();
    match pick(line, environment, file.store, !from_file.endpoints.is_empty(), contexts)? {
        Pick::Store(text, source) => target(Some(&text), flags, from_file, source),
        Pick::Endpoints(source) => target(None, flags, from_file, source),
        Pick::Context(context, source) => {
            // Where it is, a context says alone; how it is reached, a flag may say otherwise.
            let flags = EtcdSettings { endpoints: Vec::new(), ..flags };
            let flags = if context.etcd.prefix.is_some() { EtcdSettings { prefix: None, ..flags } } else { flags };
            let settled = target(context.store.as_deref(), flags, context.etcd.clone(), &source)?;
            Ok(Target { context: Some(*context), ..settled })
        }
    }
}

fn pick(
    line: Said,
    environment: Said,
    file_store: Option<String>,
    file_endpoints: bool,
    contexts: impl FnOnce() -> Result<Contexts, String>,
) -> Result<Pick, String> {
    if line.context.is_some() && (line.store.is_some() || line.endpoints) {
        let other = if line.store.is_some() { "--store" } else { "--etcd" };
        return Err(format!("--context and {other} both say where the documents are; leave one of them out"));
    }
    let context = |contexts: &Contexts, name: &str, how: &str| {
        let found = contexts.find(name).map_err(|why| format!("{why} ({how})"))?;
        Ok(Pick::Context(Box::new(found.clone()), format!("context {name} ({how})")))
    };
    let words = [
        (line, ["--store", "--context", "--etcd"]),
        (environment, ["GRIDCTL_STORE", "GRIDCTL_CONTEXT", "GRIDROUTER_ETCD"]),
    ];
    for (said, [store, name, endpoints]) in words {
        if let Some(text) = said.store {
            return Ok(Pick::Store(text, store));
        }
        if let Some(text) = said.context {
            return context(&contexts()?, &text, name);
        }
        if said.endpoints {
            return Ok(Pick::Endpoints(endpoints));
        }
    }
    if let Some(text) = file_store {
        return Ok(Pick::Store(text, FILE));
    }
    if file_endpoints {
        return Ok(Pick::Endpoints(FILE));
    }
    let contexts = contexts()?;
    match &contexts.current {
        Some(name) => context(&contexts, name, "the current one"),
        None => {
            Err("no store: give --store etcd://HOST:2379 or --store DIR, set GRIDCTL_STORE, or choose a context with \
                     `gridctl context use NAME`"
                .to_owned())
        }
    }
}

/// The store that is named, or the endpoints that are nearest, with what else is said of etcd.
fn target(store: Option<&str>, flags: EtcdSettings, rest: EtcdSettings, source: &str) -> Result<Target, String> {
    let said = |why: String| format!("{why} (the store is named by {source})");
    let place = match store.map(parse).transpose().map_err(said)? {
        Some(Named::Directory(path)) => Where::Directory(path),
        Some(Named::Etcd { endpoints, prefix }) => {
            let named = EtcdSettings { endpoints, prefix, ..EtcdSettings::default() };
            Where::Etcd(Box::new(named.or(flags).or(rest).check().map_err(said)?))
        }
        None => Where::Etcd(Box::new(flags.or(rest).check().map_err(said)?)),
    };
    Ok(Target { place, source: source.to_owned(), context: None })
}

#[derive(Debug, PartialEq, Eq)]
enum Named {
    Etcd { endpoints: Vec<String>, prefix: Option<String> },
    Directory(PathBuf),
}

/// Reads `etcd://host:2379,host2:2379/prefix` and its kin; whatever has no `://` is a directory.
fn parse(text: &str) -> Result<Named, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return if text.is_empty() {
            Err("store is empty; write etcd://HOST:2379, or a directory".to_owned())
        } else {
            Ok(Named::Directory(PathBuf::from(text)))
        };
    };
    let wire = match scheme {
        "etcd" | "http" => "http",
        "etcds" | "https" => "https",
        _ => {
            let scheme = scheme.escape_debug();
            return Err(format!(
                "store scheme \"{scheme}\" is none of etcd, etcds, http and https; or name a directory"
            ));
        }
    };
    // Each member may repeat the scheme, as etcdctl's endpoints do.
    let rest = rest.replace(&format!(",{scheme}://"), ",");
    let (hosts, prefix) = match rest.split_once('/') {
        Some((hosts, prefix)) => (hosts, prefix.trim_end_matches('/')),
        None => (rest.as_str(), ""),
    };
    if hosts.contains('@') {
        return Err("store has a user in its URL, which process lists show; give --etcd-user and \
                    --etcd-password-file"
            .to_owned());
    }
    let endpoint = |host: &str| {
        let bare = host.ends_with(']') || !host.contains(':');
        if bare { format!("{wire}://{host}:{PORT}") } else { format!("{wire}://{host}") }
    };
    if hosts.split(',').any(str::is_empty) {
        return Err(format!("store \"{}\" has an empty host; write etcd://HOST:2379,HOST2:2379", text.escape_debug()));
    }
    let endpoints = hosts.split(',').map(endpoint).collect();
    Ok(Named::Etcd { endpoints, prefix: (!prefix.is_empty()).then(|| format!("/{prefix}")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etcd(text: &str) -> (Vec<String>, Option<String>) {
        match parse(text).unwrap() {
            Named::Etcd { endpoints, prefix } => (endpoints, prefix),
            Named::Directory(path) => panic!("{}", path.display()),
        }
    }

    #[test]
    fn stores_are_urls_or_directories() {
        assert_eq!(etcd("etcd://a"), (vec!["http://a:2379".to_owned()], None));
        assert_eq!(etcd("etcds://a:1,b"), (vec!["https://a:1".to_owned(), "https://b:2379".to_owned()], None));
        assert_eq!(etcd("etcd://[::1]/x/y/"), (vec!["http://[::1]:2379".to_owned()], Some("/x/y".to_owned())));
        let both = (vec!["http://a:1".to_owned(), "http://b:2".to_owned()], Some("/x".to_owned()));
        assert_eq!(etcd("http://a:1,http://b:2/x"), both);
        assert_eq!(parse("/etc/grid").unwrap(), Named::Directory("/etc/grid".into()));
        assert!(parse("ftp://a").unwrap_err().contains("none of etcd"));
        assert!(parse("etcd://u:p@a").unwrap_err().contains("--etcd-user"));
        assert!(parse("etcd://a,,b").unwrap_err().contains("empty host"));
        assert!(parse("").is_err());
    }

    fn file(store: Option<&str>) -> Settings {
        let etcd = EtcdSettings { prefix: Some("/rest".to_owned()), ..EtcdSettings::default() };
        Settings { store: store.map(str::to_owned), etcd: Some(etcd) }
    }

    fn said(store: Option<&str>, context: Option<&str>, endpoints: bool) -> Said {
        Said { store: store.map(str::to_owned), context: context.map(str::to_owned), endpoints }
    }

    fn contexts() -> Contexts {
        let context = |name: &str| Context {
            name: name.to_owned(),
            store: Some(format!("etcd://{name}/of-context")),
            ..Context::default()
        };
        Contexts { current: Some("dev".to_owned()), contexts: vec![context("dev"), context("prod")] }
    }

    fn flags(endpoint: &str) -> EtcdSettings {
        EtcdSettings { endpoints: vec![endpoint.to_owned()], ..EtcdSettings::default() }
    }

    #[test]
    fn what_is_nearer_goes_first() {
        let place = |line: Said, environment: Said, store: Option<&str>| {
            let flags =
                if line.endpoints || environment.endpoints { flags("http://m:1") } else { EtcdSettings::default() };
            let target = settle(line, environment, flags, file(store), || Ok(contexts())).unwrap();
            format!("{target} by {}", target.source)
        };
        let none = || said(None, None, false);
        let all = || said(Some("etcd://e"), Some("prod"), true);
        let of_file = Some("etcd://file/f");
        assert_eq!(place(said(Some("/dir"), None, true), all(), of_file), "directory /dir by --store");
        let prod = |how: &str| format!("etcd http://prod:2379/of-context/ by context prod ({how})");
        assert_eq!(place(said(None, Some("prod"), false), all(), of_file), prod("--context"));
        assert_eq!(place(said(None, None, true), all(), of_file), "etcd http://m:1/rest/ by --etcd");
        assert_eq!(place(none(), all(), of_file), "etcd http://e:2379/rest/ by GRIDCTL_STORE");
        assert_eq!(place(none(), said(None, Some("prod"), true), of_file), prod("GRIDCTL_CONTEXT"));
        assert_eq!(place(none(), said(None, None, true), of_file), "etcd http://m:1/rest/ by GRIDROUTER_ETCD");
        assert_eq!(place(none(), none(), of_file), "etcd http://file:2379/f/ by the settings file");
        let current = "etcd http://dev:2379/of-context/ by context dev (the current one)";
        assert_eq!(place(none(), none(), None), current);
    }

    #[test]
    fn what_cannot_be_settled_is_said_with_who_said_it() {
        let fails = |line: Said, contexts: Contexts| {
            settle(line, Said::default(), EtcdSettings::default(), Settings::default(), || Ok(contexts)).unwrap_err()
        };
        let nothing = fails(Said::default(), Contexts::default());
        assert!(nothing.contains("GRIDCTL_STORE") && nothing.contains("context use"), "{nothing}");
        let both = fails(said(Some("x"), Some("prod"), false), Contexts::default());
        assert!(both.contains("--context and --store both"), "{both}");
        let unknown = fails(said(None, Some("prdo"), false), contexts());
        assert!(unknown.contains("did you mean \"prod\"?") && unknown.contains("(--context)"), "{unknown}");
        let gone = Contexts { current: Some("gone".to_owned()), ..Contexts::default() };
        assert!(fails(Said::default(), gone).contains("no context \"gone\""));
        let wrong = fails(said(Some("ftp://a"), None, false), Contexts::default());
        assert!(wrong.ends_with("(the store is named by --store)"), "{wrong}");
    }

    #[test]
    fn a_context_says_alone_where_it_is_and_a_flag_how_it_is_reached() {
        let etcd = EtcdSettings {
            prefix: Some("/own".to_owned()),
            endpoints: vec!["http://own:1".to_owned()],
            ..EtcdSettings::default()
        };
        let context = Context { name: "c".to_owned(), etcd, ..Context::default() };
        let contexts = || Ok(Contexts { current: None, contexts: vec![context] });
        let flags = EtcdSettings { prefix: Some("/flag".to_owned()), ..flags("http://env:1") };
        let line = said(None, Some("c"), false);
        let target = settle(line, said(None, None, true), flags, file(Some("/x")), contexts).unwrap();
        assert_eq!(target.to_string(), "etcd http://own:1/own/");
        assert_eq!(target.context.unwrap().name, "c");
    }
}
