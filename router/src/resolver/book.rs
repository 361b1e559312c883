//! What is known of names, and when they are asked for again. Pure: the time and the dice are arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gridrouter_config::resolved::Resolved;

/// How long an answer holds at the least and at the most, whatever it says itself: nobody is asked more often than once a
/// second, and a name that moves is followed within minutes.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_mins(5);
/// The longest pause between attempts that fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A question whose answer has not come by then is lost; nobody waits for so long.
const LOST: Duration = Duration::from_mins(1);
/// Addresses of one name that are used. More would make every choice among them slow.
const MOST_ADDRESSES: usize = 128;

/// What was answered about one family of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// These, for so long.
    Addresses(Vec<IpAddr>, Duration),
    /// There is no such name, or it has none.
    None,
    /// There was no answer, or one that says that something is wrong.
    Failed(String),
}

/// A name as people see it.
#[derive(Debug, Clone)]
pub(crate) struct NameView {
    pub(crate) name: Arc<str>,
    pub(crate) addresses: Vec<IpAddr>,
    /// When it was last answered; never by this process, if not.
    pub(crate) answered: Option<Instant>,
    /// How often it was asked for, and how often in vain.
    pub(crate) lookups: u64,
    pub(crate) failures: u64,
    /// What was wrong last time.
    pub(crate) error: Option<String>,
}

#[derive(Debug)]
struct Entry {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
    due: Instant,
    /// When it was asked for, while the answer is on its way.
    asked: Option<Instant>,
    answered: Option<Instant>,
    /// Failures since the last good answer.
    in_vain: u32,
    lookups: u64,
    failures: u64,
    error: Option<String>,
}

impl Entry {
    /// When it is to be asked for, or again because no answer came.
    fn next(&self) -> Instant {
        self.asked.map_or(self.due, |at| at + LOST)
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.v4.iter().chain(&self.v6).copied()
    }
}

/// What is known of names.
#[derive(Debug)]
pub(super) struct Book {
    names: BTreeMap<Arc<str>, Entry>,
    /// What an earlier process knew of names that were not wanted yet.
    remembered: Resolved,
}

/// What an answer has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// The addresses, from so many to so many.
    Moved(usize, usize),
    /// It fails now, and did not before.
    Failing,
    /// Nothing that anybody has to be told.
    Nothing,
}

impl Book {
    /// No names yet; of those that come, this is what an earlier process knew.
    pub(super) fn remembering(remembered: Resolved) -> Self {
        Self { names: BTreeMap::new(), remembered }
    }

    /// Takes over which names are wanted.
    pub(super) fn want(&mut self, names: &BTreeSet<Arc<str>>, now: Instant) {
        self.names.retain(|name, _| names.contains(name));
        for name in names {
            self.names.entry(Arc::clone(name)).or_insert_with(|| {
                // Once: when it goes and comes back, that is too long ago.
                let remembered = self.remembered.take(name).unwrap_or_default();
                let (v4, v6) = remembered.iter().partition(|address| address.is_ipv4());
                let (answered, error) = (None, None);
                Entry { v4, v6, due: now, asked: None, answered, in_vain: 0, lookups: 0, failures: 0, error }
            });
        }
    }

    /// The next name to be asked for now. It is taken for asked.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Arc<str>> {
        let (name, entry) = self.names.iter_mut().find(|(_, entry)| entry.next() <= now)?;
        entry.asked = Some(now);
        entry.lookups += 1;
        Some(Arc::clone(name))
    }

    /// When there will be one.
    pub(super) fn next(&self) -> Option<Instant> {
        self.names.values().map(Entry::next).min()
    }

    /// Takes over what was answered. `dice` is between zero and one.
    ///
    /// An answer without addresses is as good as none: whoever takes a name out of DNS by mistake, or all names at once, must not
    /// empty a cell. And what one family's answer does not say stays as it was.
    pub(super) fn answered(&mut self, name: &str, v4: Answer, v6: Answer, now: Instant, dice: f64) -> News {
        let Some(entry) = self.names.get_mut(name) else { return News::Nothing };
        entry.asked = None;
        let ttl = [&v4, &v6].into_iter().filter_map(|answer| match answer {
            Answer::Addresses(addresses, ttl) if !addresses.is_empty() => Some(*ttl),
            Answer::Addresses(..) | Answer::None | Answer::Failed(_) => None,
        });
        let Some(ttl) = ttl.min() else { return entry.failed(error_of(v4, v6), now, dice) };
        let before: Vec<IpAddr> = entry.addresses().collect();
        let mut room = MOST_ADDRESSES;
        for (known, answer) in [(&mut entry.v4, v4), (&mut entry.v6, v6)] {
            match answer {
                Answer::Addresses(addresses, _) => *known = addresses,
                Answer::None => known.clear(),
                Answer::Failed(_) => {}
            }
            known.sort_unstable();
            known.dedup();
            known.truncate(room);
            room -= known.len();
        }
        (entry.answered, entry.in_vain, entry.error) = (Some(now), 0, None);
        // After it has ended, not before: whoever keeps it for us would only say how little is left of it. And not all routers
        // at the same moment.
        entry.due = now + ttl.clamp(LEAST, MOST).mul_f64(1.0 + dice / 10.0);
        let after: Vec<IpAddr> = entry.addresses().collect();
        if before == after { News::Nothing } else { News::Moved(before.len(), after.len()) }
    }

    /// The addresses of all names that were ever resolved.
    pub(super) fn resolved(&self) -> Resolved {
        let names = self.names.iter().map(|(name, entry)| (Arc::clone(name), entry.addresses().collect()));
        names.filter(|(_, addresses): &(_, Arc<[IpAddr]>)| !addresses.is_empty()).collect()
    }

    /// A name, for people.
    pub(super) fn one(&self, name: &Arc<str>) -> Option<NameView> {
        self.names.get(name).map(|entry| entry.view(name))
    }

    /// All names, for people.
    pub(super) fn view(&self) -> Vec<NameView> {
        self.names.iter().map(|(name, entry)| entry.view(name)).collect()
    }
}

impl Entry {
    fn view(&self, name: &Arc<str>) -> NameView {
        NameView {
            name: Arc::clone(name),
            addresses: self.addresses().collect(),
            answered: self.answered,
            lookups: self.lookups,
            failures: self.failures,
            error: self.error.clone(),
        }
    }

    fn failed(&mut self, error: String, now: Instant, dice: f64) -> News {
        let news = if self.error.as_ref() == Some(&error) { News::Nothing } else { News::Failing };
        let pause = LEAST.saturating_mul(1 << self.in_vain.min(8)).min(LONGEST_PAUSE);
        self.due = now + pause.mul_f64(0.75 + dice / 2.0);
        self.in_vain = self.in_vain.saturating_add(1);
        self.failures += 1;
        self.error = Some(error);
        news
    }
}

fn error_of(v4: Answer, v6: Answer) -> String {
    match (v4, v6) {
        (Answer::Failed(error), _) | (_, Answer::Failed(error)) => error,
        (Answer::Addresses(..) | Answer::None, Answer::Addresses(..) | Answer::None) => {
            "it has no addresses in DNS".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str, seconds: u64) -> Answer {
        let addresses = text.split_whitespace().map(|address| address.parse().unwrap()).collect();
        Answer::Addresses(addresses, Duration::from_secs(seconds))
    }

    fn failed() -> Answer {
        Answer::Failed("it does not answer".to_owned())
    }

    fn known(book: &Book) -> String {
        let addresses: Vec<_> = book.resolved().of("a").iter().map(ToString::to_string).collect();
        addresses.join(" ")
    }

    fn book(remembered: &[&str]) -> (Book, Instant) {
        let now = Instant::now();
        let addresses = remembered.iter().map(|address| address.parse().unwrap()).collect();
        let mut book = Book::remembering([("a".into(), addresses)].into_iter().collect());
        book.want(&BTreeSet::from(["a".into()]), now);
        (book, now)
    }

    /// What an earlier process knew is of use while a process begins, and later says nothing any more.
    #[test]
    fn a_name_that_comes_back_is_asked_for_anew() {
        let (mut book, now) = book(&["10.0.0.9"]);
        assert_eq!(known(&book), "10.0.0.9");
        book.want(&BTreeSet::new(), now);
        book.want(&BTreeSet::from(["a".into()]), now);
        assert_eq!(known(&book), "");
        assert_eq!(book.ask(now).as_deref(), Some("a"));
    }

    #[test]
    fn the_last_good_answer_is_kept_whatever_happens() {
        let (mut book, now) = book(&["10.0.0.9", "fd00::9"]);
        assert_eq!(known(&book), "10.0.0.9 fd00::9");
        let mut answer = |v4, v6| {
            let news = book.answered("a", v4, v6, now, 0.0);
            (news, known(&book))
        };
        assert_eq!(answer(failed(), failed()), (News::Failing, "10.0.0.9 fd00::9".to_owned()));
        assert_eq!(answer(failed(), failed()).0, News::Nothing);
        assert_eq!(answer(Answer::None, Answer::None), (News::Failing, "10.0.0.9 fd00::9".to_owned()));
        assert_eq!(answer(addresses("", 5), Answer::None).1, "10.0.0.9 fd00::9");
        assert_eq!(answer(Answer::None, failed()).1, "10.0.0.9 fd00::9");
        // One family's failure says nothing of it; that it has none does.
        let moved = answer(addresses("10.0.0.2 10.0.0.1 10.0.0.2", 5), failed());
        assert_eq!(moved, (News::Moved(2, 3), "10.0.0.1 10.0.0.2 fd00::9".to_owned()));
        assert_eq!(answer(addresses("10.0.0.1 10.0.0.2", 5), failed()).0, News::Nothing);
        assert_eq!(answer(addresses("10.0.0.1", 5), Answer::None), (News::Moved(3, 1), "10.0.0.1".to_owned()));
        assert_eq!(answer(Answer::None, addresses("fd00::1", 5)).1, "fd00::1");
        book.want(&BTreeSet::new(), now);
        assert_eq!(known(&book), "");
    }

    #[test]
    fn answers_hold_for_as_long_as_they_say_within_bounds() {
        for (ttl, dice, holds) in [(0, 0.0, 1.0), (10, 0.0, 10.0), (10, 1.0, 11.0), (86_400, 0.5, 315.0)] {
            let (mut book, now) = book(&[]);
            assert_eq!(book.next(), Some(now));
            assert_eq!(book.ask(now).as_deref(), Some("a"));
            assert_eq!((book.ask(now), book.next()), (None, Some(now + LOST)), "it is asked for already");
            book.answered("a", addresses("10.0.0.1", ttl), addresses("fd00::1", 86_400), now, dice);
            let due = book.next().unwrap() - now;
            assert!((due.as_secs_f64() - holds).abs() < 0.001, "{ttl}: {due:?}");
            assert_eq!(book.ask(now + due.mul_f64(0.99)), None);
            assert_eq!(book.ask(now + due).as_deref(), Some("a"));
        }
    }

    #[test]
    fn failures_are_tried_again_later_and_later() {
        let (mut book, now) = book(&[]);
        for pause in [1, 2, 4, 8, 16, 30, 30, 30] {
            book.answered("a", failed(), failed(), now, 0.5);
            assert_eq!(book.next(), Some(now + Duration::from_secs(pause)));
        }
        book.answered("a", addresses("10.0.0.1", 60), Answer::None, now, 0.0);
        book.answered("a", failed(), failed(), now, 0.5);
        assert_eq!(book.next(), Some(now + Duration::from_secs(1)));
        let view = &book.view()[0];
        assert_eq!((view.failures, view.addresses.len()), (9, 1));
        assert!(view.error.is_some() && view.answered.is_some());
    }

    #[test]
    fn not_more_addresses_are_used_than_can_be_chosen_from() {
        let (mut book, now) = book(&[]);
        let many: Vec<IpAddr> = (0..200_u32).map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n).into()).collect();
        book.answered("a", Answer::Addresses(many, LEAST), addresses("fd00::1", 1), now, 0.0);
        assert_eq!(book.resolved().of("a").len(), MOST_ADDRESSES);
    }
}
