//! What is asked over HTTP/2: by h2load, after every proxy has been seen to answer rightly and in full, trailers included.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, TE};
use tokio::time::timeout;

use super::scenario::{self, MESSAGE, Scenario, TENANTS};
use super::{Arguments, right_one};
use crate::error::{Context, Error, Result};
use crate::h2load::{self, Pace, Plan};
use crate::http2::{self, GRPC};
use crate::load::Measured;
use crate::site::{Site, Speaks};
use crate::tls::Client;

/// How many answers are looked at in full before anything is measured.
const LOOKED_AT: usize = 24;

/// What h2load needs in every window.
pub(super) struct Load<'a> {
    pub(super) directory: &'a Path,
    pub(super) core: usize,
    pub(super) warm_up: Duration,
}

impl Load<'_> {
    pub(super) async fn run(
        &self,
        plan: &Plan,
        pace: Pace,
        window: Duration,
        cpu: impl Fn() -> Duration,
    ) -> Result<Measured> {
        h2load::run(plan, pace, self.warm_up, window, self.directory, Some(self.core), cpu).await
    }
}

/// The load of a scenario, of which every answer was seen to be right.
pub(super) async fn plan(scenario: Scenario, site: &Site, directory: &Path, arguments: &Arguments) -> Result<Plan> {
    let is_grpc = scenario.speaks() == Speaks::Http2Through;
    let last = if is_grpc { "bench.Small/Unary" } else { "small" };
    let tenant = |number| scenario::tenant_of(number, arguments.pins).unwrap_or_default();
    let fields = [("content-type", GRPC), ("te", "trailers"), ("user-agent", "bench")];
    let mut plan = Plan {
        target: site.listen,
        host: site.host().to_owned(),
        paths: (0..TENANTS).map(|number| format!("/api/{}/{last}", tenant(number))).collect(),
        fields: fields
            .iter()
            .skip(if is_grpc { 0 } else { 2 })
            .map(|(name, value)| format!("{name}: {value}"))
            .collect(),
        body: is_grpc.then(|| http2::message(MESSAGE).to_vec()),
        answer: 0,
        connections: scenario.connections(arguments.connections),
    };
    let sessions = scenario.tls().ok_or_else(|| Error::new("h2load comes by TLS"))?;
    let client = Client::new(directory, site.host(), sessions)?;
    let mut length = None;
    for (number, path) in plan.paths.iter().take(LOOKED_AT).enumerate() {
        let asked = http2::exchange(site.listen, Some(&client), request(&plan, path)?);
        let answer = timeout(Duration::from_secs(5), asked).await.context("no answer")??;
        let served_by = answer.field("x-served-by");
        let tenant = scenario::tenant_of(number, arguments.pins);
        right_one(site, tenant, answer.status.as_u16(), served_by, &answer.body)?;
        let whole = if is_grpc { answer.of_grpc() } else { Ok(answer.body.as_slice()) };
        whole.and_then(|body| scenario.check(body)).context(format_args!("answer of {served_by}"))?;
        if length.is_some_and(|length| length != answer.body.len()) {
            return Err(Error::new("answers differ in length"));
        }
        length = Some(answer.body.len());
    }
    plan.answer = length.ok_or_else(|| Error::new("there is nothing to send"))?;
    Ok(plan)
}

/// What h2load sends, for one path.
fn request(plan: &Plan, path: &str) -> Result<Request<Bytes>> {
    let builder = Request::builder().uri(format!("https://{}{path}", plan.host));
    let built = match &plan.body {
        None => builder.body(Bytes::new()),
        Some(body) => {
            let builder = builder.method("POST").header(CONTENT_TYPE, GRPC).header(TE, "trailers");
            builder.body(Bytes::copy_from_slice(body))
        }
    };
    built.context("no request")
}
