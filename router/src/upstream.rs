//! The way to an endpoint and back: pooled connections, connecting, sending, retrying where that is safe.

pub(crate) mod connect;
pub(crate) mod copy;
pub(crate) mod exchange;
pub(crate) mod journey;
mod owner;
pub(crate) mod pace;
pub(crate) mod pool;
pub(crate) mod response_body;
