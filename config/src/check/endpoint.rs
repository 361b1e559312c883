//! Lists of endpoints.

use std::net::{IpAddr, SocketAddr};

use super::Check;
use super::value::all;
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
            if let Some(first) = seen.insert(endpoint.address, n) {
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

fn endpoint_address(text: &str) -> Result<SocketAddr, String> {
    let address = socket_address(text)?;
    if address.port() == 0 {
        return Err(format!("address {} has port 0; write the port that the endpoint listens on", quoted(text)));
    }
    if address.ip().is_unspecified() {
        return Err(format!("address {} is no place to connect to; write the endpoint's own IP address", quoted(text)));
    }
    Ok(address)
}

/// An IP address and a port.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let shown = quoted(text);
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = inner.parse::<IpAddr>() {
        return Err(format!("address {shown} has no port; write {}", SocketAddr::new(ip, 8080)));
    }
    if text.contains("://") {
        return Err(format!("address {shown} is a URL; write IP address and port alone, such as 10.0.0.7:8080"));
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let number = port.bytes().all(|b| b.is_ascii_digit());
    if host.parse::<IpAddr>().is_ok() || host.starts_with('[') {
        return Err(format!(
            "address {shown} has a bad port or bracket; write such as 10.0.0.7:8080 or [fd00::7]:8080"
        ));
    }
    if number && host.bytes().any(|b| b.is_ascii_alphabetic()) {
        return Err(format!(
            "address {shown} has a host name, and only IP addresses are accepted for now; write such as 10.0.0.7:8080 or \
             [fd00::7]:8080"
        ));
    }
    Err(format!("address {shown} is not an IP address and port; write such as 10.0.0.7:8080 or [fd00::7]:8080"))
}
