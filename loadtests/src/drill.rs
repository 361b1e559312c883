//! Drills: the real process, real sockets, and something happening to them while traffic flows. Each asserts what must
//! hold, and says what it saw.

mod acknowledged;
pub mod attacks;
pub mod checks;
pub mod clients;
pub mod demo;
pub mod etcd_chaos;
pub mod etcd_fan_out;
pub mod etcd_million_pins;
pub mod etcd_return;
pub mod faults;
pub mod idle;
pub mod limits;
pub mod limits_edit;
pub mod pin;
pub mod quickstart;
pub mod quickstart_pin;
pub mod reload;
pub mod shift;
pub mod shift_rollback;
pub mod stand;
mod tracks;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use crate::error::{Context, Error, Result};
use crate::process::Process;
use crate::proxies::{Kind, gridrouter, nginx};
use crate::site::Site;
use crate::upstream::Endpoint;

/// Run the real router under load, do something to it, and see that nothing goes wrong.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Which drill.
    #[command(subcommand)]
    pub drill: Drill,
    /// What all drills take.
    #[command(flatten)]
    pub common: Common,
}

/// What all drills take.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The proxy to drill. nginx stands in where a drill itself is tried: what only GridRouter does is not asserted.
    #[arg(long, global = true, value_enum, default_value_t = Kind::Gridrouter)]
    pub proxy: Kind,
    /// A short form for correctness: fewer repetitions, and nothing that depends on an idle machine.
    #[arg(long, global = true)]
    pub short: bool,
    /// Write what was seen to this file.
    #[arg(long, global = true, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// The drills.
#[derive(Debug, Subcommand)]
pub enum Drill {
    /// A pin edited in its file moves that tenant, and only that one, within a second; a broken document changes nothing.
    Pin,
    /// Reloads under load lose no request, leak no memory and do not slow others down.
    Reload(reload::Arguments),
    /// Idle connections cost little memory, and still work.
    Idle(idle::Arguments),
    /// Hostile clients in every way that is known: memory stays bounded, and good clients notice nothing.
    Attacks(attacks::Arguments),
    /// Upstreams that fail in every way give the right answers in time, and hurt nobody else.
    UpstreamFaults,
    /// Programs that others have written reach endpoints that others have written: curl, nghttp, h2load, websockets, grpcio.
    Clients,
    /// Every algorithm of limits under k6 at twice its rate: what gets through is what it says.
    Limits,
    /// Limits edited again and again under load never let through more than the larger of their values.
    LimitsEdit,
    /// The quickstart under k6: placement, limits, latency.
    Quickstart(quickstart::Arguments),
    /// The quickstart under k6 while its pin is edited and a document of it broken: what `pin` asserts, seen by k6.
    QuickstartPin,
    /// Members of etcd crash, stop, are cut off and forget, all the time: no request fails and nothing committed is lost.
    EtcdChaos(etcd_chaos::Arguments),
    /// A change is in force in eight routers in a moment.
    EtcdFanOut(etcd_fan_out::Arguments),
    /// A million pins in etcd: what a router needs to keep them and to follow a change of one.
    EtcdMillionPins(etcd_million_pins::Arguments),
    /// Fifty routers lose etcd and get it back, and do not all return in the same second.
    EtcdReturn(etcd_return::Arguments),
    /// A service's traffic goes to its other track and back under k6: no request fails, no tenant is on two tracks.
    Shift,
    /// A new track that fails or is slow is rolled back at once, and one that is well gets everything.
    ShiftRollback,
}

impl Drill {
    const fn needs_etcd(&self) -> bool {
        match self {
            Drill::EtcdChaos(_)
            | Drill::EtcdFanOut(_)
            | Drill::EtcdMillionPins(_)
            | Drill::EtcdReturn(_)
            | Drill::Shift
            | Drill::ShiftRollback => true,
            Drill::Pin
            | Drill::Reload(_)
            | Drill::Idle(_)
            | Drill::Attacks(_)
            | Drill::UpstreamFaults
            | Drill::Clients
            | Drill::Limits
            | Drill::LimitsEdit
            | Drill::Quickstart(_)
            | Drill::QuickstartPin => false,
        }
    }
}

/// Runs one drill.
pub async fn run(arguments: Arguments) -> Result<()> {
    let common = &arguments.common;
    if !matches!(common.proxy, Kind::Gridrouter | Kind::Nginx) && !matches!(arguments.drill, Drill::Idle(_)) {
        return Err(Error::new("only gridrouter can be drilled, and nginx stand in for it"));
    }
    if common.proxy != Kind::Gridrouter && arguments.drill.needs_etcd() {
        return Err(Error::new("only gridrouter follows etcd"));
    }
    match &arguments.drill {
        Drill::Pin => pin::run(common).await,
        Drill::Reload(own) => reload::run(own, common).await,
        Drill::Idle(own) => idle::run(own, common).await,
        Drill::Attacks(own) => attacks::run(own, common).await,
        Drill::UpstreamFaults => faults::run(common).await,
        Drill::Clients => clients::run(common).await,
        Drill::Limits => limits::run(common).await,
        Drill::LimitsEdit => limits_edit::run(common).await,
        Drill::Quickstart(own) => quickstart::run(own, common).await,
        Drill::QuickstartPin => quickstart_pin::run(common).await,
        Drill::EtcdChaos(own) => etcd_chaos::run(own, common).await,
        Drill::EtcdFanOut(own) => etcd_fan_out::run(own, common).await,
        Drill::EtcdMillionPins(own) => etcd_million_pins::run(own, common).await,
        Drill::EtcdReturn(own) => etcd_return::run(own, common).await,
        Drill::Shift => Box::pin(shift::run(common)).await,
        Drill::ShiftRollback => Box::pin(shift_rollback::run(common)).await,
    }
}

/// A proxy on a site, with its upstreams running in this process.
pub struct Stage {
    /// What was configured.
    pub site: Site,
    /// The proxy.
    pub proxy: Process,
    kind: Kind,
    directory: tempfile::TempDir,
    /// The endpoints, in the order of [`Site::endpoints`].
    pub endpoints: Vec<Endpoint>,
}

impl Stage {
    /// Starts endpoints and proxy.
    pub async fn set(kind: Kind, site: Site) -> Result<Self> {
        let endpoints = site.endpoints().map(Endpoint::start).collect::<Result<Vec<_>>>()?;
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        kind.write(&site, directory.path())?;
        let proxy = kind.start(&site, directory.path(), None).await?;
        Ok(Self { site, proxy, kind, directory, endpoints })
    }

    /// Whether the proxy is GridRouter, of which more is asserted than of one that stands in.
    pub fn is_gridrouter(&self) -> bool {
        self.kind == Kind::Gridrouter
    }

    /// The file that holds the pins.
    pub fn pins_file(&self) -> PathBuf {
        let name = if self.is_gridrouter() { gridrouter::TENANTS } else { nginx::PINS };
        self.directory.path().join(name)
    }

    /// Writes the pins of the site as they are now, as an editor would.
    pub fn write_pins(&self) -> Result<()> {
        let pins = &self.site.pins;
        let text = if self.is_gridrouter() { gridrouter::tenants(pins) } else { nginx::pins(pins) };
        replace(&self.pins_file(), &text)?;
        self.nudge()
    }

    /// Writes the routes of the site as they are now, as an editor would.
    pub fn write_routes(&self) -> Result<()> {
        let (name, text) = if self.is_gridrouter() {
            (gridrouter::ROUTES, gridrouter::routes(&self.site))
        } else {
            ("nginx.conf", nginx::configuration(&self.site, self.directory.path()))
        };
        replace(&self.directory.path().join(name), &text)?;
        self.nudge()
    }

    /// nginx must be told that a file has changed; GridRouter sees it.
    pub fn nudge(&self) -> Result<()> {
        if self.is_gridrouter() { Ok(()) } else { self.proxy.signal(Signal::HUP) }
    }
}

/// Replaces a file as careful editors do: a new file under another name, renamed onto the old one.
pub fn replace(file: &Path, text: &str) -> Result<()> {
    // Of a name that no configuration reader takes for a document.
    let new = file.with_extension("new~");
    std::fs::write(&new, text).context(format_args!("cannot write {}", new.display()))?;
    std::fs::rename(&new, file).context(format_args!("cannot replace {}", file.display()))
}

/// Waits until something holds; false when it does not within `limit`.
pub async fn holds_within(limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if holds().await {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        sleep(Duration::from_millis(2)).await;
    }
}
