//! The tenant stage: whose request it is.

use std::borrow::Cow;

use gridrouter_config::model::TenantRule;
use http::HeaderMap;

/// What a request says about its tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// It is this tenant's.
    Tenant(Cow<'a, str>),
    /// It names none, and the rule has no default.
    Missing,
    /// What it says is no tenant's id, or is ambiguous.
    Invalid,
}

/// Finds the tenant of a request.
pub fn find<'a>(
    rule: &'a TenantRule,
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    headers: &'a HeaderMap,
) -> Found<'a> {
    let _ = (rule, host, path, query, headers);
    Found::Missing
}
