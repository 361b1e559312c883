//! What finding a route costs with 10 and with 10,000 routes. Requests go to all of the routes in turn, in no order
//! that helps a cache. The requests themselves take the same memory in both cases, so that only the tables differ.

#![allow(clippy::expect_used, reason = "a benchmark may stop")]
#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gridrouter::http::fields::Fields;
use gridrouter::routing::{Request, RouteTable};
use gridrouter_config::ids::Name;
use gridrouter_config::model::{Action, FixedResponse, HeaderEdits, HostPattern, PathMatch, Route};
use http::{HeaderValue, Method, StatusCode};

const REQUESTS: usize = 10_000;

fn route(number: usize, host: HostPattern, path: String) -> Route {
    Route {
        name: Name::parse(&format!("route-{number}")).expect("a name"),
        listeners: vec![],
        hosts: vec![host],
        paths: vec![PathMatch::Prefix(path)],
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

/// A way to lay out routes: the nth route, and the host and path of a request for it.
type Mix = fn(usize) -> (Route, String, String);

fn one_host(n: usize) -> (Route, String, String) {
    let path = format!("/api/v1/service-{n}");
    let route = route(n, HostPattern::Exact("api.example.com".to_owned()), path.clone());
    (route, "api.example.com".to_owned(), path + "/orders/17")
}

fn many_hosts(n: usize) -> (Route, String, String) {
    let host = format!("shop-{n}.example.com");
    (route(n, HostPattern::Exact(host.clone()), "/api/checkout".to_owned()), host, "/api/checkout/17".to_owned())
}

fn wildcards(n: usize) -> (Route, String, String) {
    let suffix = format!("shop-{n}.example.com");
    let host = format!("tenant.{suffix}");
    (route(n, HostPattern::Wildcard(suffix), "/api/checkout".to_owned()), host, "/api/checkout/17".to_owned())
}

fn hosts_and_paths(n: usize) -> (Route, String, String) {
    let (host, path) = (format!("shop-{}.example.com", n / 10), format!("/api/service-{}", n % 10));
    (route(n, HostPattern::Exact(host.clone()), path.clone()), host, path + "/orders/17")
}

fn find(criterion: &mut Criterion) {
    let mixes: [(&str, Mix); 4] = [
        ("one host", one_host),
        ("many hosts", many_hosts),
        ("wildcards", wildcards),
        ("hosts and paths", hosts_and_paths),
    ];
    let headers = Fields::new();
    for (name, mix) in mixes {
        let mut group = criterion.benchmark_group(name);
        for count in [10, 10_000] {
            let routes: Vec<_> = (0..count).map(|n| mix(n).0).collect();
            let table = RouteTable::build((0..).zip(&routes));
            let requests: Vec<_> = (0..REQUESTS).map(|n| mix(n % count)).map(|(_, host, path)| (host, path)).collect();
            let mut next = 0;
            group.bench_with_input(BenchmarkId::from_parameter(count), &count, |bencher, _| {
                bencher.iter(|| {
                    next = (next + 7_919) % REQUESTS;
                    let (host, path) = &requests[next];
                    let request = Request { host, path, query: None, method: &Method::GET, headers: &headers };
                    table.find(black_box(&request))
                });
            });
        }
    }
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = settings(); targets = find }
criterion_main!(benches);
