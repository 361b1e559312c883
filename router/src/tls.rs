//! TLS: certificates and what is negotiated with them, handshakes, and streams of records.
//!
//! A thread of its own reads certificates (`keeper`) and publishes them as one table with one swap (`table`), which
//! handshakes look into. Neither connections nor session tickets (`tickets`) know of that.

pub(crate) mod client;
pub(crate) mod handshake;
pub(crate) mod keeper;
mod session;
pub(crate) mod stream;
pub(crate) mod table;
pub(crate) mod tickets;
pub(crate) mod upstream;
mod watched;
