//! Cells by themselves.

use super::Check;
use crate::model::{Cell, CellState};
use crate::path::Path;
use crate::raw;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Cell) -> Option<Cell> {
    let off = "`state: draining` to place no more tenants here";
    let weight = check.weight(&Path::Root.key("weight"), raw.weight, 100, off);
    let ingress = check.endpoints(&Path::Root.key("ingress"), &raw.ingress);
    let state = match raw.state.unwrap_or(raw::CellState::Active) {
        raw::CellState::Active => CellState::Active,
        raw::CellState::Draining => CellState::Draining,
        raw::CellState::Offline => CellState::Offline,
    };
    Some(Cell {
        name: check.source.id.name.clone(),
        weight: weight?,
        state,
        labels: raw.labels.clone(),
        ingress: ingress?,
    })
}
