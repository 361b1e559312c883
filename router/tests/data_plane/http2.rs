//! HTTP/2 with clients.

mod bounds;
mod cases;
pub(super) mod requests;
mod secure;
