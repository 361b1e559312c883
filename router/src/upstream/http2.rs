//! HTTP/2 with endpoints: connections that many requests of one thread share.
//!
//! `message` makes heads of heads, `session` is a connection, `hub` has those to one endpoint and hands out places on them,
//! `stream` is one request with its answer. Frames, windows and header compression are h2's.

pub(crate) mod hub;
mod line;
mod message;
mod session;
pub(super) mod stream;
