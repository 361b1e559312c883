//! `gridctl shift` on both kinds of store. The controller has tests of its own; here it is played by `promote`.

use serde_json::Value;

use super::support::server::Server;
use super::support::{apply, directory, json, names, on, tenants};

const SITE: &str = "\
kind: Grid
name: shop
cells: [a, b]
---
kind: Cell
name: a
---
kind: Cell
name: b
---
kind: Service
name: s
cells:
  a: {blue: [{address: 10.0.0.1:80}], green: [{address: 10.0.0.2:80}]}
  b: {blue: [{address: 10.0.0.3:80}], green: [{address: 10.0.0.4:80}]}
";

/// A shift that a controller has begun.
const RUNNING: &str = "\
kind: Shift
name: x
service: s
to: green
waves: [{cells: [a]}, {cells: [b]}]
steps: [{weight: 10%, hold: 1h}, {pause: look}, {weight: 100%, hold: 1h}]
state: {phase: Running, shares: {a: 10%}, started: 1000, since: 1000}
";

fn phase(store: &str) -> Value {
    json(store, &["shift", "list"], 0)[0]["phase"].clone()
}

/// The tracks in use in both cells.
fn active(store: &str) -> [Value; 2] {
    let service = json(store, &["get", "service", "s"], 0);
    let service = service.as_array().and_then(|all| all.first()).cloned().unwrap_or(service);
    ["a", "b"].map(|cell| service["cells"][cell]["active"].clone())
}

#[test]
fn a_shift_is_started_with_what_its_service_and_its_tenants_ask_for() {
    let tenants = tenants(400, "a");
    let home = directory(&format!("{SITE}{tenants}"));
    let store = home.path().to_str().unwrap();
    let missing = on(store, &["shift", "start", "new", "--service", "S2"]).err(2);
    assert!(missing.contains("use lower-case"), "{missing}");
    let missing = on(store, &["shift", "start", "new", "--service", "t"]).err(2);
    assert!(missing.contains("there is no Service/t; did you mean \"s\"?"), "{missing}");
    let wrong = on(store, &["shift", "start", "new", "--service", "s", "--wave", "a,c"]).out(1);
    assert!(wrong.contains("there is no Cell \"c\""), "{wrong}");
    let wrong = on(store, &["shift", "start", "new", "--service", "s", "--steps", "10%"]);
    assert!(!wrong.err.contains("seed"), "{}", wrong.err);
    let wrong = wrong.out(1);
    assert!(wrong.contains("no step has the weight 100%"), "{wrong}");
    // What a tool reads is empty then.
    for format in ["json", "yaml", "name"] {
        let wrong = on(store, &["shift", "start", "new", "--service", "s", "--steps", "10%", "-o", format]);
        assert!(wrong.err.contains("no step has the weight 100%"), "{}", wrong.err);
        assert_eq!(wrong.out(1), "");
    }

    let whole = on(store, &["shift", "start", "new", "--service", "s", "--steps", "100%", "--no-analysis"]).err(2);
    assert!(whole.contains("this moves 100% of tenants in a from blue to green first; how many"), "{whole}");
    let started =
        on(store, &["shift", "start", "new", "--service", "s", "--tester-header", "x-preview=1", "-m", "try"]);
    assert!(started.err.contains("splits the 400 tenants known there to within "), "{}", started.err);
    assert!(started.err.contains("it moves 1% of tenants in a from blue to green first; how many"), "{}", started.err);
    assert!(started.err.contains("no controller acts on this store"), "{}", started.err);
    started.out(0);
    let text = std::fs::read_to_string(home.path().join("shifts.yaml")).unwrap();
    for line in [
        "to: green",
        "bake: 1m",
        "weight: \"1%\"",
        "maxErrorIncrease: \"1%\"",
        "maxP99Factor: 2",
        "seed: ",
        "name: x-preview",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(phase(store), "Pending");
    let again = on(store, &["shift", "start", "new", "--service", "s"]).err(2);
    assert!(again.contains("shift \"new\" is Pending already"), "{again}");
    let other = on(store, &["shift", "start", "other", "--service", "s", "--wave", "a"]).out(1);
    assert!(other.contains("shift \"new\" moves service \"s\" in cell \"a\" already"), "{other}");
    let refused = on(store, &["shift", "promote", "new"]).err(1);
    assert!(refused.contains("only one that is Running or Paused can be promoted"), "{refused}");
    on(store, &["shift", "abort", "new", "--yes"]).out(0);
    on(store, &["delete", "shift", "new", "--yes"]).out(0);
    assert!(!names(store).contains(&"Shift/new".to_owned()));
}

/// From the first step to the end and back again, by hand.
fn goes_by_hand(store: &str) {
    apply(store, &format!("{SITE}---\n{RUNNING}"), &[]).out(0);
    let unknown = on(store, &["shift", "pause", "y"]).err(1);
    assert!(unknown.contains("there is no shift \"y\"; did you mean \"x\"?"), "{unknown}");
    let paused = json(store, &["shift", "pause", "x", "-m", "lunch"], 0);
    assert_eq!(
        (&paused["phase"], &paused["what"], &paused["published"]),
        (&"Paused".into(), &"paused".into(), &true.into())
    );
    assert_eq!(phase(store), "Paused");
    let status = on(store, &["shift", "status", "x"]).out(1);
    assert!(status.contains("reason    lunch\n"), "nobody asked it to wait there: {status}");
    on(store, &["shift", "resume", "x"]).out(0);
    let out = on(store, &["shift", "promote", "x"]).out(0);
    assert!(out.starts_with("shift x promoted by hand, now paused (step 2 of 3 of wave 1 of 2): look"), "{out}");

    let asked = on(store, &["shift", "promote", "x", "--full"]).err(2);
    assert!(
        asked.contains(
            "this moves 90% of tenants in a, 100% of tenants in b from blue to green; how many requests/s go to blue"
        ),
        "{asked}"
    );
    assert!(asked.contains("say --yes"), "{asked}");
    let asked = on(store, &["shift", "promote", "x"]).err(2);
    assert!(asked.contains("this moves 90% of tenants in a from blue to green; how many requests/s"), "{asked}");
    let dry = on(store, &["shift", "promote", "x", "--full", "--dry-run"]).out(0);
    assert!(dry.starts_with("dry run, nothing was changed: "), "{dry}");
    let dry = json(store, &["shift", "promote", "x", "--full", "--dry-run"], 0);
    assert_eq!((&dry["phase"], &dry["published"]), (&"Succeeded".into(), &false.into()), "{dry}");
    assert!(
        dry["danger"]
            .as_str()
            .unwrap()
            .starts_with("moves 90% of tenants in a, 100% of tenants in b from blue to green; "),
        "{dry}"
    );
    assert_eq!((phase(store), active(store)), (Value::from("Paused"), [Value::Null, Value::Null]));
    on(store, &["shift", "promote", "x", "--full", "--yes"]).out(0);
    assert_eq!((phase(store), active(store)), ("Succeeded".into(), ["green".into(), "green".into()]));
    on(store, &["shift", "status", "x"]).out(0);

    // Applying the same files once more neither starts it again nor moves traffic.
    let stateless = RUNNING.replace("state: {phase: Running, shares: {a: 10%}, started: 1000, since: 1000}\n", "");
    let again = apply(store, &format!("{SITE}---\n{stateless}"), &["--prune", "--yes"]).out(0);
    assert!(again.contains("5 unchanged"), "{again}");
    let pruned = apply(store, SITE, &["--prune", "--yes"]).out(0);
    assert!(pruned.contains("4 unchanged") && names(store).contains(&"Shift/x".to_owned()), "{pruned}");

    let asked = on(store, &["shift", "rollback", "x"]).err(2);
    assert!(asked.contains("this moves 100% of tenants in a, 100% of tenants in b from green to blue; "), "{asked}");
    on(store, &["shift", "rollback", "x", "--yes", "-m", "baskets are empty"]).out(0);
    assert_eq!((phase(store), active(store)), ("RollingBack".into(), ["blue".into(), "blue".into()]));
    let kept = on(store, &["delete", "shift", "x", "--yes"]).out(1);
    assert_eq!(kept, "", "it is under way");
    on(store, &["shift", "abort", "x", "--yes"]).out(0);
    let status = json(store, &["shift", "status", "x"], 1);
    assert_eq!((&status["phase"], &status["healthy"]), (&"Aborted".into(), &false.into()));
}

#[test]
fn in_a_directory_a_shift_goes_by_hand() {
    let home = directory("");
    goes_by_hand(home.path().to_str().unwrap());
}

#[test]
fn in_etcd_a_shift_goes_by_hand_and_the_history_says_who_and_why() {
    let server = Server::start();
    let store = server.store();
    goes_by_hand(&store);
    let history = json(&store, &["shift", "history", "x"], 0);
    let messages: Vec<&str> = history.as_array().unwrap().iter().map(|one| one["message"].as_str().unwrap()).collect();
    assert_eq!(messages.len(), 7, "{messages:#?}");
    assert_eq!(messages[1], "shift x: rolls back: baskets are empty");
    assert!(history[1]["author"].as_str().unwrap().starts_with("ann@"), "{history}");
}
