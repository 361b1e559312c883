//! Lists of endpoints.

use super::Check;
use super::value::all;
use crate::address::{Address, EndpointAddress};
use crate::model::Endpoint;
use crate::path::Path;
use crate::problem::quoted;
use crate::raw;

/// The most that an endpoint or cell may weigh.
pub(super) const MAX_WEIGHT: u32 = 10_000;

impl Check<'_> {
    /// A list of endpoints that may be empty. When it is not, one of them is no backup.
    pub(super) fn endpoints(&mut self, path: &Path<'_>, raw: &[raw::Endpoint]) -> Option<Vec<Endpoint>> {
        let found = all(raw.iter().enumerate().map(|(n, one)| self.endpoint(&path.index(n), one)))?;
        let mut seen = std::collections::HashMap::new();
        for (n, endpoint) in found.iter().enumerate() {
            if let Some(first) = seen.insert(&endpoint.address, n) {
                let message = format!("address \"{}\" is listed twice", endpoint.address);
                let help = format!("the first is {path}[{first}]; give it a bigger `weight` instead");
                self.wrong_but(&path.index(n).key("address"), message, help);
            }
        }
        if !found.is_empty() && found.iter().all(|endpoint| endpoint.backup) {
            self.wrong_but(path, "every endpoint is a backup", "remove `backup: true` from at least one");
        }
        Some(found)
    }

    fn endpoint(&mut self, path: &Path<'_>, raw: &raw::Endpoint) -> Option<Endpoint> {
        let address = self.take(&path.key("address"), endpoint_address(&raw.address));
        let weight = self.weight(&path.key("weight"), raw.weight, 1, "`down: true` to take the endpoint out of use");
        Some(Endpoint {
            address: address?,
            weight: weight?,
            backup: raw.backup.unwrap_or(false),
            down: raw.down.unwrap_or(false),
            max_connections: raw.max_connections.unwrap_or(0),
        })
    }

    /// A weight, with what to write in place of zero.
    pub(super) fn weight(&mut self, path: &Path<'_>, raw: Option<u32>, default: u32, off: &str) -> Option<u32> {
        if raw == Some(0) {
            self.wrong_but(path, "weight is 0", format!("write 1 to {MAX_WEIGHT}, or {off}"));
            return None;
        }
        self.number(path, "weight", raw, 1..=MAX_WEIGHT, default)
    }
}

/// Checks an endpoint that registered itself, by the same rules. The error says what is wrong and what to write instead.
pub(crate) fn registered(raw: &raw::Endpoint) -> Result<Endpoint, String> {
    let address = endpoint_address(&raw.address)?;
    if address.socket().is_none() {
        return Err(format!(
            "address {} is none of the endpoint's own; write an IP address and a port",
            quoted(&raw.address)
        ));
    }
    let weight = raw.weight.unwrap_or(1);
    if !(1..=MAX_WEIGHT).contains(&weight) {
        return Err(format!("weight is {weight}; write 1 to {MAX_WEIGHT}"));
    }
    Ok(Endpoint {
        address,
        weight,
        backup: raw.backup.unwrap_or(false),
        down: raw.down.unwrap_or(false),
        max_connections: raw.max_connections.unwrap_or(0),
    })
}

fn endpoint_address(text: &str) -> Result<EndpointAddress, String> {
    let address = EndpointAddress::parse(text)?;
    let (port, ip) = match &address {
        EndpointAddress::Socket(Address::Unix(_)) => return Ok(address),
        EndpointAddress::Socket(Address::Ip(socket)) => (socket.port(), Some(socket.ip())),
        EndpointAddress::Name(_, port) => (*port, None),
    };
    if port == 0 {
        return Err(format!("address {} has port 0; write the port that the endpoint listens on", quoted(text)));
    }
    if ip.is_some_and(|ip| ip.to_canonical().is_unspecified()) {
        return Err(format!("address {} is no place to connect to; write the endpoint's own IP address", quoted(text)));
    }
    Ok(address)
}
