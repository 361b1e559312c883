//! The quickstart under k6: `loadtests/k6/quickstart.js` asserts, this starts what it needs.
//!
//! The documents are copied, with the listener on a free port, so that a quickstart that somebody is trying out is not
//! disturbed; their services' endpoints are served from here.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep, timeout};

use super::Common;
use crate::error::{Context, Error, Result};
use crate::output;
use crate::process::Process;
use crate::proxies::{Kind, gridrouter};
use crate::tools::Tool;
use crate::upstream::{Endpoint, Label};

/// Where the quickstart's documents listen.
const LISTENER: &str = "127.0.0.1:8080";

/// What this drill takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// The quickstart's documents.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/examples/quickstart"))]
    config: PathBuf,
    /// Drive a router that already runs at this address, started by somebody else, instead.
    #[arg(long, value_name = "ADDRESS")]
    target: Option<String>,
}

pub(super) async fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let k6 = Tool::K6.find()?;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let mut started: Option<(Process, Vec<Endpoint>)> = None;
    let target = if let Some(target) = &arguments.target {
        target.clone()
    } else {
        if common.proxy != Kind::Gridrouter {
            return Err(Error::new("the quickstart is gridrouter's own; give --target to drive something else"));
        }
        let (process, endpoints, target) = start(&arguments.config, directory.path()).await?;
        started = Some((process, endpoints));
        target
    };
    let summary = directory.path().join("summary.json");
    let mut command = tokio::process::Command::new("setpriv");
    command
        .args(["--pdeathsig", "TERM"])
        .arg(&k6)
        .args(["run", "--quiet", "--no-usage-report", "--address", ""])
        .arg("--summary-export")
        .arg(&summary)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("k6/quickstart.js"))
        .env("TARGET", format!("http://{target}"))
        .env("SHORT", if common.short { "1" } else { "" })
        .stdin(Stdio::null())
        .kill_on_drop(true);
    output::progress(format_args!("k6 drives http://{target}"));
    let mut child = command.spawn().context(format_args!("cannot start {}", k6.display()))?;
    let status = timeout(Duration::from_mins(3), child.wait()).await.context("k6 does not end")?.context("k6")?;
    if let Some((process, _)) = &mut started {
        process.still_runs()?;
    }
    if let Some(file) = &common.json {
        std::fs::copy(&summary, file).context(format_args!("cannot write {}", file.display()))?;
    }
    if status.success() { Ok(()) } else { Err(Error::new(format!("k6 found something wrong and ended with {status}"))) }
}

/// Starts the router on a copy of the documents, and the endpoints that they name.
async fn start(config: &Path, directory: &Path) -> Result<(Process, Vec<Endpoint>, String)> {
    let ports = crate::ports::free(2)?;
    let [listen, admin] = ports.as_slice() else { return Err(Error::new("ran out of ports")) };
    let copy = directory.join("config");
    std::fs::create_dir(&copy).context("cannot copy the quickstart")?;
    let mut endpoints = Vec::new();
    let files = std::fs::read_dir(config).context(format_args!("cannot read {}", config.display()))?;
    for file in files.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "yaml" || end == "yml"))
    {
        let text =
            std::fs::read_to_string(file.path()).context(format_args!("cannot read {}", file.path().display()))?;
        for label in labels(&text) {
            endpoints.push(Endpoint::start(&label)?);
        }
        std::fs::write(copy.join(file.file_name()), text.replace(LISTENER, &listen.to_string()))
            .context("cannot copy")?;
    }
    if endpoints.is_empty() {
        return Err(Error::new(format!("no document in {} is a service with endpoints", config.display())));
    }
    let program = Tool::Gridrouter.find()?;
    let arguments = ["--admin".into(), admin.to_string().into(), "--config".into(), copy.into_os_string()];
    let mut process = Process::start::<_, std::ffi::OsString>("gridrouter", &program, arguments, directory, None)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        process.still_runs()?;
        match gridrouter::ready(*admin).await {
            Ok((200, _)) => return Ok((process, endpoints, listen.to_string())),
            answer if Instant::now() > deadline => {
                return Err(Error::new(format!("gridrouter is not ready: {answer:?}\n{}", process.log_tail())));
            }
            _ => sleep(Duration::from_millis(10)).await,
        }
    }
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
