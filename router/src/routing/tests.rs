use gridrouter_config::ids::Name;
use gridrouter_config::model::{
    Action, FixedResponse, HeaderEdits, HeaderMatch, HostPattern, PathMatch, QueryMatch, Route, ValueMatch,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use regex::Regex;

use super::{Match, Request, RouteTable, index};
use crate::http::fields::Fields;

mod differential;

/// A route for every request, to be narrowed by the functions below.
fn route(name: &str) -> Route {
    Route {
        name: Name::parse(name).unwrap(),
        listeners: vec![],
        hosts: vec![],
        paths: vec![PathMatch::Prefix("/".to_owned())],
        methods: vec![],
        headers: vec![],
        query: vec![],
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

fn host(text: &str) -> HostPattern {
    match text.strip_prefix("*.") {
        Some(suffix) => HostPattern::Wildcard(suffix.to_owned()),
        None => HostPattern::Exact(text.to_owned()),
    }
}

/// `=/a` is exact, `~/a.*` a regular expression, `/a` a prefix.
fn path(text: &str) -> PathMatch {
    match (text.strip_prefix('='), text.strip_prefix('~')) {
        (Some(path), _) => PathMatch::Exact(path.to_owned()),
        (_, Some(pattern)) => PathMatch::Regex(anchored(pattern)),
        _ => PathMatch::Prefix(text.to_owned()),
    }
}

/// As the check of documents anchors them.
fn anchored(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).unwrap()
}

/// `!` is present, `~v` a regular expression, `v` exact.
fn value(text: &str) -> ValueMatch {
    match (text, text.strip_prefix('~')) {
        ("!", _) => ValueMatch::Present,
        (_, Some(pattern)) => ValueMatch::Regex(anchored(pattern)),
        (text, _) => ValueMatch::Exact(text.to_owned()),
    }
}

fn header(name: &'static str, text: &str) -> HeaderMatch {
    HeaderMatch { name: HeaderName::from_static(name), value: value(text) }
}

fn query(name: &str, text: &str) -> QueryMatch {
    QueryMatch { name: name.to_owned(), value: value(text) }
}

fn at(name: &str, hosts: &[&str], paths: &[&str]) -> Route {
    let hosts = hosts.iter().map(|text| host(text)).collect();
    Route { hosts, paths: paths.iter().map(|text| path(text)).collect(), ..route(name) }
}

fn table(routes: &[Route]) -> RouteTable {
    RouteTable::build((0..).zip(routes))
}

fn get<'a>(host: &'a str, target: &'a str, headers: &'a Fields) -> Request<'a> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    Request { host, path, query, method: &Method::GET, headers }
}

/// The name of the route that a plain GET takes, or `-`.
fn taken<'a>(routes: &'a [Route], host: &str, target: &str) -> &'a str {
    let found = table(routes).find(&get(host, target, &Fields::new()));
    found.map_or("-", |found| routes[found.route as usize].name.as_str())
}

#[test]
fn an_empty_table_matches_nothing() {
    assert_eq!(taken(&[], "a.example", "/"), "-");
}

#[test]
fn hosts() {
    let routes = [
        at("exact", &["a.example.com"], &["/"]),
        at("near", &["*.example.com"], &["/"]),
        at("far", &["*.com"], &["/"]),
        at("deep", &["*.b.example.com"], &["/"]),
        at("any", &[], &["/"]),
    ];
    for (host, expected) in [
        ("a.example.com", "exact"),
        ("x.example.com", "near"),
        ("y.x.example.com", "near"),
        ("a.b.example.com", "deep"),
        ("b.example.com", "near"),
        ("example.com", "far"),
        ("com", "any"),
        (".example.com", "far"),
        (".com", "any"),
        ("", "any"),
        ("xexample.com", "far"),
        ("example.org", "any"),
    ] {
        assert_eq!(taken(&routes, host, "/"), expected, "{host}");
    }
}

#[test]
fn a_less_specific_host_has_its_turn() {
    let routes = [
        at("exact", &["a.b.example.com"], &["/exact"]),
        at("near", &["*.b.example.com"], &["/near"]),
        at("far", &["*.example.com"], &["/near", "/far"]),
        at("any", &[], &["=/any"]),
    ];
    for (path, expected) in [("/exact", "exact"), ("/near", "near"), ("/far", "far"), ("/any", "any"), ("/", "-")] {
        assert_eq!(taken(&routes, "a.b.example.com", path), expected, "{path}");
    }
}

#[test]
fn prefixes_match_by_element() {
    let routes = [at("a", &[], &["/a"]), at("ab", &[], &["/a/b"]), at("slash", &[], &["=/a/"])];
    for (path, expected) in [
        ("/a", "a"),
        ("/a/", "slash"),
        ("/a/c", "a"),
        ("/a/b", "ab"),
        ("/a/b/", "ab"),
        ("/a/bc", "a"),
        ("/a//", "a"),
        ("/ab", "-"),
        ("/", "-"),
        ("/A", "-"),
        ("*", "-"),
        ("", "-"),
    ] {
        assert_eq!(taken(&routes, "h", path), expected, "{path}");
    }
}

#[test]
fn exact_before_regex_before_prefix() {
    let routes = [
        at("prefix", &[], &["/a/b/c"]),
        at("short-regex", &[], &["~/a/.*"]),
        at("long-regex", &[], &["~/a/[a-z]/c"]),
        at("exact", &[], &["=/a/b/c"]),
    ];
    assert_eq!(taken(&routes, "h", "/a/b/c"), "exact");
    assert_eq!(taken(&routes, "h", "/a/c/c"), "long-regex");
    assert_eq!(taken(&routes, "h", "/a/b/c/d"), "short-regex");
    assert_eq!(taken(&routes[..1], "h", "/a/b/c/d"), "prefix");
}

#[test]
fn a_match_tells_how_much_the_prefix_took() {
    let routes = [at("root", &[], &["/"]), at("a", &[], &["/a", "=/exact", "~/r.*"]), at("b", &["h"], &["/a/bb"])];
    let table = table(&routes);
    for (path, route, prefix_len) in [
        ("/", 0, 0),
        ("/x", 0, 0),
        ("/a", 1, 2),
        ("/a/", 1, 2),
        ("/a/b", 1, 2),
        ("/exact", 1, 0),
        ("/regex", 1, 0),
        ("/a/bb/c", 2, 5),
    ] {
        assert_eq!(table.find(&get("h", path, &Fields::new())), Some(Match { route, prefix_len }), "{path}");
    }
}

#[test]
fn the_most_specific_conditions_first() {
    let both = || vec![header("x-a", "1"), header("x-b", "!")];
    let routes = [
        at("zzz", &[], &["/"]),
        Route { query: vec![query("q", "1")], ..route("query") },
        Route { query: vec![query("q", "1"), query("r", "!")], ..route("queries") },
        Route { headers: vec![header("x-a", "1")], ..route("header") },
        Route { headers: both(), ..route("headers") },
        Route { methods: vec![Method::PUT, Method::POST], ..route("methods") },
        at("aaa", &[], &["/"]),
    ];
    let table = table(&routes);
    let name = |method: &Method, lines: &[(&'static str, &'static str)], query: Option<&str>| {
        let line = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let headers: Fields = lines.iter().map(line).collect();
        let request = Request { query, method, ..get("h", "/", &headers) };
        routes[table.find(&request).unwrap().route as usize].name.as_str().to_owned()
    };
    assert_eq!(name(&Method::GET, &[], None), "aaa");
    assert_eq!(name(&Method::GET, &[], Some("q=1")), "query");
    assert_eq!(name(&Method::GET, &[], Some("r&q=1")), "queries");
    assert_eq!(name(&Method::GET, &[("x-a", "1")], Some("r&q=1")), "header");
    assert_eq!(name(&Method::GET, &[("x-a", "1"), ("x-b", "")], None), "headers");
    assert_eq!(name(&Method::GET, &[("x-a", "2"), ("x-b", "")], None), "aaa");
    assert_eq!(name(&Method::POST, &[("x-a", "1"), ("x-b", "")], None), "methods");
}

#[test]
fn a_condition_that_fails_lets_the_next_path_match() {
    let mut strict = at("strict", &[], &["=/a/b", "~/a/.", "/a/b"]);
    strict.headers = vec![header("x-a", "1")];
    let routes = [strict, at("a", &[], &["/a"])];
    assert_eq!(taken(&routes, "h", "/a/b"), "a");
}

#[test]
fn header_conditions() {
    let holds = |condition: &str, lines: &[&[u8]]| {
        let routes = [Route { headers: vec![header("x-a", condition)], ..route("r") }];
        let line = |line: &&[u8]| (HeaderName::from_static("x-a"), HeaderValue::from_bytes(line).unwrap());
        let headers: Fields = lines.iter().map(line).collect();
        table(&routes).find(&get("h", "/", &headers)).is_some()
    };
    for (condition, lines) in [
        ("!", &[b"".as_slice()][..]),
        ("v", &[b"v"]),
        ("", &[b""]),
        ("~v+", &[b"vvv"]),
        ("v, w", &[b"v", b"w"]),
        ("v, w", &[b"v, w"]),
        ("v, w, x", &[b"v", b"w, x"]),
        ("~v, w", &[b"v", b"w"]),
        ("!", &[b"\xff", b"w"]),
    ] {
        assert!(holds(condition, lines), "{condition} {lines:?}");
    }
    for (condition, lines) in [
        ("!", &[][..]),
        ("v", &[]),
        ("v", &[b"V".as_slice()]),
        ("v", &[b"vv"]),
        ("vv", &[b"v"]),
        ("v", &[b"v", b"w"]),
        ("w", &[b"v", b"w"]),
        ("v", &[b"v", b"v"]),
        ("v,w", &[b"v", b"w"]),
        ("~v", &[b"v", b"w"]),
        ("~.*", &[b"\xff"]),
    ] {
        assert!(!holds(condition, lines), "{condition} {lines:?}");
    }
}

#[test]
fn query_conditions() {
    let holds = |name: &str, condition: &str, target: &str| {
        let routes = [Route { query: vec![query(name, condition)], ..route("r") }];
        taken(&routes, "h", target) == "r"
    };
    for (name, condition, target) in [
        ("q", "!", "/?q"),
        ("q", "", "/?q="),
        ("q", "1", "/?a=b&q=1&q=2"),
        ("q", "a b", "/?q=a+b"),
        ("q", "a b", "/?q=a%20b"),
        ("q", "a+b", "/?q=a%2Bb"),
        ("q", "a=b", "/?q=a=b"),
        ("q x", "1", "/?q+x=1"),
        ("q", "%zz%", "/?q=%zz%"),
        ("q", "~[a-z ]+", "/?q=%61+b"),
        ("q", "~.*", "/?q"),
        ("", "1", "/?=1"),
    ] {
        assert!(holds(name, condition, target), "{name} {condition} {target}");
    }
    for (name, condition, target) in [
        ("q", "!", "/"),
        ("q", "!", "/?"),
        ("q", "2", "/?q=1&q=2"),
        ("q", "1", "/?Q=1"),
        ("q", "a+b", "/?q=a+b"),
        ("q", "~.*", "/?q=%ff"),
        ("", "!", "/?&&"),
    ] {
        assert!(!holds(name, condition, target), "{name} {condition} {target}");
    }
}

/// A way to lay out routes: the nth one.
type Mix = fn(usize) -> Route;

fn one_host(n: usize) -> Route {
    at(&format!("r{n}"), &["h.example"], &[&format!("/api/v1/service-{n}")])
}

fn exact_paths(n: usize) -> Route {
    at(&format!("r{n}"), &["h.example"], &[&format!("=/api/v1/service-{n}")])
}

fn many_hosts(n: usize) -> Route {
    at(&format!("r{n}"), &[&format!("h{n}.example")], &["/api"])
}

fn wildcards(n: usize) -> Route {
    at(&format!("r{n}"), &[&format!("*.h{n}.example")], &["/api"])
}

fn any_host(n: usize) -> Route {
    at(&format!("r{n}"), &[], &[&format!("/api/v1/service-{n}")])
}

fn nested(n: usize) -> Route {
    at(&format!("r{n}"), &["h.example"], &["/", &format!("/a{n}/b")])
}

fn probes(count: usize, mix: Mix, host: &str, path: &str) -> usize {
    let routes: Vec<_> = (0..count).map(mix).collect();
    let table = table(&routes);
    index::probes::take();
    assert!(table.find(&get(host, path, &Fields::new())).is_some(), "{host}{path}");
    index::probes::take()
}

/// Look-ups for one request do not depend on the number of routes.
#[test]
fn the_number_of_routes_does_not_matter() {
    let mixes: [(Mix, &str, &str, usize); 6] = [
        (one_host, "h.example", "/api/v1/service-3/orders/17", 2),
        (exact_paths, "h.example", "/api/v1/service-3", 2),
        (many_hosts, "h3.example", "/api/orders", 2),
        (wildcards, "a.b.h3.example", "/api/orders", 3),
        (any_host, "other.example", "/api/v1/service-3/orders", 2),
        (nested, "h.example", "/x/y/z", 3),
    ];
    for (mix, host, path, expected) in mixes {
        assert_eq!(probes(10, mix, host, path), expected, "{host}{path}");
        assert_eq!(probes(5_000, mix, host, path), expected, "{host}{path}");
    }
}

#[test]
fn a_long_path_costs_no_more_than_what_the_table_knows() {
    let table = table(&[at("r", &["h"], &["/a/b", "/"])]);
    let path = "/a/b".to_owned() + &"/c".repeat(10_000);
    index::probes::take();
    assert!(table.find(&get("h", &path, &Fields::new())).is_some());
    assert_eq!(index::probes::take(), 2);
}

#[test]
fn very_deep_prefixes() {
    let deep = |elements: usize| "/x".repeat(elements);
    let routes = [at("p62", &["h"], &[&deep(62)]), at("p63", &["h"], &[&deep(63)]), at("p70", &["h"], &[&deep(70)])];
    for (elements, expected) in [(61, "-"), (62, "p62"), (63, "p63"), (69, "p63"), (70, "p70"), (200, "p70")] {
        assert_eq!(taken(&routes, "h", &deep(elements)), expected, "{elements}");
    }
}
