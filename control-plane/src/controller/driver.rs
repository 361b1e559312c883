//! What wakes a controller, and does what it decides.
//!
//! The period is all that wakes it, but for the election's outcome. Time passes for a controller even where nothing changes,
//! so that it has to be asked every period anyway; and each time costs one small read while the head stays where it is. A
//! watch on the head would save a part of a second of the answer to an operator's change, and be one more thing to go silent.

use std::collections::BTreeSet;
use std::time::Duration;

use gridrouter_config::ids::Kind;
use gridrouter_config::store::etcd::election::{Candidacy, Leader};
use gridrouter_config::store::etcd::writer::About;

use super::ground::{Failure, Ground, Guard, Wants};
use super::seat::{Position, Proof, Seat};
use super::{Decision, Unreadable, View};
use crate::site::{Opened, Place, in_our_words};
use crate::target::Target;

/// How often a controller looks when nothing else is said.
pub const PERIOD: Duration = Duration::from_secs(1);
/// The least time from one change to the next, so that a controller that is never content leaves room for others.
const PACE: Duration = Duration::from_millis(100);
/// The longest pause while the store is away.
const LONGEST: Duration = Duration::from_secs(10);
/// How often is looked whether somebody wants an end.
const LOOK: Duration = Duration::from_millis(100);

/// Who it is, what it looks at, and how often.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its place in the election.
    pub candidacy: Candidacy,
    /// The kinds of documents that it reads.
    pub kinds: Vec<Kind>,
    /// The longest time from one look to the next.
    pub period: Duration,
}

/// What happens, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Somebody else leads, or nobody yet.
    StandsBy(Option<Leader>),
    /// It leads from now on.
    Leads,
    /// It leads no more.
    Deposed,
    /// A change is in force: its generation, 0 where there are none, and why.
    Published(u64, String),
    /// Somebody else published meanwhile; everything is read again.
    Overtaken(String),
    /// Something does not work, and is tried again.
    Trouble(String),
    /// It works again.
    Recovered,
    /// Documents that cannot be read.
    Unreadable(Vec<Unreadable>),
    /// What the controller says.
    Note(String),
}

/// A moment around a change of the store, counted from the driver's first: a transaction of etcd, a file of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of it is done.
    BeforeWrite(u64),
    /// All of it is done.
    AfterWrite(u64),
}

/// What a turn ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The next one is due after this time.
    Wait(Duration),
    /// It was to end as if killed.
    Killed,
}

/// Whom a driver talks to.
pub struct Company<'a> {
    /// Told of everything that happens.
    pub tell: &'a mut dyn FnMut(News),
    /// Whether to die now. Tests find out with this what a controller leaves behind that is killed at any moment; everybody
    /// else says no.
    pub crash: &'a mut dyn FnMut(Moment) -> bool,
}

/// One controller.
pub struct Driver<Step> {
    settings: Settings,
    seat: Seat,
    ground: Ground,
    step: Step,
    /// What was told of the election last.
    told: Option<News>,
    /// A leadership that a write has found to be over, before the election has.
    deposed: Option<Proof>,
    trouble: Option<String>,
    failures: u32,
    notes: BTreeSet<String>,
    unreadable: Vec<Unreadable>,
    writes: u64,
}

impl<Step: FnMut(&View, u64) -> Decision> Driver<Step> {
    /// Takes part in the election from now on. That the store cannot be reached is no error here. `step` is asked what to do
    /// while it leads: it is given what is in force, and the time in milliseconds since 1970.
    pub fn start(target: &Target, settings: Settings, step: Step) -> Result<Self, String> {
        Ok(Self {
            seat: Seat::take(target, settings.candidacy.clone())?,
            ground: Ground::open(target, Wants { kinds: settings.kinds.clone(), ..Wants::default() })?,
            settings,
            step,
            told: None,
            deposed: None,
            trouble: None,
            failures: 0,
            notes: BTreeSet::new(),
            unreadable: Vec::new(),
            writes: 0,
        })
    }

    /// Acts until somebody wants an end, and resigns then: the next one takes over at once.
    pub fn run(&mut self, clock: impl Fn() -> u64, ended: impl Fn() -> bool, company: &mut Company<'_>) {
        while !ended() {
            let Turn::Wait(mut left) = self.turn(clock(), company) else { return };
            let stood = self.seat.look(clock()).proof;
            while !left.is_zero() && !ended() && self.seat.look(clock()).proof == stood {
                let now = left.min(LOOK);
                self.seat.wait(now);
                left = left.saturating_sub(now);
            }
        }
        self.resign();
    }

    /// Gives up the leadership, and takes part no more.
    pub fn resign(&mut self) {
        self.seat.resign();
    }

    /// Does what is to be done now: one change at the most.
    pub fn turn(&mut self, now: u64, company: &mut Company<'_>) -> Turn {
        let position = self.seat.look(now);
        let Some(proof) = self.stand(position, company) else { return Turn::Wait(self.settings.period) };
        match self.act(&proof, now, company) {
            Ok(published) => {
                self.works(company);
                Turn::Wait(if published { PACE } else { self.settings.period })
            }
            Err(Failure::Lost(text)) => {
                (company.tell)(News::Overtaken(text));
                Turn::Wait(PACE)
            }
            Err(Failure::Deposed) => {
                self.deposed = Some(proof);
                self.say_once(News::Deposed, company);
                Turn::Wait(self.settings.period)
            }
            Err(Failure::Refused(text)) => {
                if self.trouble.as_ref() != Some(&text) {
                    (company.tell)(News::Trouble(text.clone()));
                }
                self.trouble = Some(text);
                Turn::Wait(self.settings.period)
            }
            // Where it is not known, it is read again, and what is still to be done is done then.
            Err(Failure::Away(text) | Failure::Unknown(text)) => {
                self.away(text, company);
                Turn::Wait(self.pause())
            }
            Err(Failure::Killed) => Turn::Killed,
        }
    }

    /// Takes note of the election. What proves the leadership, where there is one.
    fn stand(&mut self, position: Position, company: &mut Company<'_>) -> Option<Proof> {
        let Position { proof, leader, trouble } = position;
        if proof != self.deposed {
            self.deposed = None;
        }
        let proof = proof.filter(|proof| self.deposed.as_ref() != Some(proof));
        if proof.is_some() {
            self.say_once(News::Leads, company);
            return proof;
        }
        if self.told == Some(News::Leads) {
            self.say_once(News::Deposed, company);
        }
        if let Some(text) = trouble {
            self.away(text, company);
            return None;
        }
        self.works(company);
        // That nobody leads is worth a word in the beginning only: it is over in a moment.
        if self.deposed.is_none() && (leader.is_some() || self.told.is_none()) {
            self.say_once(News::StandsBy(leader), company);
        }
        None
    }

    fn act(&mut self, proof: &Proof, now: u64, company: &mut Company<'_>) -> Result<bool, Failure> {
        let view = self.ground.look()?;
        if view.unreadable != self.unreadable {
            self.unreadable.clone_from(&view.unreadable);
            (company.tell)(News::Unreadable(self.unreadable.clone()));
        }
        let Decision { proposal, notes } = (self.step)(view, now);
        let notes: BTreeSet<String> = notes.into_iter().collect();
        notes.difference(&self.notes).for_each(|note| (company.tell)(News::Note(note.clone())));
        self.notes = notes;
        let Some(proposal) = proposal else { return Ok(false) };
        let author = format!("controller@{}", self.settings.candidacy.host);
        let about = About { author, message: proposal.message.clone(), ..About::default() };
        let mut guard = Guard { seat: Some(&self.seat), writes: &mut self.writes, crash: company.crash };
        let Some(generation) = self.ground.write(&proposal, about, Some(proof), &mut guard)? else { return Ok(false) };
        (company.tell)(News::Published(generation, proposal.message));
        Ok(true)
    }

    fn say_once(&mut self, news: News, company: &mut Company<'_>) {
        if self.told.as_ref() != Some(&news) {
            (company.tell)(news.clone());
            self.told = Some(news);
        }
    }

    /// Told once, however often the text changes: the members of a cluster are named in turn.
    fn away(&mut self, text: String, company: &mut Company<'_>) {
        if self.failures == 0 {
            (company.tell)(News::Trouble(text.clone()));
        }
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(text);
    }

    fn works(&mut self, company: &mut Company<'_>) {
        self.failures = 0;
        if self.trouble.take().is_some() {
            (company.tell)(News::Recovered);
        }
    }

    /// Twice as long after every failure.
    fn pause(&self) -> Duration {
        let longer = 1_u32.checked_shl(self.failures.saturating_sub(1).min(16)).unwrap_or(u32::MAX);
        self.settings.period.saturating_mul(longer).min(LONGEST.max(self.settings.period))
    }
}

/// Who acts on a store; nothing while nobody does.
pub fn leader(place: &mut Place) -> Result<Option<Leader>, String> {
    match &mut place.store {
        Opened::Etcd { writer, .. } => writer.leader().map_err(|error| in_our_words(&error.explain())),
        Opened::Directory(root) => super::seat::leader(root),
    }
}
