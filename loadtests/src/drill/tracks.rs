//! A service with two tracks in two cells behind two routers, controllers that move its traffic, and everything that was
//! seen of it: what the drills of shifts have in common.

pub(super) mod timeline;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gridrouter_config::track::Track;
use serde_json::Value;
use tokio::time::Instant;

use self::timeline::{Change, Timeline};
use super::holds_within;
use super::stand::Metrics;
use crate::error::{Context, Error, Result};
use crate::etcd::Cluster;
use crate::fleet::Fleet;
use crate::gridctl::Gridctl;
use crate::k6::crowd::{Crowd, Size};
use crate::ports;
use crate::process::{Ending, Process};
use crate::proxies::gridrouter;
use crate::tools::Tool;
use crate::upstream::journal::Journal;
use crate::upstream::{Behaviour, Endpoint, Label};

/// The service whose traffic moves.
pub(super) const SERVICE: &str = "checkout";
/// All cells in one wave, as `gridctl shift start` takes it.
pub(super) const WAVE: &str = "cell-1,cell-2";
/// How many tenants there are.
pub(super) const TENANTS: usize = 1_000;
/// How many routers there are.
pub(super) const ROUTERS: usize = 2;
/// Nothing takes this long, however busy the machine: it is for what never happens.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

const CELLS: [&str; 2] = ["cell-1", "cell-2"];
/// What routers count of clients' connections that ended, by reason.
const CLOSED: &str = "gridrouter_connections_closed_total";
/// What the paths of requests begin with; then comes the tenant, and when k6 sent it.
const PATHS: &str = "/api";

/// One request, as its endpoint saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Visit {
    /// The tenant's number.
    pub(super) tenant: usize,
    /// When k6 sent it, in milliseconds since 1970.
    pub(super) sent: i64,
    /// When it was there.
    pub(super) came: Instant,
    /// The track that it came to.
    pub(super) track: Track,
    /// The place of the cell that it came to.
    pub(super) cell: usize,
    /// Whether it was made to fail.
    pub(super) failed: bool,
}

/// An endpoint of one track in one cell.
struct Post {
    track: Track,
    cell: usize,
    endpoint: Endpoint,
    journal: Arc<Journal>,
}

/// A running controller.
struct Controller {
    id: String,
    process: Process,
}

/// Everything that runs. It ends when dropped.
pub(super) struct Tracks {
    /// Commands on the store.
    pub(super) gridctl: Gridctl,
    /// What happened, as etcd told it.
    pub(super) timeline: Timeline,
    controllers: Vec<Controller>,
    started: usize,
    fleet: Fleet,
    posts: Vec<Post>,
    _cluster: Cluster,
    directory: tempfile::TempDir,
}

impl Tracks {
    /// Starts etcd, the endpoints, the routers and so many controllers, and waits until all serve. Blue is in use.
    pub(super) async fn start(controllers: usize) -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let cluster = Cluster::single(&[]).await?;
        let member = cluster.members.first().ok_or_else(|| Error::new("there is no etcd"))?;
        let gridctl = Gridctl::on(format!("etcd://{}", member.address()));
        let url = member.url();
        let (posts, documents) = posts()?;
        let file = directory.path().join("documents.yaml");
        std::fs::write(&file, documents).context("cannot write the documents")?;
        gridctl.must(&["apply", "--filename", &file.display().to_string()]).await?;
        let mut fleet = Fleet::new(ROUTERS, &cluster.urls())?;
        fleet.start().await?;
        let timeline = Timeline::watch(&url, ROUTERS).await?;
        let tracks =
            Self { gridctl, timeline, controllers: Vec::new(), started: 0, fleet, posts, _cluster: cluster, directory };
        let ids: Vec<String> = (0..TENANTS).map(|tenant| format!("t-{tenant}\n")).collect();
        std::fs::write(tracks.tenants_file(), ids.concat()).context("cannot write the list of tenants")?;
        let mut tracks = tracks;
        for _ in 0..controllers {
            tracks.start_controller()?;
        }
        Ok(tracks)
    }

    /// Starts one more controller.
    pub(super) fn start_controller(&mut self) -> Result<()> {
        self.started += 1;
        let id = format!("controller-{}", self.started);
        let arguments = ["controller", "run", "--id", &id, "--store", self.gridctl.store()];
        let program = Tool::Gridctl.find()?;
        let process = Process::start_to_end(&id, &program, arguments, self.directory.path(), None, Ending::Asked)?;
        self.controllers.push(Controller { id, process });
        Ok(())
    }

    /// Kills the controller that acts, and says which one that was.
    pub(super) async fn kill_leader(&mut self) -> Result<String> {
        let mut led = None;
        let found = holds_within(PATIENCE, async || {
            let status = self.gridctl.json(&["controller", "status", "--output", "json"]).await;
            led = status.ok().and_then(|(_, json)| Some(json.get("leader")?.get("id")?.as_str()?.to_owned()));
            led.is_some()
        });
        if !found.await {
            return Err(Error::new(format!("no controller leads within {PATIENCE:?}")));
        }
        let led = led.unwrap_or_default();
        let place = self.controllers.iter().position(|controller| controller.id == led);
        let place = place.ok_or_else(|| Error::new(format!("{led} leads, which was not started here")))?;
        self.controllers.swap_remove(place).process.kill()?;
        Ok(led)
    }

    /// Kills all controllers.
    pub(super) fn kill_controllers(&mut self) -> Result<()> {
        std::mem::take(&mut self.controllers).iter_mut().try_for_each(|controller| controller.process.kill())
    }

    /// Lets the endpoints of a track behave like this.
    pub(super) fn behave(&self, track: Track, behaviour: Behaviour) {
        self.posts.iter().filter(|post| post.track == track).for_each(|post| post.endpoint.behave(behaviour));
    }

    /// Sends a crowd, and waits until every tenant should have asked twice.
    pub(super) async fn send(&self, size: Size) -> Result<Crowd> {
        let targets: Vec<SocketAddr> = self.fleet.routers.iter().map(|router| router.listen).collect();
        let mut crowd = Crowd::start(&targets, size, self.directory.path())?;
        if !holds_within(PATIENCE, async || self.count() >= 2 * size.tenants).await {
            crowd.still_asks()?;
            return Err(Error::new(format!("only {} requests came to the endpoints", self.count())));
        }
        Ok(crowd)
    }

    /// Starts a shift; `more` are flags. Returns the first that is heard of it.
    pub(super) async fn begin(&self, name: &str, steps: &str, more: &[&str]) -> Result<Change> {
        let before = self.timeline.last();
        let tenants = self.tenants_file().display().to_string();
        let common = ["shift", "start", name, "--service", SERVICE, "--wave", WAVE, "--steps", steps];
        let tenants = ["--tenants", &tenants];
        let arguments: Vec<&str> = common.iter().chain(&tenants).chain(more).copied().collect();
        self.gridctl.must(&arguments).await?;
        self.timeline.begun(name, before, PATIENCE).await
    }

    /// What `gridctl shift status` says, with its exit code.
    pub(super) async fn status(&self, name: &str) -> Result<(i32, Value)> {
        self.gridctl.json(&["shift", "status", name, "--output", "json"]).await
    }

    /// The state of a shift as it is written in its document.
    pub(super) async fn state(&self, name: &str) -> Result<Value> {
        let (_, shifts) = self.gridctl.json(&["shift", "list", "--output", "json"]).await?;
        let all = shifts.as_array().map(Vec::as_slice).unwrap_or_default();
        let one = all.iter().find(|shift| shift.get("shift").and_then(Value::as_str) == Some(name));
        let state = one.and_then(|shift| shift.get("state")).cloned();
        state.ok_or_else(|| Error::new(format!("gridctl shift list does not know the state of {name}")))
    }

    /// How many requests came to all endpoints.
    pub(super) fn count(&self) -> usize {
        self.posts.iter().map(|post| post.journal.count()).sum()
    }

    /// How many of the clients' connections the routers have closed, and how many the clients.
    pub(super) async fn closed(&self) -> Result<(f64, f64)> {
        let (mut all, mut by_clients) = (0.0, 0.0);
        for router in &self.fleet.routers {
            let metrics = gridrouter::ask(router.admin, "/metrics").await.map(|(_, text)| Metrics::new(text))?;
            all += metrics.sum(CLOSED, &[]);
            by_clients += metrics.sum(CLOSED, &[("reason", "client")]);
        }
        Ok((all - by_clients, by_clients))
    }

    /// When the last request came to a track.
    pub(super) fn last(&self, track: Track) -> Option<Instant> {
        self.posts.iter().filter(|post| post.track == track).filter_map(|post| post.journal.last()).max()
    }

    /// Every request, in the order in which they came.
    pub(super) fn visits(&self) -> Result<Vec<Visit>> {
        let mut all = Vec::with_capacity(self.count());
        for post in &self.posts {
            for visit in post.journal.visits(PATHS) {
                let (tenant, sent) = read(&visit.path)
                    .ok_or_else(|| Error::new(format!("a request for {} came, which k6 does not send", visit.path)))?;
                let (track, cell) = (post.track, post.cell);
                all.push(Visit { tenant, sent, came: visit.came, track, cell, failed: visit.failed });
            }
        }
        all.sort_by_key(|visit| visit.came);
        Ok(all)
    }

    /// Fails when a router or a controller has ended by itself.
    pub(super) fn still_run(&mut self) -> Result<()> {
        self.controllers.iter_mut().try_for_each(|controller| controller.process.still_runs())?;
        self.fleet.still_run()
    }

    fn tenants_file(&self) -> PathBuf {
        self.directory.path().join("tenants")
    }
}

/// The tenant and the time in a path such as `/api/t-7/1795241954708`.
fn read(path: &str) -> Option<(usize, i64)> {
    let (tenant, sent) = path.strip_prefix(PATHS)?.strip_prefix("/t-")?.split_once('/')?;
    Some((tenant.parse().ok().filter(|tenant| *tenant < TENANTS)?, sent.parse().ok()?))
}

/// Starts the endpoints, and says how they are written down. Each says its track where others say their service.
fn posts() -> Result<(Vec<Post>, String)> {
    let mut addresses = ports::free(4)?.into_iter();
    let (mut posts, mut cells) = (Vec::new(), Vec::new());
    for (cell, name) in CELLS.into_iter().enumerate() {
        let mut tracks = Vec::new();
        for track in [Track::Blue, Track::Green] {
            let address = addresses.next().ok_or_else(|| Error::new("ran out of ports"))?;
            let journal = Arc::new(Journal::default());
            let label = Label { address, service: track.as_str().to_owned(), cell: name.to_owned() };
            let endpoint = Endpoint::recorded(&label, Arc::clone(&journal))?;
            posts.push(Post { track, cell, endpoint, journal });
            tracks.push(format!("{}: [{{address: \"{address}\"}}]", track.as_str()));
        }
        cells.push(format!("{name}: {{{}}}", tracks.join(", ")));
    }
    let mut documents = vec![
        "kind: Listener\nname: web\naddress: 127.0.0.1:0\n".to_owned(),
        format!("kind: Grid\nname: shop\ncells: [{}]\n", CELLS.join(", ")),
        format!("kind: Service\nname: {SERVICE}\ncells:\n  {}\n", cells.join("\n  ")),
        format!(
            "kind: Route\nname: {SERVICE}\npaths: [{{prefix: {PATHS}}}]\ntenant: {{from: [{{header: x-tenant-id}}]}}\n\
             grid: shop\nservice: {SERVICE}\n"
        ),
    ];
    documents.extend(CELLS.map(|name| format!("kind: Cell\nname: {name}\n")));
    Ok((posts, documents.join("---\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_say_who_and_when() {
        assert_eq!(read("/api/t-7/1795241954708"), Some((7, 1_795_241_954_708)));
        for other in ["/api", "/api/t-7", "/api/t-1000/1", "/api/x/1", "/t-7/1"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
