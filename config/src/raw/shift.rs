use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::track::Track;

/// A stepwise move of a service's traffic from one track to the other, cell by cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shift {
    /// The shift's name.
    pub name: String,
    /// The service whose traffic moves.
    pub service: String,
    /// The track that the traffic moves to. It comes from the other one.
    pub to: Track,
    /// What the share is of. Default `tenant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ShiftBy>,
    /// Which cells move, one wave after the other; each goes through all steps.
    pub waves: Vec<Wave>,
    /// What happens in each wave, in order. The last weight is `100%`.
    pub steps: Vec<ShiftStep>,
    /// Who is moved first, whatever the weight is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub testers: Option<Testers>,
    /// What happens to a request whose track has no endpoint that can be used. Default `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_no_endpoint: Option<OnNoEndpoint>,
    /// When the new track is good enough to go on, and what happens where it is not. Without it, time alone decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
    /// What the new track gets copies of, to compare its answers with those of the old one. Default: of nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
    /// How long answers may go on that come from a track on which their request would not be any more; then they are
    /// closed. Default `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
    /// A number that decides, with the tenant's id, who comes first. Default: it follows from the shift's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// How far the shift has come. Written by `gridctl` and the controller; a new shift has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ShiftState>,
}

/// What a share of the traffic is a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShiftBy {
    /// Tenants: all requests of a tenant go to one track. Requests without a tenant go by the request.
    Tenant,
    /// Requests, each by itself.
    Request,
}

/// Cells that move together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wave {
    /// The cells. The service lists its endpoints in each of them.
    pub cells: Vec<String>,
    /// How long they stay as they are, under analysis, before the next wave begins. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<String>,
}

/// One step: a weight, a pause or an analysis.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShiftStep {
    /// The share that the new track gets from here on, such as `1%` or `0.5%`. It is never less than in the step before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
    /// How long the weight is held, under analysis, before the next step. Default: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// Wait here until somebody says `gridctl shift resume`; the text says what for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<String>,
    /// Stay at the weight reached for so long; go on only if the analysis is sure that all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<String>,
}

/// Who is moved first: while the shift is under way, their requests go to the new track whatever the weight is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Testers {
    /// Requests that have one of these headers with this value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<TesterHeader>,
    /// Requests of these tenants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
}

/// A header by which a tester's request is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TesterHeader {
    /// The header's name.
    pub name: String,
    /// The value; case matters.
    pub value: String,
}

/// What happens to a request whose track has no endpoint that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnNoEndpoint {
    /// It is refused.
    Reject,
    /// It goes to the other track, and is counted.
    Fallback,
}

/// Which requests to the old track are sent to the new one, too, while the shift is under way. Clients never get an answer
/// to a copy, nor wait for one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mirror {
    /// The share of those requests that are copied, such as `10%`.
    pub share: String,
    /// The share of the copies of which the bodies of both answers are compared, too, such as `1%`. Default `0%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bodies: Option<String>,
    /// Requests with which methods are copied. Default `GET` and `HEAD`; name others only if it does no harm to do it twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Requests with a longer body are not copied: up to `1MiB`, and `0B` copies none with a body. Default `64KiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_request_body: Option<String>,
}

/// When the new track is good enough to go on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Analysis {
    /// Requests on the new track in one step, in all cells of the wave together, below which nothing is said of it (1 to
    /// 1,000,000). A step that ends with fewer pauses the shift. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u32>,
    /// The biggest share of requests that may fail, such as `1%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_error_ratio: Option<String>,
    /// By how much that share may be above that of the old track at the same time, such as `0.5%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_error_increase: Option<String>,
    /// The longest time within which 99 of 100 requests are answered, such as `500ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_p99: Option<String>,
    /// How many times that of the old track at the same time it may be (1.0 to 100.0). The median may not be more times that
    /// of the old track either, where it is a millisecond above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_p99_factor: Option<f64>,
    /// What Prometheus knows besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// What follows where the new track is not good enough. Default `rollback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// How it is rolled back. Default `at-once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackPace>,
}

/// Numbers that Prometheus is asked for, every five seconds while the shift is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prometheus {
    /// Where it is: `http://HOST:PORT`, and a path before `/api/v1` if it has one.
    pub url: String,
    /// The numbers.
    pub queries: Vec<PrometheusQuery>,
}

/// A number that Prometheus is asked for, and how far it may go. No number, or several of them, is no verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusQuery {
    /// What it is called in what the shift says.
    pub name: String,
    /// The query, which has one number for an answer: `sum(rate(checkout_lost_total{track="green"}[1m]))`.
    pub query: String,
    /// The most that it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The least that it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
}

/// What follows where the new track is not good enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The traffic goes back.
    Rollback,
    /// The weights stay as they are until somebody decides.
    Pause,
}

/// How traffic goes back to the old track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RollbackPace {
    /// All of it in one step.
    AtOnce,
    /// By the weights of the steps, backwards, each for as long as it was to be held, and 10 s at the most.
    Stepwise,
}

/// How far a shift has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShiftState {
    /// The phase.
    pub phase: ShiftPhase,
    /// The wave that is moving, from 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wave: u32,
    /// The step that it is at, from 0; the number of steps where it has gone through all and bakes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub step: u32,
    /// The share of the new track in each cell, such as `10%`. Cells that are not here have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shares: BTreeMap<String, String>,
    /// When the shift was started, in milliseconds since 1970.
    pub started: u64,
    /// When it came to this step, in milliseconds since 1970; later by as long as it was paused since.
    pub since: u64,
    /// When it was paused or ended, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<u64>,
    /// Why it is in this phase.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What the tracks did since the shift was started, as far as was known at the last change of this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ShiftReport>,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// The phase of a shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ShiftPhase {
    /// It waits for a controller to begin.
    Pending,
    /// It goes through its steps.
    Running,
    /// It stays as it is until somebody says how to go on.
    Paused,
    /// Traffic goes back to the old track.
    RollingBack,
    /// All traffic is back on the old track.
    RolledBack,
    /// All traffic is on the new track, which is the one in use now.
    Succeeded,
    /// It could not be carried out; all traffic is on the old track.
    Failed,
    /// Somebody ended it; all traffic is on the old track.
    Aborted,
}

impl ShiftPhase {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ShiftPhase::Pending => "Pending",
            ShiftPhase::Running => "Running",
            ShiftPhase::Paused => "Paused",
            ShiftPhase::RollingBack => "RollingBack",
            ShiftPhase::RolledBack => "RolledBack",
            ShiftPhase::Succeeded => "Succeeded",
            ShiftPhase::Failed => "Failed",
            ShiftPhase::Aborted => "Aborted",
        }
    }
}

/// What the tracks did in a shift.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShiftReport {
    /// Requests that went to the new track.
    pub requests: u64,
    /// Those of them that failed: answered with a status of 500 and above, or not at all.
    pub failed: u64,
    /// Requests that went to the old track.
    pub old_requests: u64,
    /// Those of them that failed.
    pub old_failed: u64,
    /// Requests that should have gone to the new track, and went to the old one because it had no endpoint; they are
    /// counted there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fallbacks: u64,
}
