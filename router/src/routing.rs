//! The routing stage: which route a request takes.
//!
//! Precedence is that of the Kubernetes Gateway API (HTTPRoute, `rules` and `matches`), in this order:
//!
//! 1. the more specific host: exact, then the wildcard with most characters, then routes for any host. When no route of
//!    a more specific host matches, the next one has its turn;
//! 2. the path: exact, then a regular expression (the API leaves that to us; the longest pattern first), then the
//!    longest prefix;
//! 3. a route with methods before one without; 4. the most conditions on headers; 5. the most conditions on query
//!    parameters; 6. the order of the routes' names.
//!
//! A table is an index: a request costs a look-up for its host, one for its whole path, and one for each depth
//! (number of elements) that the host's prefixes have, whatever the number of routes. The exceptions are regular
//! expressions, which are tried one after the other within a host, and routes that differ in nothing but their
//! conditions. Nothing is allocated (but by regular expressions, for their scratch space), except to match a regular
//! expression on a query parameter that is percent-encoded or a header that is repeated.
//!
//! Measured (`benches/routing.rs`, requests to all routes in turn): 70 to 125 ns with 10 routes, 90 to 180 ns with
//! 10,000; the largest ratio of a mix is 1.6, and it is cache misses.

mod conditions;
mod index;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod one_by_one;
mod query;
mod text;

use std::cmp::Reverse;
use std::num::NonZeroU32;

use gridrouter_config::model::{HostPattern, PathMatch, Route};
use http::Method;
use regex::Regex;

use self::conditions::Conditions;
use self::index::{Depths, Hosts, Kind, Paths, prefixes, suffixes};
use crate::http::fields::Fields;

/// What routing looks at.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The host, in lower case, without port or trailing dot; may be empty.
    pub host: &'a str,
    /// The path in normal form, without the query. One that does not begin with `/`, as of `OPTIONS *`, has no prefix.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a Fields,
}

/// The route a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// The number that the route was given to [`RouteTable::build`] with.
    pub route: u32,
    /// Bytes of the path that the matched prefix took: 0 when it was not a prefix that matched, and for the prefix
    /// `/`.
    pub prefix_len: usize,
}

/// Every route of a listener, indexed.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact_hosts: Hosts,
    /// By what follows `*.`
    wildcard_hosts: Hosts,
    wildcard_depths: Depths,
    any_host: HostRoutes,
    hosts: u32,
    paths: Paths,
    conditions: Vec<Conditions>,
}

/// The routes of one host.
#[derive(Debug, Default)]
struct HostRoutes {
    /// Its key in the table of paths; 0 is any host.
    host: u32,
    has_exact: bool,
    prefix_depths: Depths,
    regexes: Option<Box<Regexes>>,
}

/// Routes by pattern, the longest pattern first.
#[derive(Debug, Default)]
struct Regexes(Vec<(Regex, Candidate)>);

/// A route that is taken if its conditions hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    route: u32,
    /// One more than an index into the table's conditions.
    conditions: Option<NonZeroU32>,
}

impl RouteTable {
    /// Indexes routes, each under a number of the caller's.
    pub fn build<'a>(routes: impl IntoIterator<Item = (u32, &'a Route)>) -> RouteTable {
        let mut routes: Vec<_> = routes.into_iter().collect();
        // Candidates are added in the order of precedence among equal hosts and paths, and stay in it.
        routes.sort_by_key(|(number, route)| {
            (route.methods.is_empty(), Reverse(route.headers.len()), Reverse(route.query.len()), &route.name, *number)
        });
        let mut table = RouteTable::default();
        for (number, route) in routes {
            table.add(number, route);
        }
        let named = table.exact_hosts.routes_mut().chain(table.wildcard_hosts.routes_mut());
        for regexes in named.chain([&mut table.any_host]).filter_map(|host| host.regexes.as_mut()) {
            regexes.0.sort_by_key(|(regex, _)| Reverse(regex.as_str().len()));
        }
        table
    }

    fn add(&mut self, route: u32, document: &Route) {
        let conditions = Conditions::of(document).and_then(|conditions| {
            self.conditions.push(conditions);
            NonZeroU32::new(self.conditions.len() as u32)
        });
        let candidate = Candidate { route, conditions };
        if document.hosts.is_empty() {
            self.any_host.add(candidate, &document.paths, &mut self.paths);
        }
        for host in &document.hosts {
            let (hosts, name) = match host {
                HostPattern::Exact(name) => (&mut self.exact_hosts, name),
                HostPattern::Wildcard(name) => {
                    self.wildcard_depths.insert(name.split('.').count());
                    (&mut self.wildcard_hosts, name)
                }
            };
            let routes = hosts.entry(name, || {
                self.hosts += 1;
                HostRoutes { host: self.hosts, ..HostRoutes::default() }
            });
            routes.add(candidate, &document.paths, &mut self.paths);
        }
    }

    /// The route that a request takes.
    pub fn find(&self, request: &Request<'_>) -> Option<Match> {
        let exact = self.exact_hosts.get(request.host);
        exact
            .and_then(|routes| self.find_in(routes, request))
            .or_else(|| {
                let mut wildcards = suffixes(request.host, self.wildcard_depths);
                wildcards.find_map(|suffix| self.find_in(self.wildcard_hosts.get(suffix)?, request))
            })
            .or_else(|| self.find_in(&self.any_host, request))
    }

    fn find_in(&self, routes: &HostRoutes, request: &Request<'_>) -> Option<Match> {
        self.find_exact(routes, request)
            .or_else(|| self.find_by_regex(routes, request))
            .map(|route| Match { route, prefix_len: 0 })
            .or_else(|| self.find_by_prefix(routes, request))
    }

    fn find_exact(&self, routes: &HostRoutes, request: &Request<'_>) -> Option<u32> {
        if routes.has_exact { self.find_at(routes.host, Kind::Exact, request.path, request) } else { None }
    }

    fn find_by_regex(&self, routes: &HostRoutes, request: &Request<'_>) -> Option<u32> {
        let mut matching = routes.regexes.as_ref()?.0.iter().filter(|(regex, _)| regex.is_match(request.path));
        matching.find(|(_, candidate)| self.holds(*candidate, request)).map(|(_, candidate)| candidate.route)
    }

    fn find_by_prefix(&self, routes: &HostRoutes, request: &Request<'_>) -> Option<Match> {
        prefixes(request.path, routes.prefix_depths).find_map(|prefix| {
            let route = self.find_at(routes.host, Kind::Prefix, prefix, request)?;
            Some(Match { route, prefix_len: prefix.len() })
        })
    }

    fn find_at(&self, host: u32, kind: Kind, path: &str, request: &Request<'_>) -> Option<u32> {
        let candidates = self.paths.get(host, kind, path)?;
        candidates.find(|candidate| self.holds(candidate, request)).map(|candidate| candidate.route)
    }

    fn holds(&self, candidate: Candidate, request: &Request<'_>) -> bool {
        let Some(number) = candidate.conditions else { return true };
        self.conditions.get(number.get() as usize - 1).is_some_and(|conditions| conditions.hold(request))
    }
}

impl HostRoutes {
    fn add(&mut self, candidate: Candidate, patterns: &[PathMatch], paths: &mut Paths) {
        for pattern in patterns {
            match pattern {
                PathMatch::Exact(path) => {
                    self.has_exact = true;
                    paths.insert(self.host, Kind::Exact, path, candidate);
                }
                PathMatch::Prefix(path) => {
                    let path = path.trim_end_matches('/');
                    self.prefix_depths.insert(path.bytes().filter(|&byte| byte == b'/').count());
                    paths.insert(self.host, Kind::Prefix, path, candidate);
                }
                PathMatch::Regex(regex) => self.regexes.get_or_insert_default().0.push((regex.clone(), candidate)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
