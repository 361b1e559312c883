pub(crate) mod server;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a busy machine; a test that works never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Expects an exit code, and returns standard output.
    #[track_caller]
    pub(crate) fn out(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self.out
    }

    /// Expects an exit code, and returns standard error.
    #[track_caller]
    pub(crate) fn err(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self.err
    }
}

/// gridctl with nothing of this process's environment that it looks at, in the workspace's directory.
pub(crate) fn command(store: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridctl"));
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("GRID")) {
        command.env_remove(name);
    }
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).env("USER", "ann");
    // The contexts of whoever runs the tests are none of theirs.
    command.env("GRIDCTL_CONTEXTS", "/nonexistent/contexts.yaml");
    if !store.is_empty() {
        command.env("GRIDCTL_STORE", store);
    }
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn run(mut command: Command, input: &str) -> Ran {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A command that does not read its input closes it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs gridctl on a store.
pub(crate) fn on(store: &str, arguments: &[&str]) -> Ran {
    run(command(store, arguments), "")
}

/// Applies documents from standard input, with more arguments.
pub(crate) fn apply(store: &str, documents: &str, more: &[&str]) -> Ran {
    run(command(store, &[&["apply", "-f", "-"], more].concat()), documents)
}

pub(crate) fn json(store: &str, arguments: &[&str], code: i32) -> Value {
    serde_json::from_str(&on(store, &[arguments, &["-o", "json"]].concat()).out(code)).unwrap()
}

/// The head as `status` has it.
pub(crate) fn head(store: &str) -> Value {
    let ran = on(store, &["status", "-o", "json"]);
    let value: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    value["head"].clone()
}

pub(crate) fn generation(store: &str) -> u64 {
    head(store)["generation"].as_u64().unwrap_or_default()
}

/// What `get -o name` lists.
pub(crate) fn names(store: &str) -> Vec<String> {
    on(store, &["get", "-o", "name"]).out(0).lines().map(str::to_owned).collect()
}

/// Tries again until it works; what was wrong last is in the panic.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(why) => assert!(start.elapsed() < PATIENCE, "{what} did not happen in time: {why}"),
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A directory with one file of documents.
pub(crate) fn directory(documents: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("grid.yaml"), documents).unwrap();
    home
}

/// Two cells, a grid over them and a tenant pinned to one.
pub(crate) const GRID: &str = "\
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
kind: Tenant
name: acme
grid: shop
cell: a
";

/// Tenants of the grid above, all in one cell.
pub(crate) fn tenants(count: usize, cell: &str) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for n in 0..count {
        let _ = write!(text, "---\nkind: Tenant\nname: t{n:06}\ngrid: shop\ncell: {cell}\n");
    }
    text
}
