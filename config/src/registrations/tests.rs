use proptest::prelude::*;

use super::*;
use crate::keys::Keys;

fn keys() -> Keys {
    Keys::new("/g/").unwrap()
}

fn key(rest: &str) -> Vec<u8> {
    format!("/g/live/endpoints/{rest}").into_bytes()
}

fn value(port: u16) -> String {
    format!("{{\"address\": \"10.0.0.1:{port}\"}}")
}

/// Notes keys with values, and settles.
fn noted(book: &mut Book, last: &Registrations, pairs: &[(&str, Option<&str>)]) -> Option<Registrations> {
    for (revision, (at, value)) in (1..).zip(pairs) {
        book.note(&keys(), &key(at), value.map(str::as_bytes), revision);
    }
    book.settle(last)
}

fn shown(registrations: &Registrations) -> Vec<String> {
    let one = |(place, endpoints): (&Place, &[Endpoint])| {
        let addresses: Vec<_> =
            endpoints.iter().map(|e| format!("{}*{}", e.address.socket().unwrap().port(), e.weight)).collect();
        format!("{place}: {}", addresses.join(" "))
    };
    registrations.groups().map(one).collect()
}

#[test]
fn what_is_registered_is_sorted_and_what_did_not_change_is_the_same() {
    let (mut book, none) = (Book::default(), Registrations::default());
    let first = noted(
        &mut book,
        &none,
        &[
            ("s/c/blue/b", Some(&value(2))),
            ("s/c/blue/a", Some(&value(9))),
            ("s/-/green/x", Some("{\"address\": \"10.0.0.1:1\", \"weight\": 5}")),
        ],
    )
    .unwrap();
    assert_eq!(shown(&first), ["s/-/green: 1*5", "s/c/blue: 2*1 9*1"]);
    assert_eq!(first.count(), 3);
    let second = noted(&mut book, &first, &[("t/c/blue/a", Some(&value(2)))]).unwrap();
    assert!(!second.same_endpoints(&first));
    let names: Vec<_> = second.differing(&first).into_iter().map(Name::as_str).collect();
    assert_eq!(names, ["t"]);
    // A fault changes no endpoints.
    let third = noted(&mut book, &second, &[("t/c/blue/b", Some("{}"))]).unwrap();
    assert!(third.same_endpoints(&second));
    let fourth = noted(&mut book, &third, &[("t/c/blue/a", None), ("t/c/blue/b", None)]).unwrap();
    assert_eq!((fourth.faulty(), shown(&fourth).len()), (0, 2));
    assert_eq!(fourth.differing(&third).len(), 1);
}

#[test]
fn a_flap_within_one_batch_changes_nothing() {
    let (mut book, none) = (Book::default(), Registrations::default());
    let first = noted(&mut book, &none, &[("s/c/blue/a", Some(&value(1)))]).unwrap();
    let back = [("s/c/blue/a", None), ("s/c/blue/a", Some(&*value(1)))];
    assert!(noted(&mut book, &first, &back).is_none());
    assert!(noted(&mut book, &first, &[("s/c/blue/other-id", Some(&value(1)))]).is_none());
    assert!(noted(&mut book, &first, &[("s/c/blue/a", None)]).is_none());
    assert!(noted(&mut book, &first, &[("s/c/blue/other-id", None)]).is_some());
}

#[test]
fn what_was_said_last_of_an_address_holds() {
    let (mut book, none) = (Book::default(), Registrations::default());
    let heavy = "{\"address\": \"10.0.0.1:1\", \"weight\": 7}";
    let first = noted(&mut book, &none, &[("s/c/blue/z", Some(&value(1))), ("s/c/blue/a", Some(heavy))]).unwrap();
    assert_eq!(shown(&first), ["s/c/blue: 1*7"]);
}

#[test]
fn bad_registrations_are_faults_of_their_own() {
    let (mut book, none) = (Book::default(), Registrations::default());
    let bad = [
        ("s/c/blue/1", "{", "is no endpoint"),
        ("s/c/blue/2", "{\"address\": \"10.0.0.1\"}", "has no port"),
        ("s/c/blue/3", "{\"address\": \"0.0.0.0:1\"}", "no place to connect to"),
        ("s/c/blue/4", "{\"address\": \"10.0.0.1:1\", \"weight\": 0}", "write 1 to 10000"),
        ("s/c/blue/5", "{\"address\": \"10.0.0.1:1\", \"wieght\": 1}", "unknown field"),
        ("s/c/red/6", "{\"address\": \"10.0.0.1:1\"}", "neither blue nor green"),
    ];
    let mut pairs: Vec<(&str, Option<&str>)> = bad.iter().map(|(key, value, _)| (*key, Some(*value))).collect();
    let good = value(1);
    pairs.push(("s/c/blue/7", Some(&good)));
    let found = noted(&mut book, &none, &pairs).unwrap();
    assert_eq!(shown(&found), ["s/c/blue: 1*1"]);
    assert_eq!((found.faults().len(), found.faulty()), (bad.len(), bad.len()));
    for ((_, _, why), fault) in bad.iter().zip(found.faults()) {
        assert!(fault.why.contains(why), "{fault:?}");
    }
    // What was good stays while the key is there.
    let later = noted(&mut book, &found, &[("s/c/blue/7", Some("nonsense"))]).unwrap();
    assert!(later.same_endpoints(&found));
    assert_eq!(later.faulty(), bad.len() + 1);
    assert!(shown(&noted(&mut book, &later, &[("s/c/blue/7", None)]).unwrap()).is_empty());
}

#[test]
fn a_new_list_takes_the_place_of_everything() {
    let (mut book, none) = (Book::default(), Registrations::default());
    let first = noted(
        &mut book,
        &none,
        &[
            ("s/c/blue/a", Some(&value(1))),
            ("s/c/blue/b", Some(&value(2))),
            ("x", Some("")),
            ("t/c/blue/a", Some("{}")),
        ],
    )
    .unwrap();
    let all = [(key("s/c/blue/a"), value(1)), (key("u/c/blue/a"), value(3))];
    let list = || all.iter().map(|(key, value)| (key.as_slice(), value.as_bytes(), 9));
    book.replace(&keys(), list());
    let second = book.settle(&first).unwrap();
    assert_eq!(shown(&second), ["s/c/blue: 1*1", "u/c/blue: 3*1"]);
    assert_eq!(second.faulty(), 0);
    book.replace(&keys(), list());
    assert!(book.settle(&second).is_none());
    // A new reader that remembers what was there before.
    let mut other = Book::default();
    other.replace(&keys(), list().skip(1));
    assert_eq!(shown(&other.settle(&second).unwrap()), ["u/c/blue: 3*1"]);
}

#[test]
fn documents_win_over_registrations_of_the_same_address() {
    let mut book = Book::default();
    let found = noted(
        &mut book,
        &Registrations::default(),
        &[("s/-/blue/a", Some(&value(1))), ("s/-/blue/b", Some(&value(2)))],
    )
    .unwrap();
    let listed = [check::registered(&raw::Endpoint { down: Some(true), ..written_endpoint(1) }).unwrap()];
    let service = Name::parse("s").unwrap();
    let joined = found.joined(&service, None, Track::Blue, &listed);
    assert_eq!(
        joined.iter().map(|e| (e.address.socket().unwrap().port(), e.down)).collect::<Vec<_>>(),
        [(1, true), (2, false)]
    );
    assert!(matches!(found.joined(&service, None, Track::Green, &listed), Cow::Borrowed(_)));
}

fn written_endpoint(port: u16) -> raw::Endpoint {
    serde_json::from_str(&value(port)).unwrap()
}

#[test]
fn what_is_registered_survives_on_disk() {
    let mut book = Book::default();
    let odd = "{\"address\": \"[fd00::7]:8080\", \"weight\": 3, \"backup\": true, \"maxConnections\": 4}";
    let found =
        noted(&mut book, &Registrations::default(), &[("s/-/blue/a", Some(odd)), ("s/c/green/b", Some(&value(2)))])
            .unwrap();
    let again = Registrations::from_json(&found.to_json().unwrap()).unwrap();
    assert_eq!(again.groups().collect::<Vec<_>>(), found.groups().collect::<Vec<_>>());
    for bad in ["", "{", "{\"a\": []}", "{\"s/c/blue\": [{\"address\": \"x\"}]}"] {
        assert!(Registrations::from_json(bad.as_bytes()).is_err(), "{bad}");
    }
}

proptest! {
    /// Whatever lies below `live/endpoints/`: no panic, and the good one is in force.
    #[test]
    fn nonsense_unseats_nobody(
        nonsense in prop::collection::vec(
            ("([a-z-]{0,2}/){0,3}(blue|green|red)?/?[a-z0-9]{0,2}", prop::option::of(prop::collection::vec(any::<u8>(), 0..60))),
            0..40,
        ),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (mut book, mut last) = (Book::default(), Registrations::default());
        book.note(&keys(), &key("good/cell/blue/me"), Some(value(1).as_bytes()), 1);
        for (n, (at, value)) in nonsense.iter().enumerate() {
            book.note(&keys(), &key(at), value.as_deref(), 2);
            book.note(&keys(), &bytes, value.as_deref(), 2);
            book.note(&keys(), &key("good/cell/blue/me"), Some(&bytes), 3);
            if n % 3 == 0 && let Some(now) = book.settle(&last) {
                last = now;
            }
        }
        if let Some(now) = book.settle(&last) {
            last = now;
        }
        let good = last.groups().find(|(place, _)| place.service.as_str() == "good");
        prop_assert_eq!(good.unwrap().1[0].address.socket().unwrap().port(), 1);
    }
}
