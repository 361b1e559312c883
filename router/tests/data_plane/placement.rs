//! Whose request it is, and which cell it reaches.

use std::collections::BTreeMap;

use super::support::{Builder, Site, Upstream};

/// Three cells, each an endpoint that answers with the cell's name.
pub(crate) struct Cells {
    upstreams: Vec<Upstream>,
}

pub(crate) const NAMES: [&str; 3] = ["one", "two", "three"];

impl Cells {
    pub(crate) fn new() -> Self {
        Self { upstreams: NAMES.into_iter().map(Upstream::ok).collect() }
    }

    /// The grid, its cells with these more lines each, and the service `all` in all of them.
    pub(crate) fn site(&self, lines: [&str; 3]) -> Builder {
        let mut builder = Site::builder().document(&format!("kind: Grid\nname: grid\ncells: [{}]", NAMES.join(", ")));
        let mut endpoints = Vec::new();
        for ((name, upstream), lines) in NAMES.iter().zip(&self.upstreams).zip(lines) {
            builder = builder.document(&format!("kind: Cell\nname: {name}\n{lines}"));
            endpoints.push(format!("{name}: {{blue: [{{address: {}}}]}}", upstream.address()));
        }
        builder.document(&format!("kind: Service\nname: all\nhost: all.internal\ncells: {{{}}}", endpoints.join(", ")))
    }
}

const BY_HEADER: &str = "tenant: {from: [{header: x-tenant}]}\ngrid: grid";

/// The cell that each of some tenants reaches.
pub(crate) fn cells_of(site: &Site, tenants: usize) -> BTreeMap<String, String> {
    let mut client = site.client();
    let place = |n: usize| {
        let tenant = format!("tenant-{n}");
        let cell = client.get_with("/", &format!("X-Tenant: {tenant}\r\n")).text();
        (tenant, cell)
    };
    (0..tenants).map(place).collect()
}

#[test]
fn a_tenant_lives_in_one_cell_whoever_asks() {
    let cells = Cells::new();
    let (first, second) = (cells.site([""; 3]).route(BY_HEADER).threads(2).start(), cells.site([""; 3]));
    let second = second.route(BY_HEADER).start();
    let places = cells_of(&first, 60);
    for name in NAMES {
        assert!(places.values().filter(|cell| *cell == name).count() > 5, "{places:?}");
    }
    for _ in 0..3 {
        assert_eq!(cells_of(&first, 60), places);
    }
    assert_eq!(cells_of(&second, 60), places, "another router places alike");
}

#[test]
fn a_pin_wins_over_the_placement() {
    let cells = Cells::new();
    let site = NAMES
        .iter()
        .fold(cells.site([""; 3]).route(BY_HEADER), |site, cell| {
            site.document(&format!("kind: Tenant\nname: pinned-{cell}\ngrid: grid\ncell: {cell}"))
        })
        .start();
    for cell in NAMES {
        site.get_with("/", &format!("X-Tenant: pinned-{cell}\r\n")).assert_ok(cell);
    }
}

#[test]
fn draining_cells_serve_pinned_tenants_only_and_offline_ones_nobody() {
    let cells = Cells::new();
    let site = cells
        .site(["state: draining", "state: offline", ""])
        .route(BY_HEADER)
        .document("kind: Tenant\nname: stays\ngrid: grid\ncell: one")
        .document("kind: Tenant\nname: stuck\ngrid: grid\ncell: two")
        .start();
    assert!(cells_of(&site, 30).values().all(|cell| cell == "three"));
    site.get_with("/", "X-Tenant: stays\r\n").assert_ok("one");
    site.get_with("/", "X-Tenant: stuck\r\n").assert_reject(503, "cell_offline");
}

/// A service without endpoints of its own in a cell is reached through the cell's ingress, which goes by the Host.
#[test]
fn a_cell_s_ingress_gets_the_service_s_host() {
    let (ingress, own) = (Upstream::ok("ingress"), Upstream::ok("own"));
    let site = Site::builder()
        .document("kind: Grid\nname: grid\ncells: [far, near]")
        .document(&format!("kind: Cell\nname: far\ningress: [{{address: {}}}]", ingress.address()))
        .document("kind: Cell\nname: near")
        .document(&format!(
            "kind: Service\nname: all\nhost: all.internal:81\ncells: {{near: {{blue: [{{address: {}}}]}}}}",
            own.address()
        ))
        .route(BY_HEADER)
        .document("kind: Tenant\nname: f\ngrid: grid\ncell: far")
        .document("kind: Tenant\nname: n\ngrid: grid\ncell: near")
        .document(
            "kind: Route\nname: rewritten\npaths: [{prefix: /rewritten}]\nservice: all\nrewrite: {host: new.internal}\n\
             tenant: {from: [{header: x-tenant}]}\ngrid: grid",
        )
        .start();
    site.get_with("/", "X-Tenant: f\r\n").assert_ok("ingress");
    let request = ingress.received();
    assert_eq!((request.header("host"), request.header("x-forwarded-host")), (Some("all.internal:81"), Some("a.test")));
    site.get_with("/", "X-Tenant: n\r\n").assert_ok("own");
    assert_eq!(own.received().header("host"), Some("a.test"));
    site.get_with("/rewritten", "X-Tenant: f\r\n").assert_ok("ingress");
    assert_eq!(ingress.received().header("host"), Some("new.internal"));
}

#[test]
fn the_tenant_is_found_in_all_five_places_in_the_order_given() {
    let cells = Cells::new();
    let rule = "tenant: {from: [{header: x-tenant}, {hostLabel: 0}, {pathSegment: 1}, {query: tenant}, {cookie: t}]}";
    let pins = NAMES.iter().fold(cells.site([""; 3]), |site, cell| {
        site.document(&format!("kind: Tenant\nname: in-{cell}\ngrid: grid\ncell: {cell}"))
    });
    let site = pins.route(&format!("{rule}\ngrid: grid")).start();
    let cell_of = |host: &str, path: &str, lines: &str| {
        site.exchange(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")).text()
    };
    let address = "127.0.0.1";
    assert_eq!(cell_of(address, "/", "X-Tenant: in-one\r\n"), "one");
    assert_eq!(cell_of("in-two.shop.test", "/", ""), "two");
    assert_eq!(cell_of("IN-TWO.shop.test:80", "/", ""), "two");
    assert_eq!(cell_of(address, "/t/in-three/x", ""), "three");
    assert_eq!(cell_of(address, "/t/in%2Dthree/x", ""), "three");
    assert_eq!(cell_of(address, "/?a=b&tenant=in-one", ""), "one");
    assert_eq!(cell_of(address, "/?tenant=in%2done", ""), "one");
    assert_eq!(cell_of(address, "/", "Cookie: a=b; t=in-two\r\nCookie: c=d\r\n"), "two");
    assert_eq!(cell_of("in-two.shop.test", "/t/in-three?tenant=in-three", "X-Tenant: in-one\r\n"), "one");
    assert_eq!(cell_of("in-two.shop.test", "/t/in-three", "Cookie: t=in-one\r\n"), "two");
    assert_eq!(cell_of(address, "/t/in-three?tenant=in-one", ""), "three");
    assert_eq!(cell_of(address, "/t/in-three?tenant=in-one", "X-Tenant:\r\n"), "three", "an empty value is none");
}

#[test]
fn a_request_without_a_clear_tenant_is_refused() {
    let cells = Cells::new();
    let site = cells.site([""; 3]).route("tenant: {from: [{header: x-tenant}, {query: tenant}]}\ngrid: grid").start();
    let mut client = site.client();
    client.get("/").assert_reject(400, "no_tenant");
    client.get_with("/", "X-Tenant:\r\n").assert_reject(400, "no_tenant");
    client.get_with("/", "X-Tenant: a\r\nX-Tenant: b\r\n").assert_reject(400, "bad_tenant");
    client.get("/?tenant=a&tenant=b").assert_reject(400, "bad_tenant");
    client.get("/?tenant=a%20b").assert_reject(400, "bad_tenant");
    client.get_with("/", &format!("X-Tenant: {}\r\n", "a".repeat(129))).assert_reject(400, "bad_tenant");
    assert_eq!(client.get_with("/", "X-Tenant: a\r\nX-Tenant: a\r\n").status(), 200);
}

#[test]
fn a_default_tenant_takes_what_names_none() {
    let cells = Cells::new();
    let site = cells
        .site([""; 3])
        .route("tenant: {from: [{header: x-tenant}], otherwise: {tenant: everybody}}\ngrid: grid")
        .document("kind: Tenant\nname: everybody\ngrid: grid\ncell: two")
        .start();
    site.get("/").assert_ok("two");
    site.get_with("/", "X-Tenant: a\r\nX-Tenant: b\r\n").assert_reject(400, "bad_tenant");
}
