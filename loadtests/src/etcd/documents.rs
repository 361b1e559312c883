//! A site as documents in etcd.

use gridrouter_config::codec::{SourceDocument, parse};
use gridrouter_config::ids::{DocumentId, Kind, Name};
use gridrouter_config::raw::{Document, Tenant};
use gridrouter_config::store::etcd::writer::Change;

use crate::error::{Context, Error, Result};
use crate::proxies::gridrouter;
use crate::site::{GRID, Pin, Site};

/// What a document is said to come from, in problems.
const ORIGIN: &str = "drill";

/// Everything that a site needs, but for its pins. Every router listens on a port of its own, which `/snapshot` tells: all
/// of them read the same documents.
pub fn all_but_pins(site: &Site) -> Result<Vec<Change>> {
    let mut site = site.clone();
    site.listen.set_port(0);
    changes(&gridrouter::documents_but_pins(&site))
}

/// The first route of the site as it is now.
pub fn route(site: &Site) -> Result<Change> {
    let text = gridrouter::used_route(site).ok_or_else(|| Error::new("the site has no route"))?;
    changes(&text)?.pop().ok_or_else(|| Error::new("the route is no document"))
}

/// A tenant pinned to a cell.
pub fn pin(tenant: &str, cell: &str) -> Result<Change> {
    let tenant = Tenant {
        name: tenant.to_owned(),
        grid: Some(GRID.to_owned()),
        cell: Some(cell.to_owned()),
        ..Tenant::default()
    };
    let document = SourceDocument::from_raw(ORIGIN, 1, Document::Tenant(tenant));
    Change::put(&document.map_err(|problem| Error::new(problem.message))?).map_err(Error::new)
}

/// The pins of a site.
pub fn pins(pins: &[Pin]) -> Result<Vec<Change>> {
    pins.iter().map(|Pin { tenant, cell }| pin(tenant, cell)).collect()
}

/// No pin for a tenant any more.
pub fn unpin(tenant: &str) -> Result<Change> {
    let name = Name::tenant(tenant).context(format_args!("tenant {tenant}"))?;
    Ok(Change::delete(DocumentId { kind: Kind::Tenant, name }))
}

fn changes(text: &str) -> Result<Vec<Change>> {
    let parsed = parse(ORIGIN, text.as_bytes());
    if let Some(problem) = parsed.broken.iter().flat_map(|broken| &broken.problems).next() {
        return Err(Error::new(format!("{}:{}: {}", problem.file, problem.line, problem.message)));
    }
    parsed.documents.iter().map(|document| Change::put(document).map_err(Error::new)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_made_of_documents_that_can_be_published() {
        let mut site = Site::new(2, &["checkout"], 1).unwrap();
        (site.idle_routes, site.stamp) = (3, Some(7));
        site.limit(crate::site::Limits::One);
        let ids: Vec<String> = all_but_pins(&site).unwrap().iter().map(|change| change.id().to_string()).collect();
        // A listener, a grid, two cells, a service, a limit, a route and the idle ones.
        assert_eq!(ids.len(), 10, "{ids:?}");
        assert_eq!(route(&site).unwrap().id(), all_but_pins(&site).unwrap()[6].id());
        assert_eq!(pin("acme", "cell-1").unwrap().id(), unpin("acme").unwrap().id());
    }
}
