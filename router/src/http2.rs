//! HTTP/2: what is common to both sides, and the side towards clients.
//!
//! The frames are the h2 crate's. Here is what a gateway needs besides: bounds on what a client may make the router do, flow
//! control from one end to the other, and requests that look like those of HTTP/1.1 to everything behind. A stream is a
//! [`Connection`](crate::http::connection::Connection) of one request.

mod answer;
pub(crate) mod guard;
pub(crate) mod headers;
pub(crate) mod io;
pub(crate) mod receiving;
pub(crate) mod session;
mod stream;
