//! A change is one generation, to everybody, at every moment of its making.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use etcd_client::{Txn, TxnOp};
use gridrouter_config::store::Listing;
use gridrouter_config::store::etcd::writer::{About, Adopt, Change, PublishError, Writer};
use gridrouter_config::store::etcd::{EtcdOptions, EtcdSettings};

use super::support::reader::{Reader, bodies};
use super::support::server::{Raw, Server};
use super::support::{by, delete, hurried, options, publish, put, writer};

/// Every document of a listing has this in it.
fn all_have(listing: &Listing, text: &str) -> bool {
    listing.entries.iter().all(|entry| String::from_utf8_lossy(&entry.bytes).contains(text))
}

fn many(count: usize, body: &str) -> Vec<Change> {
    (0..count).map(|n| put(&format!("r{n:04}"), body)).collect()
}

#[test]
fn five_thousand_documents_appear_as_one_generation_to_all_who_follow_and_to_all_who_boot_meanwhile() {
    const COUNT: usize = 5_000;
    let server = Server::start();
    let options = options(&server.urls());
    publish(&mut writer(&options), &many(COUNT, "old"));
    let done = Arc::new(AtomicBool::new(false));
    let whole = |listing: &Listing| {
        let body = if listing.generation == Some(1) { "old" } else { "new" };
        assert_eq!(listing.entries.len(), COUNT, "generation {:?}", listing.generation);
        assert!(all_have(listing, body), "generation {:?} is mixed", listing.generation);
        assert_eq!(listing.faults, []);
    };
    let follower = {
        let (options, done) = (options.clone(), Arc::clone(&done));
        thread::spawn(move || {
            let mut store = Reader::etcd(&options).store;
            while !done.load(Ordering::Relaxed) {
                whole(&store.list().unwrap());
                store.wait(std::time::Duration::from_millis(100)).unwrap();
            }
            whole(&store.list().unwrap());
        })
    };
    let booting = {
        let (options, done) = (options.clone(), Arc::clone(&done));
        thread::spawn(move || {
            let mut boots = 0;
            while !done.load(Ordering::Relaxed) || boots == 0 {
                whole(&Reader::etcd(&options).store.list().unwrap());
                boots += 1;
            }
        })
    };
    publish(&mut writer(&options), &many(COUNT, "new"));
    done.store(true, Ordering::Relaxed);
    follower.join().unwrap();
    booting.join().unwrap();
    let mut last = Reader::etcd(&options).store;
    let listing = last.list().unwrap();
    assert_eq!(listing.generation, Some(2));
    whole(&listing);
}

/// Copies everything below `/gridrouter/`, as it was at a revision, below another prefix, in the order of its writing.
fn copy(raw: &mut Raw, revision: i64, to: &str) {
    let mut found = raw.below("/gridrouter/", revision);
    found.sort_by_key(etcd_client::KeyValue::mod_revision);
    let mut rest = found.as_slice();
    while let Some(first) = rest.first() {
        // One transaction stays one, and its documents do not become younger than its head.
        let same = rest.iter().take_while(|kv| kv.mod_revision() == first.mod_revision()).count();
        let (now, later) = rest.split_at(same);
        let put = |kv: &etcd_client::KeyValue| {
            let key = kv.key_str().unwrap().replacen("/gridrouter/", to, 1);
            TxnOp::put(key, kv.value(), None)
        };
        let operations: Vec<TxnOp> = now.iter().map(put).collect();
        raw.client(async |client| client.txn(Txn::new().and_then(operations)).await);
        rest = later;
    }
}

fn at_prefix(server: &Server, prefix: &str) -> EtcdOptions {
    let prefix = Some(prefix.to_owned());
    hurried(EtcdSettings { endpoints: server.urls(), prefix, ..EtcdSettings::default() })
}

/// The writer dies after each of its requests in turn: what it leaves is a store of its own each time.
#[test]
fn a_writer_that_dies_half_way_leaves_the_old_generation_or_the_new_one_and_the_next_writer_cleans_up() {
    const COUNT: usize = 450;
    let server = Server::start();
    let mut raw = server.raw();
    let options = options(&server.urls());
    let mut first = writer(&options);
    let filler = "x".repeat(2_500);
    publish(&mut first, &many(COUNT, &format!("old{filler}")));
    let start = raw.revision();
    let mut changes = many(COUNT, &format!("new{filler}"));
    changes.truncate(COUNT - 1);
    changes.push(delete(&format!("r{:04}", COUNT - 1)));
    let published = publish(&mut first, &changes);
    let end = raw.revision();
    assert!(end - start > 8, "the change took only {} requests, and shows nothing", end - start);
    let (mut old, mut new) = (0, 0);
    for revision in start..=end {
        let prefix = format!("/copy-{revision}/");
        copy(&mut raw, revision, &prefix);
        let options = at_prefix(&server, &prefix);

        let mut reader = Reader::etcd(&options);
        reader.look();
        assert_eq!(reader.error, None, "revision {revision}");
        let (count, body) = if revision < published.revision { (COUNT, "old") } else { (COUNT - 1, "new") };
        if body == "old" {
            old += 1;
        } else {
            new += 1;
        }
        assert_eq!((reader.listing.entries.len(), reader.listing.faults.as_slice()), (count, &[][..]), "{revision}");
        assert!(all_have(&reader.listing, &format!("\"{body}")), "revision {revision}");

        let mut next = writer(&options);
        let about = by("next");
        let base = next.base().unwrap();
        let published = next.publish(&base, &[put("r0000", "next")], &about).unwrap();
        reader.until_generation(published.generation);
        assert_eq!((reader.listing.entries.len(), reader.listing.faults.as_slice()), (count, &[][..]), "{revision}");
        assert_eq!(raw.below(&format!("{prefix}staged/"), 0).len(), 0, "staged chunks are left at {revision}");
        // Every part of a history belongs to an entry.
        let keys: Vec<String> =
            raw.below(&format!("{prefix}history/"), 0).iter().map(|kv| kv.key_str().unwrap().to_owned()).collect();
        let generations: BTreeSet<u64> = next.history(100).unwrap().iter().map(|entry| entry.generation).collect();
        for generation in &generations {
            assert!(next.changes(*generation).unwrap().is_some());
        }
        let named = keys.iter().map(|key| key.trim_start_matches(&format!("{prefix}history/")));
        let named: BTreeSet<u64> = named.map(|rest| rest.split('/').next().unwrap().parse().unwrap()).collect();
        assert_eq!(named, generations, "revision {revision}");
    }
    assert!(old > 3 && new > 3, "{old} {new}");
}

#[test]
fn of_many_writers_each_change_is_kept_and_the_loser_is_told_who_won_and_what_changed() {
    const WRITERS: usize = 6;
    const ROUNDS: usize = 8;
    let server = Server::start();
    let options = options(&server.urls());
    let mut reader = Reader::etcd(&options);
    let work = |name: usize, options: EtcdOptions| {
        let mut writer = writer(&options);
        for round in 0..ROUNDS {
            loop {
                let base = writer.base().unwrap();
                let change = [put(&format!("w{name}"), &round.to_string()), put(&format!("w{name}-{round}"), "x")];
                match writer.publish(&base, &change, &by(&format!("writer{name}"))) {
                    Ok(_) => break,
                    Err(PublishError::Lost(lost)) => {
                        let head = lost.head.as_ref().unwrap();
                        assert!(head.generation > base.generation());
                        let text = lost.to_string();
                        assert!(text.contains(&head.author) && text.contains("Route/w"), "{text}");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    let writers: Vec<_> = (0..WRITERS).map(|name| (name, options.clone())).collect();
    let writers: Vec<_> =
        writers.into_iter().map(|(name, options)| thread::spawn(move || work(name, options))).collect();
    for writer in writers {
        writer.join().unwrap();
    }
    reader.until_generation(u64::try_from(WRITERS * ROUNDS).unwrap());
    assert_eq!(reader.listing.entries.len(), WRITERS * (ROUNDS + 1));
    assert_eq!(reader.listing.faults, []);
}

#[test]
fn a_large_change_that_loses_is_swept_and_changes_nothing() {
    let server = Server::start();
    let options = options(&server.urls());
    let (mut one, mut other) = (writer(&options), writer(&options));
    publish(&mut one, &[put("a", "1")]);
    let base = other.base().unwrap();
    publish(&mut one, &[put("a", "2")]);
    let error = other.publish(&base, &many(300, "large"), &by("late")).unwrap_err();
    assert!(error.to_string().contains("starts from generation 1"), "{error}");
    let mut raw = server.raw();
    assert_eq!(raw.below("/gridrouter/staged/", 0).len(), 0);
    assert_eq!(raw.below("/gridrouter/config/", 0).len(), 1);
}

#[test]
fn what_changes_nothing_is_not_published() {
    let server = Server::start();
    let mut writer = writer(&options(&server.urls()));
    publish(&mut writer, &[put("a", "1")]);
    let again = publish(&mut writer, &[put("a", "1"), delete("b")]);
    assert_eq!((again.generation, again.changed), (1, 0));
    let base = writer.base().unwrap();
    let twice = writer.publish(&base, &[put("a", "2"), delete("a")], &by("me")).unwrap_err();
    assert!(twice.to_string().contains("Route/a is changed twice"), "{twice}");
}

#[test]
fn the_history_knows_what_was_there_before_and_has_an_end() {
    let server = Server::start();
    let mut writer = writer(&options(&server.urls()));
    publish(&mut writer, &[put("a", "1"), put("b", "1")]);
    publish(&mut writer, &[put("a", "2"), delete("b")]);
    let changes = writer.changes(2).unwrap().unwrap();
    let undo: Vec<Change> = changes.iter().map(Change::undo).collect();
    publish(&mut writer, &undo);
    let view = writer.read().unwrap();
    let found: BTreeMap<_, _> = view.listing.entries.iter().map(|entry| (&*entry.path, &*entry.bytes)).collect();
    assert_eq!(found.len(), 2);
    assert!(found.values().all(|bytes| String::from_utf8_lossy(bytes).contains("\"1\"")));
    publish(&mut writer, &[put("c", &"large".repeat(10_000))]);
    assert_eq!(writer.changes(4).unwrap().unwrap().len(), 1);
    for n in 0..110 {
        publish(&mut writer, &[put("a", &format!("n{n}"))]);
    }
    let history = writer.history(1_000).unwrap();
    assert_eq!((history.len(), history[0].generation), (114, 114));
    assert!(history.windows(2).all(|pair| pair[0].generation == pair[1].generation + 1));
    assert_eq!(history[0].documents, ["Route/a"]);
    // What was little is known for long, and of what was much only that it was.
    assert_eq!(writer.changes(2).unwrap().unwrap().len(), 2);
    assert_eq!((writer.changes(4).unwrap(), &history[110].documents), (None, &vec!["Route/c".to_owned()]));
    let parts = server.raw().below("/gridrouter/history/00000000000000000004/", 0);
    assert!(parts.is_empty(), "{} parts are left", parts.len());
    // Ten thousand generations later all that is gone.
    let base = writer.base().unwrap();
    let above = About { adopt: Some(Adopt { above: 10_100, ..Adopt::default() }), ..by("me") };
    let later = writer.publish(&base, &[put("a", "later")], &above).unwrap();
    let history = writer.history(20_000).unwrap();
    let last = history.last().unwrap().generation;
    assert_eq!((later.generation, history.len(), last), (10_101, 14, 102));
    // Also the last few are found across the gap.
    let few: Vec<u64> = writer.history(3).unwrap().iter().map(|one| one.generation).collect();
    assert_eq!(few, [10_101, 114, 113]);
    assert_eq!(writer.changes(2).unwrap(), None);
}

#[test]
fn a_large_change_can_be_undone() {
    let server = Server::start();
    let mut writer = writer(&options(&server.urls()));
    publish(&mut writer, &many(700, "old"));
    publish(&mut writer, &many(700, &"new".repeat(700)));
    let changes = writer.changes(2).unwrap().unwrap();
    assert_eq!(changes.len(), 700);
    publish(&mut writer, &changes.iter().map(Change::undo).collect::<Vec<_>>());
    let view = writer.read().unwrap();
    assert!(all_have(&view.listing, "\"old\"") && view.listing.entries.len() == 700);
    assert_eq!(view.base.head().unwrap().documents, 700);
}

/// Somebody uses etcdctl.
#[test]
fn a_write_without_a_head_is_not_in_force_is_told_and_is_taken_in_by_the_next_change() {
    let server = Server::start();
    let options = options(&server.urls());
    let (mut writer, mut raw): (Writer, Raw) = (writer(&options), server.raw());
    publish(&mut writer, &[put("a", "1"), put("b", "1")]);
    let mut reader = Reader::etcd(&options);
    reader.until_generation(1);
    raw.put("/gridrouter/config/route/a", super::support::route("a", "rogue"));
    reader.until("a complaint", |reader| !reader.listing.faults.is_empty());
    assert!(reader.listing.faults[0].1.contains("without a head"), "{:?}", reader.listing.faults);
    assert_eq!(reader.bodies(), bodies(&[("a", "1"), ("b", "1")]));
    let mut late = Reader::etcd(&options);
    late.until("a complaint", |reader| !reader.listing.faults.is_empty());
    assert_eq!(late.bodies(), reader.bodies());
    // Also when the revision of the head is compacted away; only the bytes from before are lost then.
    let now = raw.revision();
    raw.compact(now);
    let mut later = Reader::etcd(&options);
    later.until("a complaint", |reader| !reader.listing.faults.is_empty());
    assert_eq!(later.bodies(), bodies(&[("b", "1")]));

    let view = writer.read().unwrap();
    writer.publish(&view.base, &[put("b", "2")], &by("me")).unwrap();
    for reader in [&mut reader, &mut late, &mut later] {
        reader.until_generation(2);
        assert_eq!(reader.bodies(), bodies(&[("a", "rogue"), ("b", "2")]));
        assert_eq!(reader.listing.faults, []);
    }
}
