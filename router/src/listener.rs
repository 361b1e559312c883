//! Sockets and the threads that serve them.

pub(crate) mod accept;
pub(crate) mod balancers;
pub(crate) mod clients;
mod introduction;
pub(crate) mod socket;
pub(crate) mod unix;
pub(crate) mod wheel;
pub mod worker;
