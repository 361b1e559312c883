//! Names of endpoints, resolved by DNS on a thread of its own. Requests know nothing of it: what a name has is in the snapshot.

mod book;
mod file;
mod lookup;

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use gridrouter_config::resolved::Resolved;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::book::{Book, News};
use self::lookup::Lookup;

pub(crate) use self::book::NameView;

/// Names that are asked for at the same time.
const AT_ONCE: usize = 64;
/// For how long new names are waited for before what uses them comes into force.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the answers that come behind one are waited for.
const BREATH: Duration = Duration::from_millis(10);
/// A pause of no meaning: there is nothing to ask.
const LONG: Duration = Duration::from_hours(1);

/// What is known of names, for all who want to know.
#[derive(Debug, Default)]
pub(crate) struct Board {
    resolved: ArcSwap<Resolved>,
    names: Mutex<Vec<NameView>>,
}

impl Board {
    /// The addresses of all names.
    pub(crate) fn resolved(&self) -> Arc<Resolved> {
        self.resolved.load_full()
    }

    /// All names, for people.
    pub(crate) fn names(&self) -> Vec<NameView> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes over what the book says. Where nothing moved, the set stays the same to the pointer.
    fn update(&self, book: &Book) {
        let now = book.resolved();
        if **self.resolved.load() != now {
            self.resolved.store(Arc::new(now));
        }
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = book.view();
    }

    /// Whether something is known of each of these names, or that nothing can be.
    fn is_settled(&self, wanted: &BTreeSet<Arc<str>>) -> bool {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = |view: &NameView| !view.addresses.is_empty() || view.error.is_some();
        wanted.iter().all(|name| names.iter().any(|view| view.name == *name && settled(view)))
    }
}

/// Resolves names for as long as it is there. The thread is started with the first name.
#[derive(Debug)]
pub(crate) struct Resolver {
    board: Arc<Board>,
    nameservers: Vec<SocketAddr>,
    /// Where the last good answers are kept.
    file: Option<PathBuf>,
    wanted: Option<watch::Sender<BTreeSet<Arc<str>>>>,
}

impl Resolver {
    /// `nameservers` are asked instead of the system's, if there are any.
    pub(crate) fn new(nameservers: &[SocketAddr], state: Option<&Path>) -> Self {
        let file = state.map(|state| state.join("resolved.json"));
        Self { board: Arc::default(), nameservers: nameservers.to_vec(), file, wanted: None }
    }

    pub(crate) fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Resolves these names and no others from now on. New ones are waited for, for a while, so that what uses them does not
    /// come into force before they are known.
    pub(crate) fn want(&mut self, names: &BTreeSet<Arc<str>>) {
        match &self.wanted {
            None if names.is_empty() => return,
            Some(wanted) if *wanted.borrow() == *names => return,
            Some(wanted) => {
                wanted.send_replace(names.clone());
            }
            None => match self.start(names.clone()) {
                Ok(wanted) => self.wanted = Some(wanted),
                Err(error) => {
                    tracing::error!("names cannot be resolved: no thread can be started: {error}");
                    return;
                }
            },
        }
        let give_up = Instant::now() + PATIENCE;
        while !self.board.is_settled(names) {
            if Instant::now() >= give_up {
                tracing::warn!("not all names of endpoints are resolved yet; what they lead to is not available");
                return;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn start(&self, names: BTreeSet<Arc<str>>) -> std::io::Result<watch::Sender<BTreeSet<Arc<str>>>> {
        let (sender, wanted) = watch::channel(names);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (board, lookup) = (Arc::clone(&self.board), Lookup::new(self.nameservers.clone()));
        let file = self.file.clone();
        let run = move || runtime.block_on(follow(wanted, &board, lookup, file.as_deref()));
        std::thread::Builder::new().name("names".to_owned()).spawn(run)?;
        Ok(sender)
    }
}

/// Asks for names whenever their answers have ended, until nobody wants any more.
async fn follow(
    mut wanted: watch::Receiver<BTreeSet<Arc<str>>>,
    board: &Board,
    mut lookup: Lookup,
    file: Option<&Path>,
) {
    let remembered = file.map(file::load).unwrap_or_default();
    let mut saved = Arc::new(remembered.clone());
    let (mut book, mut asked, dice) = (Book::remembering(remembered), JoinSet::new(), RandomState::new());
    book.want(&wanted.borrow_and_update(), Instant::now());
    loop {
        board.update(&book);
        save(file, &mut saved, board.resolved());
        while asked.len() < AT_ONCE
            && let Some(name) = book.ask(Instant::now())
        {
            asked.spawn(lookup.of(name));
        }
        let next = book.next().filter(|_| asked.len() < AT_ONCE);
        let pause = next.map_or(LONG, |at| at.saturating_duration_since(Instant::now()));
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                book.want(&wanted.borrow_and_update(), Instant::now());
            }
            Some(answer) = asked.join_next(), if !asked.is_empty() => {
                // Answers that come together are taken over together.
                tokio::time::sleep(BREATH).await;
                for (name, v4, v6) in std::iter::once(answer).chain(std::iter::from_fn(|| asked.try_join_next())).flatten() {
                    let roll = (dice.hash_one((&name, Instant::now())) >> 11) as f64 / (1_u64 << 53) as f64;
                    let news = book.answered(&name, v4, v6, Instant::now(), roll);
                    tell(&name, news, &book);
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Keeps what changed.
fn save(file: Option<&Path>, saved: &mut Arc<Resolved>, now: Arc<Resolved>) {
    if let Some(file) = file
        && !Arc::ptr_eq(saved, &now)
        && **saved != *now
    {
        file::save(file, &now);
        *saved = now;
    }
}

fn tell(name: &Arc<str>, news: News, book: &Book) {
    let Some(view) = book.one(name) else { return };
    match news {
        News::Nothing => {}
        News::Moved(from, to) => {
            tracing::info!(name = &**name, addresses = ?view.addresses, "a name has {to} addresses, where it had {from}");
        }
        News::Failing => {
            let error = view.error.as_deref().unwrap_or_default();
            let kept = view.addresses.len();
            tracing::warn!(name = &**name, kept, "a name cannot be resolved: {error}; the last good answer is kept");
        }
    }
}
