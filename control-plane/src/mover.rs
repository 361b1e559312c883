//! Moving one tenant from one cell to another: what `gridctl tenant move` does, but for the words.
//!
//! Each step reads what is in force, asks `plan/tenant_move.rs`, and writes one generation. Nothing is remembered but which
//! move it is, so that somebody else, or the controller, goes on from what the store has.

mod begin;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::model;
use gridrouter_config::problem::did_you_mean;
use gridrouter_config::raw::{self, MoveDriver, MoveFence};
use gridrouter_config::store::etcd::Random;

use crate::controller::desk::{Crash, Desk, Refused};
use crate::controller::tenant_move::{Watch, all, tenant};
use crate::controller::{Proposal, View};
use crate::plan::tenant_move::routers::Fleet;
use crate::plan::tenant_move::write::{begin, documents};
use crate::plan::tenant_move::{Command, Next, obey, taken_over, tick};
use crate::target::{Target, Where};

/// What is read of a store.
const KINDS: &[Kind] = &[Kind::Grid, Kind::Cell, Kind::Move];

/// How often a change is tried that loses all its attempts.
const INSISTS: usize = 5;

/// Which tenant goes where, and how.
#[derive(Debug, Clone)]
pub struct Order {
    /// The tenant.
    pub tenant: Name,
    /// The grid; the one that there is, where none is named.
    pub grid: Option<Name>,
    /// The cell that it goes to.
    pub to: Name,
    /// Which requests are kept away meanwhile.
    pub fence: MoveFence,
    /// How long such a request waits, as it is written in a document.
    pub hold: Option<String>,
    /// What a client that is refused is told to wait, as it is written in a document.
    pub retry_after: Option<String>,
    /// After this time the controller rolls the move back.
    pub timeout: Duration,
    /// The move's name; one is made where none is given.
    pub name: Option<Name>,
    /// Whether a command copies the data.
    pub hook: bool,
}

/// A move, and what it waits for.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The move.
    pub one: model::Move,
    /// What routers are waited for.
    pub waits: Option<String>,
    /// Who carries it on by now in the place of whoever asks.
    pub taken_over: Option<MoveDriver>,
}

/// Carries one move on.
pub struct Mover {
    desk: Desk,
    watch: Watch,
    author: String,
    name: Name,
    started: u64,
    /// What it is known by where it carries the move on; nothing for whoever only looks, or says a word.
    driver: Option<MoveDriver>,
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A driver that nobody else is.
fn driver(now: u64) -> MoveDriver {
    let id = format!("{:016x}", Random::new().number());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    MoveDriver { id, host: format!("process {} on {host}", std::process::id()), since: now }
}

impl Mover {
    /// What an order would begin: nothing is changed. Everything is checked that is checked when it begins.
    pub fn plan(target: &Target, order: &Order, now: u64) -> Result<model::Move, Refused> {
        let mut desk = Self::desk(target, &order.tenant).map_err(Refused::No)?;
        let view = desk.look().map_err(Refused::Away)?;
        let (_, one) = begin::begun(view, order, &driver(now), now).map_err(Refused::No)?;
        Ok(one)
    }

    /// Puts the fence up.
    pub fn begin(
        target: &Target,
        author: &str,
        message: Option<&str>,
        order: &Order,
        now: u64,
    ) -> Result<Self, Refused> {
        Self::begin_or_die(target, author, message, order, now, Box::new(|_| false))
    }

    /// The same, for an operator who dies in it when `crash` says so.
    pub fn begin_or_die(
        target: &Target,
        author: &str,
        message: Option<&str>,
        order: &Order,
        now: u64,
        crash: Crash,
    ) -> Result<Self, Refused> {
        let mut desk = Self::desk(target, &order.tenant).map_err(Refused::No)?.mortal(crash);
        let (driver, mut name) = (driver(now), None);
        let mut decide = |view: &View| {
            let (document, one) = begin::begun(view, order, &driver, now)?;
            name = Some(one.name.clone());
            let words = format!("move {}: moves {} from {} to {}", one.name, one.tenant, one.from, one.to);
            let message = with(words, message);
            Ok(Proposal { put: begin(document, &one, tenant(view, &one.tenant)), message, ..Proposal::default() })
        };
        insist(|| desk.change(author, &mut decide))?;
        let name = name.ok_or_else(|| Refused::No("nothing was begun".to_owned()))?;
        let begun = Self::of(target, author, name, &order.tenant, now).map_err(Refused::No)?;
        Ok(Self { desk: desk.changed_for(begun.desk), driver: Some(driver), ..begun })
    }

    /// A move that is there, for whoever looks at it or says a word. Nothing is changed.
    pub fn find(target: &Target, author: &str, name: &Name) -> Result<Self, Refused> {
        let mut desk = Desk::open_for(target, KINDS, &[]).map_err(Refused::No)?;
        let view = desk.look().map_err(Refused::Away)?;
        let (_, one) = find(view, name).map_err(Refused::No)?;
        Self::of(target, author, name.clone(), &one.tenant, one.state.started).map_err(Refused::No)
    }

    /// Carries it on from here in the place of whoever did, who has no say any more. It may take as long as `timeout` from
    /// now on. `data` says that the data is copied already, or will be by a command. Returns whoever did.
    pub fn take_up(
        &mut self,
        timeout: Duration,
        data: bool,
        message: Option<&str>,
        now: u64,
    ) -> Result<Option<MoveDriver>, Refused> {
        let driver = self.driver.clone().unwrap_or_else(|| driver(now));
        let command = Command::TakeUp { driver: driver.clone(), deadline: now.saturating_add(millis(timeout)), data };
        let mut before = None;
        self.change(message, |one, tenant, by| {
            before.clone_from(&one.state.driver);
            obey(one, tenant, by, &command, now)
        })?;
        self.driver = Some(driver);
        Ok(before)
    }

    /// One that reads its own two documents and no others: there may be thousands of moves.
    fn of(target: &Target, author: &str, name: Name, tenant: &Name, started: u64) -> Result<Self, String> {
        let id = |kind, name: &Name| DocumentId { kind, name: name.clone() };
        let desk = Desk::open_for(target, &[], &[id(Kind::Move, &name), id(Kind::Tenant, tenant)])?;
        Ok(Self { desk, watch: Watch::of(target)?, author: author.to_owned(), name, started, driver: None })
    }

    fn desk(target: &Target, tenant: &Name) -> Result<Desk, String> {
        if let Where::Directory(path) = &target.place {
            return Err(format!(
                "directory {} does not know its routers, so that nobody could say when a fence is up; moves need etcd",
                path.display()
            ));
        }
        Desk::open_for(target, KINDS, &[DocumentId { kind: Kind::Tenant, name: tenant.clone() }])
    }

    /// One whose operator dies when `crash` says so.
    #[must_use]
    pub fn mortal(self, crash: Crash) -> Self {
        Self { desk: self.desk.mortal(crash), ..self }
    }

    /// The move's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What it is known by as a driver.
    fn id(&self) -> Option<String> {
        self.driver.as_ref().map(|driver| driver.id.clone())
    }

    /// How it stands.
    pub fn look(&mut self) -> Result<Standing, String> {
        let id = self.id();
        let view = self.desk.look()?;
        let (_, one) = ours(view, &self.name, self.started)?;
        let waits = if one.has_ended() { None } else { self.watch.waits(&one) };
        let taken_over = id.and_then(|id| taken_over(&one, Some(&id)).cloned());
        Ok(Standing { one, waits, taken_over })
    }

    /// Goes on as far as that needs nobody's word: one step. Whether there was one.
    pub fn go_on(&mut self, now: u64) -> Result<bool, Refused> {
        let waits = self.look().map_err(Refused::Away)?.waits;
        let nothing = "nothing is to be done";
        let changed = self.change(None, |one, tenant, by| match taken_over(one, by) {
            Some(other) => Err(format!("move \"{}\" is carried on by {}", one.name, other.host)),
            None => tick(one, tenant, waits.as_deref(), now).ok_or_else(|| nothing.to_owned()),
        });
        match changed {
            Ok(()) => Ok(true),
            Err(Refused::No(why)) if why == nothing => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Does what somebody wants of it; for the flip, routers are asked first.
    pub fn command(&mut self, command: &Command, now: u64) -> Result<(), Refused> {
        self.change(None, |one, tenant, by| obey(one, tenant, by, command, now))
    }

    /// What that would make of it. Nothing is changed.
    pub fn would(&mut self, command: &Command) -> Result<Next, Refused> {
        let id = self.id();
        let view = self.desk.look().map_err(Refused::Away)?;
        let (_, one) = ours(view, &self.name, self.started).map_err(Refused::No)?;
        obey(&one, tenant(view, &one.tenant), id.as_deref(), command, now()).map_err(Refused::No)
    }

    /// What taking it up would make of it. Nothing is changed.
    pub fn would_take_up(&mut self, timeout: Duration, data: bool) -> Result<Next, Refused> {
        let now = now();
        let deadline = now.saturating_add(millis(timeout));
        self.would(&Command::TakeUp { driver: driver(now), deadline, data })
    }

    /// Puts the tenant on its new cell, if every router has the fence.
    pub fn flip(&mut self, now: u64) -> Result<(), Refused> {
        let waits = self.look().map_err(Refused::Away)?.waits;
        self.command(&Command::Flip { waits }, now)
    }

    fn change(
        &mut self,
        words: Option<&str>,
        mut decide: impl FnMut(&model::Move, Option<&raw::Tenant>, Option<&str>) -> Result<Next, String>,
    ) -> Result<(), Refused> {
        let (name, started, by) = (self.name.clone(), self.started, self.id());
        let mut decide = |view: &View| {
            let (document, one) = ours(view, &name, started)?;
            let tenant = tenant(view, &one.tenant);
            let next = decide(&one, tenant, by.as_deref())?;
            let message = with(format!("move {}: {}", one.name, next.what), words);
            Ok(Proposal { put: documents(document, &one, tenant, &next), message, ..Proposal::default() })
        };
        insist(|| self.desk.change(&self.author, &mut decide))
    }
}

/// What happens, and why, where somebody says so.
fn with(what: String, why: Option<&str>) -> String {
    match why {
        Some(why) => format!("{what}: {why}"),
        None => what,
    }
}

/// Tries again what loses against others, mostly other moves: a tenant waits.
fn insist(mut change: impl FnMut() -> Result<Option<u64>, Refused>) -> Result<(), Refused> {
    for _ in 1..INSISTS {
        match change() {
            Err(Refused::Lost(_)) => {}
            other => return other.map(|_| ()),
        }
    }
    change().map(|_| ())
}

/// All moves of a store, and its routers.
pub fn list(target: &Target) -> Result<(Vec<model::Move>, Option<Fleet>), String> {
    let mut desk = Desk::open_for(target, &[Kind::Move], &[])?;
    let moves: Vec<model::Move> = all(desk.look()?).map(|(_, one)| (*one).clone()).collect();
    // Where nothing is under way nobody is waited for.
    let fleet = if moves.iter().all(model::Move::has_ended) { None } else { Some(Watch::of(target)?.fleet()?) };
    Ok((moves, fleet))
}

fn id_of(name: &Name) -> DocumentId {
    DocumentId { kind: Kind::Move, name: name.clone() }
}

/// A move by its name. The others are not looked at: there may be thousands.
fn find<'a>(view: &'a View, name: &Name) -> Result<(&'a raw::Move, model::Move), String> {
    let found = view.documents.get(&id_of(name)).and_then(|source| match (&source.raw, convert(source)) {
        (raw::Document::Move(raw), Ok(ModelDocument::Move(one))) => Some((&**raw, (*one).clone())),
        _ => None,
    });
    found.ok_or_else(|| {
        let known = view.documents.keys().filter(|id| id.kind == Kind::Move).map(|id| id.name.as_str());
        let help = did_you_mean(name.as_str(), known);
        format!("there is no move \"{name}\"; {}", help.unwrap_or_else(|| "look with `gridctl move list`".to_owned()))
    })
}

fn ours<'a>(view: &'a View, name: &Name, started: u64) -> Result<(&'a raw::Move, model::Move), String> {
    let (raw, one) = find(view, name)?;
    if one.state.started == started {
        Ok((raw, one))
    } else {
        Err(format!("move \"{name}\" is another one by now, begun by somebody else"))
    }
}
