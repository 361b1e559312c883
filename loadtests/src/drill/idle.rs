//! Thousands of connections that made one request each and then say nothing: what each costs the proxy in memory, and
//! whether each still works.

use std::time::Duration;

use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::checks::Checks;
use super::{Common, Stage};
use crate::error::{Context, Error, Result};
use crate::http::Connection;
use crate::output;
use crate::process;
use crate::proxies::Kind;
use crate::site::Site;
use crate::traffic::Client;

/// What this drill takes.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// How many connections.
    #[arg(long, default_value_t = 9_000)]
    connections: usize,
    /// Proxies to print beside the drilled one, of which nothing is asserted.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Nginx, Kind::Haproxy])]
    beside: Vec<Kind>,
}

/// What an idle connection may cost, in bytes.
const MOST: f64 = 4096.0;
/// Quiet before memory is read.
const QUIET: Duration = Duration::from_secs(5);
/// Connections that are used at the same time.
const AT_A_TIME: usize = 64;

pub(super) async fn run(arguments: &Arguments, common: &Common) -> Result<()> {
    let connections = if common.short { arguments.connections.min(9_000) } else { arguments.connections };
    process::allow_files(connections as u64 + 500)?;
    let mut checks = Checks::new("idle");
    let beside = arguments.beside.iter().filter(|kind| **kind != common.proxy && !common.short);
    for kind in [common.proxy].iter().chain(beside) {
        let (cost, answered) = measure(*kind, connections).await.context(kind.as_str())?;
        let seen = format!("{cost:.0} bytes ({connections} connections, {QUIET:?} of quiet)");
        if *kind == Kind::Gridrouter {
            checks.check("an idle connection costs gridrouter less than 4 KiB of resident memory", cost < MOST, seen);
            let seen = format!("{answered} of {connections}");
            checks.check("every connection answers again", answered == connections, seen);
        } else {
            checks.note(&format!("bytes for each idle connection of {}", kind.as_str()), cost.round());
        }
    }
    checks.finish(common)
}

/// The cost of an idle connection in bytes, and how many answered again after the quiet.
async fn measure(kind: Kind, connections: usize) -> Result<(f64, usize)> {
    let stage = Stage::set(kind, Site::new(3, &["checkout"], 1)?).await?;
    let family = process::tree(stage.proxy.id());
    let before = process::memory(&family).resident;
    let mut open = Vec::new();
    open.resize_with(connections, || None);
    let open = use_all(&stage, open).await?;
    output::progress(format_args!("{}: {connections} connections are open and quiet", kind.as_str()));
    sleep(QUIET).await;
    let after = process::memory(&family).resident;
    let open = use_all(&stage, open).await.context("after the quiet")?;
    let answered = open.iter().flatten().count();
    Ok((after.saturating_sub(before) as f64 / connections as f64, answered))
}

/// Makes one request on each connection, opening those that are not open.
async fn use_all(stage: &Stage, connections: Vec<Option<Connection>>) -> Result<Vec<Option<Connection>>> {
    let target = stage.site.listen;
    let mut used = Vec::with_capacity(connections.len());
    let mut running = JoinSet::new();
    for (number, connection) in connections.into_iter().enumerate() {
        if running.len() >= AT_A_TIME
            && let Some(done) = running.join_next().await
        {
            used.push(Some(done.context("a client broke")??));
        }
        let client = Client {
            tenant: format!("tenant-{}", number % 500),
            host: "checkout.example.com".to_owned(),
            path: "/api/idle".to_owned(),
        };
        running.spawn(async move {
            let exchange = async {
                let mut connection = match connection {
                    Some(connection) => connection,
                    None => Connection::open(target).await?,
                };
                let answer = connection.exchange(&client.request()).await?;
                let (status, keeps_alive) = (answer.status, answer.keeps_alive);
                Ok::<_, crate::http::Failed>((status, keeps_alive, connection))
            };
            let what = format!("connection {number}");
            match timeout(Duration::from_secs(10), exchange).await.context(&what)?.context(&what)? {
                (200, true, connection) => Ok(connection),
                (200, false, _) => Err(Error::new(format!("{what} was not kept"))),
                (status, _, _) => Err(Error::new(format!("{what} was answered {status}"))),
            }
        });
    }
    while let Some(done) = running.join_next().await {
        used.push(Some(done.context("a client broke")??));
    }
    Ok(used)
}
