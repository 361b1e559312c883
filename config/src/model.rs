//! The documents checked: every reference resolves, every value is in range, every default is filled in.

mod algorithm;
mod cell;
mod certificate;
mod grid;
mod limit;
mod listener;
mod plan;
mod route;
mod service;
mod shift;
mod tenant;
mod tenant_move;

pub use algorithm::{
    Adaptation, AdaptiveConcurrency, Algorithm, Bandwidth, Concurrency, FixedWindow, LeakyBucketMeter,
    LeakyBucketQueue, SlidingWindow, SlidingWindowMethod, TokenBucket, WarmUp, WarmUpForm,
};
pub use cell::{Cell, CellState};
pub use certificate::{Certificate, CertificateSource, Secret};
pub use grid::{Grid, Placement, RingPlacement};
pub use limit::{Cost, HeadersWhen, Limit, LimitKeyPart, LimitMode};
pub use listener::{
    Authorities, CipherPolicy, ClientCertificateMode, ClientCertificates, Clients, ForwardedCertificate, Listener,
    ListenerHttp2, ListenerTimeouts, ListenerTls, ProxyProtocol, TlsVersion, UnderscoreHeaders,
};
pub use plan::Plan;
pub use route::{
    Action, CertificateField, FixedResponse, Forward, HeaderEdits, HeaderMatch, HostPattern, Otherwise, PathMatch,
    QueryMatch, Redirect, RedirectPath, Route, RouteTimeouts, TenantRule, TenantSource, Upgrade, ValueMatch,
};
pub use service::{Balance, Endpoint, ProxyVersion, Service, ServiceTls, Tracks, UpstreamProtocol};
pub use shift::{Analysis, Mirror, Prometheus, PrometheusQuery, Shift, ShiftState, ShiftStep, Testers, Wave};
pub use tenant::{LimitOverride, Pin, Tenant, TenantLimits};
pub use tenant_move::{Move, MoveState};

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::Name;
use crate::tenants::TenantTable;

/// Documents of one kind by name. Where nothing of a kind changed, it is the same `Arc` in consecutive generations.
pub type Map<T> = Arc<BTreeMap<Name, Arc<T>>>;

/// Every document of one generation, checked. Equal documents of consecutive generations are the same `Arc`, so that
/// whoever compiles a model can see by pointer what did not change.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The listeners.
    pub listeners: Map<Listener>,
    /// The certificates.
    pub certificates: Map<Certificate>,
    /// The grids.
    pub grids: Map<Grid>,
    /// The cells.
    pub cells: Map<Cell>,
    /// The services.
    pub services: Map<Service>,
    /// The routes.
    pub routes: Map<Route>,
    /// The limits.
    pub limits: Map<Limit>,
    /// The plans.
    pub plans: Map<Plan>,
    /// The shifts, those that have ended among them.
    pub shifts: Map<Shift>,
    /// The moves of tenants, those that have ended among them.
    pub moves: Map<Move>,
    /// The tenants that have a document.
    pub tenants: TenantTable,
}
