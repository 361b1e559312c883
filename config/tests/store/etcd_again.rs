//! What is read again of what was read before is what is read anew, whatever has happened in between.

use std::collections::BTreeSet;
use std::sync::Arc;

use gridrouter_config::ids::{DocumentId, Kind};
use gridrouter_config::store::etcd::Random;
use gridrouter_config::store::etcd::writer::{Change, Documents, OfKinds, Writer};

use super::support::server::{Raw, Server};
use super::support::{by, delete, document, id, options, publish, put, route, writer};

const KINDS: &[Kind] = &[Kind::Route, Kind::Cell];
/// How many things happen in one course, and how many courses there are.
const STEPS: usize = 40;
const COURSES: u64 = 6;

/// Single documents that depend on the others: the tenant that is named like the first route, and one that never changes.
fn more(documents: &Documents) -> BTreeSet<DocumentId> {
    let first = documents.keys().find(|id| id.kind == Kind::Route).map(|first| id(Kind::Tenant, first.name.as_str()));
    first.into_iter().chain([id(Kind::Tenant, "still"), id(Kind::Tenant, "nobody")]).collect()
}

fn tenant(name: &str, cell: u64) -> Change {
    let text = format!("{{\"kind\": \"Tenant\", \"name\": \"{name}\", \"grid\": \"g\", \"cell\": \"c{cell}\"}}");
    Change::put(&document(&text)).unwrap()
}

/// All that there is to tell of what was read.
fn told(read: &OfKinds) -> Vec<String> {
    let documents = read.documents.iter().map(|(id, one)| format!("{id} {} {} {:?}", one.id, one.file, one.digest));
    let mut unreadable: Vec<String> = read.unreadable.iter().map(|one| format!("{one:?}")).collect();
    unreadable.sort();
    let head = format!("{:?} {}", read.base.head(), read.base.generation());
    documents.chain(unreadable).chain([head]).collect()
}

/// Something that happens to a store.
struct Course {
    raw: Raw,
    writer: Writer,
    random: Random,
}

impl Course {
    fn below(&mut self, end: u64) -> u64 {
        self.random.number() % end
    }

    fn change(&mut self) -> Change {
        let name = format!("r{}", self.below(12));
        match self.below(8) {
            0..=3 => put(&name, &self.below(1_000).to_string()),
            4 | 5 => delete(&name),
            6 => tenant(&name, self.below(9)),
            _ => Change::put(&document(&format!("{{\"kind\": \"Cell\", \"name\": \"c{name}\"}}"))).unwrap(),
        }
    }

    fn few(&mut self) {
        let mut changes: Vec<Change> = (0..=self.below(4)).map(|_| self.change()).collect();
        let mut ids = BTreeSet::new();
        changes.retain(|change| ids.insert(change.id().clone()));
        publish(&mut self.writer, &changes);
    }

    /// More than fits into a transaction, or than is read again one by one; now and then seen before it is settled.
    fn many(&mut self) {
        let body = self.below(1_000).to_string();
        let count = 120 + self.below(150);
        let changes: Vec<Change> = (0..count).map(|n| put(&format!("m{n}"), &body)).collect();
        let published = publish(&mut self.writer, &changes);
        if published.changed == 0 || self.below(2) == 0 {
            return;
        }
        let found = self.raw.below("/gridrouter/", published.revision);
        self.raw.delete_below("/gridrouter/");
        let (head, others): (Vec<_>, Vec<_>) = found.iter().partition(|kv| kv.key() == b"/gridrouter/head");
        for kv in others.iter().chain(&head) {
            self.raw.put(kv.key(), kv.value());
        }
    }

    /// Somebody who knows nothing of heads.
    fn stranger(&mut self) {
        let name = self.below(12);
        match self.below(4) {
            0 => self.raw.put(format!("/gridrouter/config/route/r{name}"), route(&format!("r{name}"), "foreign")),
            1 => self.raw.put(format!("/gridrouter/config/route/r{name}"), "nonsense"),
            2 => self.raw.put("/gridrouter/config/route/No Name", "{}"),
            _ => self.raw.delete_below(&format!("/gridrouter/config/route/r{name}")),
        };
    }

    fn compact(&mut self) {
        let now = self.raw.revision();
        // A revision cannot be compacted twice, and one that nobody has written since may have been.
        let next = self.raw.put("/gridrouter-else", now.to_string());
        self.raw.compact(next);
    }

    /// Another store in the place of this one.
    fn again_from_nothing(&mut self) {
        self.raw.delete_below("/gridrouter/");
        publish(&mut self.writer, &[put("r1", "new"), tenant("still", 0)]);
    }

    fn something(&mut self) {
        match self.below(40) {
            0..=27 => self.few(),
            28..=30 => self.many(),
            31..=35 => self.stranger(),
            36..=37 => self.compact(),
            38 => self.again_from_nothing(),
            _ => {
                // What is broken is mended, or all that follows is read anew.
                self.raw.delete_below("/gridrouter/config/route/");
                publish(&mut self.writer, &[put("r0", "mended")]);
            }
        }
    }
}

#[test]
fn what_is_read_again_is_what_is_read_anew_and_what_has_not_changed_is_not_read() {
    let server = Server::start();
    let (mut kept, mut read_again) = (0, 0);
    for seed in 0..COURSES {
        let options = options(&server.urls());
        let (raw, random) = (server.raw(), Random::seeded(seed));
        let mut course = Course { raw, writer: writer(&options), random };
        course.again_from_nothing();
        let (mut reader, mut other) = (writer(&options), writer(&options));
        let mut before = reader.read_kinds_and(KINDS, more).unwrap();
        for step in 0..STEPS {
            course.something();
            let old = (Arc::clone(&before.documents), before.base.head().cloned());
            let now = reader.read_kinds_again(before, more).unwrap();
            // What others write without a head changes nothing of what is in force; but etcd may have forgotten that.
            if now.base.head() != old.1.as_ref() {
                let anew = other.read_kinds_and(KINDS, more).unwrap();
                assert_eq!(told(&now), told(&anew), "seed {seed}, step {step}");
                let mut same = now.documents.iter().filter(|(id, _)| KINDS.contains(&id.kind));
                let is_kept = same.any(|(id, one)| old.0.get(id).is_some_and(|before| Arc::ptr_eq(before, one)));
                kept += usize::from(is_kept);
                read_again += 1;
            }
            before = now;
        }
    }
    println!("{kept} of {read_again} were read by what has changed");
    assert!(kept * 3 > read_again && kept < read_again, "{kept} of {read_again}");
}

#[test]
fn a_change_starts_from_what_was_read_again_like_from_what_was_read_anew() {
    let server = Server::start();
    let options = options(&server.urls());
    let (mut one, mut other) = (writer(&options), writer(&options));
    let nothing = |_: &Documents| BTreeSet::new();
    let unpublished = one.read_kinds(KINDS).unwrap();
    publish(&mut other, &[put("a", "1"), put("b", "1")]);
    let first = one.read_kinds_again(unpublished, nothing).unwrap();
    publish(&mut other, &[put("a", "2")]);
    let lost = one.publish(&first.base, &[put("b", "2")], &by("late")).unwrap_err();
    assert!(lost.to_string().contains("starts from generation 1"), "{lost}");
    let second = one.read_kinds_again(first, nothing).unwrap();
    let published = one.publish(&second.base, &[put("b", "2"), delete("a")], &by("me")).unwrap();
    assert_eq!((published.generation, published.changed), (3, 2));
    let third = one.read_kinds_again(second, nothing).unwrap();
    assert_eq!(third.documents.keys().map(DocumentId::to_string).collect::<Vec<_>>(), ["Route/b"]);
    let view = other.read().unwrap();
    assert_eq!((view.base.generation(), view.listing.faults.len(), view.base.foreign().len()), (3, 0, 0));
}
