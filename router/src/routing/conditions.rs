//! What a route demands of a request besides its host and path.

use std::str;

use gridrouter_config::model::{HeaderMatch, QueryMatch, Route, ValueMatch};
use http::Method;

use super::{Request, query};
use crate::http::fields::Fields;

#[derive(Debug)]
pub(super) struct Conditions {
    methods: Vec<Method>,
    headers: Vec<HeaderMatch>,
    query: Vec<QueryMatch>,
}

impl Conditions {
    /// The conditions of a route, if it has any.
    pub(super) fn of(route: &Route) -> Option<Self> {
        if route.methods.is_empty() && route.headers.is_empty() && route.query.is_empty() {
            return None;
        }
        let Route { methods, headers, query, .. } = route;
        Some(Self { methods: methods.clone(), headers: headers.clone(), query: query.clone() })
    }

    pub(super) fn hold(&self, request: &Request<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(request.method))
            && self.headers.iter().all(|condition| header_holds(condition, request.headers))
            && self.query.iter().all(|condition| query::holds(condition, request.query))
    }
}

/// Lines of the same name are one value, joined by `, ` (RFC 9110 §5.3): it is what the upstream may read, too.
fn header_holds(condition: &HeaderMatch, headers: &Fields) -> bool {
    let mut lines = headers.get_all(condition.name.as_str());
    let Some(first) = lines.next() else { return false };
    match &condition.value {
        ValueMatch::Present => true,
        ValueMatch::Exact(text) => is_joined(text.as_bytes(), first, lines),
        ValueMatch::Regex(regex) => {
            let joined = lines.next().map(|second| {
                let mut joined = first.to_vec();
                for line in [second].into_iter().chain(lines) {
                    joined.extend_from_slice(b", ");
                    joined.extend_from_slice(line);
                }
                joined
            });
            str::from_utf8(joined.as_deref().unwrap_or(first)).is_ok_and(|value| regex.is_match(value))
        }
    }
}

fn is_joined<'a>(text: &[u8], first: &[u8], more: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut rest = text.strip_prefix(first);
    for line in more {
        rest = rest.and_then(|rest| rest.strip_prefix(b", ")?.strip_prefix(line));
    }
    rest == Some(b"")
}
