//! How a store is found, and what is said when it is not.

use std::net::TcpListener;
use std::time::Instant;

use etcd_client::{Permission, PermissionType};

use super::support::server::{Server, free_port};
use super::support::{GRID, PATIENCE, apply, command, names, on, run};

#[test]
fn a_store_that_does_not_answer_is_a_clear_error_after_a_bounded_time() {
    let closed = format!("etcd://127.0.0.1:{}", free_port());
    // Takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = format!("etcd://{}", silent.local_addr().unwrap());
    let home = super::support::directory(GRID);
    let place = home.path().to_str().unwrap();
    let quick = ["--etcd-connect-timeout", "300ms", "--etcd-request-timeout", "300ms"];
    let verbs: [&[&str]; 6] =
        [&["get"], &["status"], &["history"], &["apply", "-f", place], &["undo", "1"], &["delete", "cell", "a"]];
    for store in [&closed, &mute] {
        for verb in verbs {
            let start = Instant::now();
            let err = on(store, &[verb, &quick].concat()).err(2);
            let place = store.replace("etcd://", "http://");
            assert!(err.starts_with("error: ") && err.contains(&place), "{err}");
            assert!(err.contains("is --store right"), "{err}");
            assert!(start.elapsed() < PATIENCE);
        }
    }
}

#[test]
fn a_wrong_password_is_told_from_an_etcd_that_is_gone() {
    let server = Server::start();
    let store = server.store();
    server.raw().client(async |client| {
        client.user_add("root", "root", None).await?;
        client.user_grant_role("root", "root").await?;
        client.role_add("grid").await?;
        let all = Permission::new(PermissionType::Readwrite, "/gridrouter/").with_prefix();
        client.role_grant_permission("grid", all).await?;
        client.user_add("ops", "s3cret", None).await?;
        client.user_grant_role("ops", "grid").await?;
        client.auth_enable().await
    });
    for (user, password) in [("ops", "wr0ng"), ("nobody", "s3cret")] {
        let mut command = command(&store, &["get", "--etcd-user", user]);
        command.env("GRIDROUTER_ETCD_PASSWORD", password);
        let err = run(command, "").err(2);
        assert!(err.contains("check the user") && !err.contains(password), "{err}");
    }
    on(&store, &["get"]).err(2);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret\n").unwrap();
    let who = ["--etcd-user", "ops", "--etcd-password-file", file.path().to_str().unwrap()];
    apply(&store, GRID, &who).out(0);
    on(&store, &[&["status"], &who[..]].concat()).out(0);
}

#[test]
fn a_store_is_named_by_flag_environment_or_file() {
    let server = Server::start();
    let store = server.store();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("store: {store}/from-file\netcd: {{requestTimeout: 4s}}\n")).unwrap();
    let settings = file.path().to_str().unwrap();
    apply("", GRID, &["--settings", settings]).out(0);
    assert_eq!(names(&format!("{store}/from-file/")).len(), 4);
    assert_eq!(names(&store), Vec::<String>::new());
    // As a router is told, below another prefix.
    let mut command = super::support::command("", &["get", "-o", "name"]);
    command.env("GRIDROUTER_ETCD", store.replace("etcd", "http")).env("GRIDROUTER_ETCD_PREFIX", "/from-file");
    assert_eq!(run(command, "").out(0).lines().count(), 4);
    // A tenant is looked up where the command line says, whatever else the environment says.
    let located = ["tenant", "where", "--grid", "shop", "acme", "--store"];
    let place = format!("{store}/from-file");
    let mut command = super::support::command("", &[&located[..], &[place.as_str()]].concat());
    command.env("GRIDROUTER_CONFIG", "/nowhere");
    assert!(run(command, "").out(0).contains("pin"));
    assert!(on("", &["get"]).err(2).contains("no store: give --store etcd://HOST:2379"));
    assert!(on("ftp://x", &["get"]).err(2).contains("none of etcd, etcds"));
    std::fs::write(file.path(), "stor: x\n").unwrap();
    assert!(on("", &["get", "--settings", settings]).err(2).contains("unknown field `stor`"));
}

#[test]
fn every_example_in_the_help_of_the_store_verbs_works() {
    let server = Server::start();
    let mut tried = 0;
    for verb in ["apply", "get", "diff", "history", "status", "export", "import", "undo", "delete"] {
        let help = on("", &[verb, "--help"]).out(0);
        // As a shell reads it: a line that ends with `\` goes on in the next one.
        let help = help.replace(" \\\n      ", " ");
        let (_, examples) = help.split_once("Examples:").unwrap();
        for line in examples.lines().filter_map(|line| line.trim().strip_prefix("gridctl ")) {
            let line = line.replace("etcd://127.0.0.1:2379", &server.store());
            // What a shell makes of quotes.
            let mut arguments: Vec<String> = Vec::new();
            for (n, part) in line.split('\'').enumerate() {
                match n % 2 {
                    0 => arguments.extend(part.split_whitespace().map(str::to_owned)),
                    _ => arguments.push(part.to_owned()),
                }
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            // There may be a difference.
            let ran = run(command("", &arguments), "{kind: Cell, name: another}");
            let fine = ran.code == Some(0) || (verb == "diff" && ran.code == Some(1));
            assert!(fine, "{line}: {ran:?}");
            tried += 1;
        }
    }
    assert!(tried >= 20, "only {tried} examples were found");
}
