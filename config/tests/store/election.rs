//! Who leads, and what becomes of what others still want to write.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use gridrouter_config::ids::{DocumentId, Kind};
use gridrouter_config::live::LiveId;
use gridrouter_config::store::etcd::election::{Candidacy, Candidate, Leadership, Standing};
use gridrouter_config::store::etcd::writer::{About, Change, PublishError};
use gridrouter_config::store::etcd::{EtcdOptions, Random};

use super::support::proxy::Proxy;
use super::support::server::{Raw, Server};
use super::support::{PATIENCE, by, delete, eventually, options, publish, put, writer};

/// The least that a test's etcd grants.
const LEASE: Duration = Duration::from_secs(3);
const KEY: &str = "/gridrouter/control/leader";

fn candidate(options: &EtcdOptions, id: &str) -> Candidate {
    let candidacy = Candidacy { lease: LEASE, ..Candidacy::new(LiveId::parse(id).unwrap(), "here".to_owned()) };
    Candidate::start(options.clone(), candidacy, Random::new()).unwrap()
}

#[track_caller]
fn standing(candidate: &Candidate, what: &str, wanted: impl Fn(&Standing) -> bool) -> Standing {
    let start = Instant::now();
    let mut now = candidate.standing();
    while !wanted(&now) {
        assert!(start.elapsed() < PATIENCE, "{what} did not happen in time: {now:?}");
        now = candidate.wait(&now, Duration::from_secs(1));
    }
    now
}

#[track_caller]
fn leads(candidate: &Candidate) -> Leadership {
    standing(candidate, "leading", |now| now.leadership.is_some()).leadership.unwrap()
}

#[track_caller]
fn follows(candidate: &Candidate, leader: &str) {
    let of = |now: &Standing| now.leader.as_ref().map(|leader| leader.id.clone());
    let now = standing(candidate, "following", |now| of(now).as_deref() == Some(leader));
    assert_eq!((now.leadership, now.trouble), (None, None));
}

/// The create revision of the key; nothing while nobody leads.
fn created(raw: &mut Raw) -> Option<i64> {
    raw.below(KEY, 0).first().map(etcd_client::KeyValue::create_revision)
}

fn under(leadership: &Leadership) -> About {
    About { fence: Some(leadership.clone()), ..by("controller") }
}

#[test]
fn one_of_two_leads_and_the_other_takes_over_at_once_when_it_resigns() {
    let server = Server::start();
    let mut raw = server.raw();
    let options = options(&server.urls());
    let one = candidate(&options, "one");
    let first = leads(&one);
    assert_eq!((first.key.as_str(), Some(first.create_revision)), (KEY, created(&mut raw)));
    let two = candidate(&options, "two");
    follows(&two, "one");
    let leader = writer(&options).leader().unwrap().unwrap();
    assert_eq!((leader.id.as_str(), leader.host.as_str()), ("one", "here"));
    assert_eq!(Some(leader), two.leader());
    // Longer than the lease: it is kept alive, and nothing is written.
    let before = raw.revision();
    thread::park_timeout(LEASE * 2);
    assert_eq!((one.leadership(), two.leadership(), raw.revision()), (Some(first.clone()), None, before));
    one.stop();
    // The key is gone, or already the other's: nobody waited for the lease.
    assert_ne!(created(&mut raw), Some(first.create_revision));
    assert_eq!(one.leadership(), None);
    let second = leads(&two);
    assert!(second.create_revision > first.create_revision);
    drop(two);
    assert_eq!(created(&mut raw), None);
    assert_eq!(writer(&options).leader().unwrap(), None);
}

/// Two ways of losing etcd: connections that are reset, and ones on which nothing arrives any more.
#[test]
fn a_leader_that_lost_etcd_stops_before_its_lease_ends_and_another_takes_over() {
    let server = Server::start();
    let mut raw = server.raw();
    for silent in [false, true] {
        let proxy = Proxy::to(server.port());
        let cut_off = candidate(&options(&[proxy.url()]), "cut-off");
        let first = leads(&cut_off);
        let other = candidate(&options(&server.urls()), "other");
        follows(&other, "cut-off");
        if silent {
            proxy.silence();
        } else {
            proxy.cut();
        }
        standing(&cut_off, "the end", |now| now.leadership.is_none());
        // It has stopped by its own clock, and etcd still has its key.
        assert_eq!(created(&mut raw), Some(first.create_revision));
        let second = leads(&other);
        assert!(second.create_revision > first.create_revision);
        assert_eq!(cut_off.leadership(), None);
        proxy.heal();
        follows(&cut_off, "other");
        drop(cut_off);
        // Whoever leads is not disturbed by those who leave.
        assert_eq!(other.leadership(), Some(second));
    }
}

#[test]
fn a_short_loss_of_etcd_costs_nothing() {
    let server = Server::start();
    let proxy = Proxy::to(server.port());
    let one = candidate(&options(&[proxy.url()]), "one");
    let first = leads(&one);
    let mut raw = server.raw();
    for _ in 0..3 {
        proxy.cut();
        proxy.heal();
        let now = standing(&one, "the same leadership", |now| now.leadership.is_some() && now.trouble.is_none());
        assert_eq!((now.leadership, created(&mut raw)), (Some(first.clone()), Some(first.create_revision)));
    }
}

#[test]
fn whatever_happens_to_etcd_and_to_the_key_somebody_leads_in_the_end() {
    let mut server = Server::start();
    let options = options(&server.urls());
    let (one, two) = (candidate(&options, "one"), candidate(&options, "two"));
    // Who has the key taken away by hand learns of it at the next look, and may believe in it until then together with the next
    // one; only the fence knows at once.
    let one_leads = |what: &str| {
        eventually(what, || match (one.leadership(), two.leadership()) {
            (Some(_), Some(_)) => Err("one has not noticed".to_owned()),
            (None, None) => Err("nobody leads".to_owned()),
            (Some(leadership), None) | (None, Some(leadership)) => Ok(leadership),
        })
    };
    let first = one_leads("the first election");
    let mut raw = server.raw();
    // Somebody deletes the key.
    raw.delete_below(KEY);
    let second = eventually("an election after the deletion", || {
        let now = one_leads("an election");
        if now == first { Err("it has not noticed".to_owned()) } else { Ok(now) }
    });
    // Somebody revokes the lease.
    let lease = raw.below(KEY, 0)[0].lease();
    raw.client(async |client| client.lease_revoke(lease).await);
    let third = eventually("an election after the lease's end", || {
        let now = one_leads("an election");
        if now == second { Err("it has not noticed".to_owned()) } else { Ok(now) }
    });
    assert!(third.create_revision > second.create_revision);
    let now = raw.revision();
    raw.compact(now);
    drop(raw);
    server.shut_down();
    standing(&one, "the loss of etcd", |now| now.leadership.is_none() && now.trouble.is_some());
    standing(&two, "the loss of etcd", |now| now.leadership.is_none() && now.trouble.is_some());
    assert!(server.run());
    one_leads("an election after etcd's absence");
}

#[test]
fn the_next_member_is_asked_when_one_goes_away() {
    let mut members = Server::cluster();
    let urls: Vec<String> = members.iter().map(Server::url).collect();
    let (one, two) = (candidate(&options(&urls), "one"), candidate(&options(&urls), "two"));
    let leads = |what: &str| {
        eventually(what, || match (one.leadership(), two.leadership()) {
            (Some(_), Some(_)) => panic!("two lead"),
            (None, None) => Err(format!("nobody leads: {:?} {:?}", one.standing(), two.standing())),
            (Some(leadership), None) | (None, Some(leadership)) => Ok(leadership),
        })
    };
    leads("the election");
    for member in &mut members {
        member.shut_down();
        leads("leading while a member is away");
        assert!(member.run());
        leads("leading with all members");
    }
}

/// Many, for a change in chunks.
fn many(body: &str) -> Vec<Change> {
    (0..300).map(|n| put(&format!("r{n}"), body)).collect()
}

#[test]
fn a_deposed_leader_publishes_nothing_neither_at_once_nor_in_chunks() {
    let server = Server::start();
    let options = options(&server.urls());
    let mut raw = server.raw();
    let one = candidate(&options, "one");
    let leadership = leads(&one);
    let mut late = writer(&options);
    publish(&mut late, &[put("a", "0")]);
    let base = late.base().unwrap();
    assert_eq!(late.publish(&base, &[put("a", "1")], &under(&leadership)).unwrap().generation, 2);
    let base = late.base().unwrap();
    assert_eq!(late.publish(&base, &many("1"), &under(&leadership)).unwrap().generation, 3);
    let base = late.base().unwrap();
    one.stop();
    let before = raw.revision();
    let refused = |late: &mut gridrouter_config::store::etcd::writer::Writer| {
        for changes in [vec![put("a", "late")], many("late"), vec![delete("a")]] {
            let error = late.publish(&base, &changes, &under(&leadership)).unwrap_err();
            assert!(matches!(error, PublishError::Deposed), "{error:?}");
            assert!(error.to_string().contains("not the leader any more"), "{error}");
        }
    };
    // Nobody leads; then another one does.
    refused(&mut late);
    assert_eq!(raw.revision(), before, "something was written");
    let two = candidate(&options, "two");
    let second = leads(&two);
    refused(&mut late);
    assert_eq!(raw.below("/gridrouter/staged/", 0).len(), 0);
    assert_eq!(late.publish(&base, &[put("a", "2")], &under(&second)).unwrap().generation, 4);
}

/// The leadership ends between the chunks of a large change, or just before it is committed.
#[test]
fn a_leader_that_is_deposed_while_it_stages_commits_nothing() {
    let server = Server::start();
    let options = options(&server.urls());
    let mut raw = server.raw();
    publish(&mut writer(&options), &[put("a", "0")]);
    for text in ["/000003", "/gridrouter/history/00000000000000000002\u{12}"] {
        let proxy = Proxy::to(server.port());
        let one = candidate(&options, "one");
        let leadership = leads(&one);
        let slow = super::support::options(&[proxy.url()]);
        proxy.hold(text);
        let staging = thread::spawn(move || {
            let (mut late, filler) = (writer(&slow), "x".repeat(8_000));
            let base = late.base().unwrap();
            late.publish(&base, &many(&filler), &under(&leadership))
        });
        eventually("a held write", || if proxy.holds() { Ok(()) } else { Err("nothing is held".to_owned()) });
        one.stop();
        proxy.release();
        let error = staging.join().unwrap().unwrap_err();
        assert!(matches!(error, PublishError::Deposed), "{error:?}");
        assert_eq!(writer(&options).base().unwrap().generation(), 1);
        assert_eq!(raw.below("/gridrouter/staged/", 0).len(), 0, "chunks are left");
    }
}

/// etcd takes the change and the answer is lost: what became of it is found out under the fence too.
#[test]
fn what_became_of_a_change_is_known_when_its_answer_is_lost_with_the_leadership() {
    let server = Server::start();
    let options = options(&server.urls());
    publish(&mut writer(&options), &[put("a", "0")]);
    let (one, proxy) = (candidate(&options, "one"), Proxy::to(server.port()));
    let leadership = leads(&one);
    let both = super::support::options(&[proxy.url(), server.url()]);
    // The commit names its author; it is held up, and the connection breaks before it arrives.
    proxy.hold("the-author");
    let about = About { author: "the-author".to_owned(), ..under(&leadership) };
    let publishing = thread::spawn(move || {
        let mut late = writer(&both);
        // Whichever member it begins with, it comes to the proxy.
        loop {
            let base = late.base().unwrap();
            let outcome = late.publish(&base, &[put("a", &base.generation().to_string())], &about);
            match outcome {
                Ok(_) => late = writer(&both),
                Err(error) => return error,
            }
        }
    });
    eventually("a held write", || if proxy.holds() { Ok(()) } else { Err("nothing is held".to_owned()) });
    let before = writer(&options).base().unwrap().generation();
    one.stop();
    proxy.cut();
    let error = publishing.join().unwrap();
    assert!(matches!(error, PublishError::Deposed), "{error:?}");
    // What was held up arrives now, and changes nothing.
    proxy.release();
    let generation = || writer(&options).base().unwrap().generation();
    assert_eq!(generation(), before);
    publish(&mut writer(&options), &[put("b", "1")]);
    assert_eq!(generation(), before + 1);
}

#[test]
fn documents_of_a_few_kinds_are_read_as_they_are_in_force() {
    let server = Server::start();
    let options = options(&server.urls());
    let (mut raw, mut writer) = (server.raw(), writer(&options));
    assert!(writer.read_kinds(&[Kind::Route]).unwrap().documents.is_empty());
    let cell = super::support::document(r#"{"kind": "Cell", "name": "c"}"#);
    publish(&mut writer, &[put("a", "1"), put("b", "1"), Change::put(&cell).unwrap()]);
    let names = |writer: &mut gridrouter_config::store::etcd::writer::Writer, kinds: &[Kind]| {
        let read = writer.read_kinds(kinds).unwrap();
        let names: Vec<String> = read.documents.keys().map(DocumentId::to_string).collect();
        let why: Vec<String> = read.unreadable.iter().map(|one| one.problems[0].message.clone()).collect();
        (names, why)
    };
    assert_eq!(names(&mut writer, &[Kind::Route]).0, ["Route/a", "Route/b"]);
    assert_eq!(names(&mut writer, &[Kind::Cell]).0, ["Cell/c"]);
    assert_eq!(names(&mut writer, &[]).0, Vec::<String>::new());
    // What is written without a head is not in force, and what it hides still is.
    raw.put("/gridrouter/config/route/b", "nonsense");
    raw.put("/gridrouter/config/route/c", super::support::route("c", "1"));
    assert_eq!(names(&mut writer, &[Kind::Route]), (vec!["Route/a".to_owned(), "Route/b".to_owned()], Vec::new()));
    let read = writer.read_kinds(&[Kind::Route]).unwrap();
    let published = writer.publish(&read.base, &[put("a", "2")], &by("me")).unwrap();
    assert_eq!(published.generation, 2);
    // Now it is, and cannot be read: that is told.
    let (good, why) = names(&mut writer, &[Kind::Route, Kind::Cell]);
    assert_eq!(good, ["Cell/c", "Route/a", "Route/c"]);
    assert_eq!(why.len(), 1);
    // A moment that is compacted away is no trouble.
    raw.put("/gridrouter/config/route/a", "later");
    let now = raw.revision();
    raw.compact(now);
    let (good, why) = names(&mut writer, &[Kind::Route]);
    assert_eq!((good, why.len()), (vec!["Route/c".to_owned()], 2));
    assert!(why.iter().any(|why| why.contains("without a head")), "{why:?}");
}

/// A head whose documents are staged and not settled: they lie over the keys.
#[test]
fn documents_that_are_staged_are_among_those_of_their_kind() {
    let server = Server::start();
    let options = options(&server.urls());
    let (mut raw, mut writer) = (server.raw(), writer(&options));
    publish(&mut writer, &[put("a", "1"), put("gone", "1")]);
    let mut changes = many("2");
    changes.push(delete("gone"));
    let published = publish(&mut writer, &changes);
    // Back to the moment after the commit, before anything was settled.
    let found = raw.below("/gridrouter/", published.revision);
    raw.delete_below("/gridrouter/");
    let (head, others): (Vec<_>, Vec<_>) = found.iter().partition(|kv| kv.key() == b"/gridrouter/head");
    for kv in others.iter().chain(&head) {
        raw.put(kv.key(), kv.value());
    }
    let read = writer.read_kinds(&[Kind::Route]).unwrap();
    assert!(read.base.head().unwrap().staged.is_some());
    let has = |name: &str| read.documents.keys().any(|id| id.name.as_str() == name);
    assert_eq!((read.documents.len(), has("a"), has("r7"), has("gone")), (301, true, true, false));
    let published = writer.publish(&read.base, &[put("a", "3")], &by("me")).unwrap();
    let view = writer.read().unwrap();
    assert_eq!((view.base.generation(), view.listing.faults.len()), (published.generation, 0));
    drop(Arc::clone(&view.listing.entries));
}
