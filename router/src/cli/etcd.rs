//! The flags of `--etcd`.

use std::path::PathBuf;

use clap::Args;
use gridrouter_config::store::etcd::EtcdSettings;

/// How etcd is reached. The settings file has the same under `etcd`, without the prefix of the flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Configuration in etcd")]
pub(super) struct EtcdFlags {
    /// Members of the etcd cluster to take the configuration from, instead of --config: URLs, separated by commas
    #[arg(long, global = true, value_name = "URL", env = "GRIDROUTER_ETCD", value_delimiter = ',')]
    etcd: Vec<String>,
    /// What every key begins with [default: /gridrouter/]
    #[arg(long, global = true, value_name = "PREFIX", env = "GRIDROUTER_ETCD_PREFIX")]
    etcd_prefix: Option<String>,
    /// User, where etcd wants one
    #[arg(long, global = true, value_name = "NAME", env = "GRIDROUTER_ETCD_USER")]
    etcd_user: Option<String>,
    /// File with the user's password [or the password itself in $GRIDROUTER_ETCD_PASSWORD]
    #[arg(long, global = true, value_name = "FILE", env = "GRIDROUTER_ETCD_PASSWORD_FILE")]
    etcd_password_file: Option<PathBuf>,
    /// PEM file with the authorities of the members' certificates [default: the system's]
    #[arg(long, global = true, value_name = "FILE", env = "GRIDROUTER_ETCD_CA")]
    etcd_ca: Option<PathBuf>,
    /// PEM file with the certificate to show, and its chain
    #[arg(long, global = true, value_name = "FILE", env = "GRIDROUTER_ETCD_CERT")]
    etcd_cert: Option<PathBuf>,
    /// PEM file with that certificate's key
    #[arg(long, global = true, value_name = "FILE", env = "GRIDROUTER_ETCD_KEY")]
    etcd_key: Option<PathBuf>,
    /// Name in the members' certificates, where it is not the URL's
    #[arg(long, global = true, value_name = "NAME", env = "GRIDROUTER_ETCD_SERVER_NAME")]
    etcd_server_name: Option<String>,
    /// How long a connection may take [default: 2s]
    #[arg(long, global = true, value_name = "DURATION", env = "GRIDROUTER_ETCD_CONNECT_TIMEOUT")]
    etcd_connect_timeout: Option<String>,
    /// How long an answer may take [default: 5s]
    #[arg(long, global = true, value_name = "DURATION", env = "GRIDROUTER_ETCD_REQUEST_TIMEOUT")]
    etcd_request_timeout: Option<String>,
    /// Time from one HTTP/2 ping to the next [default: 6s, at least 5s]
    #[arg(long, global = true, value_name = "DURATION", env = "GRIDROUTER_ETCD_KEEP_ALIVE")]
    etcd_keep_alive: Option<String>,
    /// Follow the store that is there now, even if it was emptied, restored or replaced since this router last ran
    #[arg(long, global = true)]
    pub(super) etcd_accept: bool,
}

impl EtcdFlags {
    /// The settings as given; `password` is the one from the environment.
    pub(super) fn settings(self, password: Option<String>) -> EtcdSettings {
        // A file on the command line goes before a password in the environment.
        let password = password.filter(|text| !text.is_empty() && self.etcd_password_file.is_none());
        EtcdSettings {
            endpoints: self.etcd,
            prefix: self.etcd_prefix,
            user: self.etcd_user,
            password,
            password_file: self.etcd_password_file,
            ca: self.etcd_ca,
            cert: self.etcd_cert,
            key: self.etcd_key,
            server_name: self.etcd_server_name,
            connect_timeout: self.etcd_connect_timeout,
            request_timeout: self.etcd_request_timeout,
            keep_alive: self.etcd_keep_alive,
        }
    }
}
