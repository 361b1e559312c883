//! The router on a copy of the quickstart's documents, with the endpoints that they name.
//!
//! In the copy, the listener and all endpoints are on free ports, so that a quickstart that somebody is trying out is not
//! disturbed, and does not disturb. The endpoints are served from here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::{Context, Error, Result};
use crate::process::Process;
use crate::proxies::gridrouter;
use crate::tools::Tool;
use crate::upstream::{Endpoint, Label};

/// The quickstart's documents.
pub const DOCUMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/examples/quickstart");
/// Where they listen.
const LISTENER: &str = "127.0.0.1:8080";
/// How long the router may take to be ready.
const STARTING: Duration = Duration::from_mins(1);

/// A router on a copy of the documents. It ends, and the copy goes, when this is dropped.
pub struct Demo {
    /// The router.
    pub router: Process,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the router's admin answers.
    pub admin: SocketAddr,
    /// For the copy and everything else that is written.
    pub directory: tempfile::TempDir,
    _endpoints: Vec<Endpoint>,
}

impl Demo {
    /// Copies the documents of `config`, starts what they name and the router, and returns when it is ready.
    pub async fn start(config: &Path) -> Result<Self> {
        let program = Tool::Gridrouter.find()?;
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let documents = read(config)?;
        let labels: Vec<Label> = documents.iter().flat_map(|(_, text)| labels(text)).collect();
        if labels.is_empty() {
            return Err(Error::new(format!("no document in {} is a service with endpoints", config.display())));
        }
        let mut ports = crate::ports::free(2 + labels.len())?.into_iter();
        let mut next = || ports.next().ok_or_else(|| Error::new("ran out of ports"));
        let (listen, admin) = (next()?, next()?);
        let mut moved = BTreeMap::from([(LISTENER.to_owned(), listen)]);
        let mut endpoints = Vec::with_capacity(labels.len());
        for label in labels {
            let address = next()?;
            moved.insert(label.address.to_string(), address);
            endpoints.push(Endpoint::start(&Label { address, ..label })?);
        }

        let copy = copied(directory.path());
        std::fs::create_dir(&copy).context(format_args!("cannot create {}", copy.display()))?;
        for (name, text) in documents {
            let file = copy.join(name);
            std::fs::write(&file, readdressed(&text, &moved))
                .context(format_args!("cannot write {}", file.display()))?;
        }
        let state = directory.path().join("state");
        let arguments: [OsString; 6] = [
            "--admin".into(),
            admin.to_string().into(),
            "--state".into(),
            state.into(),
            "--config".into(),
            copy.into(),
        ];
        let mut router = Process::start("gridrouter", &program, arguments, directory.path(), None)?;
        until_ready(&mut router, admin).await?;
        Ok(Self { router, listen, admin, directory, _endpoints: endpoints })
    }

    /// A file of the copy.
    pub fn document(&self, name: &str) -> PathBuf {
        copied(self.directory.path()).join(name)
    }
}

fn copied(directory: &Path) -> PathBuf {
    directory.join("config")
}

/// The files of documents in a directory: name and text.
fn read(config: &Path) -> Result<Vec<(OsString, String)>> {
    let files = std::fs::read_dir(config).context(format_args!("cannot read {}", config.display()))?;
    let is_document = |file: &PathBuf| file.extension().is_some_and(|end| end == "yaml" || end == "yml");
    let mut documents = Vec::new();
    for file in files.flatten().map(|entry| entry.path()).filter(is_document) {
        let text = std::fs::read_to_string(&file).context(format_args!("cannot read {}", file.display()))?;
        documents.push((file.file_name().unwrap_or_default().to_owned(), text));
    }
    Ok(documents)
}

pub(super) async fn until_ready(router: &mut Process, admin: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + STARTING;
    loop {
        router.still_runs()?;
        match gridrouter::ready(admin).await {
            Ok((200, _)) => return Ok(()),
            answer if Instant::now() > deadline => {
                return Err(Error::new(format!("gridrouter is not ready: {answer:?}\n{}", router.log_tail())));
            }
            _ => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// The text with addresses exchanged, all at once, so that no new one is taken for an old one.
fn readdressed(text: &str, moved: &BTreeMap<String, SocketAddr>) -> String {
    let ends = |letter: char| !(letter.is_ascii_digit() || letter == '.' || letter == ':');
    let pieces = text.split_inclusive(ends).map(|piece| {
        let word = piece.trim_end_matches(ends);
        match moved.get(word) {
            Some(address) => format!("{address}{}", piece.get(word.len()..).unwrap_or_default()),
            None => piece.to_owned(),
        }
    });
    pieces.collect()
}

/// The endpoints that the documents in this text name: those of services, and the ingresses of cells, where the label
/// says `ingress` for the service. This is no reader of YAML: it knows the keys that may stand between a cell's name and
/// an address, in block and in flow style, which is enough for documents that the router itself has accepted.
fn labels(text: &str) -> Vec<Label> {
    text.split("\n---").flat_map(labels_of).collect()
}

fn labels_of(document: &str) -> Vec<Label> {
    let tokens = tokens(document);
    let value =
        |wanted: &str| tokens.iter().find_map(|(key, value)| value.filter(|_| *key == wanted)).unwrap_or_default();
    let (kind, name) = (value("kind"), value("name"));
    let mut cell = if kind == "Cell" { name } else { "direct" };
    let mut labels = Vec::new();
    for (key, value) in &tokens {
        match (kind, *key, value) {
            ("Cell", "address", Some(address)) => labels.push((*address, "ingress", cell)),
            ("Service", "address", Some(address)) => labels.push((*address, name, cell)),
            ("Service", "endpoints", None) => cell = "direct",
            ("Service", key, None) if !KEYS_OF_SERVICE.contains(&key) => cell = key,
            _ => {}
        }
    }
    let label = |(address, service, cell): (&str, &str, &str)| {
        Some(Label { address: address.parse().ok()?, service: service.to_owned(), cell: cell.to_owned() })
    };
    labels.into_iter().filter_map(label).collect()
}

/// Keys that are no cell's name.
const KEYS_OF_SERVICE: [&str; 15] = [
    "kind",
    "name",
    "host",
    "balance",
    "algorithm",
    "maxFails",
    "failTimeout",
    "cells",
    "blue",
    "green",
    "address",
    "weight",
    "backup",
    "down",
    "maxConnections",
];

/// Keys, each without a value, and the words that follow them, each with its key.
fn tokens(document: &str) -> Vec<(&str, Option<&str>)> {
    let lines = document.lines().map(|line| line.split('#').next().unwrap_or_default());
    let words = lines.flat_map(|line| line.split([' ', ',', '{', '}', '[', ']', '"', '\'']));
    let mut key = "";
    words
        .filter(|word| !word.is_empty())
        .map(|word| match word.strip_suffix(':') {
            Some(name) => {
                key = name;
                (name, None)
            }
            None => (key, Some(word)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_exchanged_whole_and_once() {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let moved = BTreeMap::from([
            ("127.0.0.1:9101".to_owned(), address(9102)),
            ("127.0.0.1:9102".to_owned(), address(20_000)),
        ]);
        let text = "a: [{address: 127.0.0.1:9101, weight: 4}, {address: 127.0.0.1:9102}]\nb: 127.0.0.1:91011\nc: 127.0.0.1:9101";
        assert_eq!(
            readdressed(text, &moved),
            "a: [{address: 127.0.0.1:9102, weight: 4}, {address: 127.0.0.1:20000}]\nb: 127.0.0.1:91011\nc: 127.0.0.1:9102"
        );
    }

    #[test]
    fn endpoints_are_found_in_both_styles() {
        let text = "kind: Cell\nname: eu-1\nlabels: {region: eu}\ningress: [{address: 127.0.0.1:9111}]\n---\nkind: Service\nname: checkout   # the shop\n\
                    balance: {algorithm: smooth-weighted-round-robin}\ncells:\n  \
                    eu-1: {blue: [{address: 127.0.0.1:9101, weight: 4}, {address: 127.0.0.1:9102}]}\n  \
                    eu-2:\n    blue:\n      - address: \"127.0.0.1:9103\"\n        weight: 2\n\
                    endpoints: {blue: [{address: 127.0.0.1:9104}]}\n";
        let found: Vec<String> = labels(text).iter().map(Label::served_by).collect();
        assert_eq!(
            found,
            [
                "eu-1/ingress/127.0.0.1:9111",
                "eu-1/checkout/127.0.0.1:9101",
                "eu-1/checkout/127.0.0.1:9102",
                "eu-2/checkout/127.0.0.1:9103",
                "direct/checkout/127.0.0.1:9104"
            ]
        );
    }
}
