//! The data plane of GridRouter.
//!
//! A request meets the modules in this order: `listener` (sockets and threads), `http` (one connection,
//! strict checks) over `http1` (the protocol's bytes),
//! `pipeline` (the life of a request), the five leaf stages `routing`, `tenant`, `placement`, `limit` and `balance`
//! (pure, one file an algorithm), and `upstream`. ARCHITECTURE.md is the map.

mod admin;
pub mod balance;
pub mod cli;
pub mod clock;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
pub mod http;
pub mod http1;
mod http2;
pub mod lifecycle;
pub mod limit;
pub mod listener;
pub mod output;
pub mod pipeline;
pub mod placement;
pub mod presence;
mod proxy_protocol;
pub mod quickstart;
mod resolver;
pub mod routing;
pub mod snapshot;
pub mod source;
pub mod telemetry;
pub mod tenant;
mod tls;
mod upstream;
