//! Controllers: what acts on a store without being asked.
//!
//! Controllers take no input. A period wakes them (`controller/driver.rs`), they read everything that they need, say what one
//! thing they want to change next, and do the same again whatever became of it. So one that is killed at any moment is
//! followed by one that goes on from what the store has. Of all that run, one acts (`controller/seat.rs`).

pub mod desk;
pub mod driver;
mod ground;
mod seat;
pub mod shift;
pub mod tenant_move;

use std::sync::Arc;
use std::time::Duration;

use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::raw;
use gridrouter_config::store::etcd::writer::Documents;

/// The kinds of documents that the controllers look at. Others are not even read where a store can tell them apart.
pub const KINDS: &[Kind] = &[Kind::Service, Kind::Shift, Kind::Move];

/// How long a move that has ended is kept where nothing else is said.
pub const KEEP_MOVES: Duration = Duration::from_hours(24);

/// What a controller sees of a store: everything of its kinds that is in force, from one moment.
#[derive(Debug, Default)]
pub struct View {
    /// The generation; 0 where nothing was published or there are none.
    pub generation: u64,
    /// The documents that can be read, shared with whoever has read them.
    pub documents: Arc<Documents>,
    /// Those that cannot. A router may have an earlier version of one in force, which nobody here knows.
    pub unreadable: Vec<Unreadable>,
}

impl View {
    /// The service of this name, if it can be read.
    pub fn service(&self, name: &Name) -> Option<&raw::Service> {
        let id = DocumentId { kind: Kind::Service, name: name.clone() };
        match &self.documents.get(&id)?.raw {
            raw::Document::Service(service) => Some(service),
            raw::Document::Listener(_)
            | raw::Document::Certificate(_)
            | raw::Document::Grid(_)
            | raw::Document::Cell(_)
            | raw::Document::Route(_)
            | raw::Document::Limit(_)
            | raw::Document::Plan(_)
            | raw::Document::Shift(_)
            | raw::Document::Move(_)
            | raw::Document::Tenant(_) => None,
        }
    }
}

/// A document that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The document, where that much is known.
    pub id: Option<DocumentId>,
    /// Where, and why.
    pub why: String,
}

/// One change that a controller wants.
#[derive(Debug, Clone, Default)]
pub struct Proposal {
    /// Documents as they shall be, each once. In etcd they change at once; in a directory file by file, in this order.
    pub put: Vec<raw::Document>,
    /// Documents that shall not be.
    pub delete: Vec<DocumentId>,
    /// Why, for the history.
    pub message: String,
}

/// What a controller makes of what it sees.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    /// What is to change now, if anything. The next thing can wait for the next time.
    pub proposal: Option<Proposal>,
    /// What the operator should know; each is said when it was not said the time before.
    pub notes: Vec<String>,
}

impl From<Option<Proposal>> for Decision {
    fn from(proposal: Option<Proposal>) -> Self {
        Self { proposal, notes: Vec::new() }
    }
}

/// All controllers.
pub struct Controllers {
    shifts: shift::Shifts,
    moves: tenant_move::Moves,
    keep_moves: Duration,
}

impl Controllers {
    /// With these routers to be asked what they see, and those whose word is waited for.
    pub fn new(routers: shift::Routers, watch: tenant_move::Watch) -> Result<Self, String> {
        let (shifts, moves) = (shift::Shifts::new(routers)?, tenant_move::Moves::new(watch));
        Ok(Self { shifts, moves, keep_moves: KEEP_MOVES })
    }

    /// With moves deleted that have ended so long ago. The history keeps them.
    #[must_use]
    pub fn keeping_moves(self, keep_moves: Duration) -> Self {
        Self { keep_moves, ..self }
    }

    /// What is to be done now, in milliseconds since 1970. Here, and nowhere else, the controllers are asked.
    pub fn step(&mut self, view: &View, now: u64) -> Decision {
        // A tenant's requests wait while it moves, so that moves go first.
        let moves = self.moves.step(view, now);
        if moves.proposal.is_some() {
            return moves;
        }
        let mut shifts = self.shifts.step(view, now);
        shifts.notes.extend(moves.notes);
        if shifts.proposal.is_none() {
            shifts.proposal = tenant_move::tidy(view, self.keep_moves, now);
        }
        shifts
    }
}
