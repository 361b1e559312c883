//! The flags of `--store`, which every verb that works on a store understands.

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use gridrouter_config::store::etcd::EtcdSettings;

use crate::target::{Settings, Target, settle};

/// Where the documents are. A flag goes before its environment variable, and that before the settings file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where the documents are")]
pub(super) struct StoreFlags {
    /// etcd://HOST:2379[,HOST:2379…][/PREFIX], etcds:// with TLS, or a directory of documents
    #[arg(long, global = true, value_name = "URL|DIR", env = "GRIDCTL_STORE")]
    store: Option<String>,
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
    /// Whether --store was on the command line.
    #[arg(skip)]
    by_flag: bool,
}

impl StoreFlags {
    /// Notes where the values come from.
    pub(super) fn note_sources(&mut self, matches: &ArgMatches) {
        self.by_flag = matches.value_source("store") == Some(ValueSource::CommandLine);
    }

    /// Whether --store was on the command line, and not only in the environment.
    pub(super) fn by_flag(&self) -> bool {
        self.by_flag
    }

    /// Settles where the documents are.
    pub(super) fn target(&self) -> Result<Target, String> {
        let file = self.settings.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        // A file on the command line goes before a password in the environment.
        let password = std::env::var("GRIDROUTER_ETCD_PASSWORD").ok();
        let password = password.filter(|text| !text.is_empty() && self.etcd_password_file.is_none());
        let flags = EtcdSettings {
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
        };
        settle(self.store.as_deref(), flags, file)
    }
}
