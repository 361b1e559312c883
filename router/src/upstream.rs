//! The way to an endpoint and back: pooled connections, connecting, sending, retrying where that is safe.
//!
//! `exchange` is one request on a connection of its own, over HTTP/1.1; `http2` has connections that requests share; `carrier` is
//! either.

mod carrier;
pub(crate) mod connect;
pub(crate) mod copy;
pub(crate) mod exchange;
pub(crate) mod http2;
pub(crate) mod journey;
mod owner;
pub(crate) mod pace;
mod payload;
pub(crate) mod pool;
pub(crate) mod response_body;
pub(crate) mod turns;
