//! Raw → model. Collects every problem, never stops at the first.

use std::sync::Arc;

use crate::codec::SourceDocument;
use crate::model;
use crate::problem::Problem;

/// A checked document of any kind.
#[derive(Debug, Clone)]
pub enum ModelDocument {
    /// A socket that clients connect to.
    Listener(Arc<model::Listener>),
    /// A set of cells and the placement policy over them.
    Grid(Arc<model::Grid>),
    /// One isolated copy of the services.
    Cell(Arc<model::Cell>),
    /// A named backend.
    Service(Arc<model::Service>),
    /// A match on the request, and what happens to it.
    Route(Arc<model::Route>),
    /// A named rate policy.
    Limit(Arc<model::Limit>),
    /// A customer.
    Tenant(Arc<model::Tenant>),
}

/// Checks one document by itself.
pub fn convert(_source: &SourceDocument) -> Result<ModelDocument, Vec<Problem>> {
    Err(Vec::new())
}
