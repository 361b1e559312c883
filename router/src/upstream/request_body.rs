//! The client's request body on its way to the endpoint: streamed frame by frame, never gathered.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::clock::{self, Millis};

/// How a request body gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The endpoint has not asked for more since this time.
    Held(Millis),
    /// The client has not sent more since this time.
    Starved(Millis),
    /// It was sent whole at this time.
    Done(Millis),
    /// The client broke it off.
    Broken,
}

/// A request body.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// `None` for a request that is sent again, which has no body.
    inner: Option<Incoming>,
    /// What whoever waits for the response sees of it; `None` for a request without a body.
    progress: Option<Rc<Cell<Progress>>>,
}

impl RequestBody {
    pub(crate) fn new(inner: Incoming, now: Millis) -> Self {
        let progress = (!inner.is_end_stream()).then(|| Rc::new(Cell::new(Progress::Held(now))));
        Self { inner: Some(inner), progress }
    }

    pub(crate) fn empty() -> Self {
        Self { inner: None, progress: None }
    }

    pub(crate) fn progress(&self) -> Option<Rc<Cell<Progress>>> {
        self.progress.clone()
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *inner).poll_frame(cx);
        let done = inner.is_end_stream();
        if let Some(progress) = &self.progress {
            let next = match &polled {
                Poll::Pending => match progress.get() {
                    Progress::Starved(since) => Progress::Starved(since),
                    Progress::Held(_) | Progress::Done(_) | Progress::Broken => Progress::Starved(clock::now_millis()),
                },
                Poll::Ready(Some(Err(_))) => Progress::Broken,
                Poll::Ready(None) => Progress::Done(clock::now_millis()),
                Poll::Ready(Some(Ok(_))) if done => Progress::Done(clock::now_millis()),
                Poll::Ready(Some(Ok(_))) => Progress::Held(clock::now_millis()),
            };
            progress.set(next);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
