//! What deciding on a request costs, from the checks of its target to what the client is told of limits, and making
//! its headers those of the request sent on. 10,000 routes, 100,000 pinned tenants and a limit by tenant.
//!
//! `the same request` has everything in the processor's cache. `any request` takes another tenant and another route
//! each time, so it shows what the tables cost in cache misses; the request itself is made anew each time, outside of
//! the measurement, as hyper hands over one that it has just read. `… on tracks` has a shift under way that gave the new
//! track of every cell a tenth of the tenants.
//!
//! The stages are functions that are not inlined, so that instructions can be counted by stage on a machine that is
//! busy otherwise:
//! `valgrind --tool=callgrind --cache-sim=yes --toggle-collect='decide::checked' … BENCH --bench --profile-time 2`.

#![allow(clippy::expect_used, reason = "a benchmark may stop")]
#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use gridrouter::clock::Nanos;
use gridrouter::http::fields::Fields;
use gridrouter::http::headers::{Direction, strip_hop_by_hop};
use gridrouter::http::target::{self, Target};
use gridrouter::http::{forwarded, reject::Reject};
use gridrouter::limit::table::LimitTable;
use gridrouter::pipeline::admission::Admission;
use gridrouter::pipeline::decide::{Decision, Facts, Refusal, decide};
use gridrouter::pipeline::told::Told;
use gridrouter::snapshot::Snapshot;
use gridrouter::snapshot::compile::compile;
use gridrouter::snapshot::names::Names;
use gridrouter_config::ids::Name;
use gridrouter_config::model;
use gridrouter_config::raw::{OnNoEndpoint, ShiftBy, ShiftPhase};
use gridrouter_config::tenants::TenantTable;
use gridrouter_config::track::Track;
use gridrouter_config::units::{Percent, Rate};
use http::{Method, Uri, Version, header};

const ROUTES: usize = 10_000;
const TENANTS: usize = 100_000;
const CELLS: usize = 4;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn by_name<T>(documents: impl Iterator<Item = T>, name: impl Fn(&T) -> &Name) -> model::Map<T> {
    Arc::new(documents.map(|document| (name(&document).clone(), Arc::new(document))).collect())
}

fn host_of(route: usize) -> String {
    format!("shop-{}.example.com", route / 2)
}

fn prefix_of(route: usize) -> String {
    format!("/api/service-{route}")
}

fn cell(number: usize) -> Name {
    name(&format!("cell-{}", number % CELLS))
}

fn route(number: usize) -> model::Route {
    model::Route {
        name: name(&format!("route-{number}")),
        listeners: vec![],
        hosts: vec![model::HostPattern::Exact(host_of(number))],
        paths: vec![model::PathMatch::Prefix(prefix_of(number))],
        methods: vec![],
        headers: vec![],
        query: vec![],
        action: model::Action::Forward(Box::new(model::Forward {
            grid: Some(name("shop")),
            service: name("orders"),
            timeouts: model::RouteTimeouts::default(),
            prefix_rewrite: None,
            host_rewrite: None,
            upgrades: vec![model::Upgrade::Websocket],
            grpc_web: false,
            request_headers: model::HeaderEdits::default(),
        })),
        response_headers: model::HeaderEdits::default(),
        limits: vec![name("per-tenant")],
        tenant: Some(model::TenantRule {
            from: vec![model::TenantSource::Header("x-tenant-id".parse().expect("a header"))],
            otherwise: model::Otherwise::Reject,
        }),
        max_body: None,
    }
}

/// A shift of the service in every cell, at a tenth.
fn shift_of_all() -> model::Shift {
    model::Shift {
        name: name("orders-2"),
        service: name("orders"),
        to: Track::Green,
        by: ShiftBy::Tenant,
        waves: vec![model::Wave { cells: (0..CELLS).map(cell).collect(), bake: Duration::ZERO }],
        steps: vec![model::ShiftStep::Weight { weight: Percent::ALL, hold: Duration::ZERO }],
        testers: model::Testers {
            headers: vec![("x-preview".parse().expect("a header"), header::HeaderValue::from_static("orders-2"))],
            tenants: vec![name("our-own")],
        },
        on_no_endpoint: OnNoEndpoint::Reject,
        analysis: None,
        mirror: None,
        drain: Duration::from_secs(30),
        seed: 7,
        state: model::ShiftState {
            phase: ShiftPhase::Running,
            shares: (0..CELLS).map(|number| (cell(number), Percent::of_hundredths(1_000))).collect(),
            ..model::ShiftState::default()
        },
    }
}

/// `shift` says whether one is under way.
fn model(shift: bool) -> model::Model {
    let endpoint = |port| model::Endpoint {
        address: SocketAddr::from(([127, 0, 0, 1], port)).into(),
        weight: 100,
        backup: false,
        down: false,
        max_connections: 0,
    };
    let tracks = |number| model::Tracks {
        blue: vec![endpoint(8_000), endpoint(8_001 + number)],
        green: vec![endpoint(9_000), endpoint(9_001 + number)],
        ..model::Tracks::default()
    };
    let mut tenants = TenantTable::default();
    for number in 0..TENANTS {
        let tenant = name(&format!("tenant-{number}"));
        let json = format!(r#"{{"kind":"Tenant","name":"{tenant}","grid":"shop","cell":"{}"}}"#, cell(number));
        assert!(tenants.put_json(&tenant, json.as_bytes()));
    }
    model::Model {
        listeners: by_name(
            std::iter::once(model::Listener {
                name: name("web"),
                address: SocketAddr::from(([127, 0, 0, 1], 80)).into(),
                socket_mode: 0o660,
                trusted_proxies: vec![],
                proxy_protocol: None,
                clients: model::Clients::default(),
                underscore_headers: model::UnderscoreHeaders::default(),
                timeouts: model::ListenerTimeouts::default(),
                limits: vec![],
                http2: model::ListenerHttp2::default(),
                tls: None,
            }),
            |listener| &listener.name,
        ),
        grids: by_name(
            std::iter::once(model::Grid {
                name: name("shop"),
                cells: (0..CELLS).map(cell).collect(),
                placement: model::Placement::Ring(model::RingPlacement::default()),
            }),
            |grid| &grid.name,
        ),
        cells: by_name(
            (0..CELLS).map(|number| model::Cell {
                name: cell(number),
                weight: 100,
                state: model::CellState::Active,
                labels: BTreeMap::new(),
                ingress: vec![],
            }),
            |cell| &cell.name,
        ),
        services: by_name(
            std::iter::once(model::Service {
                name: name("orders"),
                host: None,
                balance: model::Balance::default(),
                cells: (0..4_u16).map(|number| (cell(usize::from(number)), tracks(number))).collect(),
                endpoints: model::Tracks::default(),
                limits: vec![],
                tls: None,
                proxy_protocol: None,
                protocol: model::UpstreamProtocol::Http1,
            }),
            |service| &service.name,
        ),
        routes: by_name((0..ROUTES).map(route), |route| &route.name),
        limits: by_name(
            std::iter::once(model::Limit {
                name: name("per-tenant"),
                key: vec![model::LimitKeyPart::Tenant],
                algorithm: model::Algorithm::TokenBucket(model::TokenBucket {
                    rate: Rate::parse("1000000/s").expect("a rate"),
                    burst: 1_000_000,
                }),
                candidate: None,
                mode: model::LimitMode::Enforce,
                cost: model::Cost::default(),
                status: http::StatusCode::TOO_MANY_REQUESTS,
                headers: model::HeadersWhen::Always,
                legacy_headers: false,
            }),
            |limit| &limit.name,
        ),
        shifts: by_name(shift.then(shift_of_all).into_iter(), |shift| &shift.name),
        certificates: Arc::default(),
        moves: Arc::default(),
        plans: Arc::default(),
        tenants,
    }
}

/// A request as hyper hands it over.
struct Asked {
    uri: Uri,
    headers: Fields,
}

impl Asked {
    fn new(number: usize) -> Self {
        let (route, tenant) = (number % ROUTES, number % TENANTS);
        let mut headers = Fields::new();
        let mut add = |name, value: String| headers.append(name, value);
        add(header::HOST, host_of(route));
        add(header::USER_AGENT, "curl/8.14.1".to_owned());
        add(header::ACCEPT, "*/*".to_owned());
        add(header::HeaderName::from_static("x-tenant-id"), format!("tenant-{tenant}"));
        let uri = format!("{}/orders/17?page=2", prefix_of(route)).try_into().expect("a target");
        Self { uri, headers }
    }
}

#[inline(never)]
fn checked(asked: &Asked) -> Result<Target<'_>, (Reject, &'static str)> {
    target::check(&Method::GET, &asked.uri, Version::HTTP_11, &asked.headers, false)
}

#[inline(never)]
fn decided<'a: 'r, 'r>(
    snapshot: &'a Snapshot,
    facts: &Facts<'r>,
    limits: &LimitTable,
    now: Nanos,
    admission: &mut Admission<'a>,
) -> Result<Decision<'a, 'r>, Refusal<'a, 'r>> {
    decide(snapshot, facts, limits, || 0, now, admission)
}

#[inline(never)]
fn told(admission: &Admission<'_>) -> Told {
    admission.told()
}

#[inline(never)]
fn stripped(headers: &mut Fields) {
    strip_hop_by_hop(headers, Direction::Request, false);
}

#[inline(never)]
fn forwarded_for(headers: &mut Fields) {
    forwarded::set(headers, false, b"192.0.2.7", "http", || *b"0123456789abcdef0123456789abcdef");
}

/// The pure part of a request's life.
fn live(snapshot: &Snapshot, limits: &LimitTable, asked: &mut Asked, now: u64) {
    let target = checked(asked).expect("a good request");
    let facts = Facts {
        listener: 0,
        peer: PEER,
        peer_network: snapshot.keys.network(PEER),
        trusted_proxies: &[],
        method: &Method::GET,
        headers: &asked.headers,
        target: &target,
        certificate: None,
    };
    let mut admission = Admission::default();
    let decision = decided(snapshot, &facts, limits, Nanos(now), &mut admission).expect("a route");
    black_box(told(&admission));
    drop(decision);
    stripped(&mut asked.headers);
    forwarded_for(&mut asked.headers);
}

fn requests(criterion: &mut Criterion) {
    let snapshot = |shift| {
        let model = Arc::new(model(shift));
        compile(model, Arc::default(), Arc::default(), 1, "".into(), None, &mut Names::default())
    };
    let (plain, shifting) = (snapshot(false), snapshot(true));
    let limits = LimitTable::new(64 << 20);
    let mut now = 0;
    for (name, snapshot, step) in [
        ("decide/the same request", &plain, 0),
        ("decide/any request", &plain, 73_571),
        ("decide/the same request on tracks", &shifting, 0),
        ("decide/any request on tracks", &shifting, 73_571),
    ] {
        let mut next = 4_711;
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    now += 1_000;
                    next = (next + step) % TENANTS;
                    let mut asked = Asked::new(next);
                    let began = Instant::now();
                    live(snapshot, &limits, black_box(&mut asked), now);
                    spent += began.elapsed();
                }
                spent
            });
        });
    }
}

fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group! { name = benches; config = settings(); targets = requests }
criterion_main!(benches);
