use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;
use crate::raw::Grid;

fn generation(number: u64) -> Saved {
    let grid = Grid { name: "shop".to_owned(), cells: vec!["eu-1".to_owned()], placement: None };
    let document = SavedDocument { file: "grid.yaml".to_owned(), line: 3, document: Document::Grid(grid) };
    Saved { generation: number, digest: "00ff".to_owned(), time: 1_790_000_000, documents: vec![document] }
}

fn loaded(directory: &Path) -> Loaded {
    load(directory).unwrap().unwrap()
}

#[test]
fn what_was_saved_is_loaded_and_private() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("new/state");
    assert!(load(&directory).unwrap().is_none());
    for number in 1..4 {
        save(&directory, &generation(number)).unwrap();
        let loaded = loaded(&directory);
        assert_eq!(loaded.saved, generation(number));
        assert!(loaded.passed_over.is_none());
    }
    let mut names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [FILE, PREVIOUS], "nothing else is left behind");
    assert_eq!(fs::metadata(directory.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_damaged_file_is_passed_over_for_the_previous_one() {
    let home = tempfile::tempdir().unwrap();
    save(home.path(), &generation(1)).unwrap();
    save(home.path(), &generation(2)).unwrap();
    let newest = home.path().join(FILE);
    let mut bytes = fs::read(&newest).unwrap();
    bytes.truncate(bytes.len() - 1);
    fs::write(&newest, &bytes).unwrap();
    let after = loaded(home.path());
    assert_eq!(after.saved.generation, 1);
    let why = after.passed_over.unwrap().to_string();
    assert!(why.ends_with("is damaged: its length is not the one in its header; remove it"), "{why}");

    fs::write(home.path().join(PREVIOUS), "hello\n").unwrap();
    let why = load(home.path()).unwrap_err().to_string();
    assert!(why.contains("no usable generation") && why.contains("is not a last-known-good file"), "{why}");
}

#[test]
fn a_crash_between_the_renames_leaves_the_previous_one() {
    let home = tempfile::tempdir().unwrap();
    save(home.path(), &generation(1)).unwrap();
    fs::rename(home.path().join(FILE), home.path().join(PREVIOUS)).unwrap();
    fs::write(home.path().join(format!("{FILE}.{}.tmp", std::process::id())), "half").unwrap();
    assert_eq!(loaded(home.path()).saved.generation, 1);
    save(home.path(), &generation(2)).unwrap();
    assert_eq!(loaded(home.path()).saved.generation, 2);
}

#[test]
fn a_place_that_cannot_be_written_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    let why = save(&home.path().join("file"), &generation(1)).unwrap_err().to_string();
    assert!(why.starts_with("cannot create directory"), "{why}");
    // A directory in the way of the new file stops the last step, as a disk that turns read-only would.
    fs::create_dir_all(home.path().join(FILE).join("full")).unwrap();
    fs::create_dir_all(home.path().join(PREVIOUS).join("full")).unwrap();
    let why = save(home.path(), &generation(1)).unwrap_err().to_string();
    assert!(why.starts_with("cannot replace"), "{why}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3, "the temporary file is gone");
}

#[test]
fn a_full_disk_is_an_error() {
    let mut full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_eq!(fill(&mut full, b"{}").unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn another_version_is_named() {
    let mut bytes = header(b"{}").replacen(" 1 ", " 2 ", 1).into_bytes();
    bytes.extend_from_slice(b"{}");
    assert!(matches!(decode(&bytes), Err(ErrorKind::Version(version)) if version == "2"));
}

fn encoded() -> Vec<u8> {
    let payload = serde_json::to_vec(&generation(7)).unwrap();
    [header(&payload).into_bytes(), payload].concat()
}

proptest! {
    #[test]
    fn any_changed_byte_is_detected(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = encoded();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn any_truncation_or_addition_is_detected(at in any::<prop::sample::Index>(), more in prop::collection::vec(any::<u8>(), 1..9)) {
        let bytes = encoded();
        prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        prop_assert!(decode(&[bytes, more].concat()).is_err());
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes).is_err());
    }
}
