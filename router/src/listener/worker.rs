//! One data-plane thread: a current_thread runtime with its own listening sockets, connections, upstream pool and
//! balancers.
//!
//! A request stays on one thread from accept to the last byte. Threads share only the snapshot, the limit table and
//! the counters of live connections that new ones are handed over by.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::accept;
use super::balancers::Balancers;
use super::clients::Seats;
use super::wheel::Wheel;
use crate::clock::{self, Millis, Nanos};
use crate::http1::wire::Spare;
use crate::limit::table::LimitTable;
use crate::pipeline::explain::{Explanation, Question};
use crate::pipeline::fencing::{Board, Fencing};
use crate::pipeline::flight::Flights;
use crate::pipeline::mirror::Mirrors;
use crate::snapshot::{EndpointGroup, Snapshot};
use crate::telemetry::counters::{Counters, ThreadCounters};
use crate::tls::table::Table;
use crate::upstream::pool::Pool;
use crate::upstream::turns::Turns;

/// How often a thread closes upstream connections that were unused for too long.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// What all threads share.
#[derive(Debug)]
pub struct Shared {
    /// The snapshot in force.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The counts of all limits.
    pub limits: LimitTable,
    /// What TLS handshakes look into.
    pub(crate) tls: ArcSwap<Table>,
    /// The threads.
    pub threads: Vec<Thread>,
    /// Set when the process is asked to stop: no new connections, and `Connection: close` on every answer.
    pub draining: AtomicBool,
    /// How long answers under way may take when it does, in milliseconds.
    pub(crate) drain: AtomicU64,
    /// How many connections each address has, where that is bounded.
    pub(crate) seats: Seats,
    /// Which threads have which fences up.
    pub fenced: Board,
    /// When the process was started, in milliseconds since 1970.
    pub started: u64,
    /// A random number, by which whoever asks several addresses knows which of them are this process.
    pub process: u64,
}

/// One thread as others see it.
#[derive(Debug)]
pub struct Thread {
    /// Client connections it has.
    pub live: AtomicUsize,
    /// What it counts.
    pub counters: Arc<ThreadCounters>,
    mailbox: mpsc::UnboundedSender<Message>,
    inbox: Mutex<Option<mpsc::UnboundedReceiver<Message>>>,
}

/// What a thread is told by others.
#[derive(Debug)]
pub enum Message {
    /// Accept connections from this socket.
    Listen {
        /// What the socket is known by.
        id: u32,
        /// The listener's stable number.
        listener: u32,
        /// The socket, non-blocking.
        socket: std::net::TcpListener,
    },
    /// A socket belongs to another listener from now on.
    HandOver {
        /// What the socket is known by.
        socket: u32,
        /// The listener's stable number.
        listener: u32,
    },
    /// Accept connections from this socket in the file system, for all threads.
    ListenAtPath {
        /// What the socket is known by.
        id: u32,
        /// The listener's stable number.
        listener: u32,
        /// The socket, non-blocking.
        socket: std::os::unix::net::UnixListener,
    },
    /// Accept no more connections on a socket.
    Unlisten {
        /// What the socket is known by.
        socket: u32,
    },
    /// Serve this connection, which another thread accepted and counted here.
    Connection {
        /// The listener's stable number.
        listener: u32,
        /// The socket.
        stream: std::net::TcpStream,
        /// The client.
        peer: std::net::SocketAddr,
    },
    /// The process is about to end: close connections as they become idle.
    Drain,
    /// The snapshot says something new of shifts: find the answers that have to end because of it.
    Shifted,
    /// The snapshot says something new of fences.
    Fenced,
    /// Say what would happen to a request.
    Explain(Box<Question>, oneshot::Sender<Explanation>),
    /// Say whether one of these groups has an endpoint for a request.
    Reaches(Vec<Arc<EndpointGroup>>, oneshot::Sender<bool>),
}

impl Shared {
    /// Prepares `threads` threads, which [`run`] then runs.
    pub fn new(snapshot: Snapshot, threads: usize, limit_bytes: usize) -> Arc<Self> {
        let thread = |_| {
            let (mailbox, inbox) = mpsc::unbounded_channel();
            Thread { live: AtomicUsize::new(0), counters: Arc::default(), mailbox, inbox: Mutex::new(Some(inbox)) }
        };
        Arc::new(Self {
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            limits: LimitTable::new(limit_bytes),
            tls: ArcSwap::default(),
            threads: (0..threads.max(1)).map(thread).collect(),
            draining: AtomicBool::new(false),
            drain: AtomicU64::new(0),
            seats: Seats::default(),
            fenced: Board::default(),
            started: unix_millis(),
            process: RandomState::new().build_hasher().finish(),
        })
    }
}

/// Milliseconds since 1970.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Thread {
    /// Tells the thread something. It is lost when the thread has ended.
    pub fn tell(&self, message: Message) {
        let _gone: Result<(), _> = self.mailbox.send(message);
    }
}

/// One thread's own state.
#[derive(Debug)]
pub struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    snapshot: RefCell<Pinned>,
    pub(crate) wheel: Wheel,
    /// When a clock was last read here.
    now: Cell<Nanos>,
    pub(crate) pool: Pool,
    pub(crate) turns: Turns,
    pub(crate) spare: Spare,
    date: RefCell<Date>,
    pub(crate) balancers: Balancers,
    pub(crate) counters: Counters,
    pub(crate) flights: Flights,
    pub(crate) mirrors: Mirrors,
    pub(crate) fencing: Fencing,
    random: Cell<u64>,
}

/// A `Date` header, made once a second.
#[derive(Debug, Default)]
struct Date {
    second: u64,
    text: String,
}

/// A time as a `Date` header says it. A clock that is set to where the form has no words for it, before 1970 or after
/// 9999, must not end a request.
fn date_text(time: SystemTime) -> String {
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().min(LAST);
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}

/// The snapshot as this thread last saw it.
#[derive(Debug)]
struct Pinned {
    cache: arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    /// The same behind a counter of this thread's own: a request keeps its snapshot without touching a counter that
    /// all threads write.
    local: Held,
}

/// A snapshot held by one thread's requests: counted by a counter that only this thread touches.
#[derive(Debug, Clone)]
pub(crate) struct Held(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    snapshot: Arc<Snapshot>,
}

impl Held {
    fn new(snapshot: Arc<Snapshot>) -> Self {
        Self(Rc::new(Inner { snapshot }))
    }
}

impl std::ops::Deref for Held {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.0.snapshot
    }
}

impl Worker {
    fn new(shared: Arc<Shared>, index: usize) -> Rc<Self> {
        use std::hash::{BuildHasher, RandomState};
        let local = Held::new(shared.snapshot.load_full());
        let counters = shared.threads.get(index).map(|thread| Arc::clone(&thread.counters)).unwrap_or_default();
        Rc::new(Self {
            index,
            snapshot: RefCell::new(Pinned { cache: arc_swap::Cache::new(Arc::clone(&shared.snapshot)), local }),
            shared,
            wheel: Wheel::default(),
            now: Cell::new(clock::now()),
            pool: Pool::default(),
            turns: Turns::default(),
            spare: Spare::default(),
            date: RefCell::default(),
            balancers: Balancers::default(),
            counters: Counters::new(counters),
            flights: Flights::default(),
            mirrors: Mirrors::default(),
            fencing: Fencing::default(),
            random: Cell::new(RandomState::new().hash_one(index) | 1),
        })
    }

    /// The snapshot in force: loaded once for each request.
    pub(crate) fn snapshot(&self) -> Held {
        let mut pinned = self.snapshot.borrow_mut();
        let Pinned { cache, local } = &mut *pinned;
        let current = cache.load();
        if !Arc::ptr_eq(current, &local.0.snapshot) {
            *local = Held::new(Arc::clone(current));
        }
        local.clone()
    }

    /// Reads the clock.
    pub(crate) fn read_clock(&self) -> Nanos {
        let now = clock::now();
        self.now.set(now);
        now
    }

    /// When the clock was last read on this thread: a request that has just begun, or a deadline that has just fired.
    pub(crate) fn now(&self) -> Nanos {
        self.now.get()
    }

    pub(crate) fn now_millis(&self) -> Millis {
        self.now.get().millis()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Some time within the first half of what is left when the process is asked to stop: were all clients told at once, they
    /// would all come back at once, elsewhere.
    pub(crate) fn within_drain(&self) -> Millis {
        let half = self.shared.drain.load(Ordering::Relaxed) / 2;
        Millis(self.now_millis().0 + self.random() % half.max(1))
    }

    /// The next pseudo-random number (xorshift64*): for request ids, not for secrets.
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Lends the time as a `Date` header says it (RFC 9110 §5.6.7).
    pub(crate) fn with_date<T>(&self, use_it: impl FnOnce(&[u8]) -> T) -> T {
        let mut date = self.date.borrow_mut();
        let second = self.now.get().seconds();
        if date.text.is_empty() || date.second != second {
            *date = Date { second, text: date_text(SystemTime::now()) };
        }
        use_it(date.text.as_bytes())
    }
}

/// Runs one thread until the process ends or its mailbox closes.
pub fn run(shared: Arc<Shared>, index: usize) -> std::io::Result<()> {
    let inbox = shared
        .threads
        .get(index)
        .and_then(|thread| thread.inbox.lock().unwrap_or_else(PoisonError::into_inner).take())
        .ok_or_else(|| std::io::Error::other(format!("thread {index} runs already")))?;
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(serve(Worker::new(shared, index), inbox));
    Ok(())
}

/// A socket that connections are accepted from.
struct Accepting {
    id: u32,
    listener: Rc<Cell<u32>>,
    task: tokio::task::JoinHandle<()>,
}

async fn serve(worker: Rc<Worker>, mut inbox: mpsc::UnboundedReceiver<Message>) {
    let wheel = Rc::clone(&worker);
    drop(tokio::task::spawn_local(async move { wheel.wheel.drive(&wheel).await }));
    drop(tokio::task::spawn_local(sweep(Rc::clone(&worker))));
    let mut accepting: Vec<Accepting> = Vec::new();
    while let Some(message) = inbox.recv().await {
        match message {
            Message::Listen { id, listener, socket } => match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => {
                    let listener = Rc::new(Cell::new(listener));
                    let task = accept::accept(Rc::clone(&worker), Rc::clone(&listener), socket);
                    accepting.push(Accepting { id, listener, task: tokio::task::spawn_local(task) });
                }
                Err(error) => tracing::error!(listener, %error, "cannot listen"),
            },
            Message::ListenAtPath { id, listener, socket } => match tokio::net::UnixListener::from_std(socket) {
                Ok(socket) => {
                    let listener = Rc::new(Cell::new(listener));
                    let task = accept::accept_at_path(Rc::clone(&worker), Rc::clone(&listener), socket);
                    accepting.push(Accepting { id, listener, task: tokio::task::spawn_local(task) });
                }
                Err(error) => tracing::error!(listener, %error, "cannot listen"),
            },
            Message::HandOver { socket, listener } => {
                for accepting in accepting.iter().filter(|accepting| accepting.id == socket) {
                    accepting.listener.set(listener);
                }
            }
            Message::Unlisten { socket } => accepting.retain(|accepting| {
                if accepting.id == socket {
                    accepting.task.abort();
                }
                accepting.id != socket
            }),
            Message::Connection { listener, stream, peer } => accept::adopt(&worker, listener, stream, peer),
            Message::Drain => worker.wheel.ring_all(),
            Message::Fenced => worker.fencing.review(&worker),
            Message::Shifted => worker.flights.review(&worker),
            Message::Explain(question, reply) => {
                let _gone: Result<(), _> = reply.send(crate::pipeline::explain::explain(&worker, &question));
            }
            Message::Reaches(groups, reply) => {
                let now = worker.read_clock().seconds();
                let reaches = groups.iter().any(|group| worker.balancers.peek(group, now).is_some());
                let _gone: Result<(), _> = reply.send(reaches);
            }
        }
    }
}

async fn sweep(worker: Rc<Worker>) {
    let mut every = tokio::time::interval(SWEEP_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let pools = [&worker.pool, &worker.mirrors.pool];
        for pool in pools {
            pool.sweep(clock::now_millis());
        }
        let pooled = pools.iter().map(|pool| pool.len() as u64).sum();
        worker.counters.shared.pooled.store(pooled, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_time_of_the_clock_has_a_date() {
        let epoch = SystemTime::UNIX_EPOCH;
        for (time, text) in [
            (epoch + Duration::from_secs(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT"),
            (epoch - Duration::from_hours(24), "Thu, 01 Jan 1970 00:00:00 GMT"),
            (epoch + Duration::from_secs(300_000_000_001), "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(date_text(time), text);
        }
    }
}
