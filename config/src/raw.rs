//! The documents exactly as written, one file a kind. Nothing here has been checked beyond its shape; the same types
//! generate the JSON Schema, so a field exists in one place only.

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
    Adaptation, AdaptiveConcurrency, Bandwidth, Concurrency, FixedWindow, LeakyBucketMeter, LeakyBucketQueue,
    SlidingWindow, SlidingWindowMethod, TokenBucket, WarmUp, WarmUpForm,
};
pub use cell::{Cell, CellState};
pub use certificate::{Certificate, CertificateFiles, CertificateInline};
pub use grid::{Grid, Placement, PlacementAlgorithm};
pub use limit::{Cost, CostParts, HeadersWhen, Limit, LimitKeyPart, LimitMode};
pub use listener::{
    Authorities, CipherPolicy, ClientCertificateMode, ClientCertificates, Clients, ForwardedCertificate, Listener,
    ListenerHttp2, ListenerTimeouts, ListenerTls, ProxyProtocol, TlsVersion, UnderscoreHeaders,
};
pub use plan::Plan;
pub use route::{
    CertificateField, FixedResponse, HeaderEdits, HeaderMatch, Otherwise, PathMatch, QueryMatch, Redirect, Rewrite,
    Route, RouteTimeouts, Scheme, TenantRule, TenantSource,
};
pub use service::{Balance, BalanceAlgorithm, Endpoint, ProxyVersion, Service, ServiceTls, Tracks, UpstreamProtocol};
pub use shift::{
    Analysis, Mirror, OnFailure, OnNoEndpoint, Prometheus, PrometheusQuery, RollbackPace, Shift, ShiftBy, ShiftPhase,
    ShiftReport, ShiftState, ShiftStep, TesterHeader, Testers, Wave,
};
pub use tenant::{LimitOverride, Tenant};
pub use tenant_move::{Move, MoveDriver, MoveFence, MovePhase, MoveState};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::Kind;

/// One configuration document of any kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum Document {
    /// A socket that clients connect to.
    Listener(Box<Listener>),
    /// A certificate with its key, for listeners with TLS.
    Certificate(Certificate),
    /// A set of cells and the placement policy over them.
    Grid(Grid),
    /// One isolated copy of the services.
    Cell(Cell),
    /// A named backend that every cell has.
    Service(Service),
    /// A match on the request, and what happens to it.
    Route(Box<Route>),
    /// A named rate or concurrency policy with a key.
    Limit(Box<Limit>),
    /// What customers buy: limit values that many tenants share.
    Plan(Plan),
    /// A stepwise move of a service's traffic from one track to the other, cell by cell.
    Shift(Box<Shift>),
    /// A tenant's way from one cell to another.
    Move(Box<Move>),
    /// A customer: its pin to a cell, its plan and its own limit values.
    Tenant(Tenant),
}

impl Document {
    /// The document's kind.
    pub fn kind(&self) -> Kind {
        match self {
            Document::Listener(_) => Kind::Listener,
            Document::Certificate(_) => Kind::Certificate,
            Document::Grid(_) => Kind::Grid,
            Document::Cell(_) => Kind::Cell,
            Document::Service(_) => Kind::Service,
            Document::Route(_) => Kind::Route,
            Document::Limit(_) => Kind::Limit,
            Document::Plan(_) => Kind::Plan,
            Document::Shift(_) => Kind::Shift,
            Document::Move(_) => Kind::Move,
            Document::Tenant(_) => Kind::Tenant,
        }
    }

    /// The document's name, which has not been checked.
    pub fn name(&self) -> &str {
        match self {
            Document::Listener(document) => &document.name,
            Document::Certificate(document) => &document.name,
            Document::Grid(document) => &document.name,
            Document::Cell(document) => &document.name,
            Document::Service(document) => &document.name,
            Document::Route(document) => &document.name,
            Document::Limit(document) => &document.name,
            Document::Plan(document) => &document.name,
            Document::Shift(document) => &document.name,
            Document::Move(document) => &document.name,
            Document::Tenant(document) => &document.name,
        }
    }
}
