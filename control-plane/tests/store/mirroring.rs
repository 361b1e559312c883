//! What `gridctl shift` says of copies. The tests are the routers.

use std::io::{Read, Write};
use std::net::TcpListener;

use gridrouter_config::tracks::mirror::{Bodies, Difference, MirrorCounts};
use gridrouter_config::tracks::{ShiftTracks, Tracks};
use serde_json::json as value;

use super::support::{apply, directory, json, on};

const SHIFT: &str = "\
kind: Grid
name: shop
cells: [a]
---
kind: Cell
name: a
---
kind: Service
name: s
cells:
  a: {blue: [{address: 10.0.0.1:80}], green: [{address: 10.0.0.2:80}]}
---
kind: Shift
name: x
service: s
to: green
waves: [{cells: [a]}]
steps: [{weight: 100%, hold: 1h}]
state: {phase: Running, started: 1000, since: 1000}
";

/// A router's admin endpoints: its `/tracks` says this of the shift's copies.
fn router(mirror: MirrorCounts) -> String {
    let one = ShiftTracks {
        shift: "x".to_owned(),
        started: 1_000,
        service: "s".to_owned(),
        cell: "a".to_owned(),
        mirror: Some(mirror),
        ..ShiftTracks::default()
    };
    let body =
        serde_json::to_string(&Tracks { generation: 1, router_started: 1, shifts: vec![one], ..Tracks::default() })
            .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _read = stream.read(&mut [0; 1024]);
            let _sent = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        }
    });
    address
}

fn difference(at: u64, new_status: Option<u16>, bodies: Bodies) -> Difference {
    Difference {
        at,
        route: "all".to_owned(),
        method: "GET".to_owned(),
        path: format!("/at/{at}"),
        tenant: Some("acme".to_owned()),
        request_id: format!("id-{at}"),
        old_status: 200,
        new_status,
        failure: new_status.is_none().then(|| "upstream_closed".to_owned()),
        old_micros: Some(1_500),
        new_micros: new_status.map(|_| 2_500),
        bodies,
        old_length: (bodies == Bodies::Differ).then_some(10),
        new_length: (bodies == Bodies::Differ).then_some(12),
    }
}

fn counts(compared: u64, failed: u64, status_differs: u64, differences: Vec<Difference>) -> MirrorCounts {
    let copies = compared + failed;
    let bodies_differ = differences.iter().filter(|one| one.bodies == Bodies::Differ).count() as u64;
    MirrorCounts {
        copies,
        compared,
        failed,
        status_differs,
        bodies_compared: 12,
        bodies_differ,
        differences,
        ..MirrorCounts::default()
    }
}

#[test]
fn differences_of_all_routers_are_listed_in_order() {
    let home = directory(&format!("{SHIFT}mirror: {{share: 10%, bodies: 1%}}\n"));
    let store = home.path().to_str().unwrap();
    let one = router(counts(1_000, 1, 0, vec![difference(3_000, None, Bodies::NotCompared)]));
    let differing =
        vec![difference(2_000, Some(500), Bodies::NotCompared), difference(4_000, Some(200), Bodies::Differ)];
    let other = router(counts(202, 1, 1, differing));
    let routers = format!("--router={one},{other}");
    let asked = ["shift", "differences", "x", &routers];
    let out = on(store, &asked).out(1);
    let rows: Vec<Vec<&str>> =
        out.lines().map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(
        rows[1],
        ["1970-01-01T00:00:02Z", "a", "acme", "200", "500", "-", "1.5 ms", "2.5 ms", "GET /at/2000"],
        "{out}"
    );
    assert_eq!(rows[2][4..], ["upstream_closed", "-", "1.5 ms", "-", "GET /at/3000"], "{out}");
    assert_eq!(rows[3][4..], ["200", "differ (10 and 12 B)", "1.5 ms", "2.5 ms", "GET /at/4000"], "{out}");
    let last = "1204 copies: 1202 compared, 1 with another status, 1 of 24 with another body, 2 without an answer\n";
    assert!(out.ends_with(last), "{out}");
    let wide = on(store, &[&asked[..], &["-o", "wide"]].concat()).out(1);
    assert!(wide.contains(&other) && wide.contains("id-4000"), "{wide}");
    let said = json(store, &asked, 1);
    assert_eq!(
        (&said["copies"], &said["statusDiffers"], &said["bodiesDiffer"]),
        (&value!(1204), &value!(1), &value!(1))
    );
    let first = &said["differences"][0];
    assert_eq!((&first["newStatus"], &first["router"], &first["cell"]), (&value!(500), &value!(other), &value!("a")));
    assert_eq!(said["differences"].as_array().unwrap().len(), 3);
    let status = on(store, &["shift", "status", "x", &routers]);
    let line = "mirror    1,204 copies, 1 status differs, 1 of 24 bodies differ, 2 without an answer\n";
    assert!(status.out.contains(line), "{}", status.out);
}

#[test]
fn the_exit_code_says_whether_there_are_any() {
    let home = directory(&format!("{SHIFT}mirror: {{share: 10%}}\n"));
    let store = home.path().to_str().unwrap();
    let same = router(counts(100, 0, 0, vec![]));
    let none = on(store, &["shift", "differences", "x", "--router", &same]).out(0);
    let line = "100 copies: 100 compared, 0 with another status, 0 of 12 with another body, 0 without an answer\n";
    assert_eq!(none, line);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let missing = on(store, &["shift", "differences", "x", "--router", &format!("{same},{nobody}")]).err(2);
    assert!(missing.contains("cannot be read"), "{missing}");
}

#[test]
fn a_mirror_may_come_while_the_shift_is_under_way() {
    let home = directory(SHIFT);
    let store = home.path().to_str().unwrap();
    let router = router(MirrorCounts::default());
    let without = directory(SHIFT);
    let plain = on(without.path().to_str().unwrap(), &["shift", "differences", "x", "--router", "127.0.0.1:1"]).err(2);
    assert!(plain.contains("shift \"x\" mirrors nothing; add `mirror: {share: 10%}` to it"), "{plain}");
    let (_, shift) = SHIFT.rsplit_once("---\n").unwrap();
    let (shift, _) = shift.split_once("state:").unwrap();
    apply(store, &format!("{shift}mirror: {{share: 10%}}\n"), &[]).out(0);
    let applied = json(store, &["get", "shift", "x"], 0).to_string();
    assert!(applied.contains("Running") && applied.contains("\"share\":\"10%\""), "{applied}");
    on(store, &["shift", "differences", "x", "--router", &router]).out(0);
}
