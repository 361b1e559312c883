//! What carries one request to an endpoint and its answer back: a connection of its own, or a stream of one that is shared.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;

use super::exchange::{Exchange, Failed, Progress};
use super::http2::stream;
use crate::http::tunnel::end::End;
use crate::http1::response::Head;
use crate::http1::wire::{Spare, Wire};
use crate::tls::stream::Stream;

/// What carries one request to an endpoint and its answer back.
#[derive(Debug)]
pub(super) enum Carrier {
    Http1(Box<Exchange>),
    Http2(Box<stream::Exchange>),
}

impl Carrier {
    /// What is left of the answer's body, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self {
            Self::Http1(exchange) => exchange.left(),
            Self::Http2(exchange) => exchange.left(),
        }
    }

    /// Whether the answer was read to its end.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.left() == Some(0),
            Self::Http2(exchange) => exchange.is_over(),
        }
    }

    /// Whether all of the answer's body was received.
    pub(super) fn has_come(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.has_come(),
            Self::Http2(exchange) => exchange.has_come(),
        }
    }

    /// How the sending of the request gets on.
    pub(super) fn progress(&self) -> Progress {
        match self {
            Self::Http1(exchange) => exchange.progress(),
            Self::Http2(exchange) => exchange.progress(),
        }
    }

    /// Sends what there is of the request. The error is the client's.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Result<(), Failed> {
        match self {
            Self::Http1(exchange) => exchange.drive(cx, spare),
            Self::Http2(exchange) => exchange.drive(cx, spare),
        }
    }

    /// Waits for the answer's head, sending the request meanwhile.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Poll<Result<Head, Failed>> {
        match self {
            Self::Http1(exchange) => exchange.poll_head(cx, spare),
            Self::Http2(exchange) => exchange.poll_head(cx, spare),
        }
    }

    /// The next piece of the answer's body. The error: it broke off.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>, spare: &Spare) -> Poll<Option<Result<Frame<Bytes>, ()>>> {
        match self {
            Self::Http1(exchange) => exchange.poll_frame(cx, spare),
            Self::Http2(exchange) => exchange.poll_frame(cx, spare),
        }
    }

    /// Whether an answer of this status says by HTTP/2 that the protocol changes.
    pub(super) fn agrees(&self, status: StatusCode) -> bool {
        match self {
            Self::Http1(_) => false,
            Self::Http2(exchange) => exchange.agrees(status),
        }
    }

    /// What another protocol is spoken on from now on.
    pub(super) fn into_end(self) -> End {
        match self {
            Self::Http1(exchange) => End::Wire(exchange.into_wire()),
            Self::Http2(exchange) => match exchange.into_end() {
                Some(stream) => End::Stream(Box::new(stream)),
                // Nobody can have agreed to that.
                None => End::Wire(Wire::new(Stream::Gone)),
            },
        }
    }

    /// The connection, if it is one of its own and may serve another request.
    pub(super) fn into_reusable(self, spare: &Spare) -> Option<Box<Exchange>> {
        match self {
            Self::Http1(mut exchange) => exchange.is_reusable(spare).then_some(exchange),
            // Its place is free when it is dropped.
            Self::Http2(_) => None,
        }
    }
}
