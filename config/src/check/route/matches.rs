//! What a route matches.

use http::Method;

use super::super::value::all;
use super::super::{Check, host, pattern, url_path};
use crate::model::{HeaderMatch, HostPattern, PathMatch, QueryMatch, ValueMatch};
use crate::path::Path;
use crate::problem::quoted;
use crate::raw;

pub(super) fn hosts(check: &mut Check<'_>, raw: &[String]) -> Option<Vec<HostPattern>> {
    let at = Path::Root.key("hosts");
    check.unique(&at, raw, |text| format!("host {}", quoted(text)), |text| text.to_ascii_lowercase());
    all(raw.iter().enumerate().map(|(n, text)| check.take(&at.index(n), host::pattern(text))))
}

pub(super) fn paths(check: &mut Check<'_>, raw: &[raw::PathMatch]) -> Option<Vec<PathMatch>> {
    if raw.is_empty() {
        return Some(vec![PathMatch::Prefix("/".to_owned())]);
    }
    let at = Path::Root.key("paths");
    check.unique(&at, raw, |path| format!("path {}", quoted(path_text(path))), path_key);
    all(raw.iter().enumerate().map(|(n, path)| match path {
        raw::PathMatch::Exact(text) => {
            check.take(&at.index(n).key("exact"), url_path::check(text)).map(PathMatch::Exact)
        }
        raw::PathMatch::Prefix(text) => {
            check.take(&at.index(n).key("prefix"), url_path::prefix(text)).map(PathMatch::Prefix)
        }
        raw::PathMatch::Regex(text) => {
            check.take(&at.index(n).key("regex"), pattern::anchored(text)).map(PathMatch::Regex)
        }
    }))
}

/// How many regular expressions a route has.
pub(super) fn expressions(raw: &raw::Route) -> usize {
    raw.paths.iter().filter(|path| matches!(path, raw::PathMatch::Regex(_))).count()
        + raw.headers.iter().filter(|one| one.regex.is_some()).count()
        + raw.query.iter().filter(|one| one.regex.is_some()).count()
}

fn path_text(path: &raw::PathMatch) -> &str {
    match path {
        raw::PathMatch::Exact(text) | raw::PathMatch::Prefix(text) | raw::PathMatch::Regex(text) => text,
    }
}

fn path_key(path: &raw::PathMatch) -> (u8, String) {
    match path {
        raw::PathMatch::Exact(text) => (0, text.clone()),
        raw::PathMatch::Prefix(text) => (1, text.trim_end_matches('/').to_owned()),
        raw::PathMatch::Regex(text) => (2, text.clone()),
    }
}

pub(super) fn methods(check: &mut Check<'_>, raw: &[String]) -> Option<Vec<Method>> {
    let at = Path::Root.key("methods");
    check.unique(&at, raw, |text| format!("method {}", quoted(text)), String::clone);
    all(raw.iter().enumerate().map(|(n, text)| check.take(&at.index(n), method(text))))
}

pub(in crate::check) fn method(text: &str) -> Result<Method, String> {
    const COMMON: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    let upper = text.to_ascii_uppercase();
    if matches!(upper.as_str(), "CONNECT" | "TRACE") {
        return Err(format!("method {} is never routed; remove it", quoted(text)));
    }
    if upper != text && COMMON.contains(&upper.as_str()) {
        return Err(format!("method {} is in lower case, and case makes a difference; write {upper}", quoted(text)));
    }
    Method::from_bytes(text.as_bytes())
        .map_err(|_| format!("{} is not a method; write one word, such as GET", quoted(text)))
}

pub(super) fn headers(check: &mut Check<'_>, raw: &[raw::HeaderMatch]) -> Option<Vec<HeaderMatch>> {
    let at = Path::Root.key("headers");
    check.unique(&at, raw, |one| format!("header {}", quoted(&one.name)), |one| one.name.to_ascii_lowercase());
    all(raw.iter().enumerate().map(|(n, one)| {
        let path = at.index(n);
        let name = check.header_name(&path.key("name"), &one.name);
        if let Some(exact) = &one.exact {
            check.header_value(&path.key("exact"), exact);
        }
        let value = value_match(check, &path, one.exact.as_ref(), one.regex.as_ref());
        Some(HeaderMatch { name: name?, value: value? })
    }))
}

pub(super) fn query(check: &mut Check<'_>, raw: &[raw::QueryMatch]) -> Option<Vec<QueryMatch>> {
    let at = Path::Root.key("query");
    check.unique(&at, raw, |one| format!("parameter {}", quoted(&one.name)), |one| one.name.clone());
    all(raw.iter().enumerate().map(|(n, one)| {
        let path = at.index(n);
        if one.name.is_empty() {
            check.wrong_but(&path.key("name"), "parameter name is empty", "write the parameter's name");
        }
        let value = value_match(check, &path, one.exact.as_ref(), one.regex.as_ref());
        Some(QueryMatch { name: one.name.clone(), value: value? })
    }))
}

fn value_match(
    check: &mut Check<'_>,
    path: &Path<'_>,
    exact: Option<&String>,
    regex: Option<&String>,
) -> Option<ValueMatch> {
    match (exact, regex) {
        (None, None) => Some(ValueMatch::Present),
        (Some(exact), None) => Some(ValueMatch::Exact(exact.clone())),
        (None, Some(regex)) => check.take(&path.key("regex"), pattern::anchored(regex)).map(ValueMatch::Regex),
        (Some(_), Some(_)) => {
            check.wrong_but(&path.key("regex"), "both `exact` and `regex`", "keep one of the two");
            None
        }
    }
}
