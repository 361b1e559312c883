use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::ids::Name;

/// A socket that clients connect to.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// The listener's name.
    pub name: Name,
    /// Address and port to listen on.
    pub address: SocketAddr,
    /// Networks whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a client may take.
    pub timeouts: ListenerTimeouts,
    /// Limits that every request must pass, whether a route matches or not. Their keys have only parts that the request
    /// itself says.
    pub limits: Vec<Name>,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// How long a connection may stay open without a request.
    pub idle: Duration,
    /// Longest pause while a request body is received.
    pub body_read: Duration,
    /// Longest pause while a client takes a response.
    pub body_write: Duration,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            body_read: Duration::from_secs(30),
            body_write: Duration::from_secs(30),
        }
    }
}
