//! Listeners by themselves.

mod tls;

pub(super) use tls::authorities;

use std::net::IpAddr;

use ipnet::IpNet;

use super::Check;
use super::endpoint::socket_address;
use super::value::all;
use crate::model::{Listener, ListenerTimeouts};
use crate::path::Path;
use crate::problem::quoted;
use crate::raw;

pub(super) fn check(check: &mut Check<'_>, raw: &raw::Listener) -> Option<Listener> {
    let address = check.take(&Path::Root.key("address"), socket_address(&raw.address));
    let at = Path::Root.key("trustedProxies");
    let trusted = all(raw.trusted_proxies.iter().enumerate().map(|(n, text)| check.take(&at.index(n), network(text))));
    let timeouts = timeouts(check, raw.timeouts.as_ref());
    let limits = check.references(&Path::Root.key("limits"), &raw.limits);
    let tls = raw.tls.as_ref().map(|raw| tls::check(check, raw));
    Some(Listener {
        name: check.source.id.name.clone(),
        address: address?,
        trusted_proxies: trusted?,
        timeouts: timeouts?,
        limits: limits?,
        tls: tls.map_or(Some(None), |tls| tls.map(Some))?,
    })
}

fn timeouts(check: &mut Check<'_>, raw: Option<&raw::ListenerTimeouts>) -> Option<ListenerTimeouts> {
    let default = ListenerTimeouts::default();
    let Some(raw) = raw else { return Some(default) };
    let at = Path::Root.key("timeouts");
    let head = check.duration(&at.key("head"), raw.head.as_ref(), default.head);
    let idle = check.duration(&at.key("idle"), raw.idle.as_ref(), default.idle);
    let body_read = check.duration(&at.key("bodyRead"), raw.body_read.as_ref(), default.body_read);
    let body_write = check.duration(&at.key("bodyWrite"), raw.body_write.as_ref(), default.body_write);
    Some(ListenerTimeouts { head: head?, idle: idle?, body_read: body_read?, body_write: body_write? })
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet =
        text.parse().map_err(|_| format!("{} is not a network; write such as 10.0.0.0/8 or fd00::/8", quoted(text)))?;
    if network.trunc() == network {
        Ok(network)
    } else {
        Err(format!("network {} has bits beyond its length; write {}", quoted(text), network.trunc()))
    }
}
