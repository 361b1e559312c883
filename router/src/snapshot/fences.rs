//! The fences that are up: which requests of which tenants are kept away from every cell while the tenant moves.

use std::sync::Arc;

use gridrouter_config::ids::Name;
use gridrouter_config::model::{self, Model};
use gridrouter_config::raw::MoveFence;
use hashbrown::HashMap;
use http::Method;

use super::compile::text;
use super::names::Names;
use crate::placement::hash_of;

/// The fences that are up; there is at least one.
#[derive(Debug)]
pub struct Fences {
    all: Box<[Arc<Fence>]>,
    /// Their positions, by the hash of the tenant's id. A tenant may move in two grids at one time.
    by_tenant: HashMap<u64, Vec<usize>>,
}

/// One fence.
#[derive(Debug)]
pub struct Fence {
    /// The move that it belongs to.
    pub document: Arc<model::Move>,
    /// The grid, by its stable number.
    pub grid: u32,
    /// The hash of the tenant's id.
    pub hash: u64,
}

/// Whether a request may change something, as far as its method says.
pub fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

impl Fences {
    /// Those of a model; nothing where there are none.
    pub(super) fn of(model: &Model, names: &mut Names) -> Option<Arc<Self>> {
        let up = model.moves.values().filter(|one| !one.has_ended());
        let fence = |one: &Arc<model::Move>| {
            let (grid, hash) = (names.grids.of(text(&one.grid)), hash_of(one.tenant.as_str().as_bytes()));
            Arc::new(Fence { document: Arc::clone(one), grid, hash })
        };
        let all: Box<[_]> = up.map(fence).collect();
        if all.is_empty() {
            return None;
        }
        let mut by_tenant: HashMap<u64, Vec<usize>> = HashMap::new();
        for (position, fence) in all.iter().enumerate() {
            by_tenant.entry(fence.hash).or_default().push(position);
        }
        Some(Arc::new(Self { all, by_tenant }))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Fence>> {
        self.all.iter()
    }

    /// The fence that keeps a request away, by the hash of its tenant's id, the id, its grid and whether it may change
    /// something.
    pub fn find(&self, hash: u64, tenant: &str, grid: u32, is_write: bool) -> Option<&Arc<Fence>> {
        let positions = self.by_tenant.get(&hash)?;
        let fences = positions.iter().filter_map(|position| self.all.get(*position));
        let is_it = |fence: &&Arc<Fence>| {
            fence.grid == grid && fence.document.tenant.as_str() == tenant && fence.keeps_away(is_write)
        };
        fences.into_iter().find(is_it)
    }
}

impl Fence {
    /// Whether it keeps away a request that may change something, or one that does not.
    pub fn keeps_away(&self, is_write: bool) -> bool {
        match self.document.fence {
            MoveFence::Writes => is_write,
            MoveFence::All => true,
        }
    }

    /// What tells it from others: the move's name and when it was begun.
    pub fn key(&self) -> (&Name, u64) {
        (&self.document.name, self.document.state.started)
    }
}
