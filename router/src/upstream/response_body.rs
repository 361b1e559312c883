//! The body of an answer on its way to the client, and the end of the request's life.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::exchange::Lease;
use crate::clock::{self, Millis};
use crate::http::connection::Connection;
use crate::telemetry::Record;

/// Why a response broke off. hyper closes the client's connection on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BrokenOff {
    /// The endpoint closed the connection, or sent what is not HTTP.
    Upstream,
    /// The endpoint stopped sending.
    Stalled,
    /// The whole request took too long.
    Deadline,
}

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BrokenOff::Upstream => "the endpoint broke its answer off",
            BrokenOff::Stalled => "the endpoint stopped sending its answer",
            BrokenOff::Deadline => "the request took too long",
        })
    }
}

impl std::error::Error for BrokenOff {}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    source: Source,
    /// Written when the body is over, however it ends.
    record: Record,
    connection: Rc<Connection>,
    /// Why it breaks off, once it does.
    broken: Option<BrokenOff>,
}

#[derive(Debug)]
enum Source {
    /// Made by the router.
    Own(Option<Bytes>),
    /// An endpoint's answer, with the connection that it comes by until it has come to its end.
    Upstream { inner: Incoming, lease: Option<Lease>, stall: std::time::Duration, progress: Millis },
}

impl ResponseBody {
    pub(crate) fn own(bytes: Bytes, connection: Rc<Connection>, record: Record) -> Self {
        let source = Source::Own(Some(bytes).filter(|bytes| !bytes.is_empty()));
        Self { source, record, connection, broken: None }
    }

    pub(crate) fn upstream(
        inner: Incoming,
        lease: Lease,
        stall: std::time::Duration,
        connection: Rc<Connection>,
        record: Record,
    ) -> Self {
        let progress = connection.worker().now().millis();
        let mut body = Self {
            source: Source::Upstream { inner, lease: Some(lease), stall, progress },
            record,
            connection,
            broken: None,
        };
        if let Source::Upstream { inner, lease, .. } = &mut body.source
            && inner.is_end_stream()
        {
            release(lease, progress);
        }
        body
    }

    /// Breaks the answer off, after hyper has had the chance to write what came before.
    fn break_off(&mut self, why: BrokenOff, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.broken = Some(why);
        self.record.broken_off(why);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn release(lease: &mut Option<Lease>, now: Millis) {
    if let Some(lease) = lease.take() {
        lease.release(now);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        if let Some(why) = this.broken {
            this.connection.aborted.set(true);
            return Poll::Ready(Some(Err(why)));
        }
        let (inner, lease, stall, progress) = match &mut this.source {
            Source::Own(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Upstream { inner, lease, stall, progress } => (inner, lease, *stall, progress),
        };
        if let Some(lease) = lease {
            lease.drive(cx);
        }
        match Pin::new(&mut *inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if inner.is_end_stream() || frame.is_trailers() {
                    // hyper asks no further then, so this is the end.
                    release(lease, this.connection.worker().now().millis());
                } else {
                    *progress = clock::now_millis();
                }
                if let Some(data) = frame.data_ref() {
                    this.record.sent(data.len());
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                release(lease, this.connection.worker().now().millis());
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                *lease = None;
                this.break_off(BrokenOff::Upstream, cx)
            }
            Poll::Pending => {
                let now = this.connection.worker().now().millis();
                let (at, total) = (progress.after(stall), this.connection.request_deadline.get());
                if now >= at.min(total) {
                    *lease = None;
                    return this.break_off(if now >= total { BrokenOff::Deadline } else { BrokenOff::Stalled }, cx);
                }
                this.connection.arm(at.min(total));
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Upstream { inner, .. } => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Upstream { inner, .. } => inner.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let now = clock::now();
        self.record.write(self.connection.worker(), now);
        self.connection.request_ends(now.millis());
    }
}
