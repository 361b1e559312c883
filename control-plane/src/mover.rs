//! Moving one tenant from one cell to another: what `gridctl tenant move` does, but for the words.
//!
//! Each step reads what is in force, asks `plan/tenant_move.rs`, and writes one generation. Nothing is remembered but which
//! move it is, so that somebody else, or the controller, goes on from what the store has.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gridrouter_config::check::{ModelDocument, convert};
use gridrouter_config::codec::{Parsed, SourceDocument};
use gridrouter_config::generation::advance;
use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::model::{self, Model};
use gridrouter_config::problem::did_you_mean;
use gridrouter_config::raw::{self, MoveFence, MovePhase};
use gridrouter_config::tenants::TenantTable;

use crate::controller::desk::{Crash, Desk, Refused};
use crate::controller::tenant_move::{Watch, all, tenant};
use crate::controller::{Proposal, View};
use crate::locate::Locator;
use crate::plan::tenant_move::routers::Fleet;
use crate::plan::tenant_move::write::{begin, documents};
use crate::plan::tenant_move::{Command, Next, obey, tick};
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
}

/// A move, and what it waits for.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The move.
    pub one: model::Move,
    /// What routers are waited for.
    pub waits: Option<String>,
}

/// Carries one move on.
pub struct Mover {
    desk: Desk,
    watch: Watch,
    author: String,
    name: Name,
    started: u64,
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Mover {
    /// What an order would begin: nothing is changed.
    pub fn plan(target: &Target, order: &Order, now: u64) -> Result<raw::Move, Refused> {
        let mut desk = Self::desk(target, &order.tenant).map_err(Refused::No)?;
        let view = desk.look().map_err(Refused::Away)?;
        planned(view, order, now).map_err(Refused::No)
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
        let mut name = None;
        let mut decide = |view: &View| {
            let document = planned(view, order, now)?;
            let one = checked(&document)?;
            name = Some(one.name.clone());
            let words = format!("move {}: moves {} from {} to {}", one.name, one.tenant, one.from, one.to);
            let message = message.map_or_else(|| words.clone(), |text| format!("{words}: {text}"));
            Ok(Proposal { put: begin(document, &one, tenant(view, &one.tenant)), message, ..Proposal::default() })
        };
        insist(|| desk.change(author, &mut decide))?;
        let name = name.ok_or_else(|| Refused::No("nothing was begun".to_owned()))?;
        let begun = Self::of(target, author, name, &order.tenant, now).map_err(Refused::No)?;
        Ok(Self { desk: desk.changed_for(begun.desk), ..begun })
    }

    /// Takes up a move that is there.
    pub fn resume(target: &Target, author: &str, name: &Name) -> Result<Self, Refused> {
        let mut desk = Desk::open_for(target, KINDS, &[]).map_err(Refused::No)?;
        let view = desk.look().map_err(Refused::Away)?;
        let (_, one) = find(view, name).map_err(Refused::No)?;
        Self::of(target, author, name.clone(), &one.tenant, one.state.started).map_err(Refused::No)
    }

    /// One that reads its own two documents and no others: there may be thousands of moves.
    fn of(target: &Target, author: &str, name: Name, tenant: &Name, started: u64) -> Result<Self, String> {
        let id = |kind, name: &Name| DocumentId { kind, name: name.clone() };
        let desk = Desk::open_for(target, &[], &[id(Kind::Move, &name), id(Kind::Tenant, tenant)])?;
        Ok(Self { desk, watch: Watch::of(target)?, author: author.to_owned(), name, started })
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

    /// How it stands.
    pub fn look(&mut self) -> Result<Standing, String> {
        let view = self.desk.look()?;
        let (_, one) = ours(view, &self.name, self.started)?;
        let waits = if one.has_ended() { None } else { self.watch.waits(&one) };
        Ok(Standing { one, waits })
    }

    /// Goes on as far as that needs nobody's word: one step. Whether there was one.
    pub fn go_on(&mut self, now: u64) -> Result<bool, Refused> {
        let waits = self.look().map_err(Refused::Away)?.waits;
        let nothing = "nothing is to be done";
        let changed =
            self.change(|one, tenant| tick(one, tenant, waits.as_deref(), now).ok_or_else(|| nothing.to_owned()));
        match changed {
            Ok(()) => Ok(true),
            Err(Refused::No(why)) if why == nothing => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// Does what somebody wants of it; for the flip, routers are asked first.
    pub fn command(&mut self, command: &Command, now: u64) -> Result<(), Refused> {
        self.change(|one, tenant| obey(one, tenant, command, now))
    }

    /// What that would make of it. Nothing is changed.
    pub fn would(&mut self, command: &Command) -> Result<Next, Refused> {
        let view = self.desk.look().map_err(Refused::Away)?;
        let (_, one) = ours(view, &self.name, self.started).map_err(Refused::No)?;
        obey(&one, tenant(view, &one.tenant), command, now()).map_err(Refused::No)
    }

    /// Puts the tenant on its new cell, if every router has the fence.
    pub fn flip(&mut self, now: u64) -> Result<(), Refused> {
        let waits = self.look().map_err(Refused::Away)?.waits;
        self.command(&Command::Flip { waits }, now)
    }

    /// Gives it as much time as it may take from now on.
    pub fn extend(&mut self, timeout: Duration, now: u64) -> Result<(), Refused> {
        self.command(&Command::Extend { deadline: now.saturating_add(millis(timeout)) }, now)
    }

    fn change(
        &mut self,
        mut decide: impl FnMut(&model::Move, Option<&raw::Tenant>) -> Result<Next, String>,
    ) -> Result<(), Refused> {
        let (name, started) = (self.name.clone(), self.started);
        let mut decide = |view: &View| {
            let (document, one) = ours(view, &name, started)?;
            let tenant = tenant(view, &one.tenant);
            let next = decide(&one, tenant)?;
            let message = format!("move {}: {}", one.name, next.what);
            Ok(Proposal { put: documents(document, &one, tenant, &next), message, ..Proposal::default() })
        };
        insist(|| self.desk.change(&self.author, &mut decide))
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

/// The move that a tenant is on in a grid, if it is on one.
fn on_its_way<'a>(view: &'a View, tenant: &Name, grid: &Name) -> Option<&'a raw::Move> {
    view.documents.values().find_map(|source| {
        let raw::Document::Move(one) = &source.raw else { return None };
        let same = one.tenant == tenant.as_str() && one.grid == grid.as_str();
        (same && !one.state.phase.is_last()).then_some(&**one)
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

fn checked(document: &raw::Move) -> Result<model::Move, String> {
    let source = SourceDocument::from_raw("move", 1, raw::Document::Move(Box::new(document.clone())));
    let source = source.map_err(|problem| problem.message)?;
    match convert(&source) {
        Ok(ModelDocument::Move(one)) => Ok((*one).clone()),
        Ok(_) => Err("it is no move".to_owned()),
        Err(problems) => {
            let text = |problem: &gridrouter_config::problem::Problem| {
                let help = problem.help.as_deref().map(|help| format!("; {help}"));
                format!("{}: {}{}", problem.path, problem.message, help.unwrap_or_default())
            };
            Err(problems.iter().map(text).collect::<Vec<_>>().join(", "))
        }
    }
}

/// The document of a move that begins now.
fn planned(view: &View, order: &Order, now: u64) -> Result<raw::Move, String> {
    if view.generation == 0 {
        return Err("nothing was published in the store yet".to_owned());
    }
    let placement: Vec<_> = view.documents.values().filter(|one| one.id.kind != Kind::Tenant).cloned().collect();
    let placement = placement.into_iter().filter(|one| one.id.kind != Kind::Move).collect();
    let advanced = advance(None, &[Parsed::from_documents("", placement)], &TenantTable::default());
    let model = advanced.in_force.model();
    let grid = grid(model, order.grid.as_ref())?;
    if let Some(other) = on_its_way(view, &order.tenant, &grid.name) {
        let name = &other.name;
        return Err(format!(
            "tenant \"{}\" is on its way already, by move \"{name}\"; go on with `gridctl move resume {name}`, or back with \
             `gridctl move rollback {name}`",
            order.tenant
        ));
    }
    let (from, was_pinned) = place(view, model, grid, &order.tenant)?;
    if grid.cells.binary_search(&order.to).is_err() {
        let names = || grid.cells.iter().map(Name::as_str);
        let help = did_you_mean(order.to.as_str(), names())
            .unwrap_or_else(|| format!("it has {}", names().collect::<Vec<_>>().join(", ")));
        return Err(format!("grid \"{}\" has no cell \"{}\"; {help}", grid.name, order.to));
    }
    if let Some(cell) = model.cells.get(&order.to).filter(|cell| cell.state != model::CellState::Active) {
        return Err(format!("cell \"{}\" is {}; make it active first", order.to, cell.state.as_str()));
    }
    if from == order.to {
        return Err(format!("tenant \"{}\" is on cell \"{from}\" already", order.tenant));
    }
    let name = match &order.name {
        Some(name) if view.documents.contains_key(&id_of(name)) => {
            return Err(format!("there is a move \"{name}\" already"));
        }
        Some(name) => name.to_string(),
        None => free_name(view, &order.tenant, now),
    };
    let deadline = now.saturating_add(millis(order.timeout));
    let state = raw::MoveState { phase: MovePhase::Fencing, started: now, since: now, deadline, reason: String::new() };
    Ok(raw::Move {
        name,
        tenant: order.tenant.to_string(),
        grid: grid.name.to_string(),
        from: from.to_string(),
        to: order.to.to_string(),
        was_pinned,
        fence: Some(order.fence),
        hold: order.hold.clone(),
        retry_after: order.retry_after.clone(),
        state,
    })
}

fn grid<'a>(model: &'a Model, wanted: Option<&Name>) -> Result<&'a model::Grid, String> {
    let known: Vec<&str> = model.grids.keys().map(Name::as_str).collect();
    let named = match (wanted, known.as_slice()) {
        (Some(name), _) => model.grids.get(name),
        (None, [_]) => model.grids.values().next(),
        (None, []) => return Err("there are no grids".to_owned()),
        (None, _) => return Err(format!("there are several grids; say --grid with one of {}", known.join(", "))),
    };
    named.map(|grid| &**grid).ok_or_else(|| {
        let name = wanted.map(Name::as_str).unwrap_or_default();
        let help = did_you_mean(name, known.iter().copied());
        format!("no grid \"{name}\"; {}", help.unwrap_or_else(|| format!("there is {}", known.join(", "))))
    })
}

/// The cell that a tenant lives in, and whether it is pinned there.
fn place(view: &View, model: &Model, grid: &model::Grid, name: &Name) -> Result<(Name, bool), String> {
    let pin = tenant(view, name).and_then(|tenant| Some((tenant.grid.clone()?, tenant.cell.clone()?)));
    match pin {
        Some((of, cell)) if of == grid.name.as_str() => Ok((Name::parse(&cell)?, true)),
        Some((of, _)) => Err(format!(
            "tenant \"{name}\" is pinned in grid \"{of}\", and its document has room for one pin only; move it there, or take \
             that pin away"
        )),
        None => {
            let found = Locator::new(model, grid).locate(name).cell.map(Name::parse).transpose()?;
            let none = || format!("no cell of grid \"{}\" takes tenants", grid.name);
            found.map(|cell| (cell, false)).ok_or_else(none)
        }
    }
}

/// A name that says whose move it is, as far as that can be said, and when it was begun.
fn free_name(view: &View, tenant: &Name, now: u64) -> String {
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let text: String = tenant.as_str().to_lowercase().chars().map(plain).take(64).collect();
    let text = text.trim_matches('-');
    let text = if text.is_empty() { "tenant" } else { text };
    let taken = |name: &String| Name::parse(name).is_ok_and(|name| view.documents.contains_key(&id_of(&name)));
    // There are not as many moves that one of these would not be free.
    let mut tried = (0..=view.documents.len() as u64).map(|more| format!("{text}-{}", (now / 1000) + more));
    tried.find(|name| !taken(name)).unwrap_or_default()
}
