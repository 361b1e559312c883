//! More than one writer at a time.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::rc::Rc;

use gridctl::cli::{self, Status};
use gridctl::output::Output;

use super::support::server::Server;
use super::support::{GRID, apply, directory, generation, json, names};

#[derive(Clone, Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A person who does something else before answering.
struct Slow<F> {
    meanwhile: Option<F>,
    answer: &'static [u8],
}

impl<F: FnOnce()> Read for Slow<F> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile();
        }
        self.answer.read(buffer)
    }
}

/// Runs gridctl as on a terminal.
fn on_terminal(arguments: &[&str], input: &mut dyn BufRead) -> (Status, String, String) {
    let (out, err) = (Kept::default(), Kept::default());
    let arguments: Vec<OsString> =
        std::iter::once("gridctl").chain(arguments.iter().copied()).map(Into::into).collect();
    let open = |_| Output::to(out.clone(), false, err.clone(), false).with_person(true);
    let status = cli::run(&arguments, input, open);
    let text = |kept: Kept| String::from_utf8(kept.0.take()).unwrap();
    (status, text(out), text(err))
}

#[test]
fn who_loses_is_told_who_won_and_what_changed() {
    let server = Server::start();
    let store = server.store();
    apply(&store, GRID, &[]).out(0);
    apply(&store, "{kind: Cell, name: c}", &[]).out(0);
    let home = directory(GRID);
    let place = home.path().to_str().unwrap();
    let prune = ["--store", &store, "apply", "-f", place, "--prune"];

    let meanwhile = || {
        apply(&store, "{kind: Cell, name: b, weight: 9}", &["--author", "bob", "-m", "more weight"]).out(0);
    };
    let mut person = BufReader::new(Slow { meanwhile: Some(meanwhile), answer: b"y\n" });
    let (status, _, err) = on_terminal(&prune, &mut person);
    assert_eq!(status, Status::Lost, "{err}");
    assert_eq!(status.code(), 3);
    assert!(err.contains("this deletes 1 document that the input does not have; go on? [y/N]"), "{err}");
    assert!(err.contains("bob published generation 3 meanwhile (more weight), which changed Cell/b"), "{err}");
    assert!(err.contains("both changes are about Cell/b"), "{err}");
    assert_eq!(json(&store, &["get", "cell/b"], 0)["weight"], 9);
    assert!(names(&store).contains(&"Cell/c".to_owned()));

    let (status, _, err) = on_terminal(&prune, &mut &b"n\n"[..]);
    assert_eq!(status, Status::Failed, "{err}");
    assert_eq!(generation(&store), 3);
    let (status, out, err) = on_terminal(&prune, &mut &b"yes\n"[..]);
    assert_eq!(status, Status::Fine, "{err}");
    assert!(out.contains("generation 4 is in force: 1 deleted, 1 changed, 3 unchanged"), "{out}");
}

#[test]
fn changes_of_other_documents_are_no_obstacle() {
    const WRITERS: usize = 5;
    let server = Server::start();
    let store = server.store();
    let work = |n: usize| {
        let store = store.clone();
        std::thread::spawn(move || {
            for round in 0..4 {
                apply(&store, &format!("{{kind: Cell, name: c{n}-{round}}}"), &[]).out(0);
            }
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(work).collect();
    for writer in writers {
        writer.join().unwrap();
    }
    assert_eq!(names(&store).len(), WRITERS * 4);
    assert_eq!(generation(&store), u64::try_from(WRITERS * 4).unwrap());
}
