//! HTTP/1.1 with clients: connections, the checks before routing, headers, and what the router answers by itself.

pub(crate) mod answer;
pub(crate) mod client_body;
pub(crate) mod connection;
pub mod fields;
pub mod forwarded;
pub mod headers;
pub(crate) mod kept_body;
pub mod path;
pub mod reject;
pub mod target;
pub(crate) mod tempo;
pub(crate) mod tunnel;
