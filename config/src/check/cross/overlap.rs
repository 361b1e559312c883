//! Routes that both match one request, with nothing to say which of them goes first.
//!
//! Precedence is the host, then the path, then whether methods are given, then the number of header conditions, then
//! that of query conditions. Routes that are equal in all of it overlap if one request can satisfy both. Ten thousand
//! routes are not compared with each other: only those of one host, one path and equal precedence are, and of these
//! only those that a condition which most of them have does not already keep apart.

use hashbrown::{HashMap, HashSet};

use super::{Cross, Of, in_writing_order};
use crate::ids::Name;
use crate::model::{HostPattern, PathMatch, Route, ValueMatch};
use crate::path::Path;

type Candidate<'a> = Of<'a, Route>;

/// Everything that makes the precedence of a route's match.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord, Clone)]
struct Rank<'a> {
    host: Option<&'a HostPattern>,
    path: (u8, &'a str),
    methods: bool,
    headers: usize,
    query: usize,
}

pub(super) fn check(cross: &mut Cross<'_>) {
    let mut groups: HashMap<Rank<'_>, Vec<Candidate<'_>>> = HashMap::new();
    for route in cross.routes.values() {
        for rank in ranks(route.model) {
            groups.entry(rank).or_default().push(*route);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().filter(|(_, group)| group.len() > 1).collect();
    groups.sort_by(|(one, _), (other, _)| one.cmp(other));
    // Two routes may meet at many hosts and paths; that is one problem. And one problem a route is enough.
    let mut told: HashSet<&Name> = HashSet::new();
    for (rank, group) in groups {
        overlaps(&group, &mut |one, other| {
            let (first, second) = in_writing_order(one.entry, other.entry);
            if told.insert(&second.source.id.name) {
                let message = format!(
                    "one request can match both this route and route \"{}\", of equal precedence: {}",
                    first.source.id.name,
                    describe(&rank)
                );
                let help = format!(
                    "make one of the two more specific, or remove it; the other is at {}",
                    first.source.place()
                );
                cross.conflict(second, &Path::Root, message, help, vec![first.source.id.clone()]);
            }
        });
    }
}

fn ranks(route: &Route) -> impl Iterator<Item = Rank<'_>> {
    let any = route.hosts.is_empty().then_some(None);
    any.into_iter().chain(route.hosts.iter().map(Some)).flat_map(move |host| {
        route.paths.iter().map(move |path| Rank {
            host,
            path: match path {
                PathMatch::Exact(text) => (0, text.as_str()),
                PathMatch::Prefix(text) => (1, text.as_str()),
                PathMatch::Regex(regex) => (2, regex.as_str()),
            },
            methods: !route.methods.is_empty(),
            headers: route.headers.len(),
            query: route.query.len(),
        })
    })
}

fn describe(rank: &Rank<'_>) -> String {
    let host = match rank.host {
        None => "any host".to_owned(),
        Some(HostPattern::Exact(host)) => format!("host {host}"),
        Some(HostPattern::Wildcard(suffix)) => format!("host *.{suffix}"),
    };
    let kind = match rank.path.0 {
        0 => "exact",
        1 => "prefix",
        _ => "regex",
    };
    format!("{host}, {kind} {}", rank.path.1)
}

/// A condition that names one exact value.
#[derive(PartialEq, Eq, Hash, Clone, Copy, PartialOrd, Ord)]
enum Key<'a> {
    Header(&'a str),
    Query(&'a str),
}

/// Finds the pairs of a group that overlap.
fn overlaps<'a>(group: &[Candidate<'a>], found: &mut impl FnMut(Candidate<'a>, Candidate<'a>)) {
    let (apart, rest) = partition(group);
    for bucket in &apart {
        pairs(bucket, found);
    }
    pairs(&rest, found);
    for one in &rest {
        for other in apart.iter().flatten().filter(|other| overlap(one.model, other.model)) {
            found(*one, *other);
        }
    }
}

/// Splits a group by the value of the condition that most of it has exactly: two of different values never meet.
/// Those without it are the rest.
fn partition<'a>(group: &[Candidate<'a>]) -> (Vec<Vec<Candidate<'a>>>, Vec<Candidate<'a>>) {
    let mut counts: HashMap<Key<'a>, usize> = HashMap::new();
    for route in group {
        for (key, _) in exact_values(route.model) {
            *counts.entry(key).or_default() += 1;
        }
    }
    let Some((best, _)) = counts.into_iter().max_by_key(|(key, count)| (*count, *key)) else {
        return (Vec::new(), group.to_vec());
    };
    let mut buckets: std::collections::BTreeMap<&str, Vec<Candidate<'a>>> = std::collections::BTreeMap::new();
    let mut rest = Vec::new();
    for route in group {
        match exact_values(route.model).find(|(key, _)| *key == best) {
            Some((_, value)) => buckets.entry(value).or_default().push(*route),
            None => rest.push(*route),
        }
    }
    (buckets.into_values().collect(), rest)
}

fn exact_values(route: &Route) -> impl Iterator<Item = (Key<'_>, &str)> {
    let headers = route.headers.iter().map(|one| (Key::Header(one.name.as_str()), &one.value));
    let query = route.query.iter().map(|one| (Key::Query(&one.name), &one.value));
    headers.chain(query).filter_map(|(key, value)| match value {
        ValueMatch::Exact(text) => Some((key, text.as_str())),
        ValueMatch::Present | ValueMatch::Regex(_) => None,
    })
}

/// Compares each with those before it, and leaves it at the first that it meets.
fn pairs<'a>(group: &[Candidate<'a>], found: &mut impl FnMut(Candidate<'a>, Candidate<'a>)) {
    for (n, one) in group.iter().enumerate() {
        if let Some(other) = group.iter().take(n).find(|other| overlap(one.model, other.model)) {
            found(*other, *one);
        }
    }
}

/// Whether one request can satisfy both of two routes of equal rank. A route does not overlap itself, though two of
/// its hosts may be spellings of one.
fn overlap(one: &Route, other: &Route) -> bool {
    let two = !std::ptr::eq(one, other);
    let listeners = one.listeners.is_empty()
        || other.listeners.is_empty()
        || one.listeners.iter().any(|name| other.listeners.contains(name));
    let methods = one.methods.is_empty() || one.methods.iter().any(|method| other.methods.contains(method));
    let headers = one
        .headers
        .iter()
        .all(|a| other.headers.iter().filter(|b| a.name == b.name).all(|b| compatible(&a.value, &b.value)));
    let query = one
        .query
        .iter()
        .all(|a| other.query.iter().filter(|b| a.name == b.name).all(|b| compatible(&a.value, &b.value)));
    two && listeners && methods && headers && query
}

/// Whether one value can satisfy both. Different expressions are taken for disjoint, which is what people write them
/// for: to prove the contrary of any two is not worth refusing good documents over those it cannot decide.
fn compatible(one: &ValueMatch, other: &ValueMatch) -> bool {
    match (one, other) {
        (ValueMatch::Present, _) | (_, ValueMatch::Present) => true,
        (ValueMatch::Exact(a), ValueMatch::Exact(b)) => a == b,
        (ValueMatch::Exact(text), ValueMatch::Regex(regex)) | (ValueMatch::Regex(regex), ValueMatch::Exact(text)) => {
            regex.is_match(text)
        }
        (ValueMatch::Regex(a), ValueMatch::Regex(b)) => a.as_str() == b.as_str(),
    }
}
