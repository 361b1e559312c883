//! What a driver does with what a controller decides.

use std::fs;
use std::path::Path;
use std::time::Duration;

use gridctl::controller::driver::{Driver, News, Turn, leader};
use gridctl::controller::{Decision, Proposal, View};
use gridctl::site::Place;
use gridctl::target::Target;
use gridrouter_config::store::etcd::election::Leader;

use super::support::{
    NOW, PATIENCE, Server, eventually, heavier, run, service, settings, store, target, turn, until, weights,
};

/// Applies services to a store.
fn apply(store: &str, documents: &str) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("services.yaml");
    fs::write(&file, documents).unwrap();
    let ran = run(store, &["apply", "-f", file.to_str().unwrap()]);
    assert!(ran.status.success(), "{ran:?}");
}

fn services(weight: u32) -> String {
    format!("{}---\n{}", service("a", weight), service("b", weight))
}

fn published(news: &[News]) -> Vec<(u64, &str)> {
    let published = |news| {
        if let &News::Published(generation, ref message) = news { Some((generation, message.as_str())) } else { None }
    };
    news.iter().filter_map(published).collect()
}

/// Nothing to do, once it leads.
fn idle(_: &View, _: u64) -> Decision {
    Decision::default()
}

fn is(wanted: &News) -> impl Fn(&News) -> bool {
    move |news| news == wanted
}

fn leader_of(target: &Target) -> Result<Option<Leader>, String> {
    leader(&mut Place::open(target)?)
}

#[test]
fn a_controller_changes_one_thing_after_the_other_and_is_then_content() {
    let server = Server::start();
    let store = store(&server);
    apply(&store, &services(1));
    let mut driver = Driver::start(&target(&store), settings("one"), heavier).unwrap();
    let news = until(&mut driver, is(&News::Published(3, "to 3".to_owned())));
    assert_eq!(published(&news), [(2, "to 2"), (3, "to 3")]);
    assert!(news.contains(&News::Leads));
    assert_eq!(turn(&mut driver, &mut |_| false), (Turn::Wait(Duration::from_millis(100)), Vec::new()));
    let history = run(&store, &["history"]);
    assert!(String::from_utf8_lossy(&history.stdout).contains("controller@here"), "{history:?}");
    // What somebody else changes is seen.
    apply(&store, &service("c", 1));
    assert_eq!(published(&until(&mut driver, is(&News::Published(5, "to 3".to_owned())))), [(5, "to 3")]);
}

#[test]
fn a_change_that_was_overtaken_is_decided_again() {
    let server = Server::start();
    let store = store(&server);
    apply(&store, &services(1));
    let mut late = true;
    let step = |view: &View, now: u64| {
        if std::mem::take(&mut late) {
            apply(&store, &services(3));
        }
        heavier(view, now)
    };
    let mut driver = Driver::start(&target(&store), settings("one"), step).unwrap();
    let news = until(&mut driver, |news| matches!(news, News::Overtaken(_)));
    assert_eq!(published(&news), []);
    let (_, news) = turn(&mut driver, &mut |_| false);
    assert_eq!(news, []);
    let there = run(&store, &["get", "service", "-o", "yaml"]);
    assert!(!String::from_utf8_lossy(&there.stdout).contains("weight: 2"), "{there:?}");
}

#[test]
fn what_a_leader_wants_that_was_deposed_is_not_done() {
    let server = Server::start();
    let store = store(&server);
    apply(&store, &services(1));
    let (mut raw, mut times) = (server.raw(), 0);
    let step = |view: &View, now: u64| {
        times += 1;
        if times == 1 {
            // The election has not noticed yet when the change is written.
            raw.delete_below("/gridrouter/control/leader");
        }
        heavier(view, now)
    };
    let mut driver = Driver::start(&target(&store), settings("one"), step).unwrap();
    let news = until(&mut driver, is(&News::Deposed));
    assert_eq!(news.last(), Some(&News::Deposed));
    assert_eq!(published(&news), []);
    // It is elected again, and does it then.
    let news = until(&mut driver, is(&News::Published(3, "to 3".to_owned())));
    assert_eq!((news.first(), published(&news).len()), (Some(&News::Leads), 2));
    driver.resign();
    assert_eq!(leader_of(&target(&store)), Ok(None));
}

#[test]
fn while_etcd_is_away_a_controller_says_so_once_and_looks_less_often() {
    let mut server = Server::start();
    let store = store(&server);
    apply(&store, &services(3));
    let mut driver = Driver::start(&target(&store), settings("one"), heavier).unwrap();
    until(&mut driver, is(&News::Leads));
    server.shut_down();
    let news = until(&mut driver, is(&News::Deposed));
    assert_eq!(news.iter().filter(|news| matches!(news, News::Trouble(_))).count(), 1, "{news:?}");
    for _ in 0..3 {
        assert_eq!(turn(&mut driver, &mut |_| false).1, []);
    }
    assert!(server.run());
    let news = until(&mut driver, is(&News::Leads));
    assert!(news.contains(&News::Recovered), "{news:?}");
}

#[test]
fn what_cannot_be_done_and_what_cannot_be_read_is_said_once() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("a.yaml"), format!("{}---\nkind: Service\nname: b\nweigth: 3\n", service("a", 1)))
        .unwrap();
    let impossible = |_: &View, _: u64| {
        let wrong = serde_json::from_str(&service("NO", 1)).unwrap();
        let proposal = Some(Proposal { put: vec![wrong], message: String::new(), ..Proposal::default() });
        Decision { proposal, notes: vec!["look at this".to_owned()] }
    };
    let mut driver = Driver::start(&target(home.path().to_str().unwrap()), settings("one"), impossible).unwrap();
    let (_, news) = turn(&mut driver, &mut |_| false);
    let [News::Leads, News::Unreadable(broken), News::Note(note), News::Trouble(why)] = news.as_slice() else {
        panic!("{news:?}")
    };
    assert_eq!((broken.len(), note.as_str()), (1, "look at this"));
    assert!(broken[0].why.contains("weigth") && broken[0].id.is_some(), "{broken:?}");
    assert!(why.contains("a controller wants what cannot be"), "{why}");
    assert_eq!(turn(&mut driver, &mut |_| false).1, []);
}

#[test]
fn of_two_on_one_directory_one_acts_until_it_resigns_or_its_lock_is_gone() {
    let home = tempfile::tempdir().unwrap();
    let place = target(home.path().to_str().unwrap());
    let start = |id: &str| Driver::start(&place, settings(id), idle).unwrap();
    let named = |id: &str| Some(Leader { id: id.to_owned(), host: "here".to_owned(), since: NOW / 1000 });
    let (mut one, mut two) = (start("one"), start("two"));
    assert_eq!(turn(&mut one, &mut |_| false).1, [News::Leads]);
    assert_eq!(turn(&mut two, &mut |_| false).1, [News::StandsBy(named("one"))]);
    assert_eq!(leader_of(&place), Ok(named("one")));
    one.resign();
    assert_eq!(leader_of(&place), Ok(None));
    assert_eq!(turn(&mut two, &mut |_| false).1, [News::Leads]);
    assert_eq!(turn(&mut one, &mut |_| false).1, [News::Deposed, News::StandsBy(named("two"))]);
    fs::remove_file(home.path().join(".gridctl-leader.lock")).unwrap();
    assert_eq!(turn(&mut one, &mut |_| false).1, [News::Leads]);
    assert_eq!(turn(&mut two, &mut |_| false).1, [News::Deposed, News::StandsBy(named("one"))]);
}

fn texts(home: &Path) -> [String; 2] {
    ["a.yaml", "b.yaml"].map(|name| fs::read_to_string(home.join(name)).unwrap())
}

#[test]
fn in_a_directory_too_a_deposed_leader_writes_nothing_and_an_overtaken_one_reads_again() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, weight| {
        fs::write(home.path().join(format!("{name}.yaml")), service(name, weight)).unwrap();
    };
    write("a", 1);
    write("b", 1);
    let mut times = 0;
    let step = |view: &View, now: u64| {
        times += 1;
        match times {
            1 => fs::remove_file(home.path().join(".gridctl-leader.lock")).unwrap(),
            2 => write("b", 3),
            _ => {}
        }
        heavier(view, now)
    };
    let mut driver = Driver::start(&target(home.path().to_str().unwrap()), settings("one"), step).unwrap();
    assert_eq!(turn(&mut driver, &mut |_| false).1, [News::Leads, News::Deposed]);
    assert_eq!(texts(home.path()), [service("a", 1), service("b", 1)]);
    let (_, news) = turn(&mut driver, &mut |_| false);
    assert!(matches!(news.as_slice(), [News::Leads, News::Overtaken(_)]), "{news:?}");
    assert_eq!(texts(home.path()), [service("a", 1), service("b", 3)]);
    assert_eq!(published(&turn(&mut driver, &mut |_| false).1), [(0, "to 3")]);
    assert_eq!(turn(&mut driver, &mut |_| false).1, []);
}

/// `run` is the same turn after turn, until it is told to end.
#[test]
fn a_controller_runs_until_it_is_told_to_end_and_resigns_then() {
    let server = Server::start();
    let store = store(&server);
    apply(&store, &services(1));
    let seen = std::cell::Cell::new(false);
    let step = |view: &View, now: u64| {
        seen.set(weights(view).iter().all(|(_, weight)| *weight == 3));
        heavier(view, now)
    };
    let mut driver = Driver::start(&target(&store), settings("one"), step).unwrap();
    let start = std::time::Instant::now();
    let ended = || seen.get() || start.elapsed() > PATIENCE;
    let mut tell = |_| {};
    driver.run(|| NOW, ended, &mut gridctl::controller::driver::Company { tell: &mut tell, crash: &mut |_| false });
    assert!(seen.get());
    eventually("the end of the leadership", || match leader_of(&target(&store)) {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}
