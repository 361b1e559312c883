//! Where the documents are that a command works on: `etcd://host:2379/prefix`, or a directory.

use std::fmt;
use std::path::{Path, PathBuf};

use gridrouter_config::codec::to_json;
use gridrouter_config::store::etcd::{EtcdOptions, EtcdSettings};
use serde::Deserialize;

/// The port of etcd's clients, where an endpoint names none.
const PORT: u16 = 2379;

/// Where the documents are.
#[derive(Debug, Clone)]
pub enum Target {
    /// In etcd.
    Etcd(Box<EtcdOptions>),
    /// In files below a directory.
    Directory(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Etcd(options) => f.write_str(&options.identity()),
            Target::Directory(path) => write!(f, "directory {}", path.display()),
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

/// Settles where the documents are: what is said of the store by flag or environment, and what else is said of etcd, go
/// before the settings file.
pub fn settle(store: Option<&str>, flags: EtcdSettings, file: Settings) -> Result<Target, String> {
    let from_file = file.etcd.unwrap_or_default();
    let said = match store {
        Some(text) => Some(text.to_owned()),
        // Endpoints of the environment are nearer than a store of the file.
        None if !flags.endpoints.is_empty() => None,
        None => file.store,
    };
    let named = match said.as_deref().map(parse).transpose()? {
        Some(Named::Directory(path)) => return Ok(Target::Directory(path)),
        Some(Named::Etcd { endpoints, prefix }) => EtcdSettings { endpoints, prefix, ..EtcdSettings::default() },
        None => EtcdSettings::default(),
    };
    let settings = named.or(flags).or(from_file);
    if settings.endpoints.is_empty() {
        return Err("no store: give --store etcd://HOST:2379 or --store DIR, or set GRIDCTL_STORE".to_owned());
    }
    Ok(Target::Etcd(Box::new(settings.check()?)))
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

    #[test]
    fn what_is_nearer_goes_first() {
        let file = || Settings {
            store: Some("etcd://file/from-file".to_owned()),
            etcd: Some(EtcdSettings { prefix: Some("/rest".to_owned()), ..EtcdSettings::default() }),
        };
        let flags = |endpoints: &[&str]| EtcdSettings {
            endpoints: endpoints.iter().map(|&text| text.to_owned()).collect(),
            ..EtcdSettings::default()
        };
        let place =
            |store: Option<&str>, endpoints: &[&str]| settle(store, flags(endpoints), file()).unwrap().to_string();
        assert_eq!(place(None, &[]), "etcd http://file:2379/from-file/");
        assert_eq!(place(None, &["http://env:1"]), "etcd http://env:1/rest/");
        assert_eq!(place(Some("etcd://flag"), &["http://env:1"]), "etcd http://flag:2379/rest/");
        assert_eq!(place(Some("/dir"), &["http://env:1"]), "directory /dir");
        let nothing = settle(None, flags(&[]), Settings::default()).unwrap_err();
        assert!(nothing.contains("GRIDCTL_STORE"), "{nothing}");
    }
}
