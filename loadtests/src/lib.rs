//! GridRouter's load tests: everything here runs the real programs, over loopback, and looks at them from outside.
//!
//! * [`mod@bench`]: GridRouter beside nginx, HAProxy and Envoy on the same upstream.
//! * [`drill`]: what must not go wrong while configuration changes, connections idle and upstreams fail.
//! * [`upstream`]: the server behind the proxies, which can also misbehave on command.
//!
//! The rest is what these share: [`proxies`] writes each proxy's configuration and runs it, [`mod@etcd`] runs clusters and
//! publishes in them, [`fleet`] runs routers that follow one and [`mod@gridctl`] commands on it, [`network`] can be cut;
//! [`traffic`], [`load`], [`k6`] and [`mod@h2load`] send requests, [`process`] reads what the kernel knows about a process and ends every
//! child that was started.

pub mod bench;
pub mod dice;
pub mod drill;
pub mod error;
pub mod etcd;
pub mod fleet;
pub mod gridctl;
pub mod h2load;
pub mod histogram;
pub mod http;
pub mod http2;
pub mod k6;
pub mod load;
pub mod network;
pub mod output;
pub mod ports;
pub mod process;
pub mod program;
pub mod proxies;
pub mod site;
pub mod tls;
pub mod tools;
pub mod traffic;
pub mod upstream;
