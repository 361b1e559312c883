//! Real programs through the real router: curl, nghttp and h2load, the library `websockets`, and grpcio, each with an
//! endpoint that others have written too. What is asserted stands in `clients/`; each script writes a line for each check.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Common;
use super::checks::Checks;
use super::demo;
use crate::error::{Context, Error, Result};
use crate::output;
use crate::ports;
use crate::process::Process;
use crate::proxies::{Kind, gridrouter};
use crate::tls;
use crate::tools::Tool;

/// The scripts.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
/// The scripts of clients, and the fewest checks that each makes: one that ends early must not pass for a good one.
const CLIENTS: [(&str, usize); 3] = [("http_clients", 26), ("websocket_client", 34), ("grpc_client", 70)];
/// The host that they ask for.
const HOST: &str = "clients.example.com";
/// How long the endpoints may take to start, and each client to end.
const STARTING: Duration = Duration::from_secs(30);
const ENDING: Duration = Duration::from_mins(3);

pub(super) async fn run(common: &Common) -> Result<()> {
    if common.proxy != Kind::Gridrouter {
        return Err(Error::new("clients are for gridrouter: nothing else is configured for all that they do"));
    }
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let path = directory.path();
    let ports: [SocketAddr; 6] = ports::free(6)?.try_into().map_err(|_| Error::new("ran out of ports"))?;
    let [clear, secure, admin, files, sockets, calls] = ports;
    tls::write(path, HOST)?;

    let of_endpoints = [files, sockets, calls].map(|address| address.port().to_string());
    let mut endpoints = python("endpoints", &of_endpoints, path)?;
    let deadline = Instant::now() + STARTING;
    while !endpoints.log_tail().lines().any(|line| line == "ready") {
        endpoints.still_runs()?;
        if Instant::now() > deadline {
            return Err(Error::new(format!("the endpoints do not start; they said:\n{}", endpoints.log_tail())));
        }
        sleep(Duration::from_millis(10)).await;
    }

    let documents = path.join("documents");
    std::fs::create_dir(&documents).context("cannot make the directory of documents")?;
    let text = text(path, [clear, secure], [files, sockets, calls]);
    std::fs::write(documents.join("all.yaml"), text).context("cannot write the documents")?;
    let state = path.join("state").into_os_string();
    let arguments =
        ["--admin".into(), admin.to_string().into(), "--state".into(), state, "--config".into(), documents.into()];
    let mut router = Process::start("gridrouter", &Tool::Gridrouter.find()?, arguments, path, None)?;
    demo::until_ready(&mut router, admin).await?;
    let (_, ready) = gridrouter::ready(admin).await?;
    let ready: Value = serde_json::from_str(&ready).context("/ready is not JSON")?;
    if ready.get("quarantined").and_then(Value::as_array).is_none_or(|list| !list.is_empty()) {
        return Err(Error::new(format!("the router does not take all documents: {ready}")));
    }

    let mut checks = Checks::new("clients");
    let [clear, secure] = [clear, secure].map(|address| address.port().to_string());
    let certificate = path.join(tls::CHAIN).display().to_string();
    let arguments = [clear, secure, HOST.to_owned(), certificate, path.display().to_string()];
    for (name, fewest) in CLIENTS {
        output::progress(format_args!("{name} through {} and {}", arguments[0], arguments[1]));
        client(name, fewest, &arguments, path, &mut checks).await?;
        router.still_runs()?;
        endpoints.still_runs()?;
    }
    let (status, _) = gridrouter::ready(admin).await?;
    checks.check("the router is as ready as before", status == 200, status);
    checks.finish(common)
}

fn python(name: &str, arguments: &[String], directory: &Path) -> Result<Process> {
    let script = format!("{SCRIPTS}/{name}.py");
    // Without files of compiled code beside the scripts.
    let all = ["-B".to_owned(), script].into_iter().chain(arguments.iter().cloned());
    Process::start(name, &Tool::Python.find()?, all, directory, None)
}

/// Runs a script of clients to its end, and takes over what it says.
async fn client(name: &str, fewest: usize, arguments: &[String], directory: &Path, checks: &mut Checks) -> Result<()> {
    // Only those of HTTP write files.
    let count = if name == "http_clients" { arguments.len() } else { 4 };
    let mut process = python(name, arguments.get(..count).unwrap_or_default(), directory)?;
    let status = process.ended(ENDING).await.context(process.log_tail())?;
    let log = std::fs::read_to_string(directory.join(format!("{name}.log"))).context("cannot read what was checked")?;
    let mut made = 0;
    for line in log.lines() {
        let Ok(said) = serde_json::from_str::<Value>(line) else {
            // What programs complain of.
            output::progress(format_args!("{name}: {line}"));
            continue;
        };
        let word = |field: &str| said.get(field).and_then(Value::as_str).unwrap_or_default();
        let holds = said.get("holds").and_then(Value::as_bool).unwrap_or(false);
        checks.check(format_args!("{name}: {}", word("what")), holds, word("seen"));
        made += 1;
    }
    let seen = format!("{made} checks, {status}");
    checks.check(format_args!("{name} went to its end"), made >= fewest && status.success(), seen);
    Ok(())
}

/// The documents: both listeners, and each kind of endpoint with its routes.
fn text(directory: &Path, [clear, secure]: [SocketAddr; 2], [files, sockets, calls]: [SocketAddr; 3]) -> String {
    let [chain, key] = [tls::CHAIN, tls::KEY].map(|name| directory.join(name).display().to_string());
    let service = |name: &str, more: &str, address: SocketAddr| {
        format!(
            "---\nkind: Service\nname: {name}\n{more}balance: {{maxFails: 0}}\n\
             endpoints: {{blue: [{{address: \"{address}\"}}]}}\n"
        )
    };
    let route = |name: &str, prefix: &str, service: &str, more: &str| {
        format!(
            "---\nkind: Route\nname: {name}\nhosts: [{HOST}]\npaths: [{{prefix: {prefix}}}]\nservice: {service}\n{more}"
        )
    };
    [
        format!("kind: Listener\nname: clear\naddress: {clear}\n"),
        format!("---\nkind: Listener\nname: secure\naddress: {secure}\ntls: {{default: clients}}\n"),
        format!("---\nkind: Certificate\nname: clients\nfiles: {{chain: '{chain}', key: '{key}'}}\n"),
        "---\nkind: Limit\nname: few\nkey: [{constant: all}]\ntokenBucket: {rate: 1/h, burst: 1}\n".to_owned(),
        service("files", "", files),
        service("sockets", "", sockets),
        service("calls", "protocol: h2\n", calls),
        route("files", "/files", "files", ""),
        route("sockets", "/sockets", "sockets", ""),
        route("calls", "/drill.Calls", "calls", ""),
        route("health", "/grpc.health.v1.Health", "calls", ""),
        route("limited", "/drill.Limited", "calls", "limits: [few]\n"),
    ]
    .concat()
}
