//! HTTP/1.1 with clients: connections, the checks before routing, headers, and what the router answers by itself.

pub(crate) mod connection;
pub mod forwarded;
pub mod framing;
pub mod headers;
pub(crate) mod io;
pub mod path;
pub mod reject;
pub mod target;
