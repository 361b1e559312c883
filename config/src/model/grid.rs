use crate::ids::Name;

/// A set of cells and the placement policy over them.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// The grid's name.
    pub name: Name,
    /// The cells, sorted by name, without duplicates, at least one.
    pub cells: Vec<Name>,
    /// How tenants without a pin are spread.
    pub placement: Placement,
}

/// How tenants without a pin are spread over the cells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Placement {
    /// A weighted hash ring with virtual nodes and bounded load.
    Ring(RingPlacement),
}

/// A weighted hash ring with virtual nodes and bounded load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RingPlacement {
    /// Points on the ring for a cell of weight 100, 1 to 10,000.
    pub virtual_nodes: u32,
    /// The most buckets a cell takes as a multiple of its fair share, at least 1.0.
    pub bounded_load: f64,
}

impl Default for RingPlacement {
    fn default() -> Self {
        Self { virtual_nodes: 160, bounded_load: 1.25 }
    }
}
