//! The routing stage: which route a request takes.

use http::{HeaderMap, Method};

use gridrouter_config::model::Route;

/// Every route of a listener, indexed.
#[derive(Debug, Default)]
pub struct RouteTable {}

/// What routing looks at.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The host, in lower case, without port or trailing dot; may be empty.
    pub host: &'a str,
    /// The path in normal form, without the query.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// The route a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The number it was given to [`RouteTable::build`] with.
    pub route: u32,
    /// Bytes of the path that the matched prefix took: 0 when not a prefix match, and for the prefix `/`.
    pub prefix_len: usize,
}

impl RouteTable {
    /// Indexes routes, each under a number of the caller's.
    pub fn build<'a>(routes: impl IntoIterator<Item = (u32, &'a Route)>) -> RouteTable {
        let _ = routes.into_iter().count();
        RouteTable::default()
    }

    /// The route that a request takes.
    pub fn find(&self, request: &Request<'_>) -> Option<Match> {
        let _ = (self, request);
        None
    }
}
