//! What routers say of a move, and which of them are waited for. Pure.
//!
//! A router acknowledges what it says that it has in force, and not a generation's number: one that is too old for moves, or
//! has refused the document, has the generation and no fence.

use gridrouter_config::live::{MoveSeen, RouterStatus};
use gridrouter_config::model::Move;

use crate::table::{plural, printable};

/// Routers that a line names.
const NAMED: usize = 5;

/// The routers that there are.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    /// Those that are alive.
    pub live: Vec<RouterStatus>,
    /// Those that are not, and did not say farewell: they may run still, cut off from the store, with what they had.
    pub vanished: Vec<String>,
}

/// How a router stands to a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// It has the move's phase in force.
    There,
    /// It has not; why.
    Not(String),
}

/// How one live router stands to the move's phase.
pub fn stand(one: &Move, router: &RouterStatus) -> Stand {
    let seen = router.moves.iter().find(|seen| seen.name == one.name.as_str() && seen.started == one.state.started);
    let Some(MoveSeen { phase, cell, clean, .. }) = seen else {
        let knows =
            if router.moves.is_empty() && router.generation > 0 { "does not know of the move" } else { "is behind" };
        return Stand::Not(format!("{knows} (generation {})", router.generation));
    };
    if *phase != one.state.phase {
        return Stand::Not(format!("has {}", phase.as_str()));
    }
    match (one.place(), cell.as_deref()) {
        (Some(wanted), Some(cell)) if wanted.as_str() != cell => {
            return Stand::Not(format!("has the tenant on {cell}"));
        }
        (Some(_), None) => return Stand::Not("has the tenant nowhere".to_owned()),
        (Some(_) | None, _) => {}
    }
    if *clean { Stand::There } else { Stand::Not("has requests under way".to_owned()) }
}

/// What routers are waited for until the move can go on; nothing when all are there.
pub fn waits(one: &Move, fleet: &Fleet) -> Option<String> {
    let behind = fleet.live.iter().filter_map(|router| match stand(one, router) {
        Stand::There => None,
        Stand::Not(why) => Some(format!("{} {why}", router.id)),
    });
    let vanished = fleet.vanished.iter().map(|id| format!("{id} is gone and may run still"));
    let all: Vec<String> = behind.chain(vanished).collect();
    if all.is_empty() {
        return None;
    }
    let mut text = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if let Some(more) = all.len().checked_sub(NAMED).filter(|more| *more > 0) {
        text = format!("{text} and {} more", plural(more, "router"));
    }
    Some(printable(&format!("waits for {}: {text}", plural(all.len(), "router"))))
}

#[cfg(test)]
mod tests {
    use gridrouter_config::raw::MovePhase;

    use super::super::tests::{example, in_phase};
    use super::*;

    fn router(phase: MovePhase, cell: &str, clean: bool) -> RouterStatus {
        let seen = MoveSeen { name: "m".into(), started: 5, phase, cell: Some(cell.into()), clean };
        RouterStatus { id: "r".into(), generation: 7, moves: vec![seen], ..RouterStatus::default() }
    }

    #[test]
    fn a_router_is_there_when_it_says_so_itself() {
        let one = in_phase(&example(), MovePhase::Fencing);
        let not = |router: RouterStatus| match stand(&one, &router) {
            Stand::There => panic!("{router:?}"),
            Stand::Not(why) => why,
        };
        assert_eq!(stand(&one, &router(MovePhase::Fencing, "a", true)), Stand::There);
        assert_eq!(not(router(MovePhase::Fencing, "a", false)), "has requests under way");
        assert_eq!(not(router(MovePhase::Fencing, "c", true)), "has the tenant on c");
        assert_eq!(not(router(MovePhase::Flipping, "a", true)), "has Flipping");
        let old = RouterStatus { moves: Vec::new(), ..router(MovePhase::Fencing, "a", true) };
        assert_eq!(not(old), "does not know of the move (generation 7)");
        let mut other = router(MovePhase::Fencing, "a", true);
        other.moves[0].started = 4;
        assert_eq!(not(other), "is behind (generation 7)");
    }

    #[test]
    fn whoever_is_waited_for_is_named() {
        let one = in_phase(&example(), MovePhase::Flipping);
        let fleet = Fleet { live: vec![router(MovePhase::Flipping, "b", true)], vanished: Vec::new() };
        assert_eq!(waits(&one, &fleet), None);
        assert_eq!(waits(&one, &Fleet::default()), None);
        let fleet = Fleet { vanished: vec!["q".to_owned()], live: vec![router(MovePhase::Fenced, "a", true)] };
        assert_eq!(waits(&one, &fleet).unwrap(), "waits for 2 routers: r has Fenced, q is gone and may run still");
    }
}
