//! What is asked of each proxy.

use clap::ValueEnum;

use crate::error::{Context, Error, Result};
use crate::proxies::Kind;
use crate::site::{Limits, Route, Site, Speaks, TENANT_HEADER};
use crate::tls::Sessions;

/// As many tenants as there may be without the requests themselves filling the generator's caches.
pub(super) const TENANTS: usize = 4_096;
/// Requests at a time on a connection of HTTP/2, flat out.
pub(super) const STREAMS: usize = 8;
/// The message of a call of gRPC.
pub(super) const MESSAGE: &[u8] = b"a small message";

const LARGE: usize = 64 * 1024;
const POST: usize = 16 * 1024;
const LARGEST: usize = 1024 * 1024;

/// One kind of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// GET with an answer of some 100 bytes, connections kept.
    SmallGet,
    /// GET with an answer of 64 KiB, connections kept.
    Response64k,
    /// POST of 16 KiB, connections kept.
    Post16k,
    /// GET with an answer of 1 MiB, connections kept.
    Response1m,
    /// POST of 1 MiB, connections kept.
    Post1m,
    /// Small GET, a new connection for each.
    NewConnection,
    /// Small GET over 1,000 kept connections.
    Connections1000,
    /// Small GET by TLS, connections kept.
    TlsKeepAlive,
    /// Small GET, a new connection by TLS for each, with a full handshake.
    TlsHandshake,
    /// The same, with a session that is resumed.
    TlsResumed,
    /// Small GET over HTTP/2 with TLS, connections kept, several requests at a time on each.
    Http2Tls,
    /// The same, and a small unary call of gRPC, which goes on over HTTP/2 in clear.
    GrpcUnary,
    /// Small GET without a limit, and the next two with limits: what they cost.
    NoLimit,
    /// Small GET with one limit.
    OneLimit,
    /// Small GET with four limits.
    FourLimits,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Scenario; 15] = [
        Scenario::SmallGet,
        Scenario::Response64k,
        Scenario::Post16k,
        Scenario::Response1m,
        Scenario::Post1m,
        Scenario::NewConnection,
        Scenario::Connections1000,
        Scenario::TlsKeepAlive,
        Scenario::TlsHandshake,
        Scenario::TlsResumed,
        Scenario::Http2Tls,
        Scenario::GrpcUnary,
        Scenario::NoLimit,
        Scenario::OneLimit,
        Scenario::FourLimits,
    ];

    /// The name in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scenario::SmallGet => "small GET",
            Scenario::Response64k => "64 KiB response",
            Scenario::Post16k => "16 KiB POST",
            Scenario::Response1m => "1 MiB response",
            Scenario::Post1m => "1 MiB POST",
            Scenario::NewConnection => "new connection per request",
            Scenario::Connections1000 => "1,000 connections",
            Scenario::TlsKeepAlive => "TLS, connections kept",
            Scenario::TlsHandshake => "TLS, full handshake per request",
            Scenario::TlsResumed => "TLS, resumed handshake per request",
            Scenario::Http2Tls => "HTTP/2 with TLS",
            Scenario::GrpcUnary => "gRPC unary with TLS",
            Scenario::NoLimit => "small GET, no limit",
            Scenario::OneLimit => "small GET, one limit",
            Scenario::FourLimits => "small GET, four limits",
        }
    }

    /// How many connections, given the usual number.
    pub const fn connections(self, usual: usize) -> usize {
        match self {
            Scenario::SmallGet
            | Scenario::Response64k
            | Scenario::Post16k
            | Scenario::NewConnection
            | Scenario::TlsKeepAlive
            | Scenario::TlsHandshake
            | Scenario::TlsResumed
            | Scenario::NoLimit
            | Scenario::OneLimit
            | Scenario::FourLimits => usual,
            // Enough to keep a proxy busy: more only fill the sockets' buffers.
            Scenario::Response1m | Scenario::Post1m => {
                if usual < 8 {
                    usual
                } else {
                    8
                }
            }
            Scenario::Connections1000 => 1_000,
            // As many requests at a time as the others have.
            Scenario::Http2Tls | Scenario::GrpcUnary => usual.div_ceil(STREAMS),
        }
    }

    /// What each route of this proxy checks. Where limits are the matter, there is a route with each kind. Where they are
    /// not, GridRouter has one all the same and the others have none.
    pub const fn limits(self, proxy: Kind) -> &'static [Limits] {
        match (self, proxy) {
            (Scenario::NoLimit | Scenario::OneLimit | Scenario::FourLimits, _) => {
                &[Limits::None, Limits::One, Limits::Four]
            }
            (_, Kind::Gridrouter) => &[Limits::One],
            (_, Kind::Nginx | Kind::Haproxy | Kind::Envoy) => &[Limits::None],
        }
    }

    /// The route that is asked: the one with the limits that are the matter, or the first.
    pub fn route(self, site: &Site) -> Option<&Route> {
        let own = [(Scenario::OneLimit, Limits::One), (Scenario::FourLimits, Limits::Four)];
        match own.iter().find(|(scenario, _)| *scenario == self) {
            Some((_, limits)) => site.routes.iter().find(|route| route.limits == *limits),
            None => site.routes.first(),
        }
    }

    /// What clients do who come by TLS; nothing where they do not.
    pub const fn tls(self) -> Option<Sessions> {
        match self {
            Scenario::TlsKeepAlive | Scenario::TlsHandshake | Scenario::Http2Tls | Scenario::GrpcUnary => {
                Some(Sessions::Full)
            }
            Scenario::TlsResumed => Some(Sessions::Resumed),
            Scenario::SmallGet
            | Scenario::Response64k
            | Scenario::Post16k
            | Scenario::Response1m
            | Scenario::Post1m
            | Scenario::NewConnection
            | Scenario::Connections1000
            | Scenario::NoLimit
            | Scenario::OneLimit
            | Scenario::FourLimits => None,
        }
    }

    /// What is spoken besides HTTP/1.1.
    pub const fn speaks(self) -> Speaks {
        match self {
            Scenario::Http2Tls => Speaks::Http2,
            Scenario::GrpcUnary => Speaks::Http2Through,
            Scenario::SmallGet
            | Scenario::Response64k
            | Scenario::Post16k
            | Scenario::Response1m
            | Scenario::Post1m
            | Scenario::NewConnection
            | Scenario::Connections1000
            | Scenario::TlsKeepAlive
            | Scenario::TlsHandshake
            | Scenario::TlsResumed
            | Scenario::NoLimit
            | Scenario::OneLimit
            | Scenario::FourLimits => Speaks::Http1,
        }
    }

    /// Whether limits are the matter.
    pub const fn is_of_limits(self) -> bool {
        matches!(self, Scenario::NoLimit | Scenario::OneLimit | Scenario::FourLimits)
    }

    /// Whether the proxy takes part: where limits are the matter, those that have some like them.
    pub const fn has(self, proxy: Kind) -> bool {
        !self.is_of_limits() || !matches!(proxy, Kind::Envoy)
    }

    /// Whether each request has a connection of its own.
    pub const fn reconnects(self) -> bool {
        matches!(self, Scenario::NewConnection | Scenario::TlsHandshake | Scenario::TlsResumed)
    }

    /// Requests a second for the latencies: a third or less of what the slowest proxy does on an ordinary core.
    pub const fn rate(self) -> u32 {
        match self {
            Scenario::SmallGet
            | Scenario::Connections1000
            | Scenario::NoLimit
            | Scenario::OneLimit
            | Scenario::FourLimits => 8_000,
            Scenario::TlsKeepAlive | Scenario::Http2Tls | Scenario::GrpcUnary => 6_000,
            Scenario::Response64k | Scenario::Post16k => 4_000,
            Scenario::NewConnection => 2_000,
            Scenario::TlsHandshake | Scenario::TlsResumed => 500,
            Scenario::Response1m | Scenario::Post1m => 200,
        }
    }

    /// Whole requests, of many tenants.
    pub fn requests(self, site: &Site, pins: usize) -> Vec<Vec<u8>> {
        let host = self.route(site).map(|route| route.host.as_str()).unwrap_or_default();
        let (tenants, method, path, body) = match self {
            Scenario::SmallGet
            | Scenario::NewConnection
            | Scenario::Connections1000
            | Scenario::TlsKeepAlive
            | Scenario::TlsHandshake
            | Scenario::TlsResumed
            | Scenario::Http2Tls
            | Scenario::GrpcUnary
            | Scenario::NoLimit
            | Scenario::OneLimit
            | Scenario::FourLimits => (TENANTS, "GET", "/api/small", 0),
            Scenario::Response64k => (TENANTS, "GET", "/api/bytes/65536", 0),
            Scenario::Response1m => (TENANTS, "GET", "/api/bytes/1048576", 0),
            Scenario::Post16k => (64, "POST", "/api/small", POST),
            Scenario::Post1m => (4, "POST", "/api/small", LARGEST),
        };
        let close = if self.reconnects() { "connection: close\r\n" } else { "" };
        let length = if body > 0 { format!("content-length: {body}\r\n") } else { String::new() };
        let request = |number: usize| {
            let tenant = tenant_of(number, pins).unwrap_or_default();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: bench\r\naccept: */*\r\n{TENANT_HEADER}: {tenant}\r\n\
                 {close}{length}\r\n"
            );
            let mut bytes = head.into_bytes();
            bytes.extend((b'a'..=b'z').cycle().take(body));
            bytes
        };
        (0..tenants).map(request).collect()
    }

    /// Sees that the body of an answer is what the upstream sends in this scenario.
    pub fn check(self, body: &[u8]) -> Result<()> {
        let received = match self {
            Scenario::SmallGet
            | Scenario::NewConnection
            | Scenario::Connections1000
            | Scenario::TlsKeepAlive
            | Scenario::TlsHandshake
            | Scenario::TlsResumed
            | Scenario::Http2Tls
            | Scenario::NoLimit
            | Scenario::OneLimit
            | Scenario::FourLimits => 0,
            Scenario::GrpcUnary => MESSAGE.len(),
            Scenario::Post16k => POST,
            Scenario::Post1m => LARGEST,
            Scenario::Response64k | Scenario::Response1m => {
                let wanted = if self == Scenario::Response1m { LARGEST } else { LARGE };
                let right = body.len() == wanted && body.iter().zip((b'a'..=b'z').cycle()).all(|(got, is)| *got == is);
                return if right { Ok(()) } else { Err(Error::new(format!("{} bytes, not the {wanted}", body.len()))) };
            }
        };
        let json: serde_json::Value = serde_json::from_slice(body).context("not JSON")?;
        match json.get("received").and_then(serde_json::Value::as_u64) {
            Some(bytes) if bytes == received as u64 => Ok(()),
            other => Err(Error::new(format!("the upstream received {other:?} of {received} bytes"))),
        }
    }
}

/// The name of tenant `number`; those from the number of pins on are not pinned.
pub fn tenant(number: usize) -> String {
    format!("tenant-{number:07}")
}

/// The tenant of request `number`: spread over all pinned tenants, every eighth not pinned.
pub fn tenant_of(number: usize, pins: usize) -> Option<String> {
    if number % 8 == 7 {
        return Some(tenant(pins + number));
    }
    // A prime step visits all of them in no order.
    number.checked_mul(7_919)?.checked_rem(pins).map(tenant).or_else(|| Some(tenant(number)))
}
