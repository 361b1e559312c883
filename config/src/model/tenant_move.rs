use std::time::Duration;

use crate::ids::Name;
use crate::raw::{MoveDriver, MoveFence, MovePhase};

/// A tenant's way from one cell of a grid to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The move's name.
    pub name: Name,
    /// The tenant's id.
    pub tenant: Name,
    /// The grid.
    pub grid: Name,
    /// The cell of that grid that the tenant lived in when the move began.
    pub from: Name,
    /// The cell of that grid that it moves to; another one.
    pub to: Name,
    /// Whether it was pinned to the cell that it lived in.
    pub was_pinned: bool,
    /// Which requests are kept away.
    pub fence: MoveFence,
    /// The longest time that such a request waits, up to 60 s; zero where it is answered at once.
    pub hold: Duration,
    /// What a client that is refused is told to wait, 1 s to 1 h.
    pub retry_after: Duration,
    /// Whether it was begun with a command that copies the data.
    pub hook: bool,
    /// How far the move has come.
    pub state: MoveState,
}

/// How far a move has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveState {
    /// The phase.
    pub phase: MovePhase,
    /// When the move was begun, in milliseconds since 1970. With the name it tells moves apart.
    pub started: u64,
    /// When it came to this phase, in milliseconds since 1970.
    pub since: u64,
    /// When the controller rolls it back if it has not ended by then, in milliseconds since 1970.
    pub deadline: u64,
    /// Why it is in this phase.
    pub reason: String,
    /// Who carries it on, and alone puts the tenant on the new cell.
    pub driver: Option<MoveDriver>,
}

impl Move {
    /// Whether it has ended, one way or the other. Until then its fence is up.
    pub fn has_ended(&self) -> bool {
        self.state.phase.is_last()
    }

    /// Whether the tenant is on the old cell still, so that its data may have to be copied.
    pub fn is_before_the_flip(&self) -> bool {
        match self.state.phase {
            MovePhase::Fencing | MovePhase::Fenced => true,
            MovePhase::Flipping
            | MovePhase::RollingBack
            | MovePhase::Succeeded
            | MovePhase::RolledBack
            | MovePhase::Failed => false,
        }
    }

    /// The cell that the tenant is on in this phase; nothing where the move does not say.
    pub fn place(&self) -> Option<&Name> {
        match self.state.phase {
            MovePhase::Fencing | MovePhase::Fenced | MovePhase::RollingBack => Some(&self.from),
            MovePhase::Flipping | MovePhase::Succeeded => Some(&self.to),
            MovePhase::RolledBack | MovePhase::Failed => None,
        }
    }
}
