//! Whose a connection to an endpoint is, where that is said ahead of it by the PROXY protocol.
//!
//! What was said once holds for all requests of the connection, so that it carries those of one client's connection only.
//! It is kept for that one's next requests all the same: a connection for each request would leave so many closed ones
//! behind that an endpoint's ports run out at a few hundred requests a second.

use std::net::SocketAddr;

use gridrouter_config::address::NOBODY;

use crate::http::connection::Connection;
use crate::proxy_protocol::{self, Version};
use crate::snapshot::EndpointPlan;

/// A client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    client: SocketAddr,
    /// The router's address that it came to.
    reached: SocketAddr,
}

impl Owner {
    /// Whose a connection to this endpoint would have to be; nobody's, where endpoints are not told.
    pub(super) fn of(connection: &Connection, endpoint: &EndpointPlan) -> Option<Box<Self>> {
        endpoint.proxy_protocol?;
        // A socket that is open has an address.
        let reached = connection.reached().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        Some(Box::new(Self { client: connection.origin.peer, reached }))
    }

    /// What is said ahead of the connection.
    pub(super) fn header(owner: Option<&Self>, version: Version) -> Vec<u8> {
        match owner {
            Some(owner) if owner.client.ip() == NOBODY => proxy_protocol::of_somebody(version),
            Some(owner) => proxy_protocol::header(version, owner.client, owner.reached),
            None => proxy_protocol::of_nobody(version),
        }
    }
}
