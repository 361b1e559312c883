use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;
use crate::codec::parse;
use crate::generation::advance;
use crate::ids::Name;

/// A generation whose documents tell its number.
fn in_force(number: u64) -> InForce {
    let text = format!("kind: Limit\nname: l\ntokenBucket: {{rate: {number}/s}}\n");
    advance(None, &[parse("limits.yaml", text.as_bytes())], &TenantTable::default()).in_force
}

fn save(directory: &Path, number: u64) -> Result<(), LastKnownGoodError> {
    Keeper::new(directory).save(&in_force(number), number, 1_790_000_000)
}

fn loaded(directory: &Path) -> Loaded {
    load(directory).unwrap().unwrap()
}

/// What a router makes of what was saved.
fn restored(saved: &Saved) -> InForce {
    use crate::codec::{Parsed, SourceDocument};
    let source = |saved: &SavedDocument| {
        let document = SourceDocument::from_raw(&saved.file, saved.line, saved.document.clone()).unwrap();
        Parsed::from_documents(&saved.file, vec![std::sync::Arc::new(document)])
    };
    let files: Vec<_> = saved.documents.iter().map(source).collect();
    advance(None, &files, &saved.tenants).in_force
}

#[test]
fn what_was_saved_is_loaded_and_private() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("new/state");
    assert!(load(&directory).unwrap().is_none());
    let mut keeper = Keeper::new(&directory);
    for number in 1..4 {
        keeper.save(&in_force(number), number, 1_790_000_000).unwrap();
        let Loaded { saved, passed_over } = loaded(&directory);
        assert_eq!((saved.generation, saved.time), (number, 1_790_000_000));
        assert_eq!((saved.documents[0].file.as_str(), saved.documents[0].line), ("limits.yaml", 1));
        assert_eq!((restored(&saved).digest(), saved.digest), (in_force(number).digest(), in_force(number).digest()));
        assert!(passed_over.is_none());
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
    save(home.path(), 1).unwrap();
    save(home.path(), 2).unwrap();
    let newest = home.path().join(FILE);
    let mut bytes = fs::read(&newest).unwrap();
    bytes.truncate(bytes.len() - 1);
    fs::write(&newest, &bytes).unwrap();
    let after = loaded(home.path());
    assert_eq!(after.saved.generation, 1);
    let why = after.passed_over.unwrap().to_string();
    assert!(why.ends_with("is damaged: its last record is cut off; remove it"), "{why}");

    fs::write(home.path().join(PREVIOUS), "hello\n").unwrap();
    let why = load(home.path()).unwrap_err().to_string();
    assert!(why.contains("no usable generation") && why.contains("is not a last-known-good file"), "{why}");
}

#[test]
fn a_crash_between_the_renames_leaves_the_previous_one() {
    let home = tempfile::tempdir().unwrap();
    save(home.path(), 1).unwrap();
    fs::rename(home.path().join(FILE), home.path().join(PREVIOUS)).unwrap();
    fs::write(home.path().join(format!("{FILE}.{}.tmp", std::process::id())), "half").unwrap();
    assert_eq!(loaded(home.path()).saved.generation, 1);
    save(home.path(), 2).unwrap();
    assert_eq!(loaded(home.path()).saved.generation, 2);
}

#[test]
fn a_place_that_cannot_be_written_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    let why = save(&home.path().join("file"), 1).unwrap_err().to_string();
    assert!(why.starts_with("cannot create directory"), "{why}");
    // A directory in the way of the new file stops the last step, as a disk that turns read-only would.
    fs::create_dir_all(home.path().join(FILE).join("full")).unwrap();
    fs::create_dir_all(home.path().join(PREVIOUS).join("full")).unwrap();
    let why = save(home.path(), 1).unwrap_err().to_string();
    assert!(why.starts_with("cannot replace"), "{why}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3, "the temporary file is gone");
}

#[test]
fn a_full_disk_is_an_error() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mark = Mark { generation: 1, digest: Digest::default(), time: 0 };
    assert_eq!(fill(full, &in_force(1), &mark).unwrap_err().kind(), io::ErrorKind::StorageFull);
}

/// Enough tenants for changes to be added to the file, in the table and besides it.
struct Many {
    table: TenantTable,
    limit: u32,
    /// A tenant that is written otherwise than the table takes it.
    besides: Option<&'static str>,
}

impl Many {
    fn new() -> Self {
        let mut many = Self { table: TenantTable::below("/g/config/tenant/"), limit: 1, besides: None };
        for n in 0..20_000 {
            many.pin(&format!("tenant-{n}"), "eu-1");
        }
        many
    }

    fn pin(&mut self, name: &str, cell: &str) {
        let json = format!(r#"{{"kind":"Tenant","name":"{name}","grid":"shop","cell":"{cell}"}}"#);
        assert!(self.table.put_json(&Name::tenant(name).unwrap(), json.as_bytes()));
    }

    fn advance(&self, before: Option<&InForce>) -> InForce {
        let base = format!(
            "kind: Cell\nname: eu-1\n---\nkind: Cell\nname: eu-2\n---\nkind: Grid\nname: shop\ncells: [eu-1, eu-2]\n---\n\
             kind: Limit\nname: l\ntokenBucket: {{rate: {}/s}}\n",
            self.limit
        );
        let besides = self.besides.map(|name| format!("kind: Tenant\nname: {name}\n"));
        let files = [Some(parse("a", base.as_bytes())), besides.map(|text| parse("b", text.as_bytes()))];
        let advanced = advance(before, &files.into_iter().flatten().collect::<Vec<_>>(), &self.table);
        assert!(advanced.problems.is_empty(), "{:#?}", advanced.problems);
        advanced.in_force
    }
}

#[test]
fn changes_are_added_to_a_large_file_and_torn_ones_count_for_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (mut keeper, mut many) = (Keeper::new(home.path()), Many::new());
    let mut now = many.advance(None);
    let size = || fs::metadata(home.path().join(FILE)).unwrap().len();
    let mut saved = Vec::new();
    for generation in 1..8 {
        match generation {
            2 => many.pin("tenant-7", "eu-2"),
            3 => drop(many.table.remove("tenant-8")),
            4 => many.limit = 9,
            5 => many.besides = Some("tenant-8"),
            // From one place to the other.
            6 => {
                many.besides = None;
                many.pin("tenant-8", "eu-2");
            }
            7 => {
                many.table.remove("tenant-9");
                many.besides = Some("tenant-9");
            }
            _ => {}
        }
        now = many.advance(Some(&now));
        keeper.save(&now, generation, generation).unwrap();
        let Loaded { saved: loaded, passed_over } = loaded(home.path());
        assert!(passed_over.is_none());
        assert_eq!((loaded.generation, loaded.digest), (generation, now.digest()));
        assert_eq!(restored(&loaded).digest(), now.digest(), "generation {generation}");
        saved.push((size(), now.digest()));
    }
    assert!(saved[0].0 > SMALL && saved[6].0 < saved[0].0 + 4096, "{saved:?}");
    assert_eq!(loaded(home.path()).saved.tenants.place(), "/g/config/tenant/");
    // Wherever the file is cut or damaged, what was whole before is there.
    let bytes = fs::read(home.path().join(FILE)).unwrap();
    for at in (saved[0].0 as usize..bytes.len()).step_by(101) {
        let whole = saved.iter().rfind(|(size, _)| *size as usize <= at).unwrap().1;
        let (cut, damage) = decode(&mut &bytes[..at]).unwrap();
        assert_eq!((cut.digest, restored(&cut).digest()), (whole, whole));
        assert_eq!(damage.is_none(), saved.iter().any(|(size, _)| *size as usize == at));
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        let (flipped, damage) = decode(&mut flipped.as_slice()).unwrap();
        assert!(damage.is_some() && flipped.digest == whole);
    }
    // A file that is gone is not added to.
    fs::remove_file(home.path().join(FILE)).unwrap();
    many.pin("tenant-1", "eu-2");
    keeper.save(&many.advance(Some(&now)), 8, 0).unwrap();
    assert_eq!(loaded(home.path()).saved.generation, 8);
    // A keeper that did not write the file begins a new one.
    save(home.path(), 9).unwrap();
    assert!(size() < SMALL && loaded(home.path()).saved.generation == 9);
}

#[test]
fn a_file_of_changes_is_begun_anew_when_they_weigh_as_much_as_the_whole() {
    let home = tempfile::tempdir().unwrap();
    let (mut keeper, mut many) = (Keeper::new(home.path()), Many::new());
    let mut now = many.advance(None);
    let mut largest = 0;
    for generation in 1..8 {
        for n in 0..10_000 {
            many.pin(&format!("tenant-{n}"), if generation % 2 == 0 { "eu-1" } else { "eu-2" });
        }
        now = many.advance(Some(&now));
        keeper.save(&now, generation, 0).unwrap();
        largest = largest.max(fs::metadata(home.path().join(FILE)).unwrap().len());
        assert_eq!(restored(&loaded(home.path()).saved).digest(), now.digest());
    }
    let whole = keeper.open.as_ref().unwrap().whole;
    assert!(largest > whole * 3 / 2 && largest < whole * 4, "{largest} of {whole}");
    assert!(home.path().join(PREVIOUS).exists());
}

#[test]
fn another_version_is_named() {
    let bytes = format!("{MAGIC} 1 2 00\n{{}}");
    assert!(matches!(decode(&mut bytes.as_bytes()), Err(ErrorKind::Version(version)) if version == "1"));
}

fn encoded() -> Vec<u8> {
    let home = tempfile::tempdir().unwrap();
    save(home.path(), 7).unwrap();
    fs::read(home.path().join(FILE)).unwrap()
}

#[test]
fn any_changed_byte_is_detected() {
    let good = encoded();
    let (mut bytes, mut missed) = (good.clone(), Vec::new());
    for at in 0..good.len() {
        for byte in 0..=u8::MAX {
            bytes[at] = byte;
            if byte != good[at] && decode(&mut bytes.as_slice()).is_ok() {
                missed.push((at, byte));
            }
        }
        bytes[at] = good[at];
    }
    assert_eq!(missed, []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_truncation_or_addition_is_detected(at in any::<prop::sample::Index>(), more in prop::collection::vec(any::<u8>(), 1..9)) {
        let bytes = encoded();
        prop_assert!(decode(&mut &bytes[..at.index(bytes.len())]).is_err());
        let more = [bytes, more].concat();
        let (saved, damage) = decode(&mut more.as_slice()).unwrap();
        prop_assert!(saved.generation == 7 && damage.is_some());
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&mut bytes.as_slice()).is_err());
    }
}
