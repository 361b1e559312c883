//! References as they are written, for documents that are bad and take no part in the other checks.

use std::collections::{BTreeMap, BTreeSet};

use super::cross::advice;
use crate::codec::SourceDocument;
use crate::ids::{DocumentId, Kind, Name};
use crate::path::Path;
use crate::problem::{Found, Problem, quoted};
use crate::raw;
use crate::structure::Gaps;

/// All documents that are written anywhere, good or bad. Who refers to one of them is not to blame.
#[derive(Default)]
pub(crate) struct Written<'a> {
    names: BTreeMap<Kind, BTreeSet<&'a str>>,
    /// What was advised for a name before: a mistake that is made in every document is looked up once.
    advice: BTreeMap<DocumentId, String>,
}

impl<'a> Written<'a> {
    pub(crate) fn new(ids: impl Iterator<Item = &'a DocumentId>) -> Self {
        let mut written = Written::default();
        for id in ids {
            written.names.entry(id.kind).or_default().insert(id.name.as_str());
        }
        written
    }

    /// The references of a document that lead nowhere, leaving out those that cannot be known.
    pub(crate) fn dangling(&mut self, source: &SourceDocument, gaps: Option<&Gaps>) -> Vec<Problem> {
        let mut found = Found::default();
        each_reference(&source.raw, &mut |kind, name, path| {
            // The name of an entry is known whatever its value is.
            let place = match (&source.raw, path) {
                (
                    raw::Document::Service(_) | raw::Document::Plan(_) | raw::Document::Tenant(_),
                    Path::Key(map, key),
                ) if *key == name => *map,
                _ => path,
            };
            let known = self.names.get(&kind).is_some_and(|names| names.contains(name));
            if known || gaps.is_some_and(|gaps| gaps.cover(&place.to_string())) {
                return;
            }
            // A name that cannot be one has been reported.
            let Ok(name) = Name::parse(name) else { return };
            let missing = DocumentId { kind, name };
            found.add(|| {
                let problem = source.problem(path, format!("there is no {kind} {}", quoted(missing.name.as_str())));
                Problem { help: Some(self.advise(&missing)), missing: Some(missing), ..problem }
            });
        });
        found.into_told()
    }

    fn advise(&mut self, missing: &DocumentId) -> String {
        if let Some(advice) = self.advice.get(missing) {
            return advice.clone();
        }
        let names = self.names.get(&missing.kind);
        let advice = advice(missing.kind, &missing.name, || names.into_iter().flatten().copied());
        self.advice.insert(missing.clone(), advice.clone());
        advice
    }
}

/// Everything that a document names, in the order of its fields.
fn each_reference(document: &raw::Document, found: &mut impl FnMut(Kind, &str, &Path<'_>)) {
    let root = Path::Root;
    match document {
        raw::Document::Route(route) => {
            list(Kind::Listener, &route.listeners, &root.key("listeners"), found);
            list(Kind::Limit, &route.limits, &root.key("limits"), found);
            // Without a service a grid has no effect, which is another problem.
            if let Some(service) = &route.service {
                one(Kind::Grid, route.grid.as_ref(), &root.key("grid"), found);
                found(Kind::Service, service, &root.key("service"));
            }
        }
        raw::Document::Grid(grid) => list(Kind::Cell, &grid.cells, &root.key("cells"), found),
        raw::Document::Service(service) => {
            service.cells.keys().for_each(|cell| found(Kind::Cell, cell, &root.key("cells").key(cell)));
            list(Kind::Limit, &service.limits, &root.key("limits"), found);
            let certificate = service.tls.as_ref().and_then(|tls| tls.client_certificate.as_ref());
            one(Kind::Certificate, certificate, &root.key("tls").key("clientCertificate"), found);
        }
        raw::Document::Tenant(tenant) => {
            one(Kind::Grid, tenant.grid.as_ref(), &root.key("grid"), found);
            one(Kind::Cell, tenant.cell.as_ref(), &root.key("cell"), found);
            one(Kind::Plan, tenant.plan.as_ref(), &root.key("plan"), found);
            tenant.limits.keys().for_each(|limit| found(Kind::Limit, limit, &root.key("limits").key(limit)));
            list(Kind::Limit, &tenant.extra_limits, &root.key("extraLimits"), found);
        }
        raw::Document::Plan(plan) => {
            plan.limits.keys().for_each(|limit| found(Kind::Limit, limit, &root.key("limits").key(limit)));
            list(Kind::Limit, &plan.extra_limits, &root.key("extraLimits"), found);
        }
        raw::Document::Shift(shift) => {
            found(Kind::Service, &shift.service, &root.key("service"));
            let at = root.key("waves");
            for (n, wave) in shift.waves.iter().enumerate() {
                list(Kind::Cell, &wave.cells, &at.index(n).key("cells"), found);
            }
        }
        raw::Document::Move(one) => {
            found(Kind::Grid, &one.grid, &root.key("grid"));
            found(Kind::Cell, &one.from, &root.key("from"));
            found(Kind::Cell, &one.to, &root.key("to"));
        }
        raw::Document::Listener(listener) => {
            list(Kind::Limit, &listener.limits, &root.key("limits"), found);
            if let Some(tls) = &listener.tls {
                let at = root.key("tls");
                list(Kind::Certificate, &tls.certificates, &at.key("certificates"), found);
                let default = tls.default.as_ref().filter(|name| !tls.certificates.contains(name));
                one(Kind::Certificate, default, &at.key("default"), found);
            }
        }
        raw::Document::Certificate(_) | raw::Document::Cell(_) | raw::Document::Limit(_) => {}
    }
}

fn one(kind: Kind, name: Option<&String>, path: &Path<'_>, found: &mut impl FnMut(Kind, &str, &Path<'_>)) {
    if let Some(name) = name {
        found(kind, name, path);
    }
}

fn list(kind: Kind, names: &[String], path: &Path<'_>, found: &mut impl FnMut(Kind, &str, &Path<'_>)) {
    let mut seen = BTreeSet::new();
    for (n, name) in names.iter().enumerate().filter(|(_, name)| seen.insert(*name)) {
        found(kind, name, &path.index(n));
    }
}
