use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use crate::ids::Name;
use crate::raw::{OnFailure, OnNoEndpoint, RollbackPace, ShiftBy, ShiftPhase, ShiftReport};
use crate::track::Track;
use crate::units::Percent;

/// A stepwise move of a service's traffic from one track to the other, cell by cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Shift {
    /// The shift's name.
    pub name: Name,
    /// The service whose traffic moves.
    pub service: Name,
    /// The track that the traffic moves to.
    pub to: Track,
    /// What the share is of.
    pub by: ShiftBy,
    /// Which cells move, one wave after the other; at least one, and no cell twice.
    pub waves: Vec<Wave>,
    /// What happens in each wave; the last weight is 100 %.
    pub steps: Vec<ShiftStep>,
    /// Who is moved first.
    pub testers: Testers,
    /// What happens to a request whose track has no endpoint that can be used.
    pub on_no_endpoint: OnNoEndpoint,
    /// When the new track is good enough to go on.
    pub analysis: Option<Analysis>,
    /// What the new track gets copies of.
    pub mirror: Option<Mirror>,
    /// How long answers may go on that come from a track on which their request would not be any more.
    pub drain: Duration,
    /// A number that decides, with the tenant's id, who comes first.
    pub seed: u64,
    /// How far the shift has come.
    pub state: ShiftState,
}

/// Cells that move together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// The cells, at least one.
    pub cells: Vec<Name>,
    /// How long they stay as they are before the next wave begins; may be zero.
    pub bake: Duration,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShiftStep {
    /// The new track gets a share.
    Weight {
        /// The share.
        weight: Percent,
        /// How long it is held; may be zero.
        hold: Duration,
    },
    /// Somebody has to say that it goes on.
    Pause {
        /// What for.
        reason: String,
    },
    /// The share stays; the analysis has to be sure.
    Analysis {
        /// For how long.
        hold: Duration,
    },
}

/// Who is moved first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Testers {
    /// Requests that have one of these headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Requests of these tenants, sorted.
    pub tenants: Vec<Name>,
}

/// Which requests to the old track are sent to the new one, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The share of those requests that are copied.
    pub share: Percent,
    /// The share of the copies of which the bodies of both answers are compared, too.
    pub bodies: Percent,
    /// Requests with these methods are copied; at least one.
    pub methods: Vec<Method>,
    /// The longest body of a request that is copied, in bytes; 0 where none with a body is.
    pub max_request_body: usize,
}

/// When the new track is good enough to go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// Requests on the new track in one step below which nothing is said of it, at least 1.
    pub min_requests: u32,
    /// The biggest share of requests that may fail.
    pub max_error_ratio: Option<Percent>,
    /// By how much that share may be above that of the old track at the same time.
    pub max_error_increase: Option<Percent>,
    /// The longest time within which 99 of 100 requests are answered.
    pub max_p99: Option<Duration>,
    /// How many times that of the old track at the same time it may be, 1.0 to 100.0.
    pub max_p99_factor: Option<f64>,
    /// What Prometheus knows besides.
    pub prometheus: Option<Prometheus>,
    /// What follows where the new track is not good enough.
    pub on_failure: OnFailure,
    /// How it is rolled back.
    pub rollback: RollbackPace,
}

/// Numbers that Prometheus is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Prometheus {
    /// Host and port.
    pub authority: String,
    /// What comes before `/api/v1`; empty, or it begins with a slash and does not end with one.
    pub path: String,
    /// The numbers, at least one.
    pub queries: Vec<PrometheusQuery>,
}

/// A number that Prometheus is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct PrometheusQuery {
    /// What it is called; unique within its list.
    pub name: String,
    /// The query.
    pub query: String,
    /// The most that it may be; finite. One of the two at least is there, and they are in order.
    pub max: Option<f64>,
    /// The least that it may be; finite.
    pub min: Option<f64>,
}

/// How far a shift has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShiftState {
    /// The phase.
    pub phase: ShiftPhase,
    /// The wave that is moving, from 0; one that there is.
    pub wave: usize,
    /// The step that it is at, from 0; the number of steps where it has gone through all and bakes.
    pub step: usize,
    /// The share of the new track in each cell of the waves; cells that are not here have none.
    pub shares: BTreeMap<Name, Percent>,
    /// When the shift was started, in milliseconds since 1970.
    pub started: u64,
    /// When it came to this step, in milliseconds since 1970; later by as long as it was paused since.
    pub since: u64,
    /// When it was paused or ended, in milliseconds since 1970.
    pub stopped: Option<u64>,
    /// Why it is in this phase.
    pub reason: String,
    /// What the tracks did since the shift was started.
    pub report: Option<ShiftReport>,
}

impl Default for ShiftState {
    /// That of a shift that nobody has begun yet.
    fn default() -> Self {
        Self {
            phase: ShiftPhase::Pending,
            wave: 0,
            step: 0,
            shares: BTreeMap::new(),
            started: 0,
            since: 0,
            stopped: None,
            reason: String::new(),
            report: None,
        }
    }
}

impl Shift {
    /// The cells of all waves.
    pub fn cells(&self) -> impl Iterator<Item = &Name> {
        self.waves.iter().flat_map(|wave| &wave.cells)
    }

    /// Whether it decides where requests go: from its beginning until it has ended, one way or the other.
    pub fn is_under_way(&self) -> bool {
        match self.state.phase {
            ShiftPhase::Running | ShiftPhase::Paused | ShiftPhase::RollingBack => true,
            ShiftPhase::Pending
            | ShiftPhase::RolledBack
            | ShiftPhase::Succeeded
            | ShiftPhase::Failed
            | ShiftPhase::Aborted => false,
        }
    }

    /// Whether it has ended, one way or the other.
    pub fn has_ended(&self) -> bool {
        !self.is_under_way() && self.state.phase != ShiftPhase::Pending
    }
}
