//! The index of routes against looking at each of them.

use std::sync::LazyLock;

use gridrouter_config::ids::Name;
use gridrouter_config::model::{
    Action, FixedResponse, HeaderEdits, HeaderMatch, HostPattern, PathMatch, QueryMatch, Route, ValueMatch,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use regex::Regex;

use super::cursor::Cursor;
use crate::http::fields::Fields;
use crate::routing::one_by_one::scan;
use crate::routing::{Request, RouteTable};

const LABELS: [&str; 6] = ["a", "b", "com", "xn--a", "0", "a-rather-long-label-of-a-host-name"];
const SEGMENTS: [&str; 7] = ["a", "b", "ab", "", "A", "%20", "a-rather-long-element-of-a-path-with-much-in-it"];
const PATTERNS: [&str; 6] = ["/a.*", "/[ab]/.*", ".*", "/a/b", "/.", "/a|/b"];
/// The patterns, as the check of documents anchors them: that takes longer than all else here.
static REGEXES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    PATTERNS.iter().chain(&["[12]"]).filter_map(|pattern| Regex::new(&format!("^(?:{pattern})$")).ok()).collect()
});
const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::OPTIONS];

fn joined(cursor: &mut Cursor<'_>, of: &[&str], most: usize, by: &str) -> String {
    (0..cursor.below(most)).map(|_| cursor.pick(of)).collect::<Vec<_>>().join(by)
}

fn path(cursor: &mut Cursor<'_>) -> String {
    format!("/{}", joined(cursor, &SEGMENTS, 6, "/"))
}

fn value(cursor: &mut Cursor<'_>) -> ValueMatch {
    match cursor.below(3) {
        0 => ValueMatch::Present,
        1 => ValueMatch::Exact(cursor.pick(&["1", "2", ""]).to_owned()),
        _ => REGEXES.last().cloned().map_or(ValueMatch::Present, ValueMatch::Regex),
    }
}

fn path_match(cursor: &mut Cursor<'_>) -> PathMatch {
    match cursor.below(4) {
        0 => PathMatch::Exact(path(cursor)),
        1 => {
            let pattern = REGEXES.get(cursor.below(PATTERNS.len())).cloned();
            pattern.map_or_else(|| PathMatch::Exact("/".to_owned()), PathMatch::Regex)
        }
        // As the check of documents leaves them.
        _ => PathMatch::Prefix(match path(cursor).trim_end_matches('/') {
            "" => "/".to_owned(),
            path => path.to_owned(),
        }),
    }
}

fn route(cursor: &mut Cursor<'_>, name: Name) -> Route {
    let host = |cursor: &mut Cursor<'_>| {
        let host = format!("{}.{}", cursor.pick(&LABELS), joined(cursor, &LABELS, 3, "."));
        let host = host.trim_end_matches('.').to_owned();
        if cursor.below(2) == 0 { HostPattern::Exact(host) } else { HostPattern::Wildcard(host) }
    };
    let header = |cursor: &mut Cursor<'_>| HeaderMatch {
        name: HeaderName::from_static(cursor.pick(&["x-a", "x-b"])),
        value: value(cursor),
    };
    let query =
        |cursor: &mut Cursor<'_>| QueryMatch { name: cursor.pick(&["p", "q"]).to_owned(), value: value(cursor) };
    Route {
        name,
        listeners: vec![],
        hosts: (0..cursor.below(4)).map(|_| host(cursor)).collect(),
        paths: (0..=cursor.below(3)).map(|_| path_match(cursor)).collect(),
        methods: METHODS.iter().filter(|_| cursor.below(4) == 3).cloned().collect(),
        headers: (0..cursor.below(5) / 3).map(|_| header(cursor)).collect(),
        query: (0..cursor.below(5) / 3).map(|_| query(cursor)).collect(),
        action: Action::Respond(FixedResponse {
            status: StatusCode::OK,
            body: String::new(),
            content_type: HeaderValue::from_static("text/plain"),
        }),
        response_headers: HeaderEdits::default(),
        limits: vec![],
        tenant: None,
        max_body: None,
    }
}

pub(super) fn check(bytes: &[u8]) {
    let mut cursor = Cursor(bytes);
    // Names in another order than the routes.
    let names = (0..cursor.below(24)).filter_map(|n| Name::parse(&format!("r{}-{n}", n * 7 % 5)).ok());
    let routes: Vec<Route> = names.collect::<Vec<_>>().into_iter().map(|name| route(&mut cursor, name)).collect();
    let table = RouteTable::build((0..).zip(&routes));
    for _ in 0..8 {
        let host = joined(&mut cursor, &LABELS, 5, ".");
        let path = path(&mut cursor);
        let query = cursor.pick(&[None, Some("p=1"), Some("q=2&p=1"), Some("p=2&p=1"), Some("p"), Some("")]);
        let method = &METHODS[cursor.below(METHODS.len())];
        let mut headers = Fields::new();
        for name in ["x-a", "x-b"] {
            if let Some(value) = cursor.pick(&[None, Some("1"), Some("2"), Some("")]) {
                headers.insert(name, value);
            }
        }
        let request = Request { host: &host, path: &path, query, method, headers: &headers };
        assert_eq!(table.find(&request), scan(&routes, &request), "{request:?} to {routes:?}");
    }
}
