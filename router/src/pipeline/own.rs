//! Answers that the router gives by itself: rejects, redirects and fixed responses.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gridrouter_config::model;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::decide::{Lines, Notice, Refusal};
use crate::http::connection::Connection;
use crate::http::forwarded::X_FORWARDED_PROTO;
use crate::http::reject::{REJECT_HEADER, Reject};
use crate::http::{framing, headers};
use crate::limit::headers::retry_after;
use crate::listener::worker::Worker;
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
    pub(super) lines: Vec<Lines>,
    pub(super) record: Record,
}

/// A request refused, without what it borrowed.
pub(super) struct Refused {
    reject: Reject,
    route: Option<u32>,
    lines: Vec<Lines>,
    retry_after: Option<Duration>,
}

impl Refused {
    /// Says so in the log.
    pub(super) fn new(connection: &Connection, refusal: &Refusal<'_>) -> Self {
        tracing::debug!(
            client = %connection.origin.peer,
            route = refusal.route.map(|route| route.document.name.as_str()),
            code = refusal.reject.code(),
            "request refused: {}", refusal.why
        );
        Self {
            reject: refusal.reject,
            route: refusal.route.map(|route| route.id),
            lines: lines(&refusal.notices),
            retry_after: refusal.retry_after,
        }
    }
}

/// What the client is told of limits.
pub(super) fn lines(notices: &[Notice<'_>]) -> Vec<Lines> {
    notices.iter().filter_map(Notice::lines).collect()
}

/// Answers with a route's redirect or fixed response.
pub(super) async fn answer(
    connection: &Rc<Connection>,
    own: Own,
    body: Incoming,
    expects: bool,
) -> Response<ResponseBody> {
    drain(connection, body, expects).await;
    let Own { route, location, lines, mut record } = own;
    let (status, bytes, content_type) = match (&route.action, &route.document.action) {
        (ActionPlan::Respond { status, body, content_type }, _) => (*status, body.clone(), Some(content_type.clone())),
        (_, model::Action::Redirect(redirect)) => (redirect.status, Bytes::new(), None),
        _ => (StatusCode::NOT_FOUND, Bytes::new(), None),
    };
    record.status = status.as_u16();
    let has_type = !bytes.is_empty();
    let mut response = Response::new(ResponseBody::own(bytes, Rc::clone(connection), record));
    *response.status_mut() = status;
    let head = response.headers_mut();
    if let Some(content_type) = content_type.filter(|_| has_type) {
        head.insert(header::CONTENT_TYPE, content_type);
    }
    if let Some(location) = location {
        head.insert(header::LOCATION, location);
    }
    for lines in lines {
        lines.tell(head);
    }
    headers::apply(&route.document.response_headers, head);
    response
}

/// Refuses a request, having read a bounded amount of its body so that the client can read the answer.
pub(super) async fn refuse(
    connection: &Rc<Connection>,
    refusal: Refused,
    body: Incoming,
    expects: bool,
    mut record: Record,
) -> Response<ResponseBody> {
    let Refused { reject: why, route, lines, retry_after: wait } = refusal;
    if connection.is_deaf() {
        drop(body);
    } else {
        drain(connection, body, expects).await;
    }
    record.route = route;
    let mut response = reject(connection, why, record, lines);
    if let Some(wait) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after(wait));
    }
    response
}

/// The answer to a refused request.
pub(super) fn reject(
    connection: &Rc<Connection>,
    why: Reject,
    mut record: Record,
    lines: Vec<Lines>,
) -> Response<ResponseBody> {
    record.status = why.status().as_u16();
    record.reject = Some(why);
    let mut response = Response::new(ResponseBody::own(why.body(), Rc::clone(connection), record));
    *response.status_mut() = why.status();
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.insert(REJECT_HEADER, why.header());
    for lines in lines {
        lines.tell(head);
    }
    response
}

/// Reads and throws away a request's body, if it is small and comes soon: the connection can be used again then.
/// Otherwise it is closed after the answer, when the rest is read and thrown away for a while.
async fn drain(connection: &Rc<Connection>, mut body: Incoming, expects: bool) {
    if body.is_end_stream() {
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
    connection.deaf.set(true);
}

/// Where a redirect leads.
pub(super) fn location(
    route: &RoutePlan,
    parts: &Parts,
    host: &str,
    target: Option<&Uri>,
    trusted: bool,
) -> Option<HeaderValue> {
    let model::Action::Redirect(redirect) = &route.document.action else { return None };
    let target = target.unwrap_or(&parts.uri);
    // Behind a trusted proxy that ends TLS, the client's own scheme is kept.
    let secure = trusted && parts.headers.get(X_FORWARDED_PROTO).is_some_and(|proto| proto == "https");
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
pub(super) fn request_id(worker: &Worker) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'0'; 32];
    let halves = [worker.random(), worker.random()];
    for (half, value) in text.chunks_exact_mut(16).zip(halves) {
        for (digit, shift) in half.iter_mut().zip((0..64).step_by(4).rev()) {
            *digit = DIGITS.get((value >> shift) as usize & 15).copied().unwrap_or(b'0');
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// What the guard found, in words for the log.
pub(super) const fn violation_text(violation: framing::Violation) -> &'static str {
    use framing::Violation as V;
    match violation {
        V::BareLineFeed => "a line ends in LF without CR",
        V::LengthAndTransferEncoding => "both Content-Length and Transfer-Encoding",
        V::RepeatedLength => "more than one Content-Length",
        V::BadLength => "a Content-Length that is not a number",
        V::BadTransferEncoding => "a Transfer-Encoding other than one plain `chunked`",
        V::BadHeaderLine => "a header line that is folded or has a blank before its colon",
        V::BadChunk => "a chunk that is not well formed",
        V::BadTarget => "a target with a fragment or with bytes that are not ASCII",
    }
}

/// What the client is told of it.
pub(crate) const fn reject_for(violation: framing::Violation) -> Reject {
    use framing::Violation as V;
    match violation {
        V::LengthAndTransferEncoding | V::RepeatedLength | V::BadLength | V::BadTransferEncoding | V::BadChunk => {
            Reject::AmbiguousFraming
        }
        V::BareLineFeed | V::BadHeaderLine => Reject::MalformedRequest,
        V::BadTarget => Reject::BadPath,
    }
}
