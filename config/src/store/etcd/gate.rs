//! Whether a store may be followed: an emptied one, one restored from a backup, or another one altogether must not take
//! everything out of force that is in force now. Pure, but for the file that outlives the process.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::head::Head;
use crate::digest::Digest;

/// What was last in force from a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Anchor {
    lineage: String,
    generation: u64,
    digest: Digest,
}

impl Anchor {
    pub(super) fn of(head: &Head) -> Self {
        Self { lineage: head.lineage.clone(), generation: head.generation, digest: head.digest }
    }

    /// The generation whose history a head has to share, when it is later in the same line than what was in force.
    pub(super) fn ancestor(&self, head: &Head) -> Option<u64> {
        (head.lineage == self.lineage && head.generation > self.generation).then_some(self.generation)
    }

    /// Checks what the history of the store says of that generation. A backup that was restored and has gone on from there
    /// has come to the same number by another way.
    pub(super) fn descends(&self, then: Digest) -> Result<(), String> {
        if then == self.digest {
            return Ok(());
        }
        Err(format!(
            "its generation {} had other documents than the one that was in force, as in a restored backup that has gone \
             on: that one was of lineage {}",
            self.generation, self.lineage
        ))
    }

    /// What was kept by a process before this one. One that cannot be read is none: the gate is a second line, and the
    /// last good generation has its own.
    pub(super) fn load(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let temporary = path.with_extension("new");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        fs::rename(temporary, path)
    }
}

/// Checks a head, or its absence, against what was in force. The error says what is wrong with the store.
pub(super) fn judge(anchor: Option<&Anchor>, head: Option<&Head>) -> Result<(), String> {
    let Some(anchor) = anchor else { return Ok(()) };
    let known = format!("generation {} of lineage {} was in force", anchor.generation, anchor.lineage);
    let Some(head) = head else {
        return Err(format!("it has no head any more and was emptied, or is another store: {known}"));
    };
    let same_line = head.lineage == anchor.lineage;
    if !same_line && !head.replaces.contains(&anchor.lineage) {
        return Err(format!(
            "it has generation {} of the other lineage {}, and was emptied and filled again or is another store: {known}",
            head.generation, head.lineage
        ));
    }
    if head.generation > anchor.generation {
        return Ok(());
    }
    if same_line && head.generation == anchor.generation {
        return if head.digest == anchor.digest {
            Ok(())
        } else {
            Err(format!("its generation {} has other documents than before: {known}", head.generation))
        };
    }
    Err(format!("it went back to generation {}, as a restored backup does: {known}", head.generation))
}

/// What to do about a store that is not followed.
pub(super) const REMEDY: &str = "what is in force stays; if this store is right, publish in it with `gridctl import` or \
                                 `gridctl apply` and --adopt, or start once with --etcd-accept";

#[cfg(test)]
mod tests {
    use super::super::head::tests::head;
    use super::*;

    #[test]
    fn what_follows_is_followed() {
        let anchor = Anchor::of(&head(5, "a"));
        assert_eq!(judge(None, None), Ok(()));
        assert_eq!(judge(None, Some(&head(1, "b"))), Ok(()));
        assert_eq!(judge(Some(&anchor), Some(&head(5, "a"))), Ok(()));
        assert_eq!(judge(Some(&anchor), Some(&head(9, "a"))), Ok(()));
        let mut adopted = head(6, "b");
        adopted.replace(["a".to_owned()]);
        assert_eq!(judge(Some(&anchor), Some(&adopted)), Ok(()));
    }

    #[test]
    fn what_does_not_is_held_and_the_text_says_why() {
        let anchor = Anchor::of(&head(5, "a"));
        let why = |head: Option<&Head>| judge(Some(&anchor), head).unwrap_err();
        assert!(why(None).starts_with("it has no head any more"));
        assert!(why(Some(&head(4, "a"))).starts_with("it went back to generation 4"));
        assert!(why(Some(&head(6, "b"))).contains("other lineage b"));
        let mut other = head(5, "a");
        other.digest = Digest::default();
        assert!(why(Some(&other)).contains("other documents"));
        let mut adopted_below = head(5, "b");
        adopted_below.replace(["a".to_owned()]);
        assert!(why(Some(&adopted_below)).contains("went back"));
    }

    #[test]
    fn a_later_generation_has_to_descend_from_the_one_in_force() {
        let anchor = Anchor::of(&head(5, "a"));
        assert_eq!(anchor.ancestor(&head(6, "a")), Some(5));
        assert_eq!((anchor.ancestor(&head(5, "a")), anchor.ancestor(&head(6, "b"))), (None, None));
        assert_eq!(anchor.descends(head(5, "a").digest), Ok(()));
        assert!(anchor.descends(Digest::default()).unwrap_err().contains("generation 5 had other documents"));
    }

    #[test]
    fn an_anchor_outlives_the_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/anchor");
        assert_eq!(Anchor::load(&path), None);
        let anchor = Anchor::of(&head(5, "a"));
        anchor.save(&path).unwrap();
        assert_eq!(Anchor::load(&path), Some(anchor));
        fs::write(&path, "{").unwrap();
        assert_eq!(Anchor::load(&path), None);
    }
}
