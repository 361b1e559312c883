//! What a change of the shares leaves as it is.

use std::collections::BTreeMap;

use super::super::support::{Site, Upstream};
use super::{running, shift};

/// Three endpoints on each track, which say their names.
fn site(blue: &[Upstream], green: &[Upstream]) -> Site {
    let list = |upstreams: &[Upstream]| {
        let all: Vec<_> = upstreams.iter().map(|upstream| format!("{{address: {}}}", upstream.address())).collect();
        all.join(", ")
    };
    Site::builder()
        .document("kind: Grid\nname: grid\ncells: [one]")
        .document("kind: Cell\nname: one")
        .document(&format!(
            "kind: Service\nname: all\ncells: {{one: {{blue: [{}], green: [{}]}}}}",
            list(blue),
            list(green)
        ))
        .route("tenant: {from: [{header: x-tenant}], otherwise: {tenant: nobody}}\ngrid: grid")
        .start()
}

/// Were the balancer's position lost with a change, it would begin anew at any endpoint: thirty requests, with a change
/// after each, would not be spread evenly.
#[test]
fn balancers_go_on_where_they_were_and_connections_are_kept() {
    let blue: Vec<_> = ["a", "b", "c"].into_iter().map(Upstream::ok).collect();
    let green: Vec<_> = ["x", "y", "z"].into_iter().map(Upstream::ok).collect();
    let site = site(&blue, &green);
    let mut client = site.client();
    let mut served: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0..12 {
        let share = if round % 2 == 0 { "0%" } else { "100%" };
        let lines = format!("seed: {round}");
        site.change(|| site.write("shift.yaml", &shift("Running", share, &lines)));
        *served.entry(client.get("/").text()).or_default() += 1;
    }
    let wanted = ["a", "b", "c", "x", "y", "z"].map(|name| (name.to_owned(), 2));
    assert_eq!(served, BTreeMap::from(wanted));
    assert!(blue.iter().chain(&green).all(|upstream| upstream.connections() == 1), "connections are used again");
}

/// Requests are served all the time while shares change: none fails, and none meets anything but a track.
#[test]
fn no_request_fails_while_shares_change() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let (blue, green) = ([Upstream::ok("blue")], [Upstream::ok("green")]);
    let site = site(&blue, &green);
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..3)
        .map(|thread| {
            let (mut client, stop) = (site.client(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut number = thread * 1_000;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let answer = client.get_with("/", &super::tenant(number));
                    assert!(
                        answer.status() == 200 && ["blue", "green"].contains(&answer.text().as_str()),
                        "{answer:?}"
                    );
                }
                number
            })
        })
        .collect();
    for share in ["0%", "1%", "25%", "100%", "50%", "0%"] {
        site.change(|| site.write("shift.yaml", &running(share)));
    }
    site.change(|| site.write("shift.yaml", &shift("Aborted", "0%", "")));
    site.get("/").assert_ok("blue");
    stop.store(true, Ordering::Relaxed);
    for thread in load {
        assert!(thread.join().unwrap() > 0);
    }
}
