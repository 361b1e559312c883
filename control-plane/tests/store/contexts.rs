//! Contexts: which store is meant, and what a protected one asks for.

use std::process::Command;

use super::support::server::Server;
use super::support::{GRID, Ran, apply, command, directory, names, run};

/// gridctl with contexts of its own.
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command("", arguments);
        command.env("GRIDCTL_CONTEXTS", self.directory.path().join("contexts.yaml"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments), "")
    }

    fn with(&self, name: &str, value: &str, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.env(name, value);
        run(command, "")
    }
}

#[test]
fn a_context_names_a_store_until_something_nearer_does() {
    let (home, server) = (Home::new(), Server::start());
    apply(&server.store(), GRID, &[]).out(0);
    let files = directory("{kind: Cell, name: of-a-file}");
    let place = files.path().to_str().unwrap();
    assert!(home.run(&["get"]).err(2).contains("context use"));
    home.run(&["context", "set", "etcd", "--store", &server.store(), "--author", "on-call"]).out(0);
    home.run(&["context", "set", "files", "--store", place]).out(0);
    home.run(&["context", "use", "etcd"]).out(0);
    let listed = |ran: Ran| ran.out(0).lines().count();
    let get = ["get", "-o", "name"];
    assert_eq!(listed(home.run(&get)), 4);
    assert_eq!(listed(home.run(&["get", "-o", "name", "--context", "files"])), 1);
    assert_eq!(listed(home.with("GRIDCTL_CONTEXT", "files", &get)), 1);
    assert_eq!(listed(home.with("GRIDCTL_STORE", place, &get)), 1);
    let both = ["get", "-o", "name", "--context", "etcd"];
    assert_eq!(listed(home.with("GRIDCTL_STORE", place, &both)), 4);
    let settings = files.path().join("settings.txt");
    std::fs::write(&settings, format!("store: {place}\n")).unwrap();
    assert_eq!(listed(home.with("GRIDCTL_SETTINGS", settings.to_str().unwrap(), &get)), 1);
    let located = home.run(&["tenant", "where", "--grid", "shop", "acme"]).out(0);
    assert!(located.contains("pin"), "{located}");
    // The author of a context is the one in the history, where nobody else is named.
    let mut change = home.command(&["apply", "-f", "-"]);
    change.env("GRIDCTL_AUTHOR", "bob");
    run(home.command(&["apply", "-f", "-"]), "{kind: Cell, name: a, weight: 3}").out(0);
    run(change, "{kind: Cell, name: a, weight: 4}").out(0);
    let history = home.run(&["history"]).out(0);
    let authors: Vec<&str> = history.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(&authors[..2], ["bob", "on-call"], "{history}");
}

#[test]
fn contexts_are_kept_shown_and_forgotten() {
    let home = Home::new();
    let set = ["context", "set", "prod", "--store", "etcds://10.0.0.1:2379/grid", "--etcd-user", "ann"];
    let more = ["--etcd-password-file", "secret", "--protected", "--current"];
    let out = home.run(&[&set[..], &more].concat()).out(0);
    assert!(out.contains("context prod is etcds://10.0.0.1:2379/grid, protected"), "{out}");
    let file = std::fs::read_to_string(home.directory.path().join("contexts.yaml")).unwrap();
    assert!(file.contains("current: prod") && file.contains("/secret"), "{file}");
    // What is not mentioned stays, and the environment does not count.
    home.with("GRIDROUTER_ETCD_USER", "eve", &["context", "set", "prod", "--author", "team"]).out(0);
    let shown: serde_json::Value = serde_json::from_str(&home.run(&["context", "show", "-o", "json"]).out(0)).unwrap();
    assert_eq!(
        (&shown["etcd"]["user"], &shown["author"], &shown["protected"]),
        (&"ann".into(), &"team".into(), &true.into())
    );
    home.run(&["context", "set", "dev", "--store", "."]).out(0);
    let list = home.run(&["context", "list"]).out(0);
    assert!(list.contains("*        prod") && list.contains("yes") && list.contains("dev"), "{list}");
    assert_eq!(home.run(&["context", "list", "-o", "name"]).out(0), "dev\nprod\n");
    assert!(home.run(&["context", "list", "-o", "wide"]).out(0).contains("ann"));
    let err = home.run(&["context", "use", "prdo"]).err(2);
    assert!(err.contains("there is no context \"prdo\"; did you mean \"prod\"?"), "{err}");
    assert!(home.run(&["get", "--context", "prodd"]).err(2).contains("did you mean \"prod\"?"));
    assert!(home.run(&["context", "set", "none"]).err(2).contains("names no store"));
    assert!(home.run(&["context", "set", "a b", "--store", "x"]).err(2).contains("no name for a context"));
    let both = home.run(&["get", "--context", "dev", "--store", "x"]).err(2);
    assert!(both.contains("--context and --store both"), "{both}");
    let nearer = home.with("GRIDCTL_STORE", "x", &["context", "use", "dev"]).err(0);
    assert!(nearer.contains("GRIDCTL_STORE is set"), "{nearer}");
    assert!(home.run(&["context", "delete", "dev"]).err(0).contains("it was the current one"));
    home.run(&["context", "delete", "dev"]).err(2);
}

#[test]
fn a_protected_context_wants_a_yes_for_every_change() {
    let (home, server) = (Home::new(), Server::start());
    home.run(&["context", "set", "prod", "--store", &server.store(), "--protected", "--current"]).out(0);
    let err = run(home.command(&["apply", "-f", "-"]), GRID).err(2);
    assert!(err.contains("this changes context prod, which is protected: 4 created; say --yes"), "{err}");
    assert!(!err.contains("ACTION"), "nothing was done that could be listed: {err}");
    run(home.command(&["apply", "-f", "-", "--dry-run"]), GRID).out(0);
    assert_eq!(names(&server.store()), Vec::<String>::new());
    run(home.command(&["apply", "-f", "-", "--yes"]), GRID).out(0);
    // Nothing to change is nothing to ask about.
    run(home.command(&["apply", "-f", "-"]), GRID).out(0);
    assert!(home.run(&["undo", "1"]).err(2).contains("protected"));
    server.raw().put("/gridrouter/control/routers/ghost", "");
    let forgotten = home.run(&["move", "forget-router", "ghost", "--has-ended"]).err(2);
    assert!(forgotten.contains("which is protected: forgets router ghost, which has ended; say --yes"), "{forgotten}");
    let moved = home.run(&["tenant", "move", "acme", "--to", "b", "--hook", "true"]).err(2);
    assert!(moved.contains("protected: moves tenant acme of grid shop from a to b; say --yes"), "{moved}");
    home.run(&["context", "set", "prod", "--protected=false"]).out(0);
    run(home.command(&["apply", "-f", "-"]), "{kind: Cell, name: a, weight: 2}").out(0);
}

#[test]
fn errors_say_what_named_the_store() {
    let home = Home::new();
    let nowhere = "etcd://127.0.0.1:1";
    home.run(&["context", "set", "far", "--store", nowhere, "--current"]).out(0);
    let err = home.run(&["get"]).err(2);
    assert!(err.contains("(the store is named by context far (the current one))"), "{err}");
    let err = home.run(&["history"]).err(2);
    assert!(err.contains("context far"), "{err}");
    assert!(home.with("GRIDCTL_STORE", nowhere, &["status"]).err(2).contains("named by GRIDCTL_STORE"));
    assert!(home.run(&["get", "--store", nowhere]).err(2).contains("named by --store"));
}

#[test]
fn a_shell_completes_verbs_kinds_names_and_contexts() {
    let (home, server) = (Home::new(), Server::start());
    apply(&server.store(), GRID, &[]).out(0);
    home.run(&["context", "set", "etcd", "--store", &server.store(), "--current"]).out(0);
    let files = directory("{kind: Cell, name: of-a-file}");
    let script = home.run(&["completion", "bash"]).out(0);
    assert!(script.contains("GRIDCTL_COMPLETE=") && script.contains("complete "), "{script}");
    home.run(&["completion", "zsh"]).out(0);
    home.run(&["completion", "fish"]).out(0);
    let complete = |words: &[&str]| {
        let mut command = home.command(&[&["--", "gridctl"], words].concat());
        command.env("GRIDCTL_COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", words.len().to_string());
        command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "true").env("_CLAP_IFS", "\n");
        run(command, "").out(0).lines().map(str::trim_end).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["compl"]), ["completion"]);
    assert_eq!(complete(&["context", "use", "e"]), ["etcd"]);
    assert_eq!(complete(&["get", "ten"]), ["tenant"]);
    assert_eq!(complete(&["get", "cells", ""]), ["a", "b"]);
    assert!(complete(&["get", "--"]).contains(&"--output".to_owned()));
    assert_eq!(complete(&["get", "--etcd-ca"]), ["--etcd-ca"]);
    assert_eq!(complete(&["delete", "tenant/"]), ["tenant/acme"]);
    let store = files.path().to_str().unwrap();
    assert_eq!(complete(&["get", "--store", store, "cell", "o"]), ["of-a-file"]);
    assert_eq!(complete(&["tenant", "where", "--grid", "s"]), ["shop"]);
    assert_eq!(complete(&["history", "--document", "Tenant/"]), ["Tenant/acme"]);
    assert_eq!(complete(&["--context", "e"]), ["etcd"]);
}
