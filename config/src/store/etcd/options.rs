//! How etcd is reached.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use serde::{Deserialize, Serialize};

use crate::keys::{DEFAULT_PREFIX, Keys};
use crate::units::parse_duration;

/// etcd's servers close a connection that pings them more often than every 5 seconds (`--grpc-keepalive-min-time`).
const KEEP_ALIVE: Duration = Duration::from_secs(6);
const LEAST_KEEP_ALIVE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a watch is asked how far it has come. Its answer costs etcd next to nothing.
const PROGRESS: Duration = Duration::from_secs(10);
/// How long a watch may say nothing: three answers lost.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a router that died is still told of.
const LEASE: Duration = Duration::from_secs(10);

/// How etcd is reached, as written: in a file, by flags or in the environment. What is left out has a default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EtcdSettings {
    /// `http://` or `https://` URLs of the cluster's members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// What every key begins with [default: `/gridrouter/`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The user, where etcd wants one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its password, which is never written. A file keeps it out of process lists and backups.
    #[serde(skip_serializing)]
    pub password: Option<String>,
    /// A file with the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM file with the authorities that sign the members' certificates [default: those of the system].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM file with the certificate that this side shows, with its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// PEM file with that certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The name in the members' certificates, where it is not the URL's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// How long a connection may take, such as `2s` [default: 2s].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<String>,
    /// How long an answer may take [default: 5s].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<String>,
    /// Time from one HTTP/2 ping to the next [default: 6s, at least 5s].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<String>,
}

impl EtcdSettings {
    /// Fills what is left out here from settings that come after these.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        // A password belongs to its source: one from the environment beats a file that the settings name.
        let own_password = self.password.is_some() || self.password_file.is_some();
        let (password, password_file) =
            if own_password { (self.password, self.password_file) } else { (other.password, other.password_file) };
        Self {
            endpoints: if self.endpoints.is_empty() { other.endpoints } else { self.endpoints },
            prefix: self.prefix.or(other.prefix),
            user: self.user.or(other.user),
            password,
            password_file,
            ca: self.ca.or(other.ca),
            cert: self.cert.or(other.cert),
            key: self.key.or(other.key),
            server_name: self.server_name.or(other.server_name),
            connect_timeout: self.connect_timeout.or(other.connect_timeout),
            request_timeout: self.request_timeout.or(other.request_timeout),
            keep_alive: self.keep_alive.or(other.keep_alive),
        }
    }

    /// Whether anything is written at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the settings and reads the files that they name. The error says what is wrong and what to write.
    pub fn check(self) -> Result<EtcdOptions, String> {
        if self.endpoints.is_empty() {
            return Err("etcd has no endpoints; give at least one, such as http://127.0.0.1:2379".to_owned());
        }
        let endpoints: Result<Vec<String>, String> = self.endpoints.iter().map(|text| endpoint(text)).collect();
        let endpoints = endpoints?;
        let tls = endpoints.iter().filter(|endpoint| endpoint.starts_with("https://")).count();
        if tls != 0 && tls != endpoints.len() {
            return Err("etcd's endpoints mix http and https; write https for all of them, or for none".to_owned());
        }
        let wants_tls = [&self.ca, &self.cert, &self.key].iter().any(|file| file.is_some());
        if tls == 0 && (wants_tls || self.server_name.is_some()) {
            return Err("certificates are given, and etcd's endpoints are http; write https".to_owned());
        }
        let password = match (&self.password, &self.password_file) {
            (Some(password), None) => Some(password.clone()),
            (None, Some(path)) => Some(String::from_utf8_lossy(&read(path)?).trim_end_matches(['\n', '\r']).to_owned()),
            (None, None) => None,
            (Some(_), Some(_)) => return Err("etcd's password is given twice, as text and as a file".to_owned()),
        };
        let user = match (&self.user, password) {
            (Some(user), Some(password)) => Some((user.clone(), password)),
            (None, None) => None,
            (Some(_), None) => return Err("etcd's user has no password; give a password file".to_owned()),
            (None, Some(_)) => return Err("a password for etcd is given, and no user".to_owned()),
        };
        let duration = |name: &str, text: Option<&String>, default: Duration| match text {
            None => Ok(default),
            Some(text) => parse_duration(text).map_err(|why| format!("etcd's {name}: {why}")),
        };
        let keep_alive = duration("keep-alive", self.keep_alive.as_ref(), KEEP_ALIVE)?;
        if keep_alive < LEAST_KEEP_ALIVE {
            return Err(format!("etcd's keep-alive is {keep_alive:?}; its servers refuse less than 5s"));
        }
        Ok(EtcdOptions {
            keys: Keys::new(self.prefix.as_deref().unwrap_or(DEFAULT_PREFIX)).map_err(|why| format!("etcd's {why}"))?,
            connect_timeout: duration("connect timeout", self.connect_timeout.as_ref(), CONNECT_TIMEOUT)?,
            request_timeout: duration("request timeout", self.request_timeout.as_ref(), REQUEST_TIMEOUT)?,
            keep_alive,
            progress: PROGRESS,
            silence: SILENCE,
            hurry: 1,
            anchor: None,
            registrations: None,
            lease: LEASE,
            accept: false,
            tls: if tls == 0 { None } else { Some(Box::new(self.tls()?)) },
            user,
            endpoints,
        })
    }

    fn tls(&self) -> Result<TlsOptions, String> {
        let mut tls = TlsOptions::new();
        tls = match &self.ca {
            Some(path) => tls.ca_certificate(Certificate::from_pem(pem(path, "CERTIFICATE")?)),
            None => tls.with_native_roots(),
        };
        tls = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                tls.identity(Identity::from_pem(pem(cert, "CERTIFICATE")?, pem(key, "PRIVATE KEY")?))
            }
            (None, None) => tls,
            (Some(_), None) => return Err("etcd's client certificate has no key; give both".to_owned()),
            (None, Some(_)) => return Err("etcd's client key has no certificate; give both".to_owned()),
        };
        Ok(match &self.server_name {
            Some(name) => tls.domain_name(name.clone()),
            None => tls,
        })
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    let wrong = || format!("etcd endpoint \"{}\" is no URL; write http://host:2379", text.escape_debug());
    let uri: http::Uri = text.trim_end_matches('/').parse().map_err(|_| wrong())?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
    match uri.scheme_str() {
        Some(scheme) if known && bare => Ok(format!("{scheme}://{authority}")),
        _ => Err(wrong()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// A PEM file that has what it should: a wrong one would only show as a connection that fails.
fn pem(path: &Path, what: &str) -> Result<Vec<u8>, String> {
    let bytes = read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("-----BEGIN ") && text.contains(&format!("{what}-----")) {
        Ok(bytes)
    } else {
        Err(format!("{} has no PEM block `{what}`", path.display()))
    }
}

/// How etcd is reached, checked.
#[derive(Clone)]
pub struct EtcdOptions {
    pub(super) endpoints: Vec<String>,
    pub(super) keys: Keys,
    pub(super) user: Option<(String, String)>,
    pub(super) tls: Option<Box<TlsOptions>>,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) keep_alive: Duration,
    pub(super) progress: Duration,
    pub(super) silence: Duration,
    pub(super) hurry: u32,
    pub(super) anchor: Option<PathBuf>,
    pub(super) registrations: Option<PathBuf>,
    pub(super) lease: Duration,
    pub(super) accept: bool,
}

impl EtcdOptions {
    /// Keeps in this file what was last in force from etcd, so that a store that was emptied or restored is noticed
    /// after a restart too. Without it, it is noticed only while the process runs.
    #[must_use]
    pub fn with_anchor(mut self, file: Option<PathBuf>) -> Self {
        self.anchor = file;
        self
    }

    /// Keeps in this file which endpoints were registered last, so that they are known after a restart when etcd is not
    /// there.
    #[must_use]
    pub fn with_registrations(mut self, file: Option<PathBuf>) -> Self {
        self.registrations = file;
        self
    }

    /// How long what this process says of itself outlives it, when it cannot take it back: at least a second, and no less
    /// than etcd's servers grant.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long what this process says of itself outlives it.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Follows the store that is found first, whatever was in force before: for an operator who knows that it is right.
    #[must_use]
    pub fn accepting(mut self, accept: bool) -> Self {
        self.accept = accept;
        self
    }

    /// Looks after a watch this often, and gives it up after such a silence; tries again `hurry` times as soon. For tests
    /// and for small clusters on fast networks.
    #[must_use]
    pub fn with_watch_times(mut self, progress: Duration, silence: Duration, hurry: u32) -> Self {
        (self.progress, self.silence, self.hurry) = (progress, silence, hurry);
        self
    }

    /// The keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// What tells this store from others: its endpoints, in no particular order, and its prefix.
    pub fn identity(&self) -> String {
        let mut endpoints = self.endpoints.clone();
        endpoints.sort();
        format!("etcd {}{}", endpoints.join(","), self.keys.prefix())
    }

    pub(super) fn connect(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.connect_timeout)
            .with_keep_alive(self.keep_alive, KEEP_ALIVE_TIMEOUT)
            .with_tcp_keepalive(self.keep_alive)
            .with_require_leader(true);
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password).with_auto_token_refresh(true);
        }
        if let Some(tls) = &self.tls {
            options = options.with_tls((**tls).clone());
        }
        options
    }
}

impl fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No password and no key.
        f.debug_struct("EtcdOptions")
            .field("endpoints", &self.endpoints)
            .field("prefix", &self.keys.prefix())
            .field("user", &self.user.as_ref().map(|(name, _)| name))
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoints: &[&str]) -> EtcdSettings {
        EtcdSettings { endpoints: endpoints.iter().map(|&text| text.to_owned()).collect(), ..EtcdSettings::default() }
    }

    #[test]
    fn endpoints_are_bare_urls_of_one_scheme() {
        let good = settings(&["http://a:2379/", "http://[::1]:2379"]).check().unwrap();
        assert_eq!(good.endpoints, ["http://a:2379", "http://[::1]:2379"]);
        let same = settings(&["http://[::1]:2379", "http://a:2379"]).check().unwrap();
        assert_eq!(good.identity(), same.identity());
        for bad in ["a:2379", "ftp://a", "http://a/b", "http://", "http://u:p@a", ""] {
            assert!(settings(&[bad]).check().unwrap_err().contains("is no URL"), "{bad}");
        }
        assert!(settings(&[]).check().unwrap_err().contains("no endpoints"));
        assert!(settings(&["http://a", "https://b"]).check().unwrap_err().contains("mix"));
    }

    #[test]
    fn what_belongs_together_is_given_together() {
        let with = |edit: fn(&mut EtcdSettings)| {
            let mut settings = settings(&["https://a"]);
            edit(&mut settings);
            settings.check().unwrap_err()
        };
        assert!(with(|s| s.user = Some("u".into())).contains("has no password"));
        assert!(with(|s| s.password = Some("p".into())).contains("no user"));
        assert!(with(|s| s.key = Some("/dev/null".into())).contains("has no certificate"));
        assert!(with(|s| s.ca = Some("/dev/null".into())).contains("no PEM block"));
        assert!(with(|s| s.ca = Some("/nowhere".into())).contains("cannot read /nowhere"));
        assert!(with(|s| s.keep_alive = Some("1s".into())).contains("refuse less than 5s"));
        assert!(with(|s| s.request_timeout = Some("1".into())).contains("request timeout"));
        let mut plain = settings(&["http://a"]);
        plain.server_name = Some("b".into());
        assert!(plain.check().unwrap_err().contains("write https"));
    }

    #[test]
    fn a_password_is_read_from_a_file_and_never_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2\n").unwrap();
        let mut settings = settings(&["http://a"]);
        settings.user = Some("u".into());
        settings.password_file = Some(file.path().to_owned());
        let options = settings.check().unwrap();
        assert_eq!(options.user, Some(("u".to_owned(), "hunter2".to_owned())));
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn what_comes_first_wins_and_passwords_stay_with_their_source() {
        let mut first = settings(&["http://a"]);
        first.password = Some("p".into());
        let mut second = settings(&["http://b"]);
        second.prefix = Some("/x".into());
        second.password_file = Some("/file".into());
        let both = first.or(second);
        assert_eq!((both.endpoints[0].as_str(), both.prefix.as_deref()), ("http://a", Some("/x")));
        assert_eq!((both.password.as_deref(), both.password_file), (Some("p"), None));
    }
}
