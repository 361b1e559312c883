//! The flags of `--store`, which every verb that works on a store understands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use clap_complete::engine::ArgValueCompleter;
use gridrouter_config::store::etcd::EtcdSettings;

use super::complete;
use crate::contexts::{Context, Contexts};
use crate::target::{Said, Settings, Target, settle};

/// Where the documents are. A flag goes before its environment variable, and that before the settings file and the current
/// context.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where the documents are")]
pub(super) struct StoreFlags {
    /// etcd://HOST:2379[,HOST:2379…][/PREFIX], etcds:// with TLS, or a directory of documents
    #[arg(long, global = true, value_name = "URL|DIR", env = "GRIDCTL_STORE")]
    store: Option<String>,
    /// A store by its name; `gridctl context` has them
    #[arg(long, global = true, value_name = "NAME", env = "GRIDCTL_CONTEXT", add = ArgValueCompleter::new(complete::contexts))]
    context: Option<String>,
    /// YAML file with `store`, and `etcd` with the same settings as below, as for the router
    #[arg(long, global = true, value_name = "FILE", env = "GRIDCTL_SETTINGS", hide_short_help = true)]
    settings: Option<PathBuf>,
    /// Members of the etcd cluster, where no --store is given: URLs, separated by commas
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "GRIDROUTER_ETCD",
        value_delimiter = ',',
        hide_short_help = true
    )]
    etcd: Vec<String>,
    /// What every key begins with, where the store does not say [default: /gridrouter/]
    #[arg(long, global = true, value_name = "PREFIX", env = "GRIDROUTER_ETCD_PREFIX", hide_short_help = true)]
    etcd_prefix: Option<String>,
    /// User, where etcd wants one
    #[arg(long, global = true, value_name = "NAME", env = "GRIDROUTER_ETCD_USER", hide_short_help = true)]
    etcd_user: Option<String>,
    /// File with the user's password [or the password itself in $GRIDROUTER_ETCD_PASSWORD]
    #[arg(long, global = true, value_name = "FILE", env = "GRIDROUTER_ETCD_PASSWORD_FILE", hide_short_help = true)]
    etcd_password_file: Option<PathBuf>,
    /// PEM file with the authorities of the members' certificates [default: the system's]
    #[arg(long, global = true, value_name = "FILE", env = "GRIDROUTER_ETCD_CA", hide_short_help = true)]
    etcd_ca: Option<PathBuf>,
    /// PEM file with the certificate to show, and its chain
    #[arg(long, global = true, value_name = "FILE", env = "GRIDROUTER_ETCD_CERT", hide_short_help = true)]
    etcd_cert: Option<PathBuf>,
    /// PEM file with that certificate's key
    #[arg(long, global = true, value_name = "FILE", env = "GRIDROUTER_ETCD_KEY", hide_short_help = true)]
    etcd_key: Option<PathBuf>,
    /// Name in the members' certificates, where it is not the URL's
    #[arg(long, global = true, value_name = "NAME", env = "GRIDROUTER_ETCD_SERVER_NAME", hide_short_help = true)]
    etcd_server_name: Option<String>,
    /// How long a connection may take [default: 2s]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "GRIDROUTER_ETCD_CONNECT_TIMEOUT",
        hide_short_help = true
    )]
    etcd_connect_timeout: Option<String>,
    /// How long an answer may take [default: 5s]
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        env = "GRIDROUTER_ETCD_REQUEST_TIMEOUT",
        hide_short_help = true
    )]
    etcd_request_timeout: Option<String>,
    /// Time from one HTTP/2 ping to the next [default: 6s, at least 5s]
    #[arg(long, global = true, value_name = "DURATION", env = "GRIDROUTER_ETCD_KEEP_ALIVE", hide_short_help = true)]
    etcd_keep_alive: Option<String>,
    /// Which of these were on the command line.
    #[arg(skip)]
    line: BTreeSet<String>,
}

impl StoreFlags {
    /// Notes where the values come from.
    pub(super) fn note_sources(&mut self, matches: &ArgMatches) {
        let ids = matches.ids().map(clap::Id::as_str);
        let line = ids.filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine));
        self.line = line.map(str::to_owned).collect();
    }

    fn on_line(&self, id: &str) -> bool {
        self.line.contains(id)
    }

    /// Whether a store was named on the command line, and not only in the environment.
    pub(super) fn by_flag(&self) -> bool {
        self.on_line("store") || self.on_line("context")
    }

    /// What the command line, or else the environment, says of where the documents are.
    fn said(&self, line: bool) -> Said {
        let here = |id: &str| self.on_line(id) == line;
        // A variable that is set to nothing says nothing.
        let text =
            |id: &str, value: &Option<String>| value.clone().filter(|text| here(id) && (line || !text.is_empty()));
        Said {
            store: text("store", &self.store),
            context: text("context", &self.context),
            endpoints: here("etcd") && !self.etcd.is_empty(),
        }
    }

    /// Settles where the documents are.
    pub(super) fn target(&self) -> Result<Target, String> {
        let file = self.settings.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        settle(self.said(true), self.said(false), self.etcd_settings(), file, read_contexts)
    }

    fn etcd_settings(&self) -> EtcdSettings {
        // A file on the command line goes before a password in the environment.
        let password = std::env::var("GRIDROUTER_ETCD_PASSWORD").ok();
        let password = password.filter(|text| !text.is_empty() && self.etcd_password_file.is_none());
        EtcdSettings {
            endpoints: self.etcd.clone(),
            prefix: self.etcd_prefix.clone(),
            user: self.etcd_user.clone(),
            password,
            password_file: self.etcd_password_file.clone(),
            ca: self.etcd_ca.clone(),
            cert: self.etcd_cert.clone(),
            key: self.etcd_key.clone(),
            server_name: self.etcd_server_name.clone(),
            connect_timeout: self.etcd_connect_timeout.clone(),
            request_timeout: self.etcd_request_timeout.clone(),
            keep_alive: self.etcd_keep_alive.clone(),
        }
    }

    /// What the command line says, to be remembered in a context: what the environment says may be otherwise tomorrow.
    /// Files are meant from wherever the context is used.
    pub(super) fn remember(&self, context: &mut Context) -> Result<(), String> {
        let line = |id: &str| self.on_line(id);
        let file = |id: &str, path: &Option<PathBuf>| match path.as_deref().filter(|_| line(id)) {
            Some(path) => absolute(path).map(Some),
            None => Ok(None),
        };
        let text = |id: &str, text: &Option<String>| text.clone().filter(|_| line(id));
        let said = EtcdSettings {
            endpoints: if line("etcd") { self.etcd.clone() } else { Vec::new() },
            prefix: text("etcd_prefix", &self.etcd_prefix),
            user: text("etcd_user", &self.etcd_user),
            password: None,
            password_file: file("etcd_password_file", &self.etcd_password_file)?,
            ca: file("etcd_ca", &self.etcd_ca)?,
            cert: file("etcd_cert", &self.etcd_cert)?,
            key: file("etcd_key", &self.etcd_key)?,
            server_name: text("etcd_server_name", &self.etcd_server_name),
            connect_timeout: text("etcd_connect_timeout", &self.etcd_connect_timeout),
            request_timeout: text("etcd_request_timeout", &self.etcd_request_timeout),
            keep_alive: text("etcd_keep_alive", &self.etcd_keep_alive),
        };
        if line("store") || line("etcd") {
            // Another store is not where the old one was.
            context.store = None;
            context.etcd.endpoints = Vec::new();
            context.etcd.prefix = None;
        }
        if let Some(store) = text("store", &self.store) {
            context.store =
                Some(if store.contains("://") { store } else { absolute(Path::new(&store))?.display().to_string() });
        }
        context.etcd = said.or(std::mem::take(&mut context.etcd));
        Ok(())
    }
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{} is no path: {error}", path.display()))
}

/// The user's contexts.
pub(super) fn read_contexts() -> Result<Contexts, String> {
    Contexts::path().map_or_else(|| Ok(Contexts::default()), |path| Contexts::read(&path))
}
