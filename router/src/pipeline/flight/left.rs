//! Groups that no request goes to any more because of a shift, and the answers of theirs that began before it did. Those
//! requests were on no track, so nobody kept them; they look for themselves, while there is something to find.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use hashbrown::HashMap;

use crate::clock::Millis;
use crate::snapshot::Snapshot;
use crate::snapshot::split::RunSide;

/// For how long after the last answer should have ended requests look: one whose client takes nothing is held up.
const LOOK_ON: Duration = Duration::from_mins(1);

/// One thread's view of the groups that were left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// When answers of each are closed, and what they are counted under.
    groups: RefCell<HashMap<u32, (Millis, u32)>>,
    /// Until when requests look.
    until: Cell<Option<Millis>>,
}

impl Left {
    /// Whether there may be something to find.
    pub(crate) fn is_looked_for(&self, now: Millis) -> bool {
        self.until.get().is_some_and(|until| now < until)
    }

    /// When answers of a group are closed, if it was left, and the number of the track that they are counted under.
    pub(crate) fn closes(&self, group: u32) -> Option<(Millis, u32)> {
        self.groups.borrow().get(&group).copied()
    }

    /// Takes over what a snapshot says. Returns whether it says anything new.
    pub(super) fn review(&self, snapshot: &Snapshot, now: Millis) -> bool {
        let mut groups = self.groups.borrow_mut();
        let (mut new, mut until) = (HashMap::new(), now);
        for (side, drain) in left_by(snapshot) {
            let at = groups.get(&side.group).map_or_else(|| now.after(drain), |(at, _)| *at);
            until = until.max(at);
            new.insert(side.group, (at, side.counted));
        }
        let differs = *groups != new;
        if differs {
            *groups = new;
            self.until.set(Some(until.after(LOOK_ON)));
        }
        differs
    }
}

/// The groups that no request goes to, with how long answers of theirs may go on.
fn left_by(snapshot: &Snapshot) -> impl Iterator<Item = (RunSide, Duration)> {
    snapshot.runs.iter().filter_map(|run| Some((run.side(run.left?), run.document.drain)))
}
