//! Raw → model. Collects every problem, never stops at the first.
//!
//! [`convert`] checks a document by itself and depends on nothing else, so that its outcome may be kept for as long as
//! the document says the same. [`cross_check`] checks what documents say of each other.

mod cell;
mod certificate;
mod cross;
mod endpoint;
mod grid;
mod header;
mod host;
mod limit;
mod listener;
mod pattern;
mod plan;
mod route;
mod service;
mod shift;
mod tenant;
mod tenant_move;
mod url_path;
mod value;
mod written;

pub use cross::{Conflict, cross_check};
pub(crate) use endpoint::registered;
pub(crate) use limit::tenant_misfits;
pub(crate) use written::Written;

use std::sync::Arc;

use crate::codec::SourceDocument;
use crate::model;
use crate::path::Path;
use crate::problem::{Found, Problem, split_advice};
use crate::raw;
use crate::structure::Gaps;

/// A checked document of any kind.
#[derive(Debug, Clone)]
pub enum ModelDocument {
    /// A socket that clients connect to.
    Listener(Arc<model::Listener>),
    /// A certificate with its key.
    Certificate(Arc<model::Certificate>),
    /// A set of cells and the placement policy over them.
    Grid(Arc<model::Grid>),
    /// One isolated copy of the services.
    Cell(Arc<model::Cell>),
    /// A named backend.
    Service(Arc<model::Service>),
    /// A match on the request, and what happens to it.
    Route(Arc<model::Route>),
    /// A named rate or concurrency policy.
    Limit(Arc<model::Limit>),
    /// Limit values that many tenants share.
    Plan(Arc<model::Plan>),
    /// A stepwise move of traffic from one track to the other.
    Shift(Arc<model::Shift>),
    /// A tenant's way from one cell to another.
    Move(Arc<model::Move>),
    /// A customer.
    Tenant(Arc<model::Tenant>),
}

impl ModelDocument {
    /// Whether the two are one and the same, not merely equal.
    pub fn same(&self, other: &ModelDocument) -> bool {
        match (self, other) {
            (ModelDocument::Listener(a), ModelDocument::Listener(b)) => Arc::ptr_eq(a, b),
            (ModelDocument::Certificate(a), ModelDocument::Certificate(b)) => Arc::ptr_eq(a, b),
            (ModelDocument::Grid(a), ModelDocument::Grid(b)) => Arc::ptr_eq(a, b),
            (ModelDocument::Cell(a), ModelDocument::Cell(b)) => Arc::ptr_eq(a, b),
            (ModelDocument::Service(a), ModelDocument::Service(b)) => Arc::ptr_eq(a, b),
            (ModelDocument::Route(a), ModelDocument::Route(b)) => Arc::ptr_eq(a, b),
            (ModelDocument::Limit(a), ModelDocument::Limit(b)) => Arc::ptr_eq(a, b),
            (ModelDocument::Plan(a), ModelDocument::Plan(b)) => Arc::ptr_eq(a, b),
            (ModelDocument::Shift(a), ModelDocument::Shift(b)) => Arc::ptr_eq(a, b),
            (ModelDocument::Move(a), ModelDocument::Move(b)) => Arc::ptr_eq(a, b),
            (ModelDocument::Tenant(a), ModelDocument::Tenant(b)) => Arc::ptr_eq(a, b),
            (
                ModelDocument::Listener(_)
                | ModelDocument::Certificate(_)
                | ModelDocument::Grid(_)
                | ModelDocument::Cell(_)
                | ModelDocument::Service(_)
                | ModelDocument::Route(_)
                | ModelDocument::Limit(_)
                | ModelDocument::Plan(_)
                | ModelDocument::Shift(_)
                | ModelDocument::Move(_)
                | ModelDocument::Tenant(_),
                _,
            ) => false,
        }
    }
}

/// Checks one document by itself.
pub fn convert(source: &SourceDocument) -> Result<ModelDocument, Vec<Problem>> {
    convert_with(source, None)
}

/// Checks what there is of a document in which stand-ins are. What these may have caused is no problem.
pub(crate) fn convert_with(source: &SourceDocument, gaps: Option<&Gaps>) -> Result<ModelDocument, Vec<Problem>> {
    let mut check = Check { source, gaps, found: Found::default() };
    let model = match &source.raw {
        raw::Document::Listener(raw) => listener::check(&mut check, raw).map(Arc::new).map(ModelDocument::Listener),
        raw::Document::Certificate(raw) => {
            certificate::check(&mut check, raw).map(Arc::new).map(ModelDocument::Certificate)
        }
        raw::Document::Grid(raw) => grid::check(&mut check, raw).map(Arc::new).map(ModelDocument::Grid),
        raw::Document::Cell(raw) => cell::check(&mut check, raw).map(Arc::new).map(ModelDocument::Cell),
        raw::Document::Service(raw) => service::check(&mut check, raw).map(Arc::new).map(ModelDocument::Service),
        raw::Document::Route(raw) => route::check(&mut check, raw).map(Arc::new).map(ModelDocument::Route),
        raw::Document::Limit(raw) => limit::check(&mut check, raw).map(Arc::new).map(ModelDocument::Limit),
        raw::Document::Plan(raw) => plan::check(&mut check, raw).map(Arc::new).map(ModelDocument::Plan),
        raw::Document::Shift(raw) => shift::check(&mut check, raw).map(Arc::new).map(ModelDocument::Shift),
        raw::Document::Move(raw) => tenant_move::check(&mut check, raw).map(Arc::new).map(ModelDocument::Move),
        raw::Document::Tenant(raw) => tenant::check(&mut check, raw).map(Arc::new).map(ModelDocument::Tenant),
    };
    match model {
        Some(model) if check.found.count() == 0 => Ok(model),
        _ => Err(check.into_problems()),
    }
}

/// A document being checked, and what was found so far.
struct Check<'a> {
    source: &'a SourceDocument,
    /// Where values stand in for what cannot be read.
    gaps: Option<&'a Gaps>,
    found: Found,
}

impl Check<'_> {
    /// Notes what is wrong with a field.
    fn wrong(&mut self, path: &Path<'_>, message: impl Into<String>) {
        self.note(|source| source.problem(path, message));
    }

    /// Notes what is wrong with a field and what to write instead.
    fn wrong_but(&mut self, path: &Path<'_>, message: impl Into<String>, help: impl Into<String>) {
        self.note(|source| source.problem(path, message).with_help(help));
    }

    /// Whether these values were written, and do not stand in for others: a value that does is no good to compare with.
    fn are_written(&self, fields: &[&Path<'_>]) -> bool {
        self.gaps.is_none_or(|gaps| !fields.iter().any(|field| gaps.cover(&field.to_string())))
    }

    /// The value, or the error noted: `what is wrong; what to write instead`.
    fn take<T>(&mut self, path: &Path<'_>, result: Result<T, String>) -> Option<T> {
        result
            .map_err(|message| {
                let (message, help) = split_advice(message);
                self.note(|source| Problem { help, ..source.problem(path, message) });
            })
            .ok()
    }

    /// Notes a problem, unless a stand-in may be what makes it one.
    fn note(&mut self, problem: impl FnOnce(&SourceDocument) -> Problem) {
        match self.gaps {
            Some(gaps) if !self.found.is_full() => {
                let problem = problem(self.source);
                if !gaps.explain(&problem) {
                    self.found.add(|| problem);
                }
            }
            Some(_) | None => self.found.add(|| problem(self.source)),
        }
    }

    /// A value that was not accepted always comes with a reason, unless a stand-in is the reason.
    fn into_problems(mut self) -> Vec<Problem> {
        if self.found.count() == 0 && self.gaps.is_none() {
            self.wrong(&Path::Root, "document is not valid");
        }
        self.found.into_told()
    }
}
