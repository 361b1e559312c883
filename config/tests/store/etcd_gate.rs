//! A store that was emptied, restored or replaced takes nothing out of force by itself.

use std::path::Path;
use std::process::Command;

use gridrouter_config::store::etcd::EtcdOptions;
use gridrouter_config::store::etcd::writer::{About, Adopt};

use super::support::reader::{Reader, bodies};
use super::support::server::Server;
use super::support::{by, delete, eventually, options, publish, put, writer};

fn adopting(adopt: Adopt) -> About {
    About { author: "ann".to_owned(), message: "restored".to_owned(), adopt: Some(adopt), ..About::default() }
}

fn anchored(options: &EtcdOptions, home: &Path) -> EtcdOptions {
    options.clone().with_anchor(Some(home.join("anchor")))
}

/// The lineage that a held reader names.
fn lineage(reader: &Reader) -> String {
    let error = reader.error.as_ref().unwrap();
    let (_, rest) = error.rsplit_once("of lineage ").unwrap();
    rest.chars().take_while(char::is_ascii_hexdigit).collect()
}

#[test]
fn an_emptied_store_keeps_everything_in_force_until_somebody_says_that_it_is_right() {
    let server = Server::start();
    let options = options(&server.urls());
    let state = tempfile::tempdir().unwrap();
    let options = anchored(&options, state.path());
    let (mut writer, mut raw) = (writer(&options), server.raw());
    for body in ["1", "2", "3"] {
        publish(&mut writer, &[put("a", body), put("b", body)]);
    }
    let mut reader = Reader::etcd(&options);
    reader.until_generation(3);
    raw.delete_below("/gridrouter/");
    reader.until_error("no head any more");
    assert_eq!(reader.listing.entries.len(), 2);
    assert_eq!(reader.bodies(), bodies(&[("a", "3"), ("b", "3")]));
    // A router that starts now knows it too, and has its last good generation to start from.
    let mut restarted = Reader::etcd(&options);
    restarted.look();
    assert!(restarted.error.as_ref().is_some_and(|error| error.contains("no head any more")), "{:?}", restarted.error);
    let lineage = lineage(&restarted);

    // Somebody fills the store again, and does not know of the routers; however often they do.
    for body in ["x1", "x2", "x3", "x4", "x5"] {
        publish(&mut writer, &[put("a", body)]);
    }
    for reader in [&mut reader, &mut restarted] {
        reader.until_error("other lineage");
        assert!(reader.error.as_ref().unwrap().contains("gridctl import"), "{:?}", reader.error);
    }
    assert_eq!(reader.bodies(), bodies(&[("a", "3"), ("b", "3")]));

    // One router is told by hand.
    let mut told = Reader::etcd(&options.clone().with_anchor(None).accepting(true));
    told.until_generation(5);
    // And all of them by the store.
    let base = writer.base().unwrap();
    let about = adopting(Adopt { replaces: vec![lineage], above: 3 });
    writer.publish(&base, &[], &about).unwrap();
    for reader in [&mut reader, &mut restarted, &mut told] {
        reader.until_generation(6);
        reader.until_fine();
        assert_eq!(reader.bodies(), bodies(&[("a", "x5")]));
    }
    // From here on it is as ever.
    publish(&mut writer, &[put("a", "last")]);
    reader.until_generation(7);
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[test]
fn a_restored_backup_is_held_and_can_be_adopted() {
    let mut server = Server::start();
    let options = options(&server.urls());
    let mut first = writer(&options);
    publish(&mut first, &[put("a", "1"), put("b", "1")]);
    server.shut_down();
    let backup = server.home().join("backup");
    copy(&server.data(), &backup);
    assert!(server.run());
    let mut first = writer(&options);
    for body in ["2", "3"] {
        publish(&mut first, &[put("a", body)]);
    }
    let mut reader = Reader::etcd(&options);
    reader.until_generation(3);
    server.shut_down();
    std::fs::remove_dir_all(server.data()).unwrap();
    copy(&backup, &server.data());
    assert!(server.run());
    reader.until_error("went back to generation 1");
    assert_eq!(reader.bodies(), bodies(&[("a", "3"), ("b", "1")]));

    // A change that knows nothing of it does not unseat anything either, as long as it is not beyond what is in force.
    let mut second = writer(&options);
    publish(&mut second, &[put("a", "again")]);
    reader.until_error("went back to generation 2");
    let base = second.base().unwrap();
    let published = second.publish(&base, &[], &adopting(Adopt { replaces: Vec::new(), above: 3 })).unwrap();
    assert_eq!(published.generation, 4);
    reader.until_generation(4);
    assert_eq!(reader.bodies(), bodies(&[("a", "again"), ("b", "1")]));
}

#[test]
fn etcd_that_lost_its_disk_is_held() {
    let mut server = Server::start();
    let options = options(&server.urls());
    publish(&mut writer(&options), &[put("a", "1")]);
    let mut reader = Reader::etcd(&options);
    reader.until_generation(1);
    server.kill();
    std::fs::remove_dir_all(server.data()).unwrap();
    assert!(server.run());
    reader.until_error("no head any more");
    assert_eq!(reader.bodies(), bodies(&[("a", "1")]));
}

#[test]
fn the_same_generation_restored_into_another_cluster_is_followed_and_published_in_only_on_purpose() {
    let (old, new) = (Server::start(), Server::start());
    let state = tempfile::tempdir().unwrap();
    let (from, to) = (options(&old.urls()), options(&new.urls()));
    publish(&mut writer(&from), &[put("a", "1")]);
    let mut reader = Reader::etcd(&anchored(&from, state.path()));
    reader.until_generation(1);
    drop(reader);
    let mut found = old.raw().below("/gridrouter/", 0);
    found.sort_by_key(etcd_client::KeyValue::mod_revision);
    let operations: Vec<_> = found.iter().map(|kv| etcd_client::TxnOp::put(kv.key(), kv.value(), None)).collect();
    new.raw().client(async |client| client.txn(etcd_client::Txn::new().and_then(operations)).await);
    let mut reader = Reader::etcd(&anchored(&to, state.path()));
    reader.until_generation(1);
    assert_eq!(reader.error, None);
    let mut writer = writer(&to);
    let base = writer.base().unwrap();
    let error = writer.publish(&base, &[put("a", "2")], &by("me")).unwrap_err().to_string();
    assert!(error.contains("restored backup, or a copy") && error.contains("adopts"), "{error}");
    writer.publish(&base, &[put("a", "2")], &adopting(Adopt::default())).unwrap();
    reader.until_generation(2);
    // The store it was copied from goes its own way, and is another one now.
    let mut there = super::support::writer(&from);
    publish(&mut there, &[put("a", "3")]);
    publish(&mut there, &[put("a", "4")]);
    drop(reader);
    let mut reader = Reader::etcd(&anchored(&from, state.path()));
    reader.until_error("other lineage");
}

/// `etcdctl del --prefix /gridrouter/config/`, and nobody notices before the revision of the head is compacted.
#[test]
fn documents_deleted_without_a_head_stay_in_force() {
    let server = Server::start();
    let state = tempfile::tempdir().unwrap();
    let options = anchored(&options(&server.urls()), state.path());
    let (mut writer, mut raw) = (writer(&options), server.raw());
    publish(&mut writer, &[put("a", "1"), put("b", "1")]);
    let mut reader = Reader::etcd(&options);
    reader.until_generation(1);
    raw.delete_below("/gridrouter/config/");
    reader.until("a complaint", |reader| reader.listing.faults.len() == 2);
    assert_eq!(reader.bodies().len(), 2);
    let now = raw.revision();
    raw.compact(now);
    drop(reader);
    let mut restarted = Reader::etcd(&options);
    restarted.until_error("0 of them are left");
    // Deleting on purpose is another matter.
    publish(&mut writer, &[put("c", "1")]);
    publish(&mut writer, &[delete("c"), put("d", "1")]);
    let base = eventually("reading", || writer.base().map_err(|error| error.to_string()));
    assert_eq!(base.generation(), 3);
}

/// The restored store has come as far as the one before when it is seen again: its revision alone tells nothing.
#[test]
fn a_restored_backup_that_has_caught_up_is_not_resumed() {
    let mut server = Server::start();
    let options = options(&server.urls());
    let mut first = writer(&options);
    publish(&mut first, &[put("a", "1"), put("b", "1")]);
    server.shut_down();
    let backup = server.home().join("backup");
    copy(&server.data(), &backup);
    assert!(server.run());
    let proxy = super::support::proxy::Proxy::to(server.port());
    let mut reader = Reader::etcd(&super::support::options(&[proxy.url()]));
    let mut first = writer(&options);
    publish(&mut first, &[put("a", "2")]);
    publish(&mut first, &[put("a", "3")]);
    reader.until_generation(3);
    proxy.cut();
    server.shut_down();
    std::fs::remove_dir_all(server.data()).unwrap();
    copy(&backup, &server.data());
    assert!(server.run());
    let mut second = writer(&options);
    for body in ["w", "x", "y", "z"] {
        publish(&mut second, &[put("b", body)]);
    }
    proxy.heal();
    reader.until_error("generation 3 had other documents");
    assert_eq!(reader.bodies(), bodies(&[("a", "3"), ("b", "1")]));
    let base = second.base().unwrap();
    second.publish(&base, &[], &adopting(Adopt::default())).unwrap();
    reader.until_generation(6);
    assert_eq!(reader.bodies(), bodies(&[("a", "1"), ("b", "z")]));
    assert_eq!(reader.listing.faults, []);
}
