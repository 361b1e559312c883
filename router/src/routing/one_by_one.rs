//! The rules of precedence taken literally, for tests of the index: every route is looked at. Of what is percent-encoded or
//! repeated in a request it knows nothing.

use std::cmp::Reverse;

use gridrouter_config::model::{HostPattern, PathMatch, Route, ValueMatch};
use http::HeaderName;

use super::{Match, Request};

/// How well one host pattern fits, the largest best; none if not.
fn host_rank(pattern: &HostPattern, host: &str) -> Option<(u8, usize)> {
    match pattern {
        HostPattern::Exact(exact) => (exact == host).then_some((2, 0)),
        HostPattern::Wildcard(suffix) => {
            let labels = host.strip_suffix(suffix.as_str())?.strip_suffix('.')?;
            (!labels.is_empty()).then_some((1, suffix.len()))
        }
    }
}

fn path_rank(pattern: &PathMatch, path: &str) -> Option<(u8, usize)> {
    match pattern {
        PathMatch::Exact(exact) => (exact == path).then_some((2, 0)),
        PathMatch::Regex(regex) => regex.is_match(path).then_some((1, regex.as_str().len())),
        PathMatch::Prefix(prefix) => {
            let prefix = prefix.trim_end_matches('/');
            let rest = path.strip_prefix(prefix)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((0, prefix.len()))
        }
    }
}

fn holds(route: &Route, request: &Request<'_>) -> bool {
    let text = |condition: &ValueMatch, value: Option<&str>| match condition {
        ValueMatch::Present => value.is_some(),
        ValueMatch::Exact(exact) => value == Some(exact),
        ValueMatch::Regex(regex) => value.is_some_and(|value| regex.is_match(value)),
    };
    let parameter = |name: &str| {
        let pairs = request.query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|pair| pair.0 == name).map(|pair| pair.1)
    };
    let header = |name: &HeaderName| request.headers.get(name).and_then(|value| str::from_utf8(value).ok());
    (route.methods.is_empty() || route.methods.contains(request.method))
        && route.headers.iter().all(|condition| text(&condition.value, header(&condition.name)))
        && route.query.iter().all(|condition| text(&condition.value, parameter(&condition.name)))
}

/// The route that a request takes, by looking at all of them.
pub(crate) fn scan(routes: &[Route], request: &Request<'_>) -> Option<Match> {
    let mut best = None;
    for (number, route) in (0..).zip(routes).filter(|(_, route)| holds(route, request)) {
        let hosts = route.hosts.iter().filter_map(|host| host_rank(host, request.host));
        let host = if route.hosts.is_empty() { Some((0, 0)) } else { hosts.max() };
        let path = route.paths.iter().filter_map(|path| path_rank(path, request.path)).max();
        let Some((host, path)) = host.zip(path) else { continue };
        let more = (!route.methods.is_empty(), route.headers.len(), route.query.len(), Reverse(&route.name));
        let prefix_len = if path.0 == 0 { path.1 } else { 0 };
        best = best.max(Some(((host, path, more), Reverse(number), prefix_len)));
    }
    best.map(|(_, Reverse(route), prefix_len)| Match { route, prefix_len })
}
