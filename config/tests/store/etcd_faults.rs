//! What etcd and the network do, and what a reader makes of it.

use std::time::{Duration, Instant};

use super::support::proxy::Proxy;
use super::support::reader::{Reader, bodies};
use super::support::server::Server;
use super::support::{PATIENCE, eventually, options, publish, put, writer};

#[test]
fn what_was_missed_is_read_again_after_a_compaction_and_what_did_not_change_is_not_touched() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let (mut writer, mut raw) = (writer(&options(&server.urls())), server.raw());
    publish(&mut writer, &[put("a", "1"), put("b", "1"), put("c", "1")]);
    let mut reader = Reader::etcd(&options(&[proxy.url()]));
    reader.until_generation(1);
    let before = reader.addresses();
    for round in 0..3 {
        proxy.cut();
        reader.until("an error", |reader| reader.error.is_some());
        publish(&mut writer, &[put("b", &format!("x{round}"))]);
        publish(&mut writer, &[put("b", &format!("y{round}"))]);
        let now = raw.revision();
        raw.compact(now);
        proxy.heal();
        reader.until_generation(3 + 2 * round);
        reader.until_fine();
        assert_eq!(reader.bodies()["b"], format!("y{round}"));
    }
    let after = reader.addresses();
    let changed: Vec<_> = before.iter().filter(|(path, address)| after[*path] != **address).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
}

/// What is published between a look at the head and the listing is in force as soon as anything else would be.
#[test]
fn a_generation_published_while_somebody_lists_is_not_missed() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let (mut writer, mut raw) = (writer(&options(&server.urls())), server.raw());
    let held = |proxy: &Proxy| eventually("a listing", || proxy.holds().then_some(()).ok_or_else(String::new));
    // Before anything was published.
    proxy.hold("/gridrouter/config/");
    let mut reader = Reader::etcd(&options(&[proxy.url()]));
    held(&proxy);
    publish(&mut writer, &[put("a", "1"), put("b", "1")]);
    proxy.release();
    reader.until_generation(1);
    assert_eq!(reader.bodies(), bodies(&[("a", "1"), ("b", "1")]));
    // After a compaction, when only what is new is listed, and when the head's own revision is no more.
    for (generation, again) in [(2, false), (4, true)] {
        proxy.cut();
        reader.until("an error", |reader| reader.error.is_some());
        publish(&mut writer, &[put("b", &format!("{generation}"))]);
        let now = raw.revision();
        raw.compact(now);
        proxy.hold("/gridrouter/config/");
        proxy.heal();
        held(&proxy);
        publish(&mut writer, &[put("a", &format!("{generation}"))]);
        if again {
            let now = raw.revision();
            raw.compact(now);
        }
        proxy.release();
        reader.until_generation(generation + 1);
        let text = generation.to_string();
        assert_eq!(reader.bodies(), bodies(&[("a", text.as_str()), ("b", text.as_str())]));
        reader.until_fine();
    }
}

/// Somebody else's writes move the revision on and compact it away while nothing of ours changes.
#[test]
fn a_compaction_while_nothing_changes_is_no_news() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let (mut writer, mut raw) = (writer(&options(&server.urls())), server.raw());
    publish(&mut writer, &[put("a", "1")]);
    let mut reader = Reader::etcd(&options(&[proxy.url()]));
    reader.until_generation(1);
    let revision = reader.listing.revision;
    for n in 0..50 {
        raw.put("/others/key", n.to_string());
    }
    proxy.cut();
    reader.until("an error", |reader| reader.error.is_some());
    let now = raw.revision();
    raw.compact(now);
    proxy.heal();
    reader.until_fine();
    assert_eq!(reader.listing.revision, revision);
    publish(&mut writer, &[put("a", "2")]);
    reader.until_generation(2);
}

#[test]
fn etcd_killed_and_started_again_is_followed_again() {
    let mut server = Server::start();
    let options = options(&server.urls());
    publish(&mut writer(&options), &[put("a", "1")]);
    let mut reader = Reader::etcd(&options);
    reader.until_generation(1);
    for generation in 2..4 {
        server.kill();
        reader.until("an error", |reader| reader.error.is_some());
        let error = reader.error.clone().unwrap();
        assert!(error.contains(&server.url()) && error.contains("it is tried again"), "{error}");
        assert_eq!(reader.bodies().len(), 1);
        assert!(server.run());
        reader.until_fine();
        publish(&mut writer(&options), &[put("a", &generation.to_string())]);
        reader.until_generation(generation);
        assert_eq!(reader.bodies()["a"], generation.to_string());
    }
}

#[test]
fn etcd_that_is_down_at_the_start_is_an_error_at_once_and_followed_when_it_comes_up() {
    let mut server = Server::start();
    let options = options(&server.urls());
    publish(&mut writer(&options), &[put("a", "1")]);
    server.kill();
    let start = Instant::now();
    let mut reader = Reader::etcd(&options);
    reader.look();
    assert!(reader.error.as_ref().is_some_and(|error| error.contains("refused")), "{:?}", reader.error);
    assert!(start.elapsed() < PATIENCE / 2);
    assert!(server.run());
    reader.until("generation 1", |reader| reader.listing.generation == Some(1));
    reader.until_fine();
}

#[test]
fn etcd_that_is_paused_is_noticed_and_followed_when_it_goes_on() {
    let server = Server::start();
    let options = options(&server.urls());
    let mut writer = writer(&options);
    publish(&mut writer, &[put("a", "1")]);
    let mut reader = Reader::etcd(&options);
    reader.until_generation(1);
    server.pause();
    reader.until("an error", |reader| reader.error.is_some());
    assert_eq!(reader.bodies(), bodies(&[("a", "1")]));
    server.resume();
    reader.until_fine();
    // The writer's connection may have died of it; reading is tried again by itself.
    let base = eventually("reading", || writer.base().map_err(|error| error.to_string()));
    writer.publish(&base, &[put("a", "2")], &super::support::by("me")).unwrap();
    reader.until_generation(2);
}

#[test]
fn a_watch_that_falls_silent_is_given_up_and_nothing_is_missed() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let mut writer = writer(&options(&server.urls()));
    publish(&mut writer, &[put("a", "1")]);
    let mut reader = Reader::etcd(&options(&[proxy.url()]));
    reader.until_generation(1);
    proxy.silence();
    publish(&mut writer, &[put("a", "2")]);
    publish(&mut writer, &[put("b", "1")]);
    reader.until("an error", |reader| reader.error.is_some());
    assert_eq!(reader.listing.generation, Some(1));
    proxy.heal();
    reader.until_generation(3);
    reader.until_fine();
    assert_eq!(reader.bodies(), bodies(&[("a", "2"), ("b", "1")]));
}

#[test]
fn a_member_that_dies_is_replaced_by_the_next_and_without_a_majority_everything_stays() {
    let mut members = Server::cluster();
    let urls: Vec<String> = members.iter().map(Server::url).collect();
    let options = options(&urls);
    let mut writer = writer(&options);
    let base = eventually("the election", || writer.base().map_err(|error| error.to_string()));
    writer.publish(&base, &[put("a", "1")], &super::support::by("me")).unwrap();
    let mut reader = Reader::etcd(&options);
    reader.until_generation(1);
    // The one that is watched goes.
    let index = eventually("a watch", || {
        let watched = reader.store.describe();
        urls.iter().position(|url| watched.contains(&format!("watched at {url}"))).ok_or(watched)
    });
    members[index].kill();
    let base = eventually("an election", || writer.base().map_err(|error| error.to_string()));
    eventually("publishing", || {
        writer.publish(&base, &[put("a", "2")], &super::support::by("me")).map_err(|error| error.to_string())
    });
    reader.until_generation(2);
    // Another one goes, and nobody has a majority.
    let other = (index + 1) % 3;
    members[other].kill();
    reader.until("an error", |reader| reader.error.is_some());
    assert!(writer.base().is_err());
    assert_eq!(reader.bodies(), bodies(&[("a", "2")]));
    assert!(members[other].run());
    let base = eventually("an election", || writer.base().map_err(|error| error.to_string()));
    eventually("publishing", || {
        writer.publish(&base, &[put("a", "3")], &super::support::by("me")).map_err(|error| error.to_string())
    });
    reader.until_generation(3);
    reader.until_fine();
}

#[test]
fn a_storm_of_changes_ends_in_the_last_one() {
    let server = Server::start();
    let options = options(&server.urls());
    let mut writer = writer(&options);
    let mut reader = Reader::etcd(&options);
    for n in 0..300 {
        publish(&mut writer, &[put("a", &n.to_string())]);
    }
    reader.until_generation(300);
    assert_eq!(reader.bodies(), bodies(&[("a", "299")]));
}

#[test]
fn a_store_is_dropped_in_a_moment_whatever_it_waits_for() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let options = options(&[proxy.url()]);
    for silent in [false, true] {
        if silent {
            proxy.silence();
        }
        let reader = Reader::etcd(&options);
        std::thread::park_timeout(Duration::from_millis(200));
        let start = Instant::now();
        drop(reader);
        assert!(start.elapsed() < PATIENCE / 10, "{:?}", start.elapsed());
    }
}
