//! The body of a request on its way to an endpoint, where pieces of it may have to be sent twice.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;

use super::exchange::Failed;
use crate::grpc::web::{Decoder, NoText};
use crate::http::client_body::ClientBody;

/// The body of a request: what was taken of it already, and the rest.
#[derive(Debug, Default)]
pub(super) struct Payload {
    /// Pieces that come first: an endpoint was sent them and has not looked at them, or they never came from a client.
    ahead: VecDeque<Bytes>,
    /// What the client still sends.
    rest: Option<ClientBody>,
    /// What was taken of the end.
    trailers: Option<HeaderMap>,
    /// Reads what the client sends as text.
    text: Option<Box<Decoder>>,
}

/// The next of a body.
#[derive(Debug)]
pub(super) enum Piece {
    /// More of it, and whether that was all.
    Data(Bytes, bool),
    /// All of it was taken.
    End(Option<HeaderMap>),
}

impl Payload {
    pub(super) fn of_client(body: Option<ClientBody>) -> Self {
        let text = body.as_ref().is_some_and(ClientBody::is_text).then(Box::default);
        Self { rest: body, text, ..Self::default() }
    }

    /// One that is here already.
    pub(super) fn of_bytes(body: &Bytes) -> Self {
        let ahead = if body.is_empty() { VecDeque::new() } else { VecDeque::from([body.clone()]) };
        Self { ahead, ..Self::default() }
    }

    /// Whether there is nothing of it left.
    pub(super) fn is_over(&self) -> bool {
        self.ahead.is_empty() && self.rest.is_none() && self.trailers.is_none()
    }

    /// Takes the next of it. The error is the client's.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failed>> {
        if let Some(data) = self.ahead.pop_front() {
            return Poll::Ready(Ok(Piece::Data(data, self.is_over())));
        }
        if self.text.is_some() {
            return self.poll_text(cx);
        }
        self.poll_rest(cx)
    }

    /// Takes the next of what comes as text. A few letters may have to wait for the next piece.
    #[cold]
    fn poll_text(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failed>> {
        let broken = |NoText| Failed::Client;
        loop {
            let piece = ready!(self.poll_rest(cx))?;
            let Some(text) = &mut self.text else { return Poll::Ready(Ok(piece)) };
            return Poll::Ready(Ok(match piece {
                Piece::Data(data, is_last) => {
                    let data = text.decode(&data).map_err(broken)?;
                    if is_last {
                        text.finish().map_err(broken)?;
                    } else if data.is_empty() {
                        continue;
                    }
                    Piece::Data(data, is_last)
                }
                Piece::End(trailers) => {
                    text.finish().map_err(broken)?;
                    Piece::End(trailers)
                }
            }));
        }
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Failed>> {
        let Some(source) = &mut self.rest else { return Poll::Ready(Ok(Piece::End(self.trailers.take()))) };
        let polled = match Pin::new(&mut *source).poll_frame(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(polled) => polled,
        };
        let is_last = source.is_end_stream();
        Poll::Ready(match polled {
            Some(Err(_)) => Err(Failed::Client),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if is_last {
                        self.rest = None;
                    }
                    Ok(Piece::Data(data, is_last))
                }
                Err(frame) => {
                    self.rest = None;
                    Ok(Piece::End(frame.into_trailers().ok()))
                }
            },
            None => {
                self.rest = None;
                Ok(Piece::End(None))
            }
        })
    }

    /// Puts back what was taken.
    pub(super) fn put_back(&mut self, mut pieces: VecDeque<Bytes>, trailers: Option<HeaderMap>) {
        pieces.append(&mut self.ahead);
        self.ahead = pieces;
        self.trailers = trailers.or(self.trailers.take());
    }

    /// Its parts, for those who send it otherwise.
    pub(super) fn into_parts(self) -> (VecDeque<Bytes>, Option<ClientBody>, Option<HeaderMap>) {
        (self.ahead, self.rest, self.trailers)
    }
}
