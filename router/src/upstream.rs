//! The way to an endpoint and back: pooled connections, connecting, sending, retrying where that is safe.

pub(crate) mod exchange;
pub(crate) mod io;
pub(crate) mod kept;
pub(crate) mod pool;
pub(crate) mod request_body;
pub(crate) mod response_body;
