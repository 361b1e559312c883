use std::collections::BTreeSet;
use std::time::Duration;

use gridrouter_config::ids::Name;
use gridrouter_config::live::{MoveSeen, RouterStatus};
use gridrouter_config::raw::{Document, MoveFence};
use proptest::prelude::*;

use super::routers::{Fleet, waits};
use super::write::{begin, documents, state};
use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(super) fn example() -> Move {
    let state = MoveState {
        phase: MovePhase::Fencing,
        started: 5,
        since: 5,
        deadline: 1_000,
        reason: String::new(),
        driver: None,
    };
    Move {
        name: name("m"),
        tenant: name("t"),
        grid: name("g"),
        from: name("a"),
        to: name("b"),
        was_pinned: false,
        fence: MoveFence::Writes,
        hold: Duration::ZERO,
        retry_after: Duration::from_secs(5),
        hook: false,
        state,
    }
}

fn driver(id: &str) -> MoveDriver {
    MoveDriver { id: id.to_owned(), host: format!("{id} on h"), since: 1 }
}

pub(super) fn in_phase(one: &Move, phase: MovePhase) -> Move {
    Move { state: MoveState { phase, ..one.state.clone() }, ..one.clone() }
}

fn written(one: &Move) -> raw::Move {
    raw::Move {
        name: one.name.to_string(),
        tenant: one.tenant.to_string(),
        grid: one.grid.to_string(),
        from: one.from.to_string(),
        to: one.to.to_string(),
        was_pinned: one.was_pinned,
        fence: None,
        hold: None,
        retry_after: None,
        hook: one.hook,
        state: state(&one.state),
    }
}

fn pinned_to(cell: &str) -> raw::Tenant {
    raw::Tenant { name: "t".into(), grid: Some("g".into()), cell: Some(cell.into()), ..raw::Tenant::default() }
}

/// What a store has.
#[derive(Debug, Clone, PartialEq)]
struct Store {
    one: Move,
    tenant: Option<raw::Tenant>,
}

impl Store {
    fn write(&mut self, next: &Next) {
        for document in documents(&written(&self.one), &self.one, self.tenant.as_ref(), next) {
            self.put(document);
        }
        self.one.state = next.state.clone();
    }

    fn put(&mut self, document: Document) {
        if let Document::Tenant(tenant) = document {
            self.tenant = Some(tenant);
        } else {
            assert!(matches!(document, Document::Move(_)), "{document:?}");
        }
    }

    fn begun(one: Move, tenant: Option<raw::Tenant>) -> Self {
        let documents = begin(written(&one), &one, tenant.as_ref());
        let mut store = Store { one, tenant };
        for document in documents {
            store.put(document);
        }
        store
    }

    fn cell(&self) -> &str {
        self.tenant.as_ref().and_then(|tenant| tenant.cell.as_deref()).unwrap_or("a")
    }
}

#[test]
fn a_move_goes_through_its_phases_and_the_tenant_with_it() {
    let mut store = Store::begun(example(), None);
    assert_eq!(store.cell(), "a");
    assert_eq!(tick(&store.one, store.tenant.as_ref(), Some("waits"), 10), None);
    let fenced = tick(&store.one, store.tenant.as_ref(), None, 20).unwrap();
    store.write(&fenced);
    assert_eq!((store.one.state.phase, store.one.state.since), (MovePhase::Fenced, 20));
    assert_eq!(tick(&store.one, store.tenant.as_ref(), None, 30), None, "somebody has to copy the data");
    let early = obey(&store.one, store.tenant.as_ref(), None, &Command::Flip { waits: Some("r is behind".into()) }, 30);
    assert!(early.unwrap_err().contains("r is behind"));
    let flip = obey(&store.one, store.tenant.as_ref(), None, &Command::Flip { waits: None }, 30).unwrap();
    store.write(&flip);
    assert_eq!((store.one.state.phase, store.cell()), (MovePhase::Flipping, "b"));
    assert_eq!(tick(&store.one, store.tenant.as_ref(), Some("waits"), 40), None);
    let done = tick(&store.one, store.tenant.as_ref(), None, 2_000).unwrap();
    store.write(&done);
    assert_eq!((store.one.state.phase, store.cell()), (MovePhase::Succeeded, "b"));
    let back = obey(&store.one, store.tenant.as_ref(), None, &Command::RollBack { why: "no".into() }, 50).unwrap_err();
    assert!(back.ends_with("say `gridctl tenant move t --grid g --to a`"), "{back}");
}

#[test]
fn a_rollback_restores_exactly_what_was() {
    let mut own = raw::Tenant { name: "t".into(), plan: Some("gold".into()), ..raw::Tenant::default() };
    for (was_pinned, before) in [
        (false, None),
        (false, Some(own.clone())),
        (true, {
            (own.grid, own.cell) = (Some("g".into()), Some("a".into()));
            Some(own.clone())
        }),
    ] {
        for flipped in [false, true] {
            let mut store = Store::begun(Move { was_pinned, ..example() }, before.clone());
            let fenced = tick(&store.one, store.tenant.as_ref(), None, 20).unwrap();
            store.write(&fenced);
            if flipped {
                let flip = obey(&store.one, store.tenant.as_ref(), None, &Command::Flip { waits: None }, 30).unwrap();
                store.write(&flip);
            }
            let why = Command::RollBack { why: "the hook failed".into() };
            let back = obey(&store.one, store.tenant.as_ref(), None, &why, 40).unwrap();
            store.write(&back);
            if flipped {
                assert_eq!((store.one.state.phase, store.cell()), (MovePhase::RollingBack, "a"));
                assert_eq!(tick(&store.one, store.tenant.as_ref(), Some("r is behind"), 41), None);
                let back = tick(&store.one, store.tenant.as_ref(), None, 42).unwrap();
                store.write(&back);
            }
            assert_eq!(store.one.state.phase, MovePhase::RolledBack);
            let empty = raw::Tenant { name: "t".into(), ..raw::Tenant::default() };
            assert_eq!(store.tenant, Some(before.clone().unwrap_or(empty)));
        }
    }
}

#[test]
fn what_nobody_carries_on_goes_back_when_its_time_is_over() {
    let mut store = Store::begun(example(), None);
    let back = tick(&store.one, store.tenant.as_ref(), Some("waits for r"), 1_000).unwrap();
    assert_eq!(back.state.phase, MovePhase::RolledBack);
    assert_eq!(back.state.reason, "it did not end in time; waits for r");
    store.one.state.phase = MovePhase::Fenced;
    assert_eq!(tick(&store.one, store.tenant.as_ref(), None, 1_000).unwrap().state.phase, MovePhase::RolledBack);
    let more = obey(
        &store.one,
        store.tenant.as_ref(),
        None,
        &Command::TakeUp { driver: driver("d"), deadline: 9_000, data: false },
        900,
    )
    .unwrap();
    store.write(&more);
    assert_eq!(tick(&store.one, store.tenant.as_ref(), None, 1_000), None);
    let flip = obey(&store.one, store.tenant.as_ref(), Some("d"), &Command::Flip { waits: None }, 30).unwrap();
    store.write(&flip);
    let back = tick(&store.one, store.tenant.as_ref(), Some("waits for r"), 9_000).unwrap();
    store.write(&back);
    assert_eq!(store.one.state.driver, None, "whoever comes may go on");
    assert_eq!(store.one.state.phase, MovePhase::RollingBack);
    let stuck = tick(&store.one, store.tenant.as_ref(), Some("waits for r"), 9_000 + millis(LET_GO)).unwrap();
    assert_eq!(stuck.state.phase, MovePhase::RolledBack);
}

#[test]
fn a_tenant_that_somebody_else_moves_is_left_there() {
    let store = Store::begun(example(), None);
    let elsewhere = pinned_to("c");
    let failed = tick(&store.one, Some(&elsewhere), None, 20).unwrap();
    assert_eq!(failed.state.phase, MovePhase::Failed);
    let put = documents(&written(&store.one), &store.one, Some(&elsewhere), &failed);
    assert!(matches!(put.as_slice(), [Document::Move(_)]));
    // What was written by halves is written again, and nothing else.
    let half = tick(&store.one, None, None, 20).unwrap();
    let put = documents(&written(&store.one), &store.one, None, &half);
    assert!(matches!(put.as_slice(), [Document::Tenant(tenant)] if tenant.cell.as_deref() == Some("a")), "{put:?}");
}

#[test]
fn who_was_taken_over_has_no_say_any_more() {
    let begun = Move { state: MoveState { driver: Some(driver("first")), ..example().state }, ..example() };
    let mut store = Store::begun(begun, None);
    store.write(&tick(&store.one, store.tenant.as_ref(), None, 20).unwrap());
    let says = |store: &Store, by: Option<&str>, command: &Command| {
        obey(&store.one, store.tenant.as_ref(), by, command, 30).map(|next| next.state.phase)
    };
    let (flip, back) = (Command::Flip { waits: None }, Command::RollBack { why: "so".into() });
    assert_eq!(says(&store, Some("first"), &flip), Ok(MovePhase::Flipping));
    let nobody = says(&store, None, &flip).unwrap_err();
    assert_eq!(nobody, "move \"m\" is carried on by first on h", "only who copies the data knows when");
    let taken = Command::TakeUp { driver: driver("second"), deadline: 9_000, data: false };
    let taken = obey(&store.one, store.tenant.as_ref(), Some("second"), &taken, 30).unwrap();
    assert_eq!((taken.state.phase, taken.what.as_str()), (MovePhase::Fenced, "taken up by second on h"));
    store.write(&taken);
    for word in [&flip, &back] {
        assert!(says(&store, Some("first"), word).unwrap_err().contains("carried on by second"));
        assert!(says(&store, Some("second"), word).is_ok());
    }
    assert_eq!(taken_over(&store.one, Some("first")), Some(&driver("second")));
    assert_eq!(taken_over(&store.one, Some("second")), None);
    assert_eq!(says(&store, None, &back), Ok(MovePhase::RolledBack), "by an operator's own word");
    store.write(&tick(&store.one, store.tenant.as_ref(), None, 9_000).unwrap());
    assert_eq!((store.one.state.phase, &store.one.state.driver), (MovePhase::RolledBack, &None));
}

#[test]
fn what_has_a_hook_is_not_taken_up_without_a_word_on_its_data() {
    let of = |hook: bool, phase: MovePhase| in_phase(&Move { hook, ..example() }, phase);
    let taken_up = |one: &Move, data: bool| {
        let command = Command::TakeUp { driver: driver("d"), deadline: 9_000, data };
        obey(one, Some(&pinned_to("a")), Some("d"), &command, 30)
    };
    for phase in [MovePhase::Fencing, MovePhase::Fenced] {
        let why = taken_up(&of(true, phase), false).unwrap_err();
        assert!(why.contains("with --hook, or say --copied"), "{why}");
        assert!(taken_up(&of(true, phase), true).is_ok() && taken_up(&of(false, phase), false).is_ok());
    }
    assert!(taken_up(&of(true, MovePhase::Flipping), false).is_ok(), "nothing is copied any more");
}

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// Whoever carries moves on looks.
    Look,
    /// The data is copied.
    Flip,
    RollBack,
    /// A router hears of the next generation.
    Hears(usize),
    /// A router gets a change of the tenant's data, and sends it on if it may.
    Comes(usize),
    /// A request on its way from a router ends.
    Ends(usize),
    /// The deadline passes.
    Late,
}

/// A router: which generation it has, and the cells to which requests of it are on their way.
#[derive(Debug, Clone, Default)]
struct Router {
    generation: usize,
    under_way: Vec<String>,
}

struct World {
    /// What was in force, generation by generation; the first is from before the move.
    generations: Vec<Store>,
    routers: Vec<Router>,
    now: u64,
    /// Whether the new cell has taken a change.
    new_has: bool,
}

impl World {
    fn new(routers: usize) -> Self {
        let before = Store { one: in_phase(&example(), MovePhase::RolledBack), tenant: None };
        let begun = Store::begun(example(), None);
        Self { generations: vec![before, begun], routers: vec![Router::default(); routers], now: 10, new_has: false }
    }

    fn store(&self) -> &Store {
        self.generations.last().unwrap()
    }

    fn fleet(&self) -> Fleet {
        let live = self.routers.iter().enumerate().map(|(n, router)| {
            let seen = &self.generations[router.generation];
            let moves = (!seen.one.has_ended()).then(|| MoveSeen {
                name: "m".into(),
                started: 5,
                phase: seen.one.state.phase,
                cell: Some(seen.cell().to_owned()),
                clean: router.under_way.is_empty(),
            });
            RouterStatus {
                id: n.to_string(),
                generation: 1,
                moves: moves.into_iter().collect(),
                ..RouterStatus::default()
            }
        });
        Fleet { live: live.collect(), vanished: Vec::new() }
    }

    fn publish(&mut self, next: &Next) {
        let mut store = self.store().clone();
        store.write(next);
        self.generations.push(store);
    }

    fn happens(&mut self, event: &Event) {
        self.now += 1;
        let (store, count) = (self.store().clone(), self.routers.len());
        let (one, tenant) = (&store.one, store.tenant.as_ref());
        let waits = waits(one, &self.fleet());
        match event {
            Event::Look => {
                if let Some(next) = tick(one, tenant, waits.as_deref(), self.now) {
                    self.publish(&next);
                }
            }
            Event::Flip => {
                if let Ok(next) = obey(one, tenant, None, &Command::Flip { waits }, self.now) {
                    self.publish(&next);
                }
            }
            Event::RollBack => {
                if let Ok(next) = obey(one, tenant, None, &Command::RollBack { why: "so".into() }, self.now) {
                    self.publish(&next);
                }
            }
            Event::Hears(n) => {
                let last = self.generations.len() - 1;
                let router = &mut self.routers[n % count];
                router.generation = (router.generation + 1).min(last);
            }
            Event::Comes(n) => {
                let router = &mut self.routers[n % count];
                let seen = &self.generations[router.generation];
                if seen.one.has_ended() {
                    self.new_has |= seen.cell() == "b";
                    router.under_way.push(seen.cell().to_owned());
                }
            }
            Event::Ends(n) => drop(self.routers[n % count].under_way.pop()),
            Event::Late => self.now = self.now.max(one.state.deadline),
        }
    }

    /// Where a change of the tenant's data could be taken now: where one is on its way to, and where one would be sent.
    fn cells(&self) -> BTreeSet<&str> {
        let under_way = self.routers.iter().flat_map(|router| router.under_way.iter().map(String::as_str));
        let open = self.routers.iter().filter_map(|router| {
            let seen = &self.generations[router.generation];
            seen.one.has_ended().then(|| seen.cell())
        });
        under_way.chain(open).collect()
    }

    /// Where it is read.
    fn read_at(&self) -> BTreeSet<&str> {
        self.routers.iter().map(|router| self.generations[router.generation].cell()).collect()
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Look),
        2 => Just(Event::Flip),
        1 => Just(Event::RollBack),
        6 => (0..4_usize).prop_map(Event::Hears),
        4 => (0..4_usize).prop_map(Event::Comes),
        4 => (0..4_usize).prop_map(Event::Ends),
        1 => Just(Event::Late),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever happens in whatever order, never do two cells take changes of the tenant's data at one time, and nobody reads
    /// from the old cell once the new one has taken one.
    #[test]
    fn never_two_cells_at_one_time(routers in 1..4_usize, events in prop::collection::vec(event(), 1..80)) {
        let mut world = World::new(routers);
        for event in &events {
            world.happens(event);
            prop_assert!(world.cells().len() <= 1, "{:?} after {event:?}", world.cells());
            prop_assert!(!world.new_has || !world.read_at().contains("a"));
        }
        // Left alone with time, it ends, and everybody serves the tenant from where it is.
        for _ in 0..20 {
            world.happens(&Event::Look);
            for n in 0..routers {
                world.happens(&Event::Ends(n));
                world.happens(&Event::Hears(n));
            }
            world.happens(&Event::Late);
        }
        prop_assert!(world.store().one.has_ended(), "{:?}", world.store());
        let end = world.store().cell().to_owned();
        prop_assert_eq!(world.read_at(), BTreeSet::from([end.as_str()]));
    }
}
