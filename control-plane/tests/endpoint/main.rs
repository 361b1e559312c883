//! `gridctl endpoint` against a real etcd.

#![allow(clippy::unwrap_used, reason = "a test that cannot run the program has to fail")]

#[cfg(test)]
mod support;

use rustix::process::Signal;
use serde_json::Value;

use self::support::{Raw, Running, Server, eventually, run};

const BELOW: &str = "/gridrouter/live/endpoints/";

fn registered(raw: &mut Raw) -> Vec<(String, Value)> {
    let found = raw.below(BELOW, 0);
    let pair = |kv: &etcd_client::KeyValue| {
        assert_ne!(kv.lease(), 0);
        (kv.key_str().unwrap().replace(BELOW, ""), serde_json::from_slice(kv.value()).unwrap())
    };
    found.iter().map(pair).collect()
}

#[test]
fn an_endpoint_is_registered_until_the_command_is_told_to_end() {
    let server = Server::start();
    let mut raw = server.raw();
    for signal in [Signal::TERM, Signal::INT] {
        let arguments = ["--service", "s", "--cell", "c", "--weight", "4", "--id", "me", "10.0.0.5:8080"];
        let running = Running::start(&server, &arguments);
        assert!(running.line().starts_with("registering 10.0.0.5:8080 as s/c/blue"));
        assert_eq!(running.line(), "registered 10.0.0.5:8080 as me (lease 10s)");
        let wanted = serde_json::json!({"address": "10.0.0.5:8080", "weight": 4});
        assert_eq!(registered(&mut raw), [("s/c/blue/me".to_owned(), wanted)]);
        running.signal(signal);
        let (code, out, err) = running.end();
        assert_eq!((code, err.as_str()), (Some(0), ""));
        assert_eq!(out, ["deregistered"]);
        assert_eq!(registered(&mut raw), []);
    }
}

#[test]
fn an_endpoint_whose_command_was_killed_goes_when_its_lease_ends() {
    let server = Server::start();
    let mut raw = server.raw();
    let running = Running::start(&server, &["--service", "s", "--ttl", "3s", "10.0.0.5:8080"]);
    running.line();
    running.line();
    let key = registered(&mut raw).remove(0).0;
    assert!(key.starts_with("s/-/blue/10.0.0.5:8080-"), "{key}");
    running.signal(Signal::KILL);
    assert_eq!(running.end().0, None);
    // It comes back at once, under another id, and the old one goes.
    let again = Running::start(&server, &["--service", "s", "--ttl", "3s", "10.0.0.5:8080"]);
    again.line();
    again.line();
    eventually("the end of the lease", || registered(&mut raw).iter().all(|(other, _)| *other != key));
    assert_eq!(registered(&mut raw).len(), 1);
}

#[test]
fn an_endpoint_waits_for_etcd_and_says_so() {
    let mut server = Server::start();
    // A server that is killed before it has written anything does not come up again.
    server.raw().put("x", "y");
    server.kill();
    let running = Running::start(&server, &["--service", "s", "10.0.0.5:8080"]);
    running.line();
    // The next line comes when etcd does.
    assert!(server.run());
    assert!(running.line().starts_with("registered "));
    let mut raw = server.raw();
    assert_eq!(registered(&mut raw).len(), 1);
    server.kill();
    running.signal(Signal::TERM);
    let (code, out, err) = running.end();
    assert_eq!((code, out.len()), (Some(1), 0), "{out:?}");
    assert!(err.contains("it is tried again") && err.contains("ends with its lease"), "{err}");
}

#[test]
fn an_endpoint_that_could_not_be_taken_out_is_not_called_deregistered() {
    let mut server = Server::start();
    let running = Running::start(&server, &["--service", "s", "--ttl", "3s", "10.0.0.5:8080"]);
    running.line();
    assert!(running.line().starts_with("registered "));
    server.kill();
    // Longer than the lease, so that it counts as ended here; what etcd has when it is back is another matter.
    std::thread::park_timeout(std::time::Duration::from_secs(5));
    running.signal(Signal::TERM);
    let (code, out, err) = running.end();
    assert_eq!((code, out), (Some(1), Vec::new()));
    assert!(err.contains("ends with its lease"), "{err}");
    // What never got that far is gone as well.
    let running = Running::start(&server, &["--service", "s", "10.0.0.5:8080"]);
    running.line();
    running.signal(Signal::TERM);
    let (code, out, err) = running.end();
    assert_eq!((code, out), (Some(0), Vec::new()));
    assert!(err.contains("nothing is registered"), "{err}");
}

#[test]
fn registrations_are_listed_with_what_is_wrong() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.put(format!("{BELOW}s/c/blue/a"), "{\"address\":\"10.0.0.1:1\"}");
    let good = run(&server, &["list"]);
    assert_eq!(good.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&good.stdout).ends_with("s/c/blue/a  {\"address\":\"10.0.0.1:1\"}\n"));
    raw.put(format!("{BELOW}s/c/red/b"), "\u{1b}[2J");
    let bad = run(&server, &["list"]);
    let text = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        text.contains("NOT IN FORCE") && text.contains("neither blue nor green") && !text.contains('\u{1b}'),
        "{text}"
    );
    let json = run(&server, &["list", "-o", "json"]);
    let rows: Vec<Value> =
        String::from_utf8_lossy(&json.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows[0], serde_json::json!({"key": "s/c/blue/a", "value": "{\"address\":\"10.0.0.1:1\"}"}));
    assert!(rows[1]["fault"].is_string());
}

#[test]
fn a_list_that_cannot_be_had_is_not_tried_again() {
    let mut server = Server::start();
    server.kill();
    let output = run(&server, &["list"]);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(err.contains("is --store right") && !err.contains("tried again"), "{err}");
}

#[test]
fn wrong_usage_is_told_at_once() {
    let server = Server::start();
    for (arguments, why) in [
        (&["--service", "S", "10.0.0.1:1"][..], "use lower-case letters"),
        (&["--service", "s", "10.0.0.1"], "has no port"),
        (&["--service", "s", "--weight", "0", "10.0.0.1:1"], "write 1 to 10000"),
        (&["--service", "s", "--ttl", "1s", "10.0.0.1:1"], "3s to 1h"),
        (&["--service", "s", "--track", "red", "10.0.0.1:1"], "possible values: blue, green"),
        (&["--service", "s", "--id", "a/b", "10.0.0.1:1"], "use letters"),
        (&["--service", "s", "--store", "/tmp", "10.0.0.1:1"], "has no live endpoints"),
        (&["--service", "s", "--store", "etcd://", "10.0.0.1:1"], "empty host"),
    ] {
        let output = run(&server, &[&["register"], arguments].concat());
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(err.contains(why), "{arguments:?}: {err}");
    }
}
