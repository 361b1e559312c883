//! What both stores promise.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use gridrouter_config::ids::Kind;
use gridrouter_config::store::Store;
use gridrouter_config::store::directory::DirectoryStore;
use gridrouter_config::store::etcd::writer::{Change, Writer};
use gridrouter_config::store::etcd::{EtcdStore, Random};
use tempfile::TempDir;

use super::support::reader::{Reader, bodies};
use super::support::server::{Raw, Server};
use super::support::{by, document, id, options, route, writer};

/// A place for documents, as a test changes it.
trait Place {
    fn empty() -> Self;
    fn store(&self) -> Box<dyn Store>;
    /// Writes routes, or deletes them.
    fn change(&mut self, changes: &[(&str, Option<&str>)]);
    /// Puts bytes where a route belongs.
    fn spoil(&mut self, name: &str, bytes: &[u8]);
    /// Makes the place unreachable.
    fn take_away(&mut self);
    fn bring_back(&mut self);
}

struct Directory {
    home: TempDir,
}

impl Directory {
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("conf").join(format!("{name}.json"))
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let new = self.home.path().join("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }
}

impl Place for Directory {
    fn empty() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("conf")).unwrap();
        Self { home }
    }

    fn store(&self) -> Box<dyn Store> {
        Box::new(DirectoryStore::new(self.home.path().join("conf")).with_poll(Duration::from_millis(100)))
    }

    fn change(&mut self, changes: &[(&str, Option<&str>)]) {
        for (name, body) in changes {
            match body {
                Some(body) => self.write(name, route(name, body).as_bytes()),
                None => fs::remove_file(self.path(name)).unwrap(),
            }
        }
    }

    fn spoil(&mut self, name: &str, bytes: &[u8]) {
        self.write(name, bytes);
    }

    fn take_away(&mut self) {
        fs::rename(self.home.path().join("conf"), self.home.path().join("away")).unwrap();
    }

    fn bring_back(&mut self) {
        fs::rename(self.home.path().join("away"), self.home.path().join("conf")).unwrap();
    }
}

struct Etcd {
    server: Server,
    writer: Writer,
    raw: Raw,
    spoilt: usize,
}

impl Place for Etcd {
    fn empty() -> Self {
        let server = Server::start();
        let writer = writer(&options(&server.urls()));
        Self { raw: server.raw(), writer, server, spoilt: 0 }
    }

    fn store(&self) -> Box<dyn Store> {
        Box::new(EtcdStore::start(options(&self.server.urls()), Random::new()).unwrap())
    }

    fn change(&mut self, changes: &[(&str, Option<&str>)]) {
        let change = |(name, body): &(&str, Option<&str>)| match body {
            Some(body) => Change::put(&document(&route(name, body))).unwrap(),
            None => Change::delete(id(Kind::Route, name)),
        };
        let changes: Vec<Change> = changes.iter().map(change).collect();
        let base = self.writer.base().unwrap();
        self.writer.publish(&base, &changes, &by("test")).unwrap();
    }

    fn spoil(&mut self, name: &str, bytes: &[u8]) {
        self.raw.put(format!("/gridrouter/config/route/{name}"), bytes);
        // A head puts it into force: without one, nothing would be read at all.
        self.spoilt += 1;
        let limit = format!(
            "{{\"kind\": \"Limit\", \"name\": \"l{}\", \"key\": [\"tenant\"], \"tokenBucket\": {{\"rate\": \"1/s\", \"burst\": 1}}}}",
            self.spoilt
        );
        let base = self.writer.base().unwrap();
        self.writer.publish(&base, &[Change::put(&document(&limit)).unwrap()], &by("test")).unwrap();
    }

    fn take_away(&mut self) {
        self.server.kill();
    }

    fn bring_back(&mut self) {
        assert!(self.server.run());
    }
}

fn reader<P: Place>(place: &P) -> Reader {
    Reader::new(place.store())
}

fn lists_what_is_there_in_order<P: Place>() {
    let mut place = P::empty();
    place.change(&[("b", Some("1")), ("a", Some("1")), ("c", Some("1"))]);
    let mut store = place.store();
    let listing = store.list().unwrap();
    assert_eq!(listing.entries.len(), 3);
    assert!(listing.entries.is_sorted_by(|one, other| one.path < other.path));
    assert_eq!(listing.faults, []);
    assert!(listing.revision > 0);
    assert_eq!(store.list().unwrap().revision, listing.revision);
    assert!(!store.describe().is_empty());
}

fn an_empty_place_is_listed_and_filled_later<P: Place>() {
    let mut place = P::empty();
    let mut reader = reader(&place);
    reader.look();
    assert_eq!((reader.error.as_deref(), reader.listing.entries.len()), (None, 0));
    place.change(&[("a", Some("1"))]);
    reader.until("the first document", |reader| reader.bodies() == bodies(&[("a", "1")]));
}

fn changes_are_seen_and_everything_else_keeps_its_bytes<P: Place>() {
    let mut place = P::empty();
    place.change(&[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))]);
    let mut reader = reader(&place);
    reader.until("three documents", |reader| reader.listing.entries.len() == 3);
    let (before, revision) = (reader.addresses(), reader.listing.revision);
    place.change(&[("b", Some("2")), ("c", None), ("d", Some("1"))]);
    let wanted = bodies(&[("a", "1"), ("b", "2"), ("d", "1")]);
    reader.until("the change", |reader| reader.bodies() == wanted);
    let after = reader.addresses();
    let kept = before.iter().filter(|(path, address)| after.get(*path) == Some(address)).count();
    assert_eq!(kept, 1);
    assert!(reader.listing.revision > revision);
}

fn nothing_happens_while_nothing_changes<P: Place>() {
    let mut place = P::empty();
    place.change(&[("a", Some("1"))]);
    let mut store = place.store();
    store.list().unwrap();
    // What happened before the listing may be told once more.
    let revision = store.list().unwrap().revision;
    let mut told = 0;
    while store.wait(Duration::from_millis(1_500)).unwrap() {
        assert_eq!(store.list().unwrap().revision, revision);
        told += 1;
        assert!(told < 10, "news without an end, and nothing happened");
    }
}

fn a_bad_document_unseats_no_good_one<P: Place>() {
    let mut place = P::empty();
    place.change(&[("a", Some("1")), ("b", Some("1"))]);
    let mut reader = reader(&place);
    reader.until("two documents", |reader| reader.listing.entries.len() == 2);
    for bytes in [&b"{"[..], b"", b"\xff\xfe", b"[1]", b"{\"kind\": \"Route\", \"name\": \"a\", \"hots\": []}"] {
        let before = reader.listing.revision;
        place.spoil("a", bytes);
        reader.until("the bad bytes", |reader| reader.listing.revision > before);
        let found = reader.bodies();
        assert_eq!((found.get("a").map(String::as_str), found.get("b").map(String::as_str)), (Some("1"), Some("1")));
    }
    place.change(&[("a", Some("2"))]);
    reader.until("good again", |reader| reader.bodies().get("a").is_some_and(|body| body == "2"));
}

fn a_place_that_is_gone_is_an_error_until_it_is_back<P: Place>() {
    let mut place = P::empty();
    place.change(&[("a", Some("1"))]);
    let mut reader = reader(&place);
    reader.until("one document", |reader| reader.listing.entries.len() == 1);
    place.take_away();
    reader.until("an error", |reader| reader.error.is_some());
    assert_eq!(reader.bodies(), bodies(&[("a", "1")]), "what is in force stays");
    place.bring_back();
    reader.until_fine();
    place.change(&[("a", Some("2"))]);
    reader.until("the change", |reader| reader.bodies() == bodies(&[("a", "2")]));
}

fn many_documents_are_listed_whole<P: Place>() {
    let mut place = P::empty();
    let names: Vec<String> = (0..1_500).map(|n| format!("r{n:04}")).collect();
    let changes: Vec<(&str, Option<&str>)> = names.iter().map(|name| (name.as_str(), Some("1"))).collect();
    place.change(&changes);
    let mut store = place.store();
    assert_eq!(store.list().unwrap().entries.len(), 1_500);
}

macro_rules! contract {
    ($($promise:ident)*) => {
        mod directory {
            $(#[test] fn $promise() { super::$promise::<super::Directory>(); })*
        }
        mod etcd {
            $(#[test] fn $promise() { super::$promise::<super::Etcd>(); })*
        }
    };
}

contract! {
    lists_what_is_there_in_order
    an_empty_place_is_listed_and_filled_later
    changes_are_seen_and_everything_else_keeps_its_bytes
    nothing_happens_while_nothing_changes
    a_bad_document_unseats_no_good_one
    a_place_that_is_gone_is_an_error_until_it_is_back
    many_documents_are_listed_whole
}
