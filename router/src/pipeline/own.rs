//! Answers that the router gives by itself: rejects, redirects and fixed responses.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gridrouter_config::model;
use http::{HeaderValue, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::BodyExt;

use super::admission::Admission;
use super::aftermath::Aftermath;
use super::decide::Refusal;
use super::flight::Flight;
use super::told::Told;
use super::waiting::Waiting;
use crate::clock::Nanos;
use crate::grpc::outcome::Outcome;
use crate::grpc::status::Code;
use crate::grpc::{Dialect, Ending, web};
use crate::http::answer::Answer;
use crate::http::client_body::ClientBody;
use crate::http::connection::Connection;
use crate::http::fields::{Fields, Known};
use crate::http::headers;
use crate::http::reject::Reject;
use crate::http1::malformed::Malformed;
use crate::http1::request::Head;
use crate::limit::NEVER;
use crate::limit::headers::retry_after;
use crate::listener::worker::Worker;
use crate::snapshot::fences::Fence;
use crate::snapshot::{ActionPlan, RoutePlan};
use crate::telemetry::Record;
use crate::upstream::response_body::ResponseBody;

/// How much of a refused request's body is read first, so that the connection can go on.
const DRAIN_BYTES: u64 = 64 * 1024;
/// For how long.
const DRAIN_TIME: Duration = Duration::from_millis(250);

/// A route's own answer.
pub(super) struct Own {
    pub(super) route: Arc<RoutePlan>,
    /// Where a redirect leads.
    pub(super) location: Option<HeaderValue>,
    pub(super) told: Told,
    pub(super) record: Record,
    /// Its turn, if it has to wait for one.
    pub(super) turn: Option<Box<Waiting>>,
}

/// A request refused, without what it borrowed.
pub(super) struct Refused {
    reject: Reject,
    /// The status to answer with, where it is not the reject's own.
    status: Option<StatusCode>,
    told: Fields,
    retry_after: Option<HeaderValue>,
    /// The same in milliseconds.
    pushback: Option<u32>,
    record: Record,
    /// The fence that keeps it away, if one does.
    pub(super) fence: Option<Arc<Fence>>,
}

impl Refused {
    /// Says so in the log.
    #[cold]
    pub(super) fn new(
        connection: &Connection,
        refusal: &Refusal<'_, '_>,
        admission: &Admission<'_>,
        now: Nanos,
    ) -> Self {
        let Refusal { reject, route, why, fence, .. } = *refusal;
        let fence = fence.map(Arc::clone);
        let limit = admission.refusing();
        tracing::debug!(
            client = %connection.origin.peer,
            route = route.map(|route| route.document.name.as_str()),
            limit = limit.map(|limit| limit.document.name.as_str()),
            code = reject.code(),
            "request refused: {why}"
        );
        let wait = match &fence {
            Some(fence) => u64::try_from(fence.document.retry_after.as_nanos()).ok(),
            None => limit.map(|_| admission.retry_after_nanos()).filter(|nanos| *nanos != NEVER),
        };
        let mut record = Record::new(now);
        record.route = route.map(|route| route.id);
        record.aftermath = Aftermath::of(connection.worker(), admission, now);
        Self {
            reject,
            status: limit.map(|limit| limit.document.status),
            told: admission.lines(),
            retry_after: match &fence {
                Some(fence) => Some(fence.document.retry_after.as_secs().max(1).into()),
                None => limit.and_then(|_| retry_after(admission.retry_after_nanos())),
            },
            pushback: wait.map(|nanos| u32::try_from(nanos.div_ceil(1_000_000)).unwrap_or(u32::MAX)),
            record,
            fence,
        }
    }

    /// The same of a request whose own time was over before anything else.
    pub(super) fn late(self) -> Self {
        let (reject, told) = (Reject::RequestTimeout, Fields::new());
        Self { reject, status: None, told, retry_after: None, pushback: None, fence: None, record: self.record }
    }

    /// The same of a request that was on a track, which it is counted for.
    pub(super) fn on_track(mut self, flight: Option<Flight>) -> Self {
        self.record.flight = flight;
        self
    }

    /// A request that waited for its turn, and then could not be sent on.
    pub(super) fn after_waiting(reject: Reject, told: Fields, record: Record) -> Self {
        Self { reject, status: None, told, retry_after: None, pushback: None, record, fence: None }
    }
}

/// Answers with a route's redirect or fixed response.
pub(super) async fn answer(connection: &Rc<Connection>, own: Own, body: ClientBody, expects: bool) -> Answer {
    let Own { route, location, told, mut record, turn } = own;
    if let Some(turn) = turn {
        record = turn.turn(connection, record).await;
    }
    drain(connection, body, expects).await;
    let (status, bytes, content_type) = match (&route.action, &route.document.action) {
        (ActionPlan::Respond { status, body, content_type }, _) => (*status, body.clone(), Some(content_type.clone())),
        (_, model::Action::Redirect(redirect)) => (redirect.status, Bytes::new(), None),
        _ => (StatusCode::NOT_FOUND, Bytes::new(), None),
    };
    record.status = status.as_u16();
    record.call = record.call.map(|_| Outcome::Over(Code::of_http(status)));
    let has_type = !bytes.is_empty();
    let mut head = Fields::new();
    if let Some(content_type) = content_type.filter(|_| has_type) {
        head.append(header::CONTENT_TYPE, content_type);
    }
    if let Some(location) = location {
        head.append(header::LOCATION, location);
    }
    told.write(Some(&route.limits), &mut head);
    headers::apply(&route.document.response_headers, &mut head);
    Answer { status, fields: head, body: ResponseBody::own(bytes, Rc::clone(connection), record) }
}

/// Refuses a request, having read a bounded amount of its body so that the client can read the answer.
pub(super) async fn refuse(connection: &Rc<Connection>, refusal: Refused, body: ClientBody, expects: bool) -> Answer {
    let Refused { reject: why, status, told, retry_after, pushback, record, .. } = refusal;
    drain(connection, body, expects).await;
    let refused = Refusing { why, status: status.unwrap_or(why.status()), pushback };
    reject_with(connection, refused, record, |fields| {
        fields.extend(&told);
        if let Some(wait) = retry_after {
            fields.append(header::RETRY_AFTER, wait);
        }
    })
}

/// The answer to a refused request.
pub(crate) fn reject(
    connection: &Rc<Connection>,
    why: Reject,
    record: Record,
    told: impl FnOnce(&mut Fields),
) -> Answer {
    reject_with(connection, Refusing { why, status: why.status(), pushback: None }, record, told)
}

/// What is said by a refusal.
#[derive(Clone, Copy)]
struct Refusing {
    why: Reject,
    status: StatusCode,
    /// How many milliseconds later it may be tried again, where that is known.
    pushback: Option<u32>,
}

fn reject_with(
    connection: &Rc<Connection>,
    refusing: Refusing,
    mut record: Record,
    told: impl FnOnce(&mut Fields),
) -> Answer {
    let Refusing { why, status, pushback } = refusing;
    record.status = status.as_u16();
    record.reject = Some(why);
    if connection.dialect.get().is_call() {
        let ending = Ending { code: Code::of_reject(why), message: why.text(), pushback };
        return end_call(connection, ending, why, record, told);
    }
    let mut fields = Fields::new();
    fields.append(header::CONTENT_TYPE, "application/json");
    fields.append(Known::XGridrouterReject.as_str(), why.code());
    told(&mut fields);
    Answer { status, fields, body: ResponseBody::own(why.body(), Rc::clone(connection), record) }
}

/// The answer to a refused call: 200, and the status in what are head and trailers at once. What is counted of it is what others
/// are answered with.
#[cold]
fn end_call(
    connection: &Rc<Connection>,
    ending: Ending,
    why: Reject,
    mut record: Record,
    told: impl FnOnce(&mut Fields),
) -> Answer {
    record.call = Some(Outcome::Over(ending.code));
    let mut fields = Fields::new();
    let body = if let Some(form) = connection.dialect.get().web() {
        let (content_type, body) = web::ending(form, ending);
        fields.append(header::CONTENT_TYPE, content_type);
        body
    } else {
        fields.append(header::CONTENT_TYPE, "application/grpc");
        ending.write(&mut fields);
        Bytes::new()
    };
    fields.append(Known::XGridrouterReject.as_str(), why.code());
    told(&mut fields);
    Answer { status: StatusCode::OK, fields, body: ResponseBody::own(body, Rc::clone(connection), record) }
}

/// Reads and throws away a request's body, if it is small and comes soon: the connection can be used again then.
/// Otherwise it is closed after the answer, when the rest is read and thrown away for a while.
async fn drain(connection: &Rc<Connection>, mut body: ClientBody, expects: bool) {
    // Who calls may send nothing more before there is an answer, and its next call has a stream of its own.
    if body.is_end_stream() || connection.dialect.get() == Dialect::Grpc {
        return;
    }
    // Asking for the body would tell the client to continue.
    let small = body.size_hint().upper().is_none_or(|upper| upper <= DRAIN_BYTES);
    let mut left = DRAIN_BYTES;
    let drained = async {
        while let Some(frame) = body.frame().await {
            left = left.saturating_sub(frame.ok()?.data_ref().map_or(0, |data| data.len() as u64));
            if left == 0 {
                return None;
            }
        }
        Some(())
    };
    if !expects && small {
        match tokio::time::timeout(DRAIN_TIME, drained).await {
            Ok(Some(())) => return,
            Ok(None) => {}
            Err(_) => {
                connection.worker().read_clock();
            }
        }
    }
    connection.end_after_answer();
}

/// Where a redirect leads.
pub(super) fn location(
    route: &RoutePlan,
    head: &Head,
    host: &str,
    target: Option<&Uri>,
    connection: &Connection,
) -> Option<HeaderValue> {
    let model::Action::Redirect(redirect) = &route.document.action else { return None };
    let target = target.unwrap_or(&head.uri);
    // Behind a trusted proxy that ends TLS, the client's own scheme is kept.
    let told = head.fields.known(Known::XForwardedProto).next().filter(|_| connection.trusted.get());
    let secure = told.map_or(connection.is_secure(), |proto| proto == b"https");
    let own_scheme = if secure { "https" } else { "http" };
    let scheme = redirect.scheme.as_deref().unwrap_or(own_scheme);
    let (bare, port) = split_port(host);
    let name = redirect.host.as_deref().unwrap_or(bare);
    // The port of the request belongs to its scheme and host: it is kept only with both.
    let kept = port.filter(|_| redirect.scheme.is_none() && redirect.host.is_none());
    let port = redirect.port.map(|port| port.to_string()).or_else(|| kept.map(str::to_owned));
    let port = port.filter(|port| !matches!((scheme, port.as_str()), ("http", "80") | ("https", "443")));
    let path = match &redirect.path {
        model::RedirectPath::Replace(path) => path.as_str(),
        model::RedirectPath::Keep | model::RedirectPath::ReplacePrefix(_) => target.path(),
    };
    let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    if name.is_empty() {
        return HeaderValue::try_from(format!("{path}{query}")).ok();
    }
    HeaderValue::try_from(format!("{scheme}://{name}{port}{path}{query}")).ok()
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((bare, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => (bare, Some(port)),
        _ => (host, None),
    }
}

/// A new request id: 32 hexadecimal digits.
pub(super) fn request_id(worker: &Worker) -> [u8; 32] {
    let mut text = [0; 32];
    let halves = [worker.random(), worker.random()];
    let quarters = halves.into_iter().flat_map(|half| [(half >> 32) as u32, half as u32]);
    for (digits, quarter) in text.as_chunks_mut().0.iter_mut().zip(quarters) {
        *digits = hexadecimal(quarter);
    }
    text
}

/// The eight digits of a number, all at a time.
fn hexadecimal(number: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // One half of the number's digits each time goes to a place of its own, until each has a byte.
    let mut spread = u64::from(number);
    spread = (spread << 16 | spread) & 0x0000_ffff_0000_ffff;
    spread = (spread << 8 | spread) & 0x00ff_00ff_00ff_00ff;
    spread = (spread << 4 | spread) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = ((spread + ONES * 6) >> 4) & ONES;
    (spread + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// What a client is told of what was wrong with its request.
pub(crate) const fn reject_for(malformed: Malformed) -> Reject {
    match malformed {
        Malformed::LengthAndTransferEncoding
        | Malformed::RepeatedLength
        | Malformed::BadLength
        | Malformed::BadTransferEncoding => Reject::AmbiguousFraming,
        Malformed::BareLineFeed
        | Malformed::OldTransferEncoding
        | Malformed::DelimitedInterim
        | Malformed::BadConnect
        | Malformed::NotHttp => Reject::MalformedRequest,
        Malformed::BadTarget => Reject::BadPath,
        Malformed::LongTarget => Reject::UriTooLong,
        Malformed::LargeHead => Reject::HeadTooLarge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_digits_are_right() {
        for number in [0, 1, 0x0123_4567, 0x89ab_cdef, 0xffff_ffff, 0xa0b0_c0d0, 0x9a9a_0f0f] {
            assert_eq!(hexadecimal(number).as_slice(), format!("{number:08x}").as_bytes());
        }
    }
}
