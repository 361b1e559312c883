use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tenant's way from one cell of a grid to another. `gridctl tenant move` writes it, and carries it on.
///
/// While it is under way, a fence keeps what would change the tenant's data away from both cells, so that the data can be
/// copied and no two cells ever take the tenant's changes at one time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Move {
    /// The name, unique among moves.
    pub name: String,
    /// The tenant's id, 1 to 128 bytes.
    pub tenant: String,
    /// The grid.
    pub grid: String,
    /// The cell that the tenant lived in when the move began.
    pub from: String,
    /// The cell that it moves to.
    pub to: String,
    /// Whether it was pinned to the cell that it lived in. Where it was not, the move pins it, and a rollback takes the pin
    /// back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_pinned: bool,
    /// Which requests are kept away. Default `writes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<MoveFence>,
    /// The longest time that such a request waits for the end of the move, up to `60s`; it is answered 503 then. Default: not
    /// at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// What a client that is answered 503 is told to wait, `1s` to `1h`. Default `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// Whether it was begun with a command that copies the data: nobody goes on without one then, but by saying that the data
    /// is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hook: bool,
    /// How far the move has come.
    pub state: MoveState,
}

/// Which requests a fence keeps away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MoveFence {
    /// All but those with the methods GET, HEAD and OPTIONS.
    #[default]
    Writes,
    /// All.
    All,
}

impl MoveFence {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            MoveFence::Writes => "writes",
            MoveFence::All => "all",
        }
    }
}

/// How far a move has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveState {
    /// The phase.
    pub phase: MovePhase,
    /// When the move was begun, in milliseconds since 1970.
    pub started: u64,
    /// When it came to this phase, in milliseconds since 1970.
    pub since: u64,
    /// When the controller rolls it back if it has not ended by then, in milliseconds since 1970.
    pub deadline: u64,
    /// Why it is in this phase.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who carries it on, and alone puts the tenant on the new cell. Nobody where it goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<MoveDriver>,
}

/// Who carries a move on: one run of `gridctl tenant move` or `gridctl move resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MoveDriver {
    /// What tells it from every other run; drawn by chance.
    pub id: String,
    /// The host and the process, for people.
    pub host: String,
    /// Since when it carries the move on, in milliseconds since 1970.
    pub since: u64,
}

/// The phase of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum MovePhase {
    /// The fence is being put up: routers are waited for, and requests under way. The tenant is on the old cell.
    Fencing,
    /// The fence is up in every router, and what was under way has ended: the data can be copied.
    Fenced,
    /// The tenant is on the new cell, and the fence is still up until every router knows.
    Flipping,
    /// The tenant is on the new cell, and the fence is down.
    Succeeded,
    /// The tenant is on the old cell again, and the fence is still up until every router knows.
    RollingBack,
    /// The tenant is on the old cell, as before, and the fence is down.
    RolledBack,
    /// Somebody else put the tenant elsewhere meanwhile. It is left there, and the fence is down.
    Failed,
}

impl MovePhase {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            MovePhase::Fencing => "Fencing",
            MovePhase::Fenced => "Fenced",
            MovePhase::Flipping => "Flipping",
            MovePhase::Succeeded => "Succeeded",
            MovePhase::RollingBack => "RollingBack",
            MovePhase::RolledBack => "RolledBack",
            MovePhase::Failed => "Failed",
        }
    }

    /// Whether it is the last one: the fence is down.
    pub const fn is_last(self) -> bool {
        match self {
            MovePhase::Fencing | MovePhase::Fenced | MovePhase::Flipping | MovePhase::RollingBack => false,
            MovePhase::Succeeded | MovePhase::RolledBack | MovePhase::Failed => true,
        }
    }
}
