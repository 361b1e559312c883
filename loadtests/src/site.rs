//! What a proxy is to be configured for, in no proxy's words: [`crate::proxies`] writes it down for each.

use std::net::SocketAddr;

use crate::upstream::Label;

/// The grid's name in GridRouter's documents.
pub const GRID: &str = "shop";
/// The header that names the tenant.
pub const TENANT_HEADER: &str = "x-tenant-id";

/// The header that carries [`Site::stamp`].
pub const STAMP_HEADER: &str = "x-stamp";

/// A listener, a grid, services behind it, and the routes to them.
#[derive(Debug, Clone)]
pub struct Site {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where GridRouter's admin answers.
    pub admin: SocketAddr,
    /// The grid's cells.
    pub cells: Vec<String>,
    /// The services.
    pub services: Vec<Service>,
    /// The routes that are used.
    pub routes: Vec<Route>,
    /// Pins of tenants, in the order in which they are written.
    pub pins: Vec<Pin>,
    /// Routes that are there, and not used.
    pub idle_routes: usize,
    /// Whether clients come by TLS: the certificate is beside the configuration.
    pub tls: bool,
    /// What is spoken besides HTTP/1.1.
    pub speaks: Speaks,
    /// A number that every answer carries in the header [`STAMP_HEADER`], to see which configuration is in force.
    pub stamp: Option<usize>,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1 everywhere.
    Http1,
    /// With clients HTTP/2 too. The path's second segment names the tenant: h2load sends the same fields with all requests.
    Http2,
    /// The same, and HTTP/2 in clear with endpoints, as gRPC needs.
    Http2Through,
}

/// Limits that are too high to refuse anything, the fewest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limits {
    /// None.
    None,
    /// A rate of each tenant.
    One,
    /// A rate of each tenant, requests of each client's address in a sliding window, requests of the route at the same
    /// time, and requests of each tenant to the route in a fixed window; or what the proxy has that is nearest.
    Four,
}

/// A service with endpoints in every cell.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its endpoints, each with its cell.
    pub endpoints: Vec<Label>,
    /// Whether an endpoint that fails once is left out for a second.
    pub ejects: bool,
}

/// A route to a service.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// The host that matches.
    pub host: String,
    /// The path prefix that matches.
    pub prefix: String,
    /// The service's name.
    pub service: String,
    /// How long the upstream may take; `None` is the proxy's default.
    pub timeouts: Option<Timeouts>,
    /// What is checked on every request.
    pub limits: Limits,
}

/// How long an upstream may take, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To connect.
    pub connect: u64,
    /// To begin an answer.
    pub response_head: u64,
    /// Between two parts of a body.
    pub response_body: u64,
    /// For everything.
    pub request: u64,
}

/// A tenant that is pinned to a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The tenant.
    pub tenant: String,
    /// The cell's name.
    pub cell: String,
}

impl Site {
    /// A site with `cells` cells and `endpoints` endpoints of each service in each cell, on free ports.
    pub fn new(cells: usize, services: &[&str], endpoints: usize) -> crate::error::Result<Self> {
        let mut ports = crate::ports::free(2 + cells * services.len() * endpoints)?.into_iter();
        let mut next = || ports.next().ok_or_else(|| crate::error::Error::new("ran out of ports"));
        let (listen, admin) = (next()?, next()?);
        let cells: Vec<String> = (1..=cells).map(|number| format!("cell-{number}")).collect();
        let mut made = Vec::new();
        for name in services {
            let mut labels = Vec::new();
            for cell in &cells {
                for _ in 0..endpoints {
                    labels.push(Label { address: next()?, service: (*name).to_owned(), cell: cell.clone() });
                }
            }
            made.push(Service { name: (*name).to_owned(), endpoints: labels, ejects: true });
        }
        let routes = services
            .iter()
            .map(|name| Route {
                name: (*name).to_owned(),
                host: format!("{name}.example.com"),
                prefix: "/api".to_owned(),
                service: (*name).to_owned(),
                timeouts: None,
                limits: Limits::None,
            })
            .collect();
        Ok(Self {
            listen,
            admin,
            cells,
            services: made,
            routes,
            pins: Vec::new(),
            idle_routes: 0,
            tls: false,
            speaks: Speaks::Http1,
            stamp: None,
        })
    }

    /// Every endpoint of every service.
    pub fn endpoints(&self) -> impl Iterator<Item = &Label> {
        self.services.iter().flat_map(|service| &service.endpoints)
    }

    /// The most that a route checks.
    pub fn limits(&self) -> Limits {
        self.routes.iter().map(|route| route.limits).max().unwrap_or(Limits::None)
    }

    /// Has every route check this.
    pub fn limit(&mut self, limits: Limits) {
        for route in &mut self.routes {
            route.limits = limits;
        }
    }

    /// The host of the first route.
    pub fn host(&self) -> &str {
        self.routes.first().map(|route| route.host.as_str()).unwrap_or_default()
    }

    /// The cell that a tenant is pinned to.
    pub fn pinned(&self, tenant: &str) -> Option<&str> {
        self.pins.iter().find(|pin| pin.tenant == tenant).map(|pin| pin.cell.as_str())
    }
}
