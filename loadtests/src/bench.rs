//! The side-by-side benchmark: GridRouter, nginx, HAProxy and Envoy, one thread each, on the same upstream.
//!
//! **The measure is requests per CPU-second of the proxy**: good answers in a window, divided by the user and system
//! time that the proxy's processes used in it, as the kernel counts it. Requests per second would measure how the
//! scheduler shares a busy machine; CPU per request hardly depends on it. It is taken with the load flat out, because
//! a proxy that is kept busy takes many events from the kernel at a time, and all are measured in that state; the
//! column `busy` says how much of the window the proxy was on its core, and a low figure there means that the
//! generator or the upstream, and not the proxy, set the pace.
//!
//! Latencies are taken in a second window, at a fixed rate that is the same for all and that all can keep up with:
//! flat out, latency only says how many connections there are.
//!
//! Rounds are interleaved: in each round, each scenario goes through all proxies, one directly after the other, each
//! round beginning with another one. Every measurement has a freshly started process. The median over the rounds is
//! what counts; the range says how much to believe it.
//!
//! Three scenarios are about limits: the same small GET by a route with none, one and four. What they cost is measured once
//! more, each proxy against itself: see `cost`. Envoy is left out there.
//!
//! With TLS all do the same: one kind of certificate, one version, one cipher and one curve (see `tls`). What the handshakes of a
//! scenario are to be is seen of each.
//!
//! HTTP/2 has a load generator of others, h2load, which writes down when each request ended: see `http2`.
//!
//! GridRouter does all its work in it: routes and pins by the thousand, a tenant and a cell looked up and a limit
//! checked on every request, metrics on. The others only forward.

mod cost;
mod http2;
pub mod report;
pub mod scenario;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use tokio::time::timeout;

use crate::error::{Context, Error, Result};
use crate::h2load;
use crate::http::Connection;
use crate::load::{self, Measured, Pace, Plan};
use crate::output;
use crate::process::{self, Memory, Process};
use crate::proxies::Kind;
use crate::site::{Limits, Pin, Route, Site, Speaks};
use crate::tls::Client;
use crate::tools::{self, Cores, Tool};

use cost::Cost;
use scenario::Scenario;

/// Compare GridRouter with nginx, HAProxy and Envoy on the same upstream: requests per CPU-second, latency, memory.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Which proxies.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Kind::ALL)]
    pub proxies: Vec<Kind>,
    /// Which scenarios.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Scenario::ALL)]
    pub scenarios: Vec<Scenario>,
    /// How many interleaved rounds.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Length of a flat-out window; the window at a fixed rate is half as long.
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,
    /// Connections, where the scenario is not about their number.
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Routes that GridRouter has.
    #[arg(long, default_value_t = 10_000)]
    pub routes: usize,
    /// Pinned tenants that GridRouter has.
    #[arg(long, default_value_t = 100_000)]
    pub pins: usize,
    /// Only see that every proxy answers everything rightly: one round of short windows, little configuration, no
    /// statement about speed.
    #[arg(long)]
    pub short: bool,
    /// Write all figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// One proxy in one scenario in one round.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The proxy.
    pub proxy: Kind,
    /// The scenario.
    pub scenario: Scenario,
    /// The round.
    pub round: usize,
    /// Flat out.
    pub busy: Measured,
    /// At the fixed rate.
    pub paced: Measured,
    /// Memory after both.
    pub memory: Memory,
}

impl Sample {
    /// Answers that were not good and requests that got none.
    pub fn wrong(&self) -> u64 {
        [&self.busy, &self.paced].iter().map(|measured| measured.bad + measured.failed).sum()
    }
}

/// A proxy with its configurations, which are written once.
struct Contestant {
    kind: Kind,
    /// With the limits of the scenarios.
    configured: Vec<(Site, tempfile::TempDir)>,
}

impl Contestant {
    /// The site and the directory of the scenario's configuration.
    fn configured(&self, scenario: Scenario) -> Result<(&Site, &Path)> {
        let configured = self.configured.iter().find(|(site, _)| is_for(site, scenario, self.kind));
        let (site, directory) = configured.ok_or_else(|| Error::new("the scenario was not configured"))?;
        Ok((site, directory.path()))
    }
}

/// Runs the whole benchmark.
pub async fn run(mut arguments: Arguments) -> Result<()> {
    if arguments.short {
        arguments.rounds = 1;
        arguments.seconds = 0.5;
        arguments.routes = arguments.routes.min(200);
        arguments.pins = arguments.pins.min(2_000);
        // They differ from the one with four by what is not checked.
        arguments.scenarios.retain(|scenario| !matches!(scenario, Scenario::NoLimit | Scenario::OneLimit));
    }
    if !(0.1..=600.0).contains(&arguments.seconds) || arguments.rounds == 0 || arguments.connections == 0 {
        return Err(Error::new("--seconds takes 0.1 to 600, --rounds and --connections at least 1"));
    }
    process::allow_files(4_096)?;
    let cores = Cores::share_out()?;
    tools::stay_on(cores.load)?;
    let site = site(&arguments)?;
    let contestants = contestants(&arguments, &site)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let _upstream = start_upstream(&site, scratch.path(), cores.upstream).await?;
    output::progress(format_args!(
        "{} cores: proxy (one thread) on core {}, load generator on {}, upstream on {}; \
         gridrouter has {} routes, {} pins, a limit on every request, metrics on",
        cores.available, cores.proxy, cores.load, cores.upstream, arguments.routes, arguments.pins
    ));

    let mut samples = Vec::new();
    for round in 0..arguments.rounds {
        // Forwards and backwards in turns: what comes before must not always come before.
        let mut scenarios = arguments.scenarios.clone();
        if round % 2 == 1 {
            scenarios.reverse();
        }
        for scenario in &scenarios {
            for turn in 0..contestants.len() {
                let Some(contestant) = contestants.get((round + turn) % contestants.len()) else { continue };
                if !scenario.has(contestant.kind) {
                    continue;
                }
                let sample = measure(contestant, *scenario, round, &arguments, cores).await.context(format_args!(
                    "{}, {}",
                    contestant.kind.as_str(),
                    scenario.as_str()
                ))?;
                output::progress(format_args!("round {}/{}: {}", round + 1, arguments.rounds, report::brief(&sample)));
                samples.push(sample);
            }
        }
    }
    let (mut costs, mut failure): (Vec<Cost>, _) = (Vec::new(), None);
    for contestant in &contestants {
        match cost::measure(contestant, &arguments, cores.proxy).await {
            Ok(of_proxy) => costs.extend(of_proxy),
            // What was measured before is not lost by it.
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    report::print(&arguments, &samples, &costs);
    output::json(arguments.json.as_deref(), &report::json(&arguments, cores, &samples, &costs))?;
    if arguments.short {
        correct(&samples)?;
    }
    failure.map_or(Ok(()), Err)
}

/// All that the short form asserts: everything was answered, and rightly.
fn correct(samples: &[Sample]) -> Result<()> {
    for sample in samples {
        let what = format!("{}, {}", sample.proxy.as_str(), sample.scenario.as_str());
        if sample.wrong() > 0 {
            let complaint = [&sample.busy, &sample.paced].iter().find_map(|measured| measured.complaint.clone());
            let complaint = complaint.unwrap_or_default();
            return Err(Error::new(format!("{what}: {} requests went wrong, first: {complaint}", sample.wrong())));
        }
        if sample.busy.good == 0 || sample.paced.good == 0 {
            return Err(Error::new(format!("{what}: nothing was answered")));
        }
    }
    Ok(())
}

/// GridRouter's site; the others get it without pins, idle routes and limit.
fn site(arguments: &Arguments) -> Result<Site> {
    let mut site = Site::new(3, &["bench"], 1)?;
    let cells = site.cells.clone();
    site.pins = (0..arguments.pins)
        .zip(cells.iter().cycle())
        .map(|(number, cell)| Pin { tenant: scenario::tenant(number), cell: cell.clone() })
        .collect();
    site.idle_routes = arguments.routes.saturating_sub(site.routes.len());
    Ok(site)
}

fn contestants(arguments: &Arguments, site: &Site) -> Result<Vec<Contestant>> {
    // Each configuration has its own.
    let ports = crate::ports::free(arguments.proxies.len() * 12 + 16)?;
    let used: Vec<_> = site.endpoints().map(|label| label.address).chain([site.listen, site.admin]).collect();
    let mut ports = ports.into_iter().filter(|port| !used.contains(port));
    let mut contestants = Vec::new();
    for kind in &arguments.proxies {
        kind.tool().find()?;
        let mut own = site.clone();
        let mut configured: Vec<(Site, _)> = Vec::new();
        if *kind != Kind::Gridrouter {
            (own.pins, own.idle_routes) = (Vec::new(), 0);
        }
        for scenario in arguments.scenarios.iter().filter(|scenario| scenario.has(*kind)) {
            if !configured.iter().any(|(site, _)| is_for(site, *scenario, *kind)) {
                (own.tls, own.speaks) = (scenario.tls().is_some(), scenario.speaks());
                own.routes = routes(site, scenario.limits(*kind));
                let mut port = || ports.next().ok_or_else(|| Error::new("ran out of ports"));
                (own.listen, own.admin) = (port()?, port()?);
                let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
                kind.write(&own, directory.path())?;
                configured.push((own.clone(), directory));
            }
        }
        contestants.push(Contestant { kind: *kind, configured });
    }
    Ok(contestants)
}

/// Whether this is how the proxy is to be configured in the scenario.
fn is_for(site: &Site, scenario: Scenario, proxy: Kind) -> bool {
    site.routes.iter().map(|route| route.limits).eq(scenario.limits(proxy).iter().copied())
        && (site.tls, site.speaks) == (scenario.tls().is_some(), scenario.speaks())
}

/// The site's route with each of the limits, under hosts of one length.
fn routes(site: &Site, limits: &[Limits]) -> Vec<Route> {
    let with = |(number, limits): (usize, &Limits)| {
        let mut route = site.routes.first()?.clone();
        if number > 0 {
            route.name = format!("{}-{number}", route.name);
            route.host = format!("{number}{}", route.host.get(1..)?);
        }
        route.limits = *limits;
        Some(route)
    };
    limits.iter().enumerate().filter_map(with).collect()
}

async fn start_upstream(site: &Site, directory: &Path, core: usize) -> Result<Process> {
    let program = Tool::Upstream.find()?;
    let serve = site.endpoints().map(|label| format!("--serve={}={}/{}", label.address, label.service, label.cell));
    let mut process = Process::start("upstream", &program, serve, directory, Some(core))?;
    for label in site.endpoints() {
        let ready = async {
            while Connection::open(label.address).await.is_err() {
                process.still_runs()?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok::<_, Error>(())
        };
        timeout(Duration::from_secs(10), ready).await.context("the upstream does not start")??;
    }
    Ok(process)
}

async fn measure(
    of: &Contestant,
    scenario: Scenario,
    round: usize,
    arguments: &Arguments,
    cores: Cores,
) -> Result<Sample> {
    let (site, directory) = of.configured(scenario)?;
    let mut proxy = of.kind.start(site, directory, Some(cores.proxy)).await?;
    let family = process::tree(proxy.id());
    let cpu = || process::cpu_time(&family);
    let window = Duration::from_secs_f64(arguments.seconds);
    let warm_up = (window / 4).min(Duration::from_secs(1));
    let (busy, paced) = match scenario.speaks() {
        Speaks::Http1 => {
            let plan = measured_plan(scenario, site, directory, arguments).await?;
            let busy = load::run(&plan, Pace::FlatOut, warm_up, window, cpu).await?;
            (busy, load::run(&plan, Pace::Rate(scenario.rate()), warm_up, window / 2, cpu).await?)
        }
        Speaks::Http2 | Speaks::Http2Through => {
            // Not where the proxy has its configuration, which one of them watches: h2load writes down every request.
            let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
            let load = http2::Load { directory: scratch.path(), core: cores.load, warm_up };
            let plan = http2::plan(scenario, site, directory, arguments).await?;
            let busy = load.run(&plan, h2load::Pace::FlatOut(scenario::STREAMS), window, cpu).await?;
            (busy, load.run(&plan, h2load::Pace::Rate(scenario.rate()), window / 2, cpu).await?)
        }
    };
    proxy.still_runs()?;
    Ok(Sample { proxy: of.kind, scenario, round, busy, paced, memory: process::memory(&family) })
}

/// The load of a scenario, of which every answer was seen to be right.
async fn measured_plan(scenario: Scenario, site: &Site, directory: &Path, arguments: &Arguments) -> Result<Plan> {
    let tls = scenario.tls().map(|sessions| Client::new(directory, site.host(), sessions)).transpose()?;
    let mut plan = Plan {
        target: site.listen,
        tls,
        body: 0,
        connections: scenario.connections(arguments.connections),
        reconnect: scenario.reconnects(),
        requests: scenario.requests(site, arguments.pins).into(),
    };
    plan.body = verify(&plan, scenario, site, arguments.pins).await?;
    Ok(plan)
}

/// Sees that the right upstream gives the right answer, and returns the length that every answer must have.
async fn verify(plan: &Plan, scenario: Scenario, site: &Site, pins: usize) -> Result<usize> {
    let mut length = None;
    for (number, request) in plan.requests.iter().take(24).enumerate() {
        let tls = plan.tls.as_ref();
        let asked = async {
            Connection::open_with(plan.target, tls).await?.exchange(request).await.map(|answer| owned(&answer))
        };
        let answer = timeout(Duration::from_secs(5), asked).await.context("no answer")?.context("no answer")?;
        right_one(site, scenario::tenant_of(number, pins), answer.status, &answer.served_by, &answer.body)?;
        scenario.check(&answer.body).context(format_args!("answer of {}", answer.served_by))?;
        if length.is_some_and(|length| length != answer.body.len()) {
            return Err(Error::new("answers differ in length"));
        }
        length = Some(answer.body.len());
    }
    length.ok_or_else(|| Error::new("there is nothing to send"))
}

/// Sees that an answer is good, and comes from where the tenant is.
fn right_one(site: &Site, tenant: Option<String>, status: u16, served_by: &str, body: &[u8]) -> Result<()> {
    if status != 200 {
        let body = String::from_utf8_lossy(body).into_owned();
        return Err(Error::new(format!("answered {status} instead of 200: {body}")));
    }
    let known = site.endpoints().find(|label| label.served_by() == served_by);
    let known = known.ok_or_else(|| Error::new(format!("answered by \"{served_by}\"")))?;
    match tenant.and_then(|tenant| site.pinned(&tenant)) {
        Some(cell) if known.cell != cell => {
            Err(Error::new(format!("a tenant pinned to {cell} was served by {served_by}")))
        }
        Some(_) | None => Ok(()),
    }
}

struct Owned {
    status: u16,
    served_by: String,
    body: Vec<u8>,
}

fn owned(answer: &crate::http::Answer<'_>) -> Owned {
    let served_by = answer.header("x-served-by").unwrap_or_default().to_owned();
    Owned { status: answer.status, served_by, body: answer.body.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxies::{gridrouter, nginx};

    /// Were a scenario asked by the wrong route, every answer would be good, and limits would seem to cost nothing.
    #[test]
    fn each_scenario_of_limits_asks_a_route_that_has_them() {
        let mut site = Site::new(2, &["bench"], 1).unwrap();
        for kind in Kind::ALL.into_iter().filter(|kind| Scenario::FourLimits.has(*kind)) {
            site.routes = routes(&site, Scenario::NoLimit.limits(kind));
            let limits = [Scenario::NoLimit, Scenario::OneLimit, Scenario::FourLimits].map(|scenario| {
                assert!(is_for(&site, scenario, kind) && !is_for(&site, Scenario::SmallGet, kind));
                let route = scenario.route(&site).unwrap();
                let request = scenario.requests(&site, 8).swap_remove(0);
                assert!(String::from_utf8(request).unwrap().contains(&format!("host: {}\r\n", route.host)));
                (route.limits, route.host.len())
            });
            assert_eq!(
                limits,
                [Limits::None, Limits::One, Limits::Four].map(|limits| (limits, "bench.example.com".len()))
            );
        }
        let count =
            |text: &str, what: &str| text.split("kind: Route").map(|one| one.matches(what).count()).collect::<Vec<_>>();
        assert_eq!(count(&gridrouter::routes(&site), "per-"), [0, 0, 1, 4]);
        let servers = nginx::configuration(&site, Path::new("/"));
        let limits: Vec<usize> = servers.split("listen ").skip(1).map(|one| one.matches("limit_").count()).collect();
        assert_eq!(limits, [0, 1, 4]);
        site.routes = routes(&site, Scenario::SmallGet.limits(Kind::Gridrouter));
        assert_eq!(Scenario::SmallGet.route(&site).unwrap().limits, Limits::One);
    }
}
