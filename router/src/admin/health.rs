//! `grpc.health.v1.Health`: whether this router, or one of its services, can be called. For load balancers and probes that ask by
//! gRPC; the data plane passes such calls on to endpoints, as any.

mod messages;

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use gridrouter_config::ids::Name;
use http::{HeaderMap, Method, Request, Response, Version, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use self::messages::{Answer, Answers, Question, Standing};
use crate::grpc::Ending;
use crate::grpc::status::Code;
use crate::lifecycle::View;
use crate::listener::worker::Message;
use crate::snapshot::{ActionPlan, EndpointGroup, Snapshot, Target, Targets};

/// What the admin endpoints answer with.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

const SERVICE: &str = "/grpc.health.v1.Health/";
/// The largest question, and how long it may take to come.
const MOST: usize = 4 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);
/// Those who watch at the same time: each costs a task.
const MOST_WATCHING: usize = 64;
/// How often it is looked whether something has changed for them.
const LOOK: Duration = Duration::from_secs(1);

static WATCHING: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MOST_WATCHING)));

/// Whether a request is a call of this service.
pub(super) fn is_asked(request: &Request<Incoming>) -> bool {
    request.version() == Version::HTTP_2
        && *request.method() == Method::POST
        && request.uri().path().starts_with(SERVICE)
        && crate::grpc::Dialect::of(request.headers()).is_call()
}

/// Answers a call.
pub(super) async fn answer(view: &View, request: Request<Incoming>) -> Response<Body> {
    let method = request.uri().path().get(SERVICE.len()..).unwrap_or_default().to_owned();
    let read = match tokio::time::timeout(PATIENCE, Limited::new(request.into_body(), MOST).collect()).await {
        Ok(Ok(read)) => read.to_bytes(),
        Ok(Err(_)) => return ended(Code::ResourceExhausted, "the question is too large"),
        Err(_) => return ended(Code::DeadlineExceeded, "the question did not come in time"),
    };
    let question = match asked(&read) {
        Ok(question) => question,
        Err((code, message)) => return ended(code, message),
    };
    match method.as_str() {
        "Check" => match serving(view, &question.service).await {
            None => ended(Code::NotFound, "there is no such service"),
            Some(serving) => said(&Answer::of(serving)),
        },
        "List" => {
            let names: Vec<String> =
                view.shared.snapshot.load().model.services.keys().map(ToString::to_string).collect();
            let mut statuses = HashMap::new();
            for name in names.into_iter().chain([String::new()]) {
                let serving = serving(view, &name).await.unwrap_or(Standing::ServiceUnknown);
                statuses.insert(name, Answer::of(serving));
            }
            said(&Answers { statuses })
        }
        "Watch" => watch(view, question.service),
        _ => ended(Code::Unimplemented, "there are Check, List and Watch"),
    }
}

/// The only message of a request.
fn asked(body: &[u8]) -> Result<Question, (Code, &'static str)> {
    let bad = (Code::InvalidArgument, "the question is no message of gRPC's");
    let (head, message) = body.split_first_chunk::<5>().ok_or(bad)?;
    let [flags, length @ ..] = *head;
    if flags != 0 {
        return Err((Code::Unimplemented, "compressed messages are not read"));
    }
    if usize::try_from(u32::from_be_bytes(length)).ok() != Some(message.len()) {
        return Err(bad);
    }
    Question::decode(message).map_err(|_| bad)
}

/// A message as it is sent.
fn framed(message: &impl prost::Message) -> Bytes {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0][..], &length, &message].concat().into()
}

fn head(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    response
}

fn said(message: &impl prost::Message) -> Response<Body> {
    let done = std::future::ready(Some(Ok(done())));
    head(Full::new(framed(message)).with_trailers(done).boxed_unsync())
}

fn done() -> HeaderMap {
    Ending { code: Code::Ok, message: "", pushback: None }.trailers()
}

fn ended(code: Code, message: &'static str) -> Response<Body> {
    let mut response = head(Full::default().boxed_unsync());
    response.headers_mut().extend(Ending { code, message, pushback: None }.trailers());
    response
}

/// Whether something can be called: the router itself where no service is named. None for a service that there is not.
async fn serving(view: &View, service: &str) -> Option<Standing> {
    let is_ready = !view.shared.draining.load(Ordering::Relaxed);
    if service.is_empty() {
        return Some(Standing::of(is_ready));
    }
    let snapshot = view.shared.snapshot.load_full();
    let name = Name::parse(service).ok().filter(|name| snapshot.model.services.contains_key(name))?;
    Some(Standing::of(is_ready && is_reached(view, groups(&snapshot, &name)).await))
}

/// Where requests to a service may go. Nowhere, where no route leads to it.
fn groups(snapshot: &Snapshot, service: &Name) -> Vec<Arc<EndpointGroup>> {
    let plans = snapshot.routes.iter().filter_map(|route| match &route.action {
        ActionPlan::Forward(plan) => Some(plan),
        ActionPlan::Redirect | ActionPlan::Respond { .. } => None,
    });
    let of_target = |target: &Target| match &target.split {
        Some(split) => vec![Arc::clone(&split.to.group), Arc::clone(&split.from.group)],
        None => vec![Arc::clone(&target.group)],
    };
    let mut groups: Vec<_> = plans
        .filter(|plan| plan.service == *service)
        .flat_map(|plan| match &plan.targets {
            Targets::Direct(target) => of_target(target),
            Targets::Cells(cells) => cells.iter().flatten().flat_map(of_target).collect(),
        })
        .collect();
    groups.sort_unstable_by_key(|group| group.id);
    groups.dedup_by_key(|group| group.id);
    groups
}

/// Whether one of these has an endpoint that the first thread would send a request to now: each thread learns by itself which of them
/// fail.
async fn is_reached(view: &View, groups: Vec<Arc<EndpointGroup>>) -> bool {
    let (reply, reached) = oneshot::channel();
    if let Some(thread) = view.shared.threads.first() {
        thread.tell(Message::Reaches(groups, reply));
    }
    reached.await.unwrap_or(false)
}

/// Says how it is, and again whenever that has changed.
fn watch(view: &View, service: String) -> Response<Body> {
    let Ok(permit) = Arc::clone(&WATCHING).try_acquire_owned() else {
        return ended(Code::ResourceExhausted, "too many are watching");
    };
    let (news, rest) = mpsc::channel(1);
    let view = view.clone();
    tokio::spawn(async move {
        let mut told = None;
        loop {
            let now = serving(&view, &service).await.unwrap_or(Standing::ServiceUnknown);
            if told != Some(now) && news.send(framed(&Answer::of(now))).await.is_err() {
                return;
            }
            told = Some(now);
            tokio::select! {
                () = news.closed() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    });
    head(Watching { rest, _permit: permit }.boxed_unsync())
}

/// What one who watches is told.
struct Watching {
    rest: mpsc::Receiver<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl http_body::Body for Watching {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.rest.poll_recv(cx).map(|news| news.map(|message| Ok(Frame::data(message))))
    }
}
