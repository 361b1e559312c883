//! Tenants that move under load: two routers, two cells that note what they get, and clients that never stop.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gridctl::mover::{Mover, Order, now};
use gridctl::target::Target;
use gridrouter::lifecycle::{LIMIT_BYTES, Options, Router};
use gridrouter_config::ids::Name;
use gridrouter_config::live::LiveId;
use gridrouter_config::raw::{MoveFence, MovePhase};
use gridrouter_config::store::etcd::EtcdSettings;

use super::support::{PATIENCE, Server, eventually, run, store, target};

/// How many tenants move, how often each, and how many at one time. The whole test has 1,000 moves: `MOVES=1000`.
const TENANTS: usize = 12;
const AT_ONCE: usize = 6;

fn moves() -> usize {
    std::env::var("MOVES").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

/// A request that a cell got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) cell: &'static str,
    tenant: String,
    write: bool,
    /// Its place among everything that happens in the test.
    at: u64,
}

/// What happens in a test, in order.
#[derive(Debug, Default)]
pub(crate) struct Log {
    clock: AtomicU64,
    pub(crate) got: Mutex<Vec<Got>>,
}

impl Log {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
}

/// An endpoint that notes every request before it answers.
pub(crate) fn cell(name: &'static str, log: &Arc<Log>) -> SocketAddr {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = socket.accept() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || serve(name, &log, &stream));
        }
    });
    address
}

fn serve(cell: &'static str, log: &Log, stream: &TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(lines) = head(&mut reader) {
        let tenant = lines.iter().find_map(|line| line.to_lowercase().strip_prefix("x-tenant: ").map(str::to_owned));
        let write = lines[0].starts_with("POST");
        log.got.lock().unwrap().push(Got { cell, tenant: tenant.unwrap_or_default(), write, at: log.tick() });
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{cell}", cell.len());
        if (&mut &*stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The lines of the next head; nothing at the end.
pub(crate) fn head(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            return Some(lines);
        }
        lines.push(line);
    }
}

pub(crate) fn options(server: &Server, id: &str, prefix: Option<&str>) -> Options {
    let prefix = prefix.map(str::to_owned);
    let etcd = EtcdSettings { endpoints: server.urls(), prefix, ..EtcdSettings::default() }.check().unwrap();
    Options {
        config: "/nowhere".into(),
        etcd: Some(etcd.with_lease(Duration::from_secs(3))),
        id: Some(LiveId::parse(id).unwrap()),
        state: None,
        threads: 2,
        admin: None,
        drain: PATIENCE,
        limit_bytes: LIMIT_BYTES,
        tls_ticket_keys: None,
        nameservers: Vec::new(),
    }
}

pub(crate) fn publish(store: &str, documents: &str) {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("a.yaml"), documents).unwrap();
    let ran = run(store, &["apply", "-f", home.path().to_str().unwrap()]);
    assert!(ran.status.success(), "{ran:?}");
}

/// A client that asks for all tenants in turn, by one router, and wants every request answered.
fn client(router: SocketAddr, stop: &AtomicBool, mistakes: &Mutex<Vec<String>>) -> u64 {
    let stream = TcpStream::connect(router).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(&stream);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let method = if sent % 3 == 0 { "GET" } else { "POST" };
        let tenant = (sent / 3) as usize % TENANTS;
        let request =
            format!("{method} / HTTP/1.1\r\nHost: a.test\r\nX-Tenant: t{tenant}\r\nContent-Length: 0\r\n\r\n");
        (&mut &stream).write_all(request.as_bytes()).unwrap();
        let Some(lines) = head(&mut reader) else {
            mistakes.lock().unwrap().push("the router closed the connection".to_owned());
            return sent;
        };
        let length = lines.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        std::io::Read::read_exact(&mut reader, &mut body).unwrap();
        if !lines[0].starts_with("HTTP/1.1 200") {
            mistakes.lock().unwrap().push(format!("{method} of t{tenant}: {lines:?}"));
        }
        sent += 1;
        // The machine has moves to do as well.
        std::thread::park_timeout(Duration::from_millis(2));
    }
    sent
}

/// One move, and the moments between which no change of the tenant's data may reach a cell.
#[derive(Debug)]
struct Moved {
    tenant: String,
    to: &'static str,
    /// Every router has the fence.
    fenced: u64,
    /// The fence is about to go.
    unfenced: u64,
}

fn order(tenant: usize, to: &str) -> Order {
    Order {
        tenant: Name::tenant(&format!("t{tenant}")).unwrap(),
        grid: None,
        to: Name::parse(to).unwrap(),
        fence: MoveFence::Writes,
        hold: Some("60s".to_owned()),
        retry_after: None,
        timeout: Duration::from_mins(5),
        name: None,
        hook: false,
    }
}

fn phase(mover: &mut Mover) -> MovePhase {
    mover.look().unwrap().one.state.phase
}

/// Goes on until the move is in a phase.
fn until(mover: &mut Mover, wanted: MovePhase) {
    eventually(wanted.as_str(), || {
        // Somebody else's change may be in the way, which is no reason to give up.
        let gone_on = mover.go_on(now());
        let standing = mover.look()?;
        if standing.one.state.phase == wanted { Ok(()) } else { Err(format!("{gone_on:?}, {standing:?}")) }
    });
}

/// Moves a tenant, and says so now and then.
fn move_one(target: &Target, log: &Log, tenant: usize, to: &'static str) -> Moved {
    let mut mover = Mover::begin(target, "test", None, &order(tenant, to), now()).unwrap();
    until(&mut mover, MovePhase::Fenced);
    let fenced = log.tick();
    eventually("the flip", || mover.flip(now()).map_err(|refused| format!("{refused:?}")));
    // Nothing else takes the fence away.
    eventually("every router's word", || match mover.look()?.waits {
        Some(waits) => Err(waits),
        None => Ok(()),
    });
    let unfenced = log.tick();
    until(&mut mover, MovePhase::Succeeded);
    Moved { tenant: format!("t{tenant}"), to, fenced, unfenced }
}

fn documents(a: SocketAddr, b: SocketAddr) -> String {
    let mut text = format!(
        "{{kind: Listener, name: web, address: '127.0.0.1:0'}}\n---\n{{kind: Grid, name: g, cells: [a, b]}}\n---\n\
         {{kind: Cell, name: a}}\n---\n{{kind: Cell, name: b}}\n---\n\
         {{kind: Service, name: s, cells: {{a: {{blue: [{{address: '{a}'}}]}}, b: {{blue: [{{address: '{b}'}}]}}}}}}\n---\n\
         {{kind: Route, name: r, service: s, grid: g, tenant: {{from: [{{header: x-tenant}}]}}}}\n"
    );
    for tenant in 0..TENANTS {
        writeln!(text, "---\n{{kind: Tenant, name: t{tenant}, grid: g, cell: a}}").unwrap();
    }
    text
}

/// What the cells got, against what the moves allow: a change of a tenant's data comes to where the tenant is, and to nobody
/// while the fence is up. What reads is not waited for, and may still be on its way.
fn check(moved: &[Moved], got: &[Got]) {
    let mut of: BTreeMap<&str, Vec<&Moved>> = BTreeMap::new();
    for one in moved {
        of.entry(&one.tenant).or_default().push(one);
    }
    for course in of.values_mut() {
        course.sort_by_key(|one| one.fenced);
    }
    let mut writes = 0;
    for request in got.iter().filter(|request| request.write) {
        let course = of.get(request.tenant.as_str()).map_or(&[][..], Vec::as_slice);
        let last = course.iter().rev().find(|one| one.fenced < request.at);
        assert!(last.is_none_or(|one| one.unfenced < request.at), "{request:?} came behind the fence of {last:?}");
        assert_eq!(request.cell, last.map_or("a", |one| one.to), "{request:?} after {last:?}");
        writes += 1;
    }
    assert!(writes > moved.len(), "there was little to see");
}

#[test]
fn tenants_move_to_and_fro_under_load_and_no_two_cells_ever_take_their_changes() {
    let server = Server::start();
    let store = store(&server);
    let log = Arc::new(Log::default());
    publish(&store, &documents(cell("a", &log), cell("b", &log)));
    let routers: Vec<Router> = ["r1", "r2"].map(|id| Router::start(&options(&server, id, None)).unwrap()).into();
    eventually("both routers in etcd", || {
        let notes = server.raw().below("/gridrouter/control/routers/", 0).len();
        let live = server.raw().below("/gridrouter/live/routers/", 0).len();
        if (notes, live) == (2, 2) { Ok(()) } else { Err(format!("{notes} notes, {live} live")) }
    });
    let (stop, mistakes) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let (target, began) = (target(&store), Instant::now());
    let (moved, sent) = std::thread::scope(|scope| {
        let addresses: Vec<SocketAddr> = routers.iter().map(|router| router.address("web").unwrap()).collect();
        let clients: Vec<_> = (0..8)
            .map(|n| {
                let (address, stop, mistakes) = (addresses[n % 2], &stop, &mistakes);
                scope.spawn(move || client(address, stop, mistakes))
            })
            .collect();
        let (target, log) = (&target, &log);
        let movers: Vec<_> = (0..AT_ONCE)
            .map(|n| {
                scope.spawn(move || {
                    let rounds = moves().div_ceil(TENANTS);
                    let tenants = (0..TENANTS).filter(|tenant| tenant % AT_ONCE == n);
                    let orders = (0..rounds).flat_map(|round| tenants.clone().map(move |tenant| (round, tenant)));
                    let one = |(round, tenant)| move_one(target, log, tenant, if round % 2 == 0 { "b" } else { "a" });
                    orders.map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        let moved: Vec<_> = movers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        // Before anything else, so that one that failed ends the test.
        stop.store(true, Ordering::Relaxed);
        let moved: Vec<Moved> = moved.into_iter().flat_map(Result::unwrap).collect();
        (moved, clients.into_iter().map(|client| client.join().unwrap()).sum::<u64>())
    });
    let got = log.got.lock().unwrap().clone();
    println!("{} moves and {sent} requests in {:?}", moved.len(), began.elapsed());
    assert_eq!(moved.len(), moves().div_ceil(TENANTS) * TENANTS);
    assert_eq!(*mistakes.lock().unwrap(), Vec::<String>::new(), "every request is answered by a cell");
    assert_eq!(got.len() as u64, sent, "and by one");
    check(&moved, &got);
    let listed = run(&store, &["move", "list"]);
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), "no move is under way\n");
    for router in routers {
        router.stop();
    }
    assert!(server.raw().below("/gridrouter/control/routers/", 0).is_empty(), "whoever ends well leaves no note");
}

#[test]
fn a_router_that_is_gone_without_a_farewell_is_waited_for_until_somebody_says_that_it_has_ended() {
    let server = Server::start();
    let store = store(&server);
    let log = Arc::new(Log::default());
    publish(&store, &documents(cell("a", &log), cell("b", &log)));
    let router = Router::start(&options(&server, "r1", None)).unwrap();
    server.raw().put("/gridrouter/control/routers/ghost", "");
    let target = target(&store);
    let mut mover = Mover::begin(&target, "test", None, &order(0, "b"), now()).unwrap();
    eventually("the router's word", || match mover.look()?.waits {
        Some(waits) if waits == "waits for 1 router: ghost is gone and may run still" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(!mover.go_on(now()).unwrap());
    let listed = run(&store, &["move", "list"]);
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.status.code() == Some(1) && text.contains("ghost is gone and may run still"), "{text}");
    let alive = run(&store, &["move", "forget-router", "r1", "--has-ended"]);
    assert_eq!(alive.status.code(), Some(2), "{alive:?}");
    let forgotten = run(&store, &["move", "forget-router", "ghost", "--has-ended"]);
    assert!(forgotten.status.success(), "{forgotten:?}");
    until(&mut mover, MovePhase::Fenced);
    eventually("the flip", || mover.flip(now()).map_err(|refused| format!("{refused:?}")));
    until(&mut mover, MovePhase::Succeeded);
    assert_eq!(phase(&mut mover), MovePhase::Succeeded);
    router.stop();
}
