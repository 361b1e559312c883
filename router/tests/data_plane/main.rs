//! The whole data plane in process: raw clients on one side, scripted endpoints on the other, and every byte between
//! them looked at.

#[cfg(test)]
mod aborts;
#[cfg(test)]
mod access;
#[cfg(test)]
mod admin;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod corners;
#[cfg(test)]
mod early;
#[cfg(test)]
mod ends;
mod expect;
#[cfg(test)]
mod framing;
#[cfg(test)]
mod grpc;
#[cfg(test)]
mod headers;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod http2_upstream;
#[cfg(test)]
mod interim;
#[cfg(test)]
mod ipv6;
#[cfg(test)]
mod late;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod moves;
#[cfg(test)]
mod names;
#[cfg(test)]
mod normal_form;
#[cfg(test)]
mod owners;
#[cfg(test)]
mod parking;
#[cfg(test)]
mod placement;
#[cfg(test)]
mod pool;
#[cfg(test)]
mod proxied;
#[cfg(test)]
mod registered;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod shift;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod strictness;
#[cfg(test)]
mod support;
#[cfg(test)]
mod threads;
#[cfg(test)]
mod timeouts;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod upgrades;
