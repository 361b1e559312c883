//! The index against a scan that takes the rules of precedence literally.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::routing::one_by_one::scan;

fn some_path() -> impl Strategy<Value = String> {
    vec(select(vec!["a", "b", "c", "ab", ""]), 0..4).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn some_path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        3 => some_path().prop_map(|path| PathMatch::Prefix(match path.trim_end_matches('/') {
            "" => "/".to_owned(),
            path => path.to_owned(),
        })),
        2 => some_path().prop_map(PathMatch::Exact),
        1 => select(PATTERNS.to_vec()).prop_map(|text| PathMatch::Regex(anchored(text))),
    ]
}

const PATTERNS: [&str; 6] = ["/a.*", "/[ab]/.*", ".*", "/a/b", "/.", "/a|/b"];
const REQUESTED: [&str; 8] = ["a.x", "b.a.x", "c.b.a.x", "x", "y.x", "a.y", "z", ""];
const HOSTS: [&str; 8] = ["a.x", "b.a.x", "x", "*.x", "*.a.x", "*.b.a.x", "*.y", "a.y"];

fn some_route() -> impl Strategy<Value = Route> {
    (
        prop_oneof![Just(vec![]), subsequence(HOSTS.to_vec(), 1..4)],
        vec(some_path_match(), 1..3),
        prop_oneof![3 => Just(vec![]), 1 => subsequence(vec![Method::GET, Method::POST], 1..=2)],
        prop_oneof![3 => Just(vec![]), 1 => vec(select(vec![header("x-a", "1"), header("x-b", "!")]), 1..3)],
        prop_oneof![3 => Just(vec![]), 1 => vec(select(vec![super::query("p", "1"), super::query("q", "!")]), 1..3)],
    )
        .prop_map(|(hosts, paths, methods, headers, query)| {
            let hosts = hosts.into_iter().map(host).collect();
            Route { hosts, paths, methods, headers, query, ..route("unnamed") }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn the_index_finds_what_a_scan_finds(
        mut routes in vec(some_route(), 0..25),
        requests in vec((select(REQUESTED.to_vec()), some_path(), 0_u8..16), 20),
    ) {
        for (number, route) in routes.iter_mut().enumerate() {
            // Names in another order than the routes.
            route.name = Name::parse(&format!("r{}-{number}", number * 7 % 5)).unwrap();
        }
        let table = table(&routes);
        for (host, path, bits) in requests {
            let mut headers = Fields::new();
            if bits & 1 != 0 {
                headers.insert("x-a", "1");
            }
            if bits & 2 != 0 {
                headers.insert("x-b", "2");
            }
            let query = [None, Some("p=1"), Some("q=2&p=1"), Some("p=2")][usize::from(bits >> 2 & 3)];
            let method = if bits & 4 == 0 { &Method::GET } else { &Method::POST };
            let request = Request { host, path: &path, query, method, headers: &headers };
            prop_assert_eq!(table.find(&request), scan(&routes, &request), "{:?}", request);
        }
    }
}
