use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

use super::*;

/// Long enough for a busy machine; a test that works never waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory `conf`, and a store over it that is asked in the way the router does.
struct Case {
    home: tempfile::TempDir,
    store: DirectoryStore,
}

impl Case {
    /// Polls so rarely that only file events can explain a change that is seen.
    fn new(files: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("conf")).unwrap();
        let store = DirectoryStore::new(home.path().join("conf")).with_poll(PATIENCE * 2);
        let mut case = Self { home, store };
        for (name, text) in files {
            case.write(name, text);
        }
        case.store.list().unwrap();
        while case.store.wait(Duration::from_millis(100)).unwrap() {
            case.store.list().unwrap();
        }
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("conf").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    /// Lists whenever the store says that something may have changed, until a listing is as wanted.
    #[track_caller]
    fn until(&mut self, mut wanted: impl FnMut(&Listing) -> bool) -> Listing {
        let start = Instant::now();
        let mut last = None;
        while self.store.wait(PATIENCE.saturating_sub(start.elapsed())).unwrap() {
            match self.store.list() {
                Ok(listing) if wanted(&listing) => return listing,
                other => last = Some(other),
            }
        }
        panic!("not seen in time; last: {last:?}");
    }

    /// Waits until exactly these files with these texts are listed.
    #[track_caller]
    fn expect(&mut self, files: &[(&str, &str)]) -> Listing {
        let root = self.path("");
        self.until(|listing| texts(&root, listing) == files)
    }
}

fn texts<'a>(root: &Path, listing: &'a Listing) -> Vec<(&'a str, &'a str)> {
    let root = root.to_str().unwrap();
    let text =
        |entry: &'a Arc<Entry>| (entry.path.strip_prefix(root).unwrap(), std::str::from_utf8(&entry.bytes).unwrap());
    listing.entries.iter().map(text).collect()
}

#[test]
fn finds_documents_and_leaves_leftovers_alone() {
    let mut case = Case::new(&[]);
    for name in [".hidden.yaml", ".git/x.yaml", "a.yaml~", "#a.yaml#", ".a.yaml.swp", "a.yaml.tmp", "notes.txt", "yaml"]
    {
        case.write(name, "no");
    }
    for name in ["b.yml", "a.yaml", "deep/er/c.json"] {
        case.write(name, name);
    }
    symlink("..", case.path("deep/loop")).unwrap();
    symlink(case.path("deep"), case.path("again")).unwrap();
    let listing = case.expect(&[("a.yaml", "a.yaml"), ("again/er/c.json", "deep/er/c.json"), ("b.yml", "b.yml")]);
    assert_eq!(listing.faults, []);
}

#[test]
fn what_did_not_change_keeps_its_arc_and_the_revision() {
    let mut case = Case::new(&[("a.yaml", "a"), ("b.yaml", "b")]);
    let first = case.store.list().unwrap();
    case.write("a.yaml", "a");
    case.write("b.yaml", "B");
    let second = case.expect(&[("a.yaml", "a"), ("b.yaml", "B")]);
    assert!(Arc::ptr_eq(&first.entries[0], &second.entries[0]), "touched, but equal");
    assert!(second.revision > first.revision);
    assert_eq!(case.store.list().unwrap().revision, second.revision);
}

#[test]
fn sees_a_write_in_place() {
    let mut case = Case::new(&[("a.yaml", "old")]);
    case.write("a.yaml", "new");
    case.expect(&[("a.yaml", "new")]);
}

#[test]
fn sees_a_file_replaced_by_rename() {
    let mut case = Case::new(&[("a.yaml", "old")]);
    case.write("sedJ2x9", "new");
    fs::rename(case.path("sedJ2x9"), case.path("a.yaml")).unwrap();
    case.expect(&[("a.yaml", "new")]);
}

#[test]
fn sees_what_vim_does_without_a_moment_of_absence() {
    let mut case = Case::new(&[("a.yaml", "old")]);
    let before = case.store.list().unwrap().revision;
    fs::rename(case.path("a.yaml"), case.path("a.yaml~")).unwrap();
    case.write("a.yaml", "new");
    fs::remove_file(case.path("a.yaml~")).unwrap();
    let after = case.expect(&[("a.yaml", "new")]);
    assert_eq!(after.revision, before + 1, "one change, not a removal and an addition");
}

#[test]
fn sees_a_config_map_turned() {
    let mut case = Case::new(&[]);
    case.write("..2026_07_01/a.yaml", "old");
    symlink("..2026_07_01", case.path("..data")).unwrap();
    symlink("..data/a.yaml", case.path("a.yaml")).unwrap();
    case.expect(&[("a.yaml", "old")]);

    case.write("..2026_07_02/a.yaml", "new");
    symlink("..2026_07_02", case.path("..data_tmp")).unwrap();
    fs::rename(case.path("..data_tmp"), case.path("..data")).unwrap();
    fs::remove_dir_all(case.path("..2026_07_01")).unwrap();
    let listing = case.expect(&[("a.yaml", "new")]);
    assert_eq!(listing.faults, []);
}

#[test]
fn sees_a_write_behind_a_link() {
    let mut case = Case::new(&[]);
    let elsewhere = case.home.path().join("elsewhere.yaml");
    fs::write(&elsewhere, "old").unwrap();
    symlink(&elsewhere, case.path("a.yaml")).unwrap();
    case.expect(&[("a.yaml", "old")]);
    fs::write(&elsewhere, "new").unwrap();
    case.expect(&[("a.yaml", "new")]);
}

#[test]
fn sees_the_root_turned_to_another_directory() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    for release in ["r1", "r2"] {
        fs::create_dir(at(release)).unwrap();
        fs::write(at(release).join("a.yaml"), release).unwrap();
    }
    symlink("r1", at("conf")).unwrap();
    let store = DirectoryStore::new(at("conf")).with_poll(PATIENCE * 2);
    let mut case = Case { home, store };
    case.expect(&[("a.yaml", "r1")]);
    symlink("r2", case.home.path().join("conf.new")).unwrap();
    fs::rename(case.home.path().join("conf.new"), case.home.path().join("conf")).unwrap();
    case.expect(&[("a.yaml", "r2")]);
}

#[test]
fn sees_a_deletion_and_a_new_directory() {
    let mut case = Case::new(&[("a.yaml", "a"), ("b.yaml", "b")]);
    fs::remove_file(case.path("a.yaml")).unwrap();
    case.expect(&[("b.yaml", "b")]);
    case.write("new/deep/c.yaml", "c");
    case.expect(&[("b.yaml", "b"), ("new/deep/c.yaml", "c")]);
    case.write("new/deep/c.yaml", "C");
    case.expect(&[("b.yaml", "b"), ("new/deep/c.yaml", "C")]);
    fs::remove_dir_all(case.path("new")).unwrap();
    case.expect(&[("b.yaml", "b")]);
}

#[test]
fn a_vanished_root_is_an_error_until_it_is_back() {
    let mut case = Case::new(&[("a.yaml", "old")]);
    let root = case.path("");
    fs::remove_dir_all(&root).unwrap();
    assert!(case.store.wait(PATIENCE).unwrap(), "a vanished root is news");
    let error = case.store.list().unwrap_err().explain();
    assert!(error.contains("cannot read directory") && error.contains("conf"), "{error}");
    case.write("a.yaml", "new");
    case.expect(&[("a.yaml", "new")]);
    case.write("a.yaml", "newer");
    case.expect(&[("a.yaml", "newer")]);
}

#[test]
fn a_truncated_file_is_not_taken_for_an_empty_one() {
    let mut case = Case::new(&[("a.yaml", "old")]);
    let path = case.path("a.yaml");
    let shell = thread::spawn(move || {
        fs::write(&path, "").unwrap();
        thread::park_timeout(Duration::from_millis(200));
        fs::write(&path, "new").unwrap();
    });
    let root = case.path("");
    case.until(|listing| {
        assert_ne!(texts(&root, listing), [("a.yaml", "")]);
        texts(&root, listing) == [("a.yaml", "new")]
    });
    shell.join().unwrap();
}

#[test]
fn an_empty_file_is_taken_in_the_end() {
    let mut case = Case::new(&[("a.yaml", "old")]);
    case.write("a.yaml", "");
    case.expect(&[("a.yaml", "")]);
}

#[test]
fn a_restless_file_is_taken_in_the_end_and_others_do_not_wait_for_ever() {
    let mut case = Case::new(&[("a.yaml", ""), ("b.yaml", "old")]);
    let (path, stop) = (case.path("a.yaml"), Arc::new(()));
    let running = Arc::downgrade(&stop);
    let writer = thread::spawn(move || {
        for round in 0_u64.. {
            fs::write(&path, round.to_string()).unwrap();
            thread::park_timeout(Duration::from_millis(10));
            if running.strong_count() == 0 {
                return;
            }
        }
    });
    case.write("b.yaml", "new");
    case.until(|listing| *listing.entries[1].bytes == *b"new" && !listing.entries[0].bytes.is_empty());
    drop(stop);
    writer.join().unwrap();
}

#[test]
fn an_unreadable_file_is_a_fault_and_keeps_its_bytes() {
    let mut case = Case::new(&[("a.yaml", "good"), ("b.yaml", "b")]);
    case.store.poll = Duration::from_millis(100);
    // Reading this fails for everybody, the superuser included.
    fs::remove_file(case.path("a.yaml")).unwrap();
    symlink("/proc/self/mem", case.path("a.yaml")).unwrap();
    case.write("b.yaml", "B");
    let listing = case.until(|listing| !listing.faults.is_empty());
    assert_eq!(texts(&case.path(""), &listing), [("a.yaml", "good"), ("b.yaml", "B")]);
    assert!(listing.faults[0].0.ends_with("a.yaml"));
    assert!(listing.faults[0].1.starts_with("cannot be read: "), "{:?}", listing.faults);

    case.write("new.yaml", "good again");
    fs::rename(case.path("new.yaml"), case.path("a.yaml")).unwrap();
    let listing = case.expect(&[("a.yaml", "good again"), ("b.yaml", "B")]);
    assert_eq!(listing.faults, []);
}

#[test]
fn what_is_no_readable_file_is_a_fault() {
    let mut case = Case::new(&[("fine.yaml", "fine")]);
    symlink("nowhere.yaml", case.path("dangling.yaml")).unwrap();
    symlink("self.yaml", case.path("self.yaml")).unwrap();
    std::os::unix::net::UnixListener::bind(case.path("socket.yaml")).unwrap();
    fs::File::create(case.path("vast.yaml")).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
    let listing = case.until(|listing| listing.faults.len() == 4);
    let text = |index: usize| &*listing.faults[index].1;
    assert!(text(0).contains("symbolic link to nothing"), "{}", text(0));
    assert!(text(1).starts_with("cannot be read"), "{}", text(1));
    assert!(text(2).contains("not a regular file"), "{}", text(2));
    assert!(text(3).contains("is too large: 16777217 bytes, at most 16 MiB"), "{}", text(3));
    assert_eq!(listing.entries.len(), 1);
}

#[test]
fn polls_where_events_do_not_arrive() {
    let mut case = Case::new(&[("a.yaml", "old")]);
    case.store.poll = Duration::from_millis(100);
    case.store.next_look = Instant::now();
    case.store.events = Some(Events::deaf("the watches are used up"));
    case.write("a.yaml", "new");
    case.expect(&[("a.yaml", "new")]);
    fs::remove_dir_all(case.path("")).unwrap();
    assert!(case.store.wait(PATIENCE).unwrap());
    assert!(case.store.list().is_err());
    case.write("a.yaml", "back");
    case.expect(&[("a.yaml", "back")]);
    assert!(case.store.describe().ends_with("polled every 100ms because the watches are used up"));
}

#[test]
fn an_edit_is_noticed_soon_and_quiet_is_quiet() {
    let mut case = Case::new(&[("a.yaml", "old")]);
    assert!(!case.store.wait(Duration::from_millis(100)).unwrap(), "nothing happened");
    let start = Instant::now();
    case.write("a.yaml", "new");
    case.expect(&[("a.yaml", "new")]);
    // 300 ms are promised on a machine that has a core to spare.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn a_file_given_by_name_is_read_or_explained() {
    let case = Case::new(&[("a.yaml", "a")]);
    assert_eq!(&*read_file(&case.path("a.yaml")).unwrap().bytes, b"a");
    assert!(read_file(&case.path("b.yaml")).unwrap_err().contains("does not exist"));
    assert!(read_file(&case.path("")).unwrap_err().contains("not a regular file"));
}
