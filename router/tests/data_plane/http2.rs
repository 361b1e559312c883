//! HTTP/2 with clients.

mod bounds;
mod cases;
mod requests;
mod secure;
