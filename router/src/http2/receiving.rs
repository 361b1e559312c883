//! The body of a request that comes by HTTP/2. What was taken and not passed on yet is not made room for: so the client sends
//! no faster than the endpoint takes.

use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::StatusCode;
use http_body::Frame;

use crate::http::fields::Fields;

/// The body of a request that comes by HTTP/2.
#[derive(Debug)]
pub(crate) struct Receiving {
    stream: RecvStream,
    /// Bytes that were taken, and passed on when more is asked for.
    taken: usize,
    /// The router's address that its connection came to.
    pub(crate) reached: Option<SocketAddr>,
    /// Interim responses, until they are sent.
    pub(crate) interim: Vec<(StatusCode, Fields)>,
    /// It is no body: the request asks for a tunnel (RFC 8441).
    pub(crate) connects: bool,
}

impl Receiving {
    pub(super) fn new(stream: RecvStream, reached: Option<SocketAddr>, connects: bool) -> Self {
        Self { stream, taken: 0, reached, interim: Vec::new(), connects }
    }

    /// The bare stream, which is a tunnel by now.
    pub(crate) fn into_stream(self) -> RecvStream {
        self.stream
    }

    /// The next piece, or the trailers; nothing at the end. The error: it broke off.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            // Fails only for more than was taken.
            let _released: Result<(), _> = self.stream.flow_control().release_capacity(taken);
        }
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                self.taken = data.len();
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => match ready!(self.stream.poll_trailers(cx)) {
                Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(None) => Poll::Ready(None),
                Err(error) => Poll::Ready(Some(Err(error))),
            },
        }
    }

    /// Whether all of it was taken.
    pub(crate) fn is_over(&self) -> bool {
        self.stream.is_end_stream()
    }
}
