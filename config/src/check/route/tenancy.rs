//! Where a route finds the tenant's id.

use super::super::value::all;
use super::super::{Check, header};
use crate::ids::Name;
use crate::model::{Otherwise, TenantRule, TenantSource};
use crate::path::Path;
use crate::problem::quoted;
use crate::raw;

/// The rule, if there is one; nothing if it is bad or missing where it is needed.
#[expect(clippy::option_option, reason = "bad, absent and given are three cases")]
pub(super) fn rule(check: &mut Check<'_>, raw: &raw::Route) -> Option<Option<TenantRule>> {
    let Some(rule) = &raw.tenant else {
        if let Some(grid) = &raw.grid {
            let message = format!("grid {} without a rule for the tenant", quoted(grid));
            let help =
                "add `tenant: {from: [{header: x-tenant-id}]}`, or `otherwise: {tenant: …}` for one tenant alone";
            check.wrong_but(&Path::Root.key("grid"), message, help);
            return None;
        }
        return Some(None);
    };
    let path = Path::Root.key("tenant");
    let at = path.key("from");
    if rule.from.is_empty() {
        check.wrong_but(&at, "no place to look for the tenant", "name at least one, such as {header: x-tenant-id}");
    }
    let from = all(rule.from.iter().enumerate().map(|(n, one)| source(check, &at.index(n), one)));
    let otherwise = match &rule.otherwise {
        None | Some(raw::Otherwise::Reject) => Some(Otherwise::Reject),
        Some(raw::Otherwise::Tenant(id)) => {
            check.take(&path.key("otherwise").key("tenant"), Name::tenant(id)).map(Otherwise::Tenant)
        }
    };
    Some(Some(TenantRule { from: from?, otherwise: otherwise? }))
}

fn source(check: &mut Check<'_>, path: &Path<'_>, raw: &raw::TenantSource) -> Option<TenantSource> {
    match raw {
        raw::TenantSource::Header(name) => check.header_name(&path.key("header"), name).map(TenantSource::Header),
        raw::TenantSource::HostLabel(n) => Some(TenantSource::HostLabel(*n)),
        raw::TenantSource::PathSegment(n) => Some(TenantSource::PathSegment(*n)),
        raw::TenantSource::Query(name) if name.is_empty() => {
            check.wrong_but(&path.key("query"), "parameter name is empty", "write the parameter's name");
            None
        }
        raw::TenantSource::Query(name) => Some(TenantSource::Query(name.clone())),
        raw::TenantSource::ClientCertificate(field) => Some(TenantSource::ClientCertificate(*field)),
        raw::TenantSource::Cookie(name) => check.take(&path.key("cookie"), cookie(name)).map(TenantSource::Cookie),
    }
}

/// A cookie's name is a token, as a header's name is, and keeps its case.
fn cookie(text: &str) -> Result<String, String> {
    match header::name(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("{} is not a cookie name; use letters, digits, `-` and `_`", quoted(text))),
    }
}
